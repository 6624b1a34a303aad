"""Graphs of cells and of genes: the cosines of neighbours, made symmetric and normalised."""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from sccr_node.numerics._kernels import PANEL, kernels
from sccr_node.numerics.neighbors import DenseRows, Neighbors, SearchSummary, SparseRows, buffer_size, search
from sccr_node.numerics.workspace import Workspace


@dataclass(frozen=True)
class CellGraph:
    """A normalised graph of cells.

    Attributes
    ----------
    adjacency
        Cells x cells.
    order
        An order of the cells in which neighbours are near each other (``order[new] = old``); None: not known yet.
    search
        What the search of the neighbours left out; None if nothing was.
    """

    adjacency: sp.csr_matrix
    order: NDArray[np.int64] | None = None
    search: SearchSummary | None = None

    def turned(self) -> "CellGraph":
        """Return the graph with all its edges in the other direction."""
        return CellGraph(self.adjacency.T.tocsr(), self.order)


@dataclass(frozen=True)
class GeneScaling:
    """What standardisation subtracts from each gene, and divides it by."""

    means: NDArray[np.float64]
    scales: NDArray[np.float64]
    inverses: NDArray[np.float64]

    @classmethod
    def of(cls, means: NDArray[np.float64], deviations: NDArray[np.float64]) -> "GeneScaling":
        """Return the paper's scaling: a constant gene becomes 0, and is scaled back by the mean of all deviations."""
        constant = deviations <= 1e-6 * np.maximum(1.0, np.abs(means))
        scales = np.where(constant, deviations.mean(), deviations)
        # Rounding errors in a constant gene would become a direction of their own once rows are normalised.
        return cls(means, scales, np.where(constant, 0.0, 1.0 / np.where(constant, 1.0, deviations)))

    @classmethod
    def identity(cls, n_genes: int) -> "GeneScaling":
        """Return a scaling that changes nothing."""
        return cls(np.zeros(n_genes), np.ones(n_genes), np.ones(n_genes))


def cell_graph(
    expression: sp.csr_matrix | NDArray[np.float32], k: int, *, symmetrize: bool = True, threads: int | None = None
) -> sp.csr_matrix:
    """Return scCR's cell graph: cells x cells, rows summing to 1.

    Parameters
    ----------
    expression
        Cells x genes; a dense matrix can have negative values, a sparse one cannot.
    k
        Number of neighbours per cell, in addition to itself.
    symmetrize
        Whether a cell that is a neighbour in one direction becomes one (with half the weight) in the other.
    threads
        Number of threads (default: all available CPUs). Does not affect the result.
    """
    work = Workspace(threads)
    if sp.issparse(expression):
        return joined(search(SparseRows.of(sp.csr_matrix(expression)), k + 1, work), symmetrize=symmetrize)
    rows = DenseRows(work.buffer(buffer_size(*expression.shape)), *expression.shape)
    rows.matrix[:] = expression
    return joined(search(rows, k + 1, work), symmetrize=symmetrize)


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
        Number of neighbours per gene, in addition to itself.
    dissociating
        Whether genes are also related by negative correlation.
    standardize
        Whether genes are standardised, so that the cosine is Pearson's r.
    threads
        Number of threads (default: all available CPUs). Does not affect the result.
    """
    work = Workspace(threads)
    dense = np.ascontiguousarray(dense, np.float32)
    scaling = GeneScaling.identity(dense.shape[1])
    if standardize:
        scaling = GeneScaling.of(
            dense.mean(axis=0, dtype=np.float64), dense.std(axis=0, ddof=min(1, len(dense) - 1), dtype=np.float64)
        )
    genes = gene_rows(dense, scaling, work.buffer(buffer_size(*dense.shape)), work, signed=dissociating)
    return joined(search(genes, k + 1, work), signed=dissociating)


def gene_rows(
    dense: NDArray[np.float32], scaling: GeneScaling, buffer: NDArray[np.float32], work: Workspace, *, signed: bool
) -> DenseRows:
    """Return the scaled columns of `dense` (cells x genes) as rows to search, packed into `buffer`."""
    cells, genes = dense.shape

    def pack(worker: int, first: int) -> None:
        kernels().genes_to_panel(
            dense, cells, genes, first, min(PANEL, genes - first), scaling.means, scaling.inverses,
            buffer[first * cells : (first + PANEL) * cells],
        )  # fmt: skip

    work.run(pack, range(0, genes, PANEL))
    return DenseRows(buffer, genes, cells, signed=signed, packed=True)


def joined(
    neighbors: Neighbors,
    *,
    symmetrize: bool = True,
    signed: bool = False,
    self_weight: float | None = None,
    degrees: bool = False,
) -> sp.csr_matrix:
    """Return the graph of the neighbours' cosines, with self-weights, made symmetric and normalised.

    The self-weight is the cosine plus 1 (scCR, scFP), or `self_weight` if given. Rows are divided by the sum of their
    magnitudes or, with `degrees`, entries by the square roots of both nodes' degrees.
    """
    graph = _as_matrix(neighbors, positive=not signed)
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


def relations(neighbors: Neighbors, *, signed: bool) -> sp.csr_matrix:
    """Return the cosines of all pairs of genes that are neighbours either way: symmetric, no diagonal, float32."""
    one_way = _as_matrix(neighbors, positive=not signed).astype(np.float32)
    one_way.setdiag(0)
    one_way.eliminate_zeros()
    other_way = one_way.T.tocsr()
    # If each gene is a neighbour of the other, both directions have the same cosine, so one of them is left out.
    both_ways = one_way + other_way - other_way.multiply(one_way.astype(bool))
    union = sp.csr_matrix(both_ways)
    union.eliminate_zeros()
    union.sort_indices()
    return union


def _as_matrix(neighbors: Neighbors, *, positive: bool) -> sp.csr_matrix:
    """Return the cosines as a sparse n x n matrix, without the negative ones if `positive` (ReLU)."""
    n = len(neighbors.indices)
    there = (neighbors.indices >= 0) & ((neighbors.scores > 0) | (not positive))
    rows = np.nonzero(there)[0]
    matrix = sp.csr_matrix((neighbors.scores[there], (rows, neighbors.indices[there])), shape=(n, n))
    matrix.sort_indices()
    return matrix
