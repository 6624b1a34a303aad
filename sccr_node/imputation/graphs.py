"""Neighbour graphs of cells and of genes: exact k nearest by cosine, decided the same way by any number of threads.

A search proposes candidates in float32 (half of the products: similarity is symmetric), scores those exactly in
float64, breaks ties by the lower index, and proves for every row, from the bound on float32's error, that no other row
belongs to its list; the rows for which that fails are scanned in full. So neither block sizes nor threads can decide a
neighbour.
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from sccr_node.imputation._kernels import DEPTH, LISTED_ROWS, PANEL, TILE, Crew, kernels

SPARE = 8  # candidates beyond the list: enough that few rows need the full scan
ROWS = 256  # rows of a block of exact scores: a few milliseconds
FLOAT32_ROUNDING = 2.0**-24


@dataclass(frozen=True)
class Neighbours:
    """The best of every row, best first: `indices` and `scores` (cosines), rows x kept; index -1 where none is left."""

    indices: NDArray[np.int32]
    scores: NDArray[np.float64]


@dataclass(frozen=True)
class Standard:
    """What standardising subtracts from each gene and divides it by."""

    means: NDArray[np.float64]
    scales: NDArray[np.float64]
    inverses: NDArray[np.float64]

    @classmethod
    def of(cls, means: NDArray[np.float64], deviations: NDArray[np.float64]) -> "Standard":
        """Return the paper's: a gene that does not vary is divided by the mean of all deviations, and stands at 0."""
        constant = deviations <= 1e-6 * np.maximum(1.0, np.abs(means))
        scales = np.where(constant, deviations.mean(), deviations)
        # The rest of rounding in a constant gene would become a direction of its own once rows are normalised.
        return cls(means, scales, np.where(constant, 0.0, 1.0 / np.where(constant, 1.0, deviations)))

    @classmethod
    def identity(cls, n_genes: int) -> "Standard":
        """Return one that changes nothing."""
        return cls(np.zeros(n_genes), np.ones(n_genes), np.ones(n_genes))


def cell_graph(
    expression: sp.csr_matrix | NDArray[np.float32], k: int, *, symmetrize: bool = True, threads: int | None = None
) -> sp.csr_matrix:
    """Return scCR's cell graph: cells x cells, rows summing to 1.

    Parameters
    ----------
    expression
        Cells x genes; a sparse matrix must not have negative values, a dense one may.
    k
        Neighbours of a cell, beside itself.
    symmetrize
        Whether a neighbour on one side is one (of half the weight) on the other.
    threads
        How many threads work; no value depends on it.
    """
    crew = Crew(threads)
    if sp.issparse(expression):
        return joined(nearest_sparse(sp.csr_matrix(expression), k + 1, crew), symmetrize=symmetrize)
    n, dimensions = expression.shape
    buffer = np.empty(buffer_size(n, dimensions), np.float32)
    buffer[: n * dimensions] = expression.ravel()
    return joined(nearest_dense(buffer, n, dimensions, k + 1, crew), symmetrize=symmetrize)


def gene_graph(
    dense: NDArray[np.float32],
    k: int,
    *,
    dissociating: bool = True,
    standardize: bool = True,
    threads: int | None = None,
) -> sp.csr_matrix:
    """Return scCR's gene graph: genes x genes, signed, the magnitudes of each row summing to 1.

    Parameters
    ----------
    dense
        Cells x genes, without missing values.
    k
        Neighbours of a gene, beside itself.
    dissociating
        Whether genes are joined by negative correlations too.
    standardize
        Whether the cosine is taken of the standardised genes, and so is Pearson's r.
    threads
        How many threads work; no value depends on it.
    """
    dense = np.ascontiguousarray(dense, np.float32)
    standard = Standard.identity(dense.shape[1])
    if standardize:
        standard = Standard.of(
            dense.mean(axis=0, dtype=np.float64), dense.std(axis=0, ddof=min(1, len(dense) - 1), dtype=np.float64)
        )
    work = np.empty(buffer_size(*dense.shape), np.float32)
    return joined(nearest_genes(dense, standard, work, k + 1, Crew(threads), signed=dissociating), signed=dissociating)


