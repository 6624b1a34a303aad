"""Nearest rows of every row by cosine: what is searched, what is found, and the kinds of search.

A search has its own file, with a function ``search(rows, n_kept, work) -> Neighbors``:

rows
    `SparseRows` (non-negative values) or `DenseRows`, which says whether the sign of the cosine is ignored.
n_kept
    Number of rows listed per row, normally including the row itself; at most the number of rows.
work
    The `Workspace`: threads and progress. Neighbours do not depend on it.

and what it costs, for estimates: ``operations(n_rows, n_values)``, for rows of so many values in total, and the
``BYTES_PER_ROW`` that it needs beside the lists.
"""

from collections.abc import Mapping
from typing import Protocol, cast

from sccr_node.numerics.neighbors import clustered, exact
from sccr_node.numerics.neighbors.rows import DenseRows, Neighbors, SearchSummary, SparseRows, buffer_size
from sccr_node.numerics.workspace import Workspace

__all__ = ["SEARCHES", "DenseRows", "Neighbors", "SearchSummary", "SparseRows", "buffer_size", "search"]


class Search(Protocol):
    """The interface of a search's module."""

    BYTES_PER_ROW: int

    def search(self, rows: SparseRows | DenseRows, n_kept: int, work: Workspace) -> Neighbors:
        """Return the `n_kept` nearest rows of every row."""

    def operations(self, n_rows: int, n_values: int) -> int:
        """Return the floating-point operations for rows of so many values in total."""


SEARCHES: Mapping[str, Search] = {"exact": cast(Search, exact), "clustered": cast(Search, clustered)}
"""The kinds of search."""


def search(rows: SparseRows | DenseRows, n_kept: int, work: Workspace, kind: str = "exact") -> Neighbors:
    """Return the nearest rows of every row, by a kind of search: `n_kept`, or as many as there are."""
    return SEARCHES[kind].search(rows, min(n_kept, rows.n_rows), work)
