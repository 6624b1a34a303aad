"""Nearest rows of every row by cosine: what is searched, what is found, and the one signature of a search.

A search is a function ``search(rows, n_kept, work) -> Neighbors`` in a file of its own:

rows
    `SparseRows` (non-negative values) or `DenseRows`, which says whether the sign of a cosine counts.
n_kept
    How many rows are listed for each row; the row itself is normally one of them. At most as many as there are rows.
work
    The `Workspace`: threads and progress, on which no neighbour depends.
"""

from sccr_node.numerics.neighbors.exact import search
from sccr_node.numerics.neighbors.rows import DenseRows, Neighbors, SparseRows, buffer_size

__all__ = ["DenseRows", "Neighbors", "SparseRows", "buffer_size", "search"]
