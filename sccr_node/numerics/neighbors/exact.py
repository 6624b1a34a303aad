"""The exact search: every row is compared with every other."""

from sccr_node.numerics.neighbors.blocks import Blocks
from sccr_node.numerics.neighbors.proposals import nearest_compared
from sccr_node.numerics.neighbors.rows import DenseRows, Neighbors, SparseRows
from sccr_node.numerics.workspace import Workspace

BYTES_PER_ROW = 0


def search(rows: SparseRows | DenseRows, n_kept: int, work: Workspace) -> Neighbors:
    """Return the `n_kept` nearest rows of every row."""
    return nearest_compared(rows, n_kept, Blocks(rows.n_rows), work)


def operations(n_rows: int, n_values: int) -> int:
    """Return the operations of the products: similarity is symmetric."""
    return n_rows * n_values
