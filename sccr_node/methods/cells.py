"""Cell graphs of the methods: which search finds the nearest cells, and the graph with what that search left out."""

from sccr_node.contract.methods import CLUSTERED_FROM
from sccr_node.numerics import Workspace
from sccr_node.numerics.graphs import CellGraph, joined
from sccr_node.numerics.neighbors import SEARCHES, DenseRows, SparseRows, search


def search_for(neighbor_search: str, n_cells: int) -> str:
    """Return the kind of search that is used for so many cells: the one asked for, or the automatic choice."""
    if neighbor_search in SEARCHES:
        return neighbor_search
    return "exact" if n_cells < CLUSTERED_FROM else "clustered"


def joined_cells(
    rows: SparseRows | DenseRows,
    n_kept: int,
    work: Workspace,
    neighbor_search: str,
    *,
    symmetrize: bool = True,
    self_weight: float | None = None,
) -> CellGraph:
    """Return the graph of the `n_kept` nearest cells of every cell, itself included; the rest is as for `joined`."""
    neighbors = search(rows, n_kept, work, search_for(neighbor_search, rows.n_rows))
    adjacency = joined(neighbors, symmetrize=symmetrize, self_weight=self_weight)
    return CellGraph(adjacency, neighbors.order, neighbors.summary)
