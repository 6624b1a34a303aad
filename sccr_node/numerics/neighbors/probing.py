"""Which pairs of groups are worth comparing, and how many true neighbours that finds: measured on a sample of rows."""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from sccr_node.numerics.neighbors.blocks import Blocks
from sccr_node.numerics.neighbors.grouping import PRODUCT_ROWS, Float32Array, UnitRows
from sccr_node.numerics.workspace import Workspace

RECALL = 0.99
"""The share of true neighbours to find."""

SAMPLED_ROWS = 512
VOTES = 64  # nearest groups of every row, between which pairs are chosen; twice as many if these do not suffice
ROUNDING = 1e-4  # of distances in the sketch, which is float32: far more than it can be off
SMOOTHED = 5  # ranks over which the chances of finding a neighbour are averaged


@dataclass(frozen=True)
class SampledNeighbors:
    """Sampled rows (sorted), and the numbers of their true neighbours, sampled x kept: -1 where there is none."""

    rows: NDArray[np.int64]
    neighbors: NDArray[np.int64]

    def reordered(self, order: NDArray[np.int64]) -> "SampledNeighbors":
        """Return the same by the places of rows in another order."""
        place = np.argsort(order)
        return SampledNeighbors(place[self.rows], np.where(self.neighbors < 0, -1, place[self.neighbors]))


def sketched_with_sample(
    rows: UnitRows, axes: Float32Array, n_kept: int, work: Workspace
) -> tuple[Float32Array, SampledNeighbors]:
    """Return the sketch of all rows, and the true neighbours of a sample, from one reading of the rows."""
    n, dimensions, n_best = rows.n_rows, axes.shape[1], max(1, n_kept - 1)
    sampled = np.sort(np.random.default_rng(1).permutation(n)[:SAMPLED_ROWS])
    factor = np.ascontiguousarray(np.concatenate([axes, rows.dense(sampled).T], axis=1))
    sketch = np.empty((n, dimensions), np.float32)
    best: dict[int, tuple[Float32Array, NDArray[np.int64]]] = {}

    def strip(worker: int, first: int) -> None:
        products = rows.times(first, min(first + PRODUCT_ROWS, n), factor)
        sketch[first : first + len(products)] = products[:, :dimensions]
        scores = products[:, dimensions:].T.copy()
        own = (sampled >= first) & (sampled < first + len(products))
        scores[own, sampled[own] - first] = 0  # a row is not its own neighbour
        best[first] = _best(scores, np.broadcast_to(np.arange(first, first + len(products)), scores.shape), n_best)

    work.run(strip, range(0, n, PRODUCT_ROWS))
    all_scores, all_names = (
        np.concatenate(parts, axis=1) for parts in zip(*(best[at] for at in sorted(best)), strict=True)
    )
    scores, neighbors = _best(all_scores, all_names, n_best)
    return sketch, SampledNeighbors(sampled, np.where(scores > 0, neighbors, -1))


def _best(scores: Float32Array, names: NDArray[np.int64], n: int) -> tuple[Float32Array, NDArray[np.int64]]:
    """Return the `n` highest scores of every row, in no order, and their names."""
    if scores.shape[1] <= n:
        return scores, names
    where = np.argpartition(scores, -n, axis=1)[:, -n:]
    return np.take_along_axis(scores, where, 1), np.take_along_axis(names, where, 1)


def chosen_pairs(
    sketch: Float32Array, sample: SampledNeighbors, size: int, work: Workspace
) -> tuple[sp.csr_matrix, float]:
    """Return which groups are compared with each other, and the share of the sample's neighbours that this finds.

    A pair is worth as much as the number of neighbours that it is expected to hold, by how near each group is to the
    rows of the other, over the products that it costs. The best pairs are chosen, as many as either half of the sample
    needs.

    Parameters
    ----------
    sketch
        The sketch of the rows, in the order of the groups: rows x dimensions.
    sample
        Sampled rows and their neighbours, in the same order.
    size
        Rows per group.
    work
        Threads and progress.

    Returns
    -------
    groups x groups, boolean, symmetric; and the recall.
    """
    groups, votes = Blocks(len(sketch), size), VOTES
    while True:
        near, recall = _chosen(_nearest_groups(sketch, groups, votes, work), sample, groups)
        if recall >= RECALL or votes >= len(groups.firsts):
            return near, recall
        votes *= 2


