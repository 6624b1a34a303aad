"""Nearest rows of every row by cosine: what is searched, what is found, and the one signature of a search.

A search is a function ``search(rows, n_kept, work) -> Neighbors`` in its own file:

rows
    `SparseRows` (non-negative values) or `DenseRows`, which says whether the sign of the cosine is ignored.
n_kept
    Number of rows listed per row, normally including the row itself; at most the number of rows.
work
    The `Workspace`: threads and progress. Neighbours do not depend on it.
"""

from sccr_node.numerics.neighbors.exact import search
from sccr_node.numerics.neighbors.rows import DenseRows, Neighbors, SparseRows, buffer_size

__all__ = ["DenseRows", "Neighbors", "SparseRows", "buffer_size", "search"]
