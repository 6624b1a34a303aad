"""Principal components of a matrix read in blocks of rows: exact, and the same for any number of threads."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.linalg import eigh
from scipy.sparse.linalg import ArpackNoConvergence, eigsh
from threadpoolctl import threadpool_limits

from sccr_node.numerics.workspace import Workspace
from sccr_node.runtime.console import Progress

GRAM_GENES = 4096  # up to here the genes x genes products are kept; above it, every step reads the matrix again
BLOCK_VALUES = 2 << 20  # values per block of rows, which is converted to float64
STRIP = 256  # columns multiplied by one thread at a time
ARPACK_SHARE = 4  # for more than this share of the components a complete decomposition is as fast
ARPACK_TOLERANCE = 1e-10
RANK_TOLERANCE = 1e-10
SPARE_VECTORS = 14  # vectors per step in addition to those wanted
MAX_BASIS = 768  # vectors orthogonalised against each other before a restart from the best
TOLERANCE = 1e-6  # residual of an eigenpair, relative to its eigenvalue
MAX_CYCLES = 50

Float64Array = NDArray[np.float64]

ReadRows = Callable[[int, int], NDArray[np.float32]]
"""Reads rows [start, stop) of a matrix; called from the calling thread in blocks of fixed size, in order."""


def rows_of(matrix: sp.csr_matrix | NDArray[np.float32]) -> ReadRows:
    """Return what reads the rows of a matrix that is in memory, sparse or dense."""
    if sp.issparse(matrix):
        return lambda start, stop: matrix[start:stop].toarray()
    return lambda start, stop: matrix[start:stop]


@dataclass(frozen=True)
class Components:
    """The leading principal axes of a matrix: its column means, and the loadings (columns x components)."""

    mean: Float64Array
    loadings: Float64Array

    @property
    def n_components(self) -> int:
        """The number of components."""
        return int(self.loadings.shape[1])

    def leading(self, n_components: int) -> "Components":
        """Return only the leading components."""
        return Components(self.mean, self.loadings[:, :n_components])

    def scores(self, rows: NDArray[np.float32]) -> Float64Array:
        """Return the scores of some rows."""
        return np.asarray((rows - self.mean) @ self.loadings)

    def scores_of(self, rows: sp.csr_matrix, work: Workspace) -> Float64Array:
        """Return the scores of all rows of a sparse matrix."""
        scores = np.empty((rows.shape[0], self.n_components))

        def block(worker: int, first: int) -> None:
            own = slice(first, first + STRIP)
            scores[own] = self.scores(rows[own].toarray())

        with threadpool_limits(1, user_api="blas"):
            work.run(block, range(0, rows.shape[0], STRIP))
        return scores

    def rebuilt(self, scores: Float64Array, columns: slice | NDArray[np.intp] = slice(None)) -> Float64Array:
        """Return what the leading components, as many as there are scores, keep of some rows and columns."""
        return np.asarray(scores @ self.loadings[columns, : scores.shape[1]].T + self.mean[columns])


def principal_components(
    rows: ReadRows,
    n_cells: int,
    n_genes: int,
    n_components: int,
    *,
    threads: int | None = None,
    progress: Progress | None = None,
) -> NDArray[np.float32]:
    """Return PCA scores (cells x components), centred and unscaled, by decreasing variance.

    In float64: by ARPACK on the genes x genes products or, with too many genes to keep these, by block Lanczos on the
    matrix itself, which reads it a dozen times instead of hundreds. Both always start from the same vectors.

    Parameters
    ----------
    rows
        Reads rows [start, stop) of the matrix, float32; called from the calling thread in blocks of fixed size, in
        order, several times: the matrix can be on disk.
    n_cells, n_genes
        The shape of the matrix.
    n_components
        Number of components.
    threads
        Number of threads (default: all available CPUs). Does not affect the result.
    progress
        As for `sccr`.

    Returns
    -------
    min(n_components, cells - 1, genes) columns (none for a single cell). The sign is fixed by the loadings: the (first)
    gene with the largest absolute loading has a positive one.
    """
    kept = max(0, min(n_components, n_cells - 1, n_genes))
    if kept == 0:
        return np.zeros((n_cells, 0), np.float32)
    work = Workspace(threads, progress)
    with work.stage("principal components"):
        matrix = _Rows(rows, n_cells, n_genes, work)
        with threadpool_limits(1, user_api="blas"):
            return matrix.scores(_leading(matrix, kept).loadings)


def components_of(
    matrix: sp.csr_matrix | NDArray[np.float32], n_components: int, threads: int | None
) -> NDArray[np.float32]:
    """Return the :func:`principal_components` of a matrix that is in memory, sparse or dense: cells x components."""
    n_cells, n_genes = matrix.shape
    return principal_components(rows_of(matrix), n_cells, n_genes, n_components, threads=threads)


def leading_components(rows: ReadRows, n_cells: int, n_genes: int, n_components: int, work: Workspace) -> Components:
    """Return the axes of `principal_components`: at most cells - 1 of them, and at most as many as there are genes."""
    matrix = _Rows(rows, n_cells, n_genes, work)
    kept = max(0, min(n_components, n_cells - 1, n_genes))
    if kept == 0:
        return Components(matrix.mean, np.zeros((n_genes, 0)))
    with threadpool_limits(1, user_api="blas"):
        return _leading(matrix, kept)


def _leading(matrix: "_Rows", kept: int) -> Components:
    # A threaded BLAS sums in an unpredictable order: the caller limits it, and each thread calls it for its own strip.
    if matrix.n_genes <= GRAM_GENES:
        loadings = _leading_of_gram(matrix.gram(), kept)
    else:
        loadings = _leading_eigenvectors(matrix.times_covariance, matrix.n_genes, kept)
    loadings *= np.sign(loadings[np.abs(loadings).argmax(axis=0), np.arange(kept)])
    return Components(matrix.mean, loadings)


class _Rows:
    """The products that the components need, computed over blocks of rows, with each strip computed by one thread."""

    def __init__(self, rows: ReadRows, n_cells: int, n_genes: int, work: Workspace) -> None:
        self.rows, self.n_cells, self.n_genes, self.work = rows, n_cells, n_genes, work
        self.height = max(32, BLOCK_VALUES // n_genes)
        self.mean = sum((block.sum(axis=0) for _, block in self._blocks(0.0)), start=np.zeros(n_genes)) / n_cells

    def _blocks(self, offset: Float64Array | float) -> Iterator[tuple[int, Float64Array]]:
        """Yield, per block, the first row and the rows minus `offset`."""
        for start in range(0, self.n_cells, self.height):
            block = self.rows(start, min(start + self.height, self.n_cells)).astype(np.float64)
            block -= offset
            yield start, block

    def _product(self, left: Float64Array, right: Float64Array) -> Float64Array:
        """Return left @ right, with each strip of rows of `left` computed by one thread."""
        out = np.empty((len(left), right.shape[1]))

        def strip(worker: int, at: int) -> None:
            np.matmul(left[at : at + STRIP], right, out=out[at : at + STRIP])

        self.work.run(strip, range(0, len(left), STRIP))
        return out

    def gram(self) -> Float64Array:
        """Return the genes x genes products of the centred columns."""
        total = np.zeros((self.n_genes, self.n_genes))
        spaces = [np.empty((STRIP, self.n_genes)) for _ in range(self.work.threads)]
        for _, block in self._blocks(self.mean):

            def strip(worker: int, at: int, block: Float64Array = block) -> None:
                ours = block[:, at : at + STRIP]
                space = spaces[worker][: ours.shape[1], at:]
                total[at : at + STRIP, at:] += np.matmul(ours.T, block[:, at:], out=space)

            self.work.run(strip, range(0, self.n_genes, STRIP))
        return np.asarray(np.triu(total) + np.triu(total, 1).T)

    def times_covariance(self, vectors: Float64Array) -> Float64Array:
        """Return X^T (X vectors), where X is the centred matrix."""
        total = np.zeros_like(vectors)
        for _, block in self._blocks(self.mean):
            total += self._product(block.T, self._product(block, vectors))
        return total

    def scores(self, loadings: Float64Array) -> NDArray[np.float32]:
        """Return the centred rows times the loadings."""
        out = np.empty((self.n_cells, loadings.shape[1]), np.float32)
        for start, block in self._blocks(self.mean):
            out[start : start + len(block)] = self._product(block, loadings)
        return out


def _leading_of_gram(gram: Float64Array, kept: int) -> Float64Array:
    """Return the `kept` leading eigenvectors of the genes x genes products, the leading one first."""
    size = len(gram)
    if kept <= size // ARPACK_SHARE and gram.any():
        start = np.random.default_rng(0).standard_normal(size)
        with suppress(ArpackNoConvergence):
            values, vectors = eigsh(gram, k=kept, v0=start, tol=ARPACK_TOLERANCE)
            # Below this rank ARPACK goes on from random vectors, which depend on what the process did before.
            if values[0] > RANK_TOLERANCE * values[-1]:
                return np.asarray(vectors[:, ::-1])
    return np.asarray(eigh(gram, subset_by_index=[size - kept, size - 1])[1][:, ::-1])


def _leading_eigenvectors(times: Callable[[Float64Array], Float64Array], size: int, kept: int) -> Float64Array:
    """Return the `kept` leading eigenvectors of a symmetric positive operator, by restarted block Lanczos."""
    width = min(size, kept + SPARE_VECTORS)
    most = max(MAX_BASIS, 3 * width)
    start = np.linalg.qr(np.random.default_rng(0).standard_normal((size, width)))[0]
    for _ in range(MAX_CYCLES):
        basis, projected = start, np.zeros((0, 0))
        newest = start
        while True:
            image = times(newest)
            among = basis.T @ image
            old = len(projected)
            projected = np.pad(projected, (0, basis.shape[1] - old))
            projected[:, old:], projected[old:, :] = among, among.T
            image -= basis @ among
            image -= basis @ (basis.T @ image)  # twice is enough
            newest, beyond = np.linalg.qr(image)
            # If nothing is left to find, those columns are arbitrary: they must still be orthogonal to the rest.
            newest = newest[:, : size - basis.shape[1]]
            for _ in range(2):
                newest = np.linalg.qr(newest - basis @ (basis.T @ newest))[0]
            whole = newest.shape[1] == 0
            full = whole or basis.shape[1] + newest.shape[1] > most
            if full or basis.shape[1] % (3 * width) == 0:
                values, vectors = np.linalg.eigh(projected)
                best = np.argsort(-values, kind="stable")[:width]
                residuals = np.linalg.norm(beyond @ vectors[old:, best[:kept]], axis=0)
                floor = 1e-13 * max(values[best[0]], np.finfo(float).tiny)
                if whole or (residuals <= TOLERANCE * np.abs(values[best[:kept]]) + floor).all():
                    return np.asarray(basis @ vectors[:, best[:kept]])
            if full:
                break
            basis = np.hstack([basis, newest])
        start = np.linalg.qr(basis @ vectors[:, best])[0]
    return start[:, :kept]
