"""The costs of the parts of a method, given only the shape: peak memory and floating-point operations."""

from dataclasses import dataclass

from sccr_node.numerics._kernels import PANEL, TILE
from sccr_node.numerics.neighbors import SEARCHES, buffer_size
from sccr_node.numerics.neighbors.candidates import SPARE_CANDIDATES
from sccr_node.numerics.propagation import GENE_BLOCK, block_width

SPARSE = 6.0
"""How much longer an operation takes in a search among sparse rows than in one among dense ones."""

PROPAGATED, CACHED_NODES, DISPERSED = 1.1, 8_000, 0.27
"""The same for a propagation over up to so many nodes, and the power with which it grows beyond: neighbours are then
farther apart in memory."""


@dataclass(frozen=True)
class Shape:
    """The expression to impute: `n_cells` x `n_genes` with `n_stored` non-zero values."""

    n_cells: int
    n_genes: int
    n_stored: int


@dataclass(frozen=True)
class Cost:
    """What a method needs beyond its input.

    Attributes
    ----------
    bytes
        Peak memory.
    operations
        Floating-point operations; one that memory slows down counts as several.
    buffers
        Matrices of cells x genes, of `buffer_bytes` each, that are part of this memory.
    kept
        What checkpoints take on disk, in bytes: the matrices of cells x genes that all stages together return.
    """

    bytes: int
    operations: int
    buffers: int
    kept: int


def kept_bytes(shape: Shape, n_matrices: int) -> int:
    """Return the bytes of so many matrices of cells x genes on disk, for `Cost.kept`."""
    return 4 * shape.n_cells * shape.n_genes * n_matrices


def buffer_bytes(n_cells: int, n_genes: int) -> int:
    """Return the bytes of one matrix of cells x genes."""
    return 4 * buffer_size(n_cells, n_genes)


def peak_bytes(
    shape: Shape, threads: int, *, n_buffers: int, k_cell: int, k_gene: int | None = None, search: str = "exact"
) -> int:
    """Return the peak memory of a method with `n_buffers` matrices of cells x genes and graphs with so many neighbours.

    `k_gene` is None for a method without a gene graph; `search` is the kind of search among cells.
    """
    n_cells, n_genes = shape.n_cells, shape.n_genes
    listed, nodes = n_cells * (k_cell + 1 + SPARE_CANDIDATES), max(n_cells, n_genes)
    if k_gene is not None:
        listed += n_genes * (k_gene + 1 + SPARE_CANDIDATES)
    searching = threads * (8 * listed + 4 * (TILE * TILE + PANEL * nodes)) + SEARCHES[search].BYTES_PER_ROW * n_cells
    joining = 100 * n_cells * (k_cell + 1)
    propagating = threads * 3 * 4 * max(n_cells * block_width(n_genes, threads), n_genes * GENE_BLOCK)
    # Names, norms and their inverses, beside the graphs.
    graphs = 32 * n_cells * (k_cell + 1) + 64 * (n_cells + n_genes)
    # The observed values are copied, in another order or transposed, before the first buffer is filled in.
    return max(
        16 * shape.n_stored + searching,
        buffer_bytes(n_cells, n_genes) * n_buffers + max(searching, joining, propagating) + graphs,
    )


def search_operations(n_rows: int, n_values: int, search: str = "exact", *, sparse: bool = False) -> int:
    """Return the operations of a kind of search among rows that have `n_values` values in total."""
    return int(SEARCHES[search].operations(n_rows, n_values) * (SPARSE if sparse else 1))


def cell_propagation_operations(shape: Shape, k_cell: int, n_iterations: int) -> int:
    """Return the operations of one propagation over a symmetric cell graph."""
    return _propagation(shape.n_cells, k_cell, n_iterations, shape.n_genes)


def gene_propagation_operations(shape: Shape, k_gene: int, n_iterations: int) -> int:
    """Return the operations of one propagation over a symmetric gene graph."""
    return _propagation(shape.n_genes, k_gene, n_iterations, shape.n_cells)


def _propagation(n_nodes: int, k: int, n_iterations: int, n_columns: int) -> int:
    slower = PROPAGATED * max(1.0, n_nodes / CACHED_NODES) ** DISPERSED
    return int(slower * n_iterations * n_nodes * 2 * (k + 1) * n_columns * 2)
