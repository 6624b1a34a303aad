"""Groups of similar rows: a sketch of every row, and blocks of rows that are close to each other in it."""

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

from sccr_node.numerics.neighbors.candidates import inverses
from sccr_node.numerics.neighbors.rows import DenseRows, SparseRows
from sccr_node.numerics.workspace import Workspace

SKETCHED_DIMENSIONS = 64
SKETCHED_ROWS = 512  # from which the axes are found
PRODUCT_ROWS = 1024  # rows per block of products
LEAST_SHARE = 1 / 8  # of the smaller part of a split: so that the number of splits in a row is bounded
TWO_MEANS_STEPS = 6

Float32Array = NDArray[np.float32]


class UnitRows:
    """The rows, each divided by its length, so that near in angle is near in distance."""

    def __init__(self, rows: SparseRows | DenseRows) -> None:
        self.n_rows, self._rows, self._inverses = rows.n_rows, rows, inverses(rows.norms()).astype(np.float32)

    def dense(self, which: NDArray[np.int64]) -> Float32Array:
        """Return some of them."""
        return self._rows.dense(which) * self._inverses[which, None]

    def times(self, first: int, last: int, matrix: Float32Array) -> Float32Array:
        """Return rows [first, last) times a matrix (columns of the rows x anything)."""
        return self._rows.times(first, last, matrix) * self._inverses[first:last, None]


def sketch_axes(rows: UnitRows) -> Float32Array:
    """Return the axes of the sketch: columns x dimensions, orthonormal; the principal axes of a sample of the rows.

    They need not be the best: a poor sketch costs time, not neighbours, because the recall is measured.
    """
    sample = rows.dense(np.sort(np.random.default_rng(0).permutation(rows.n_rows)[:SKETCHED_ROWS]))
    n, most = len(sample), min(SKETCHED_DIMENSIONS, *sample.shape)
    squares, vectors = eigh((sample @ sample.T).astype(np.float64), subset_by_index=[n - most, n - 1])
    there = squares > 1e-6 * max(squares[-1], np.finfo(np.float64).tiny)
    axes = sample.T.astype(np.float64) @ (vectors[:, there] / np.sqrt(squares[there]))
    return np.ascontiguousarray(axes[:, ::-1], np.float32)


def grouped(sketch: Float32Array, size: int, work: Workspace) -> NDArray[np.int64]:
    """Return the rows in an order in which each block of `size` rows is a group; only the last block can be smaller.

    All rows are divided in two, again and again, between the two means of a part, and at a multiple of `size`.
    """
    blocks: dict[int, NDArray[np.int64]] = {}
    parts = [(0, np.arange(len(sketch)))]
    while parts:
        halves: dict[int, NDArray[np.int64]] = {}

        def divide(
            worker: int, part: tuple[int, NDArray[np.int64]], halves: dict[int, NDArray[np.int64]] = halves
        ) -> None:
            at, rows = part
            if len(rows) <= size:
                blocks[at] = rows
                return
            order, left = _divided(sketch[rows], size)
            halves[at], halves[at + left] = rows[order[:left]], rows[order[left:]]

        work.run(divide, parts)
        parts = sorted(halves.items(), key=lambda part: -len(part[1]))
    return np.concatenate([blocks[at] for at in sorted(blocks)])


def _divided(points: Float32Array, size: int) -> tuple[NDArray[np.int64], int]:
    """Return an order of the points, and the number of those that come into the first of two parts."""
    points = points - points.mean(axis=0)
    along = points @ np.linalg.eigh(points.T @ points)[1][:, -1]
    side = along > np.median(along)
    for _ in range(TWO_MEANS_STEPS):
        if side.all() or not side.any():
            break
        right, left = points[side].mean(axis=0), points[~side].mean(axis=0)
        along = points @ (right - left)
        before, side = side, along > (right @ right - left @ left) / 2
        if (side == before).all():
            break
    n_blocks = -(-len(points) // size)
    least = max(1, int(np.ceil(n_blocks * LEAST_SHARE)))
    first = min(max(round(int((~side).sum()) / size), least), n_blocks - least)
    return np.argsort(along, kind="stable"), first * size
