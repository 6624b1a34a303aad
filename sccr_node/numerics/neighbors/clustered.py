"""The clustered search: every row is compared with the rows of the groups around it, in all dimensions.

Rows are put into groups of equal size (`grouping`), the groups into pairs that are worth comparing (`probing`), and
these are compared as in the exact search. Nothing is approximated but the choice of pairs: the share of the true
neighbours that lie in a chosen pair is measured on a sample of rows, and as many pairs are chosen as the aim needs. All
of it depends only on the rows, not on threads.
"""

import math

import numpy as np
from threadpoolctl import threadpool_limits

from sccr_node.numerics.neighbors import exact
from sccr_node.numerics.neighbors.blocks import Blocks
from sccr_node.numerics.neighbors.grouping import SKETCHED_DIMENSIONS, UnitRows, grouped, sketch_axes
from sccr_node.numerics.neighbors.probing import SAMPLED_ROWS, chosen_pairs, proved, sketched_with_sample
from sccr_node.numerics.neighbors.proposals import nearest_compared
from sccr_node.numerics.neighbors.rows import DenseRows, Neighbors, SearchSummary, SparseRows
from sccr_node.numerics.workspace import Workspace

GROUP_ROWS = 128
MANY_ROWS = 1 << 18  # from here on groups are twice as large, because their number counts, too
COMPARED_ROWS, COMPARED_GROWTH = 31, 0.43  # with each row, for estimates: 31 x n ** 0.43; it depends on the data, too
BYTES_PER_ROW = 1536
WORTH_IT = 0.5  # of all products: with more to compare, the exact search is as fast


def search(rows: SparseRows | DenseRows, n_kept: int, work: Workspace) -> Neighbors:
    """Return the `n_kept` nearest rows of every row, as far as they are in the groups around it."""
    n, size = rows.n_rows, GROUP_ROWS if rows.n_rows < MANY_ROWS else 2 * GROUP_ROWS
    with threadpool_limits(1, user_api="blas"):
        unit = UnitRows(rows)
        sketch, sample = sketched_with_sample(unit, sketch_axes(unit), n_kept, work)
        order = grouped(sketch, size, work)
        sketch = sketch[order]
        near, recall = chosen_pairs(sketch, sample.reordered(order), size, work)
    blocks = Blocks(n, size, near)
    if blocks.share_compared() > WORTH_IT:
        return exact.search(rows, n_kept, work)
    with rows.reordered(order, work) as placed:
        found = nearest_compared(placed, n_kept, blocks, work, order.astype(np.int32))
    with threadpool_limits(1, user_api="blas"):
        certain = proved(sketch, found.scores, blocks, work)
    summary = SearchSummary(
        n_groups=near.shape[0], n_searched=near.nnz / near.shape[0], recall=recall, proved=float(certain.mean())
    )
    back = np.argsort(order)
    return Neighbors(found.indices[back], found.scores[back], summary, order)


def operations(n_rows: int, n_values: int) -> int:
    """Return the operations of the products, of the sketch and of the sample."""
    compared = min(n_rows // 3, round(COMPARED_ROWS * math.pow(n_rows, COMPARED_GROWTH)))
    return (compared + 2 * (SKETCHED_DIMENSIONS + SAMPLED_ROWS)) * n_values