def buffer_size(n_cells: int, n_genes: int) -> int:
    """Return how many floats hold the matrix as rows, or as panels of cells or of genes (whole panels)."""
    return max(-(-n_cells // PANEL) * PANEL * n_genes, -(-n_genes // PANEL) * PANEL * n_cells)


class _Candidates:
    """The float32 heaps of a search: each worker's own, merged at the end."""

    def __init__(self, n_rows: int, kept: int, workers: int) -> None:
        self.kept = kept
        self.scores = [np.full((n_rows, kept), -np.inf, np.float32) for _ in range(workers)]
        self.indices = [np.full((n_rows, kept), -1, np.int32) for _ in range(workers)]

    def merge(self, first: int, last: int) -> None:
        for scores, indices in zip(self.scores[1:], self.indices[1:], strict=True):
            kernels().merge_candidates(self.scores[0], self.indices[0], scores, indices, first, last, self.kept)


def _inverses(norms: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return 1 / norm, and 0 for a zero row: its cosines are 0."""
    return np.divide(1.0, norms, out=np.zeros_like(norms), where=norms > 0)


def _padded(inverse_norms: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return float32 inverse norms with room for the last tile; that of a row of denormals is cut to the largest."""
    within = np.minimum(inverse_norms, np.finfo(np.float32).max)
    return np.concatenate([within, np.zeros(TILE)]).astype(np.float32)


def nearest_sparse(matrix: sp.csr_matrix, kept: int, crew: Crew) -> Neighbours:
    """Return the `kept` nearest rows of every row of a non-negative sparse matrix (the row itself is normally one)."""
    n, dimensions = matrix.shape
    kept = min(kept, n)
    starts, columns, values = sparse_arrays(matrix)
    squares = np.bincount(np.repeat(np.arange(n), np.diff(starts)), values.astype(np.float64) ** 2, minlength=n)
    inverse_norms = _inverses(np.sqrt(squares))
    single = _padded(inverse_norms)
    workers = crew.threads
    candidates = _Candidates(n, min(kept + SPARE, n + 1), workers)
    width = 64 if dimensions <= 8192 else 32 if dimensions <= 16384 else 16
    blocks = [np.empty(dimensions * width, np.float32) for _ in range(workers)]
    products = [np.empty(TILE * width, np.float32) for _ in range(workers)]

    def propose(worker: int, j: int) -> None:
        kernels().search_sparse(
            starts, columns, values, dimensions, j, min(j + width, n), width, single, candidates.scores[worker],
            candidates.indices[worker], candidates.kept, blocks[worker], products[worker], crew.cancelled,
        )  # fmt: skip

    crew.run(propose, range(0, n, width)[::-1])

    found = _empty_lists(n, kept)
    contested = np.zeros(n, np.int8)
    lines = [np.zeros(dimensions, np.float32) for _ in range(workers)]

    def decide(worker: int, first: int) -> None:
        last = min(first + ROWS, n)
        candidates.merge(first, last)
        kernels().rank_sparse(
            starts, columns, values, first, last, inverse_norms, candidates.scores[0], candidates.indices[0],
            candidates.kept, kept, found.scores, found.indices, contested, lines[worker],
        )  # fmt: skip

    crew.run(decide, range(0, n, ROWS))

    def scan(worker: int, row: int) -> None:
        kernels().scan_sparse(
            starts, columns, values, n, row, inverse_norms, kept, found.scores, found.indices, lines[worker]
        )

    crew.run(scan, np.flatnonzero(contested).tolist())
    return found


def nearest_dense(
    buffer: NDArray[np.float32],
    n: int,
    dimensions: int,
    kept: int,
    crew: Crew,
    *,
    signed: bool = False,
    packed: bool = False,
) -> Neighbours:
    """Return the `kept` nearest rows of every row (the row itself is normally one).

    `buffer` holds the n x dimensions matrix as rows (or, `packed`, as panels), with room for whole panels; it holds
    the same rows again at the end, and is used as the work space. `signed`: by magnitude of the cosine.
    """
    kept = min(kept, n)
    panels = range(0, n, PANEL)
    norms = np.zeros(len(panels) * PANEL)
    scratch = [np.empty(PANEL * dimensions, np.float32) for _ in range(crew.threads)]

    def pack(worker: int, i: int) -> None:
        panel = buffer[i * dimensions : (i + PANEL) * dimensions]
        if not packed:
            kernels().rows_to_panel(panel, min(PANEL, n - i), dimensions, scratch[worker])
        kernels().panel_norms(panel, dimensions, norms[i : i + PANEL])

    crew.run(pack, panels)
    inverse_norms = _inverses(norms)
    single = _padded(inverse_norms)
    candidates = _Candidates(n, min(kept + SPARE, n + 1), crew.threads)
    products = [np.empty(TILE * TILE, np.float32) for _ in range(crew.threads)]

    def propose(worker: int, tile: tuple[int, int]) -> None:
        i, j = tile
        kernels().search_dense(
            buffer, dimensions, i, min(i + TILE, n), j, min(j + TILE, n), single, int(signed),
            candidates.scores[worker], candidates.indices[worker], candidates.kept, products[worker], crew.cancelled,
        )  # fmt: skip

    crew.run(propose, [(i, j) for i in range(0, n, TILE) for j in range(i, n, TILE)])

    def unpack(worker: int, i: int) -> None:
        panel = buffer[i * dimensions : (i + PANEL) * dimensions]
        kernels().panel_to_rows(panel, min(PANEL, n - i), dimensions, scratch[worker])

    crew.run(unpack, panels)

    found = _empty_lists(n, kept)
    contested = np.zeros(n, np.int8)
    # One rounding for each dimension of a chunk and for each chunk, and a few for the scaling.
    error = (min(dimensions, DEPTH) + dimensions / DEPTH + 9) * FLOAT32_ROUNDING * 1.01

    def decide(worker: int, first: int) -> None:
        last = min(first + ROWS, n)
        candidates.merge(first, last)
        kernels().rank_dense(
            buffer, dimensions, first, last, inverse_norms, int(signed), candidates.scores[0], candidates.indices[0],
            candidates.kept, error, kept, found.scores, found.indices, contested,
        )  # fmt: skip

    crew.run(decide, range(0, n, ROWS))
    rows = np.flatnonzero(contested).astype(np.int32)

    def scan(worker: int, at: int) -> None:
        which = rows[at : at + LISTED_ROWS]
        kernels().scan_dense(
            buffer, n, dimensions, which, len(which), inverse_norms, int(signed), kept, found.scores, found.indices,
            crew.cancelled,
        )  # fmt: skip

    crew.run(scan, range(0, len(rows), LISTED_ROWS))
    return found


def nearest_genes(
    dense: NDArray[np.float32], standard: Standard, work: NDArray[np.float32], kept: int, crew: Crew, *, signed: bool
) -> Neighbours:
    """Return the `kept` nearest genes of every gene, by cosine of the standardised columns of `dense`."""
    cells, genes = dense.shape

    def pack(worker: int, first: int) -> None:
        kernels().genes_to_panel(
            dense, cells, genes, first, min(PANEL, genes - first), standard.means, standard.inverses,
            work[first * cells : (first + PANEL) * cells],
        )  # fmt: skip

    crew.run(pack, range(0, genes, PANEL))
    return nearest_dense(work, genes, cells, kept, crew, signed=signed, packed=True)


def _empty_lists(n: int, kept: int) -> Neighbours:
    return Neighbours(np.full((n, kept), -1, np.int32), np.zeros((n, kept)))


def _as_matrix(neighbours: Neighbours, *, positive: bool) -> sp.csr_matrix:
    """Return the kept cosines as a sparse n x n matrix; `positive`: the negative ones left out (ReLU)."""
    n = len(neighbours.indices)
    there = (neighbours.indices >= 0) & ((neighbours.scores > 0) | (not positive))
    rows = np.nonzero(there)[0]
    matrix = sp.csr_matrix((neighbours.scores[there], (rows, neighbours.indices[there])), shape=(n, n))
    matrix.sort_indices()
    return matrix


def joined(
    neighbours: Neighbours,
    *,
    symmetrize: bool = True,
    signed: bool = False,
    self_weight: float | None = None,
    degrees: bool = False,
) -> sp.csr_matrix:
    """Return the graph of the neighbours' cosines: self-weight, symmetry, normalisation.

    The self-weight is the cosine plus 1 (scCR, scFP), or `self_weight` where that is given. Rows are divided by the sum
    of their magnitudes, or, with `degrees`, entries by the square roots of both nodes' degrees.
    """
    graph = _as_matrix(neighbours, positive=not signed)
    n = graph.shape[0]
    if self_weight is None:
        graph = graph + sp.identity(n, format="csr")
    else:
        graph.setdiag(0)
        graph = graph + self_weight * sp.identity(n, format="csr")
    if symmetrize:
        graph = (graph + graph.T.tocsr()) * 0.5
    graph = sp.csr_matrix(graph)
    graph.eliminate_zeros()
    graph.sort_indices()
    rows = np.repeat(np.arange(n), np.diff(graph.indptr))
    sums = np.bincount(rows, np.abs(graph.data), minlength=n)
    if degrees:
        graph.data /= np.sqrt(sums[rows] * sums[graph.indices])
    else:
        graph.data /= sums[rows]
    return graph.astype(np.float32)


def relations(neighbours: Neighbours, *, signed: bool) -> sp.csr_matrix:
    """Return the cosines of the pairs that either gene joined: symmetric, no diagonal, float32."""
    one_way = _as_matrix(neighbours, positive=not signed).astype(np.float32)
    one_way.setdiag(0)
    one_way.eliminate_zeros()
    other_way = one_way.T.tocsr()
    # A pair that both genes joined has the same cosine in both, so one of them is left out.
    both_ways = one_way + other_way - other_way.multiply(one_way.astype(bool))
    union = sp.csr_matrix(both_ways)
    union.eliminate_zeros()
    union.sort_indices()
    return union


def sparse_arrays(matrix: sp.csr_matrix) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]:
    """Return a CSR matrix's row starts, columns and values in the kernels' types."""
    return (
        np.ascontiguousarray(matrix.indptr, np.int64),
        np.ascontiguousarray(matrix.indices, np.int32),
        np.ascontiguousarray(matrix.data, np.float32),
    )