def _chosen(nearest: NDArray[np.int32], sample: SampledNeighbors, groups: Blocks) -> tuple[sp.csr_matrix, float]:
    """Return the same for the pairs of groups of which one is among the `nearest` of a row of the other."""
    counts, n_groups = groups.sizes, len(groups.firsts)
    known = sample.neighbors >= 0
    theirs = sample.neighbors // groups.size
    chances = _chances(nearest[sample.rows], np.where(known, theirs, -1))
    worth = _worth(nearest, chances, groups)
    pairs = sp.triu(worth, format="coo")
    value = pairs.data / (counts[pairs.row] * counts[pairs.col])
    value[pairs.row == pairs.col] = np.inf
    ranked = np.lexsort((pairs.col, pairs.row, -value))
    ours = np.broadcast_to((sample.rows // groups.size)[:, None], theirs.shape)
    needed = _ranks(pairs, ranked, np.minimum(ours, theirs)[known], np.maximum(ours, theirs)[known])
    half = np.nonzero(known)[0] % 2
    n_chosen = max(n_groups, *(_enough(needed[half == which]) for which in (0, 1)))
    chosen = ranked[:n_chosen]
    upper = sp.csr_matrix(
        (np.ones(len(chosen), bool), (pairs.row[chosen], pairs.col[chosen])), shape=(n_groups, n_groups)
    )
    near = sp.csr_matrix(upper + upper.T)
    near.sort_indices()
    recall = float((needed <= len(chosen)).mean()) if len(needed) else 1.0
    return near, recall


def _ranks(
    pairs: sp.coo_matrix, ranked: NDArray[np.intp], rows: NDArray[np.int64], columns: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return which rank, from 1, some pairs have among the ranked ones; for others a rank after all of them."""
    n_groups = pairs.shape[1]
    keys = pairs.row.astype(np.int64) * n_groups + pairs.col
    sorted_keys = np.sort(keys)
    rank_of = np.empty(len(keys), np.int64)
    rank_of[np.searchsorted(sorted_keys, keys[ranked])] = np.arange(1, len(keys) + 1)
    wanted = rows * n_groups + columns
    at = np.minimum(np.searchsorted(sorted_keys, wanted), len(keys) - 1)
    return np.where(sorted_keys[at] == wanted, rank_of[at], np.iinfo(np.int64).max)


def _enough(needed: NDArray[np.int64]) -> int:
    """Return how many pairs find the share of neighbours that is aimed at."""
    return int(np.sort(needed)[int(np.ceil(RECALL * len(needed))) - 1]) if len(needed) else 0


def _centres(sketch: Float32Array, groups: Blocks) -> Float32Array:
    """Return the mean of every group."""
    return (np.add.reduceat(sketch, groups.firsts, axis=0) / groups.sizes[:, None]).astype(np.float32)


def _nearest_groups(sketch: Float32Array, groups: Blocks, votes: int, work: Workspace) -> NDArray[np.int32]:
    """Return the groups whose means are nearest to each row, the nearest first: rows x votes."""
    centres = _centres(sketch, groups)
    offsets = (centres**2).sum(axis=1) / 2
    votes = min(votes, len(centres))
    nearest = np.empty((len(sketch), votes), np.int32)

    def strip(worker: int, first: int) -> None:
        far = offsets - sketch[first : first + PRODUCT_ROWS] @ centres.T
        some = np.argpartition(far, votes - 1, axis=1)[:, :votes]
        order = np.argsort(np.take_along_axis(far, some, 1), axis=1, kind="stable")
        nearest[first : first + len(far)] = np.take_along_axis(some, order, 1)

    work.run(strip, range(0, len(sketch), PRODUCT_ROWS))
    return nearest


def _chances(nearest: NDArray[np.int32], theirs: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the share of the neighbours that are in a row's nearest group, in its second nearest, and so on."""
    hits = (nearest[:, :, None] == theirs[:, None, :]).sum(axis=(0, 2)).astype(np.float64)
    padded = np.pad(hits, SMOOTHED // 2, mode="edge")
    smooth = np.convolve(padded, np.ones(SMOOTHED) / SMOOTHED, "valid")
    falling = np.minimum.accumulate(smooth) / max(1.0, hits.sum())
    return np.asarray(falling + 1e-9)  # a vote counts for something, however far the group


def _worth(nearest: NDArray[np.int32], chances: NDArray[np.float64], groups: Blocks) -> sp.csr_matrix:
    """Return how many neighbours each pair of groups is expected to hold, in units of a row's: symmetric."""
    n_groups = len(groups.firsts)
    rows, columns = [], []
    for group in range(n_groups):
        own = nearest[slice(*groups.rows(group))]
        total = np.bincount(own.ravel(), np.tile(chances, len(own)), minlength=n_groups)
        total[group] += 1e-9
        there = np.flatnonzero(total)
        rows.append(total[there])
        columns.append(there)
    starts = np.cumsum([0, *map(len, columns)])
    one_way = sp.csr_matrix((np.concatenate(rows), np.concatenate(columns), starts), shape=(n_groups, n_groups))
    return sp.csr_matrix(one_way + one_way.T)


def proved(sketch: Float32Array, scores: NDArray[np.float64], blocks: Blocks, work: Workspace) -> NDArray[np.bool_]:
    """Return for which rows it is proved, by the triangle inequality, that nothing nearer was left out.

    Projection onto orthonormal axes only shortens distances: rows of a group that is further away in the sketch, by
    more than its radius, than a row's last neighbour is in all dimensions, are no neighbours of that row.

    Parameters
    ----------
    sketch
        The sketch of the rows, in the order of the groups: rows x dimensions.
    scores
        The cosines of their neighbours, best first: rows x kept.
    blocks
        Which groups were compared.
    work
        Threads and progress.
    """
    near = blocks.near
    assert near is not None
    centres = _centres(sketch, blocks).astype(np.float64)
    squares = (centres**2).sum(axis=1)
    radii = np.empty(len(centres))
    certain = np.zeros(len(sketch), bool)

    def measure(worker: int, block: int) -> None:
        radii[block] = np.linalg.norm(sketch[slice(*blocks.rows(block))] - centres[block], axis=1).max()

    def prove(worker: int, block: int) -> None:
        first, last = blocks.rows(block)
        own = sketch[first:last].astype(np.float64)
        distances = np.sqrt(np.maximum((own**2).sum(axis=1)[:, None] + squares - 2 * (own @ centres.T), 0))
        least = distances - radii - ROUNDING
        least[:, near.indices[near.indptr[block] : near.indptr[block + 1]]] = np.inf
        furthest = np.sqrt(np.maximum(2 - 2 * scores[first:last, -1], 0))
        certain[first:last] = least.min(axis=1) > furthest

    work.run(measure, range(len(centres)))
    work.run(prove, range(len(centres)))
    return certain
