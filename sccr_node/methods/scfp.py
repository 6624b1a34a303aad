"""scFP: feature propagation over cells, hard and then soft (Yun, Lee, Park 2023)."""

from collections.abc import Collection, Mapping

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike, NDArray

from sccr_node.contract.methods import METHODS, Output, Value
from sccr_node.methods.cells import joined_cells, search_for
from sccr_node.methods.expression import Expression, Imputed, check_ranges
from sccr_node.methods.stages import Stages, observed_cell_graph
from sccr_node.numerics import Progress, Workspace
from sccr_node.numerics.costs import (
    Cost,
    Shape,
    cell_propagation_operations,
    kept_bytes,
    peak_bytes,
    search_operations,
)
from sccr_node.numerics.graphs import CellGraph
from sccr_node.numerics.neighbors import DenseRows
from sccr_node.numerics.propagation import propagate_over_cells


def scfp(
    expression: sp.csr_matrix | ArrayLike,
    *,
    k_cell: int | None = None,
    k_denoising: int | None = None,
    n_iterations: int | None = None,
    n_denoising_iterations: int | None = None,
    beta: float | None = None,
    neighbor_search: str | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Imputed:
    """Impute expression with scFP. Settings left at None take the published values.

    Parameters
    ----------
    expression
        Cells x genes, sparse or dense: non-negative logs of library-size-normalised counts; 0 means missing.
    k_cell
        Number of nearest neighbours per cell (default: 15).
    k_denoising
        Number of nearest neighbours per cell in the last cell graph (default: as k_cell).
    n_iterations
        Number of steps of hard propagation over cells (default: 40).
    n_denoising_iterations
        Number of steps of soft propagation over cells (default: as n_iterations).
    beta
        Weight of the neighbours in each step of soft propagation (default: 0.99).
    neighbor_search
        How the nearest cells are found: "exact", "clustered", or "auto" (the default), which depends on their number.
    threads
        Number of threads (default: all available CPUs). Does not affect the result.
    progress
        Called with the stage's name and the fraction done, from the calling thread; it can raise to stop.

    Returns
    -------
    The denoised expression. Empty cells and genes are skipped and stay 0.

    Raises
    ------
    ValueError
        A setting is out of range, or the expression is not a matrix.
    """
    settings = METHODS["scfp"].complete(
        {
            "k_cell": k_cell, "k_denoising": k_denoising, "n_iterations": n_iterations,
            "n_denoising_iterations": n_denoising_iterations, "beta": beta, "neighbor_search": neighbor_search,
        }
    )  # fmt: skip
    check_ranges(settings)
    work = Workspace(threads, progress)
    return impute(Expression.of(expression), work, ["denoised"], settings)


def impute(data: Expression, work: Workspace, outputs: Collection[Output], settings: Mapping[str, Value]) -> Imputed:
    """Impute by hard propagation, which gives P, then soft propagation of P."""
    if data.passes_through:
        return data.unchanged(outputs, relations=False)
    x, stage = data.matrix, Stages(data, work, settings)
    graph = stage("hard propagation: cell graph", observed_cell_graph, x)
    p = stage("hard propagation", hard_feature_propagation, x, graph, data.buffer(work))
    graph = stage("soft propagation: cell graph", propagated_cell_graph, p)
    s = stage.last("soft propagation", soft_feature_propagation, p, graph, work.over(p.buffer))
    return Imputed(denoised=data.spread(s, s.buffer), seconds=stage.seconds, searches=stage.searches)


def hard_feature_propagation(
    x: sp.csr_matrix, graph: CellGraph, buffer: NDArray[np.float32], work: Workspace, *, n_iterations: int
) -> DenseRows:
    """Return P, in `buffer`: observed values are restored in every iteration."""
    p = DenseRows(buffer, *x.shape)
    propagate_over_cells(graph, x, p.matrix, work, iterations=n_iterations)
    return p


def propagated_cell_graph(p: DenseRows, work: Workspace, *, k_denoising: int, neighbor_search: str) -> CellGraph:
    """Return the graph of cells that are similar in P."""
    return joined_cells(p, k_denoising + 1, work, neighbor_search)


def soft_feature_propagation(
    p: DenseRows,
    graph: CellGraph,
    buffer: NDArray[np.float32],
    work: Workspace,
    *,
    n_denoising_iterations: int,
    beta: float,
) -> DenseRows:
    """Return the denoised matrix, in `buffer`, which may be that of P."""
    s = DenseRows(buffer, p.n_rows, p.n_columns)
    propagate_over_cells(graph, p.matrix, s.matrix, work, iterations=n_denoising_iterations, beta=beta)
    return s


def cost(shape: Shape, settings: Mapping[str, Value], outputs: Collection[Output], threads: int) -> Cost:
    """Estimate the memory and operations of a run."""
    k_cell, k_denoising = int(settings["k_cell"]), int(settings["k_denoising"])
    search = search_for(str(settings["neighbor_search"]), shape.n_cells)
    operations = (
        search_operations(shape.n_cells, shape.n_stored, search, sparse=True)
        + search_operations(shape.n_cells, shape.n_cells * shape.n_genes, search)
        + cell_propagation_operations(shape, k_cell, int(settings["n_iterations"]))
        + cell_propagation_operations(shape, k_denoising, int(settings["n_denoising_iterations"]))
    )
    peak = peak_bytes(shape, threads, n_buffers=1, k_cell=max(k_cell, k_denoising), search=search)
    return Cost(peak, operations, buffers=1, kept=kept_bytes(shape, 2))
