"""Cell graphs of the methods: which search finds the nearest cells, and the graph with what that search left out."""

from dataclasses import dataclass

import scipy.sparse as sp

from sccr_node.contract.methods import CLUSTERED_FROM
from sccr_node.numerics import Workspace
from sccr_node.numerics.graphs import joined
from sccr_node.numerics.neighbors import SEARCHES, DenseRows, SearchSummary, SparseRows, search


@dataclass(frozen=True)
class CellGraph:
    """A normalised cell graph (cells x cells), and what its search left out (None: nothing)."""

    adjacency: sp.csr_matrix
    search: SearchSummary | None


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
    return CellGraph(joined(neighbors, symmetrize=symmetrize, self_weight=self_weight), neighbors.summary)
