"""Hard and soft propagation of expression over a graph, in blocks of columns, so that iterations stay in cache."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.sparse.csgraph import reverse_cuthill_mckee

from sccr_node.numerics._kernels import WIDTHS, kernels
from sccr_node.numerics.graphs import CellGraph, GeneScaling
from sccr_node.numerics.neighbors import SparseRows
from sccr_node.numerics.workspace import Workspace

GENE_BLOCK = 32  # cells propagated together over the genes


def block_width(n_columns: int, threads: int) -> int:
    """Return how many of so many columns are propagated together; no result depends on it.

    The blocks of all threads together take no more memory than the whole matrix, or than two blocks of the widest kind.
    """
    room = max(n_columns, 2 * 3 * WIDTHS[0])
    return next((width for width in WIDTHS if threads * 3 * width <= room), WIDTHS[-1])


@dataclass(frozen=True)
class Ordered:
    """A graph reordered so that neighbours are close to each other, and the order: `order[new] = old`."""

    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]
    data: NDArray[np.float32]
    order: NDArray[np.int64]

    @classmethod
    def of(cls, graph: CellGraph) -> "Ordered":
        """Return the graph in the order that came with it, else in reverse Cuthill-McKee order."""
        order = graph.order
        if order is None:
            order = reverse_cuthill_mckee(graph.adjacency, symmetric_mode=False).astype(np.int64)
        adjacency = graph.adjacency[order][:, order]
        adjacency.sort_indices()
        return cls(*_csr_arrays(adjacency), order)


@dataclass(frozen=True)
class CellStatistics:
    """Mean and sample standard deviation of each gene over the cells, filled in by a propagation."""

    means: NDArray[np.float64]
    deviations: NDArray[np.float64]

    @classmethod
    def empty(cls, n_genes: int) -> "CellStatistics":
        """Return arrays to be filled in."""
        return cls(np.zeros(n_genes), np.zeros(n_genes))


def hard_propagation(
    graph: sp.csr_matrix, expression: sp.csr_matrix, n_iterations: int = 40, *, threads: int | None = None
) -> NDArray[np.float32]:
    """Propagate `expression` (cells x genes) over the cell graph, restoring its stored values in every iteration."""
    out = np.empty(expression.shape, np.float32)
    propagate_over_cells(CellGraph(graph), expression, out, Workspace(threads), iterations=n_iterations)
    return out


def soft_propagation(
    graph: sp.csr_matrix,
    expression: sp.csr_matrix | NDArray[np.float32],
    beta: float = 0.99,
    n_iterations: int = 40,
    *,
    threads: int | None = None,
) -> NDArray[np.float32]:
    """Propagate `expression` (cells x genes) over the cell graph, mixing 1 - beta of the source into each iteration."""
    out = np.empty(expression.shape, np.float32)
    propagate_over_cells(CellGraph(graph), expression, out, Workspace(threads), iterations=n_iterations, beta=beta)
    return out


def propagate_over_cells(
    graph: CellGraph,
    source: sp.csr_matrix | NDArray[np.float32],
    out: NDArray[np.float32],
    work: Workspace,
    *,
    iterations: int,
    beta: float | None = None,
    share: float = 1.0,
    mixed: NDArray[np.float32] | None = None,
    statistics: CellStatistics | None = None,
) -> None:
    """Propagate the columns of `source` (cells x genes) over the cell graph, and write `out` (cells x genes).

    Hard propagation (`beta` is None, `source` sparse): the stored values are restored in every iteration. Soft: each
    iteration mixes `beta` times the neighbours with the rest from the source. The output mixes `share` times the result
    with the rest from `mixed`. `mixed`, `source` and `out` can be the same array. If given, `statistics` are filled in
    with those of the result.
    """
    cells, genes = out.shape
    nodes = Ordered.of(graph)
    width = block_width(genes, work.threads)
    csr = _csr_arrays(source) if sp.issparse(source) else None
    room = [[np.empty(cells * width, np.float32) for _ in range(3)] for _ in range(work.threads)]
    adjacency = nodes.indptr, nodes.indices, nodes.data, cells, width

    def block_of_genes(worker: int, first: int) -> None:
        anchor, block, other = room[worker]
        used = min(width, genes - first)
        library = kernels()
        if csr is not None:
            library.sparse_to_block(*csr, nodes.order, cells, first, width, 0.0, block)
        else:
            library.dense_to_block(source, genes, nodes.order, cells, first, used, width, block)
        if beta is None:
            assert csr is not None
            library.sparse_to_block(*csr, nodes.order, cells, first, width, np.nan, anchor)
            library.propagate_hard(*adjacency, anchor, block, other, iterations, work.cancelled)
        else:
            anchor[:] = block
            library.propagate_soft(*adjacency, anchor, beta, block, other, iterations, work.cancelled)
        if statistics is not None:
            end = first + used
            library.column_statistics(
                block, cells, width, used, statistics.means[first:end], statistics.deviations[first:end]
            )
        if not work.cancelled[0]:
            library.block_to_dense(block, nodes.order, cells, first, width, used, share, mixed, out, genes)

    work.run(block_of_genes, range(0, genes, width))


def _powers_width(n_nodes: int) -> int:
    """Return how many columns are propagated together when all powers of a block are in memory at once."""
    return 32 if n_nodes <= 10_000 else 16


def powers_bytes(n_nodes: int, n_powers: int) -> int:
    """Return the memory that `powers_over_cells` needs per thread."""
    return 4 * n_nodes * _powers_width(n_nodes) * (n_powers + 3)


def powers_over_cells(
    graph: CellGraph,
    source: sp.csr_matrix,
    n_powers: int,
    work: Workspace,
    use: Callable[[int, NDArray[np.float32]], None],
) -> None:
    """Propagate blocks of columns step by step, and hand on every step.

    Soft propagation of any strength and any number of steps is a combination of these powers.

    Parameters
    ----------
    graph
        The normalised cell graph A.
    source
        Cells x columns, X.
    n_powers
        Number of steps, n.
    work
        Threads and progress.
    use
        Called as ``use(first, powers)`` from the worker threads, each block once: the block's first column, and the
        powers A^0 X ... A^n X of its columns (n + 1 x cells x columns), which it must not keep.
    """
    cells, columns = source.shape
    nodes = Ordered.of(graph)
    width = _powers_width(cells)
    csr = _csr_arrays(source)
    adjacency = nodes.indptr, nodes.indices, nodes.data, cells, width
    room = [
        (np.empty((2, cells * width), np.float32), np.empty((n_powers + 1, cells, width), np.float32))
        for _ in range(work.threads)
    ]

    def block_of_columns(worker: int, first: int) -> None:
        (block, other), powers = room[worker]
        used = min(width, columns - first)
        library = kernels()
        library.sparse_to_block(*csr, nodes.order, cells, first, width, 0.0, block)
        for step in range(n_powers + 1):
            if step:
                library.propagate_soft(*adjacency, block, 1.0, block, other, 1, work.cancelled)
            powers[step][nodes.order] = block.reshape(cells, width)
        if not work.cancelled[0]:
            use(first, powers[:, :, :used])

    work.run(block_of_columns, range(0, columns, width))


def propagate_over_genes(
    graph: sp.csr_matrix,
    expression: sp.csr_matrix,
    dense: NDArray[np.float32] | None,
    scaling: GeneScaling,
    out: NDArray[np.float32],
    work: Workspace,
    *,
    iterations: int,
) -> None:
    """Propagate every cell's genes over the gene graph with observed values fixed, and write `out` (cells x genes).

    Starts from the standardised `dense` (or from `expression`, if `dense` is None) and undoes the standardisation.
    """
    cells, genes = out.shape
    adjacency = _csr_arrays(graph)
    csr = _csr_arrays(expression)
    room = [[np.empty(genes * GENE_BLOCK, np.float32) for _ in range(3)] for _ in range(work.threads)]

    def block_of_cells(worker: int, first: int) -> None:
        held, block, other = room[worker]
        used = min(GENE_BLOCK, cells - first)
        library = kernels()
        library.cells_to_block(
            dense, *csr, genes, first, used, GENE_BLOCK, scaling.means, scaling.inverses, block, held
        )
        library.propagate_hard(*adjacency, genes, GENE_BLOCK, held, block, other, iterations, work.cancelled)
        library.block_to_cells(block, genes, first, used, GENE_BLOCK, scaling.means, scaling.scales, out)

    work.run(block_of_cells, range(0, cells, GENE_BLOCK))


def _csr_arrays(matrix: sp.csr_matrix) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]:
    rows = SparseRows.of(matrix)
    return rows.indptr, rows.indices, rows.data
