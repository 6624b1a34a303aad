"""scCR: pre-imputation, the complete relation between genes and cells, denoising (Um, Yoon, Ahn, Yeo; NeurIPS 2024)."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

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
    gene_propagation_operations,
    kept_bytes,
    peak_bytes,
    search_operations,
)
from sccr_node.numerics.graphs import CellGraph, GeneScaling, gene_rows, joined, relations
from sccr_node.numerics.neighbors import DenseRows, search
from sccr_node.numerics.propagation import CellStatistics, propagate_over_cells, propagate_over_genes


def sccr(
    expression: sp.csr_matrix | ArrayLike,
    *,
    k_cell: int | None = None,
    k_gene: int | None = None,
    k_denoising: int | None = None,
    n_iterations: int | None = None,
    n_gene_iterations: int | None = None,
    n_denoising_iterations: int | None = None,
    alpha: float | None = None,
    beta: float | None = None,
    gamma: float | None = None,
    symmetrize_final: bool | None = None,
    dissociating: bool | None = None,
    standardize: bool | None = None,
    neighbor_search: str | None = None,
    denoised: bool = True,
    recovered: bool = False,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Imputed:
    """Impute expression with scCR. Settings left at None take the published values.

    Parameters
    ----------
    expression
        Cells x genes, sparse or dense: non-negative logs of library-size-normalised counts; 0 means missing.
    k_cell
        Number of nearest neighbours per cell (default: 15).
    k_gene
        Number of nearest neighbours per gene (default: 2).
    k_denoising
        Number of nearest neighbours per cell in the last cell graph (default: as k_cell).
    n_iterations
        Number of steps of each propagation over cells (default: 40).
    n_gene_iterations
        Number of propagation steps over genes (default: 40).
    n_denoising_iterations
        Number of steps of the last propagation over cells (default: as n_iterations).
    alpha
        Weight of the pre-imputed expression in the recovered expression (default: 0.05).
    beta
        Weight of the neighbours in each denoising step (default: 0.99).
    gamma
        Weight of the recovered expression in the denoised expression (default: 0.01).
    symmetrize_final
        Whether the last cell graph is made symmetric (default: True).
    dissociating
        Whether genes are also related by negative correlation (default: True).
    standardize
        Whether genes are standardised before they are related (default: True).
    neighbor_search
        How the nearest cells are found: "exact", "clustered", or "auto" (the default), which depends on their number.
    denoised, recovered
        The outputs to compute; without `denoised` the denoising stage is skipped.
    threads
        Number of threads (default: all available CPUs). Does not affect the result.
    progress
        Called with the stage's name and the fraction done, from the calling thread; it can raise to stop.

    Returns
    -------
    The outputs asked for, with the signed gene graph. Empty cells and genes are skipped and stay 0.

    Raises
    ------
    ValueError
        A setting is out of range, no output is asked for, or the expression is not a matrix.
    """
    settings = METHODS["sccr"].complete(
        {
            "k_cell": k_cell, "k_gene": k_gene, "k_denoising": k_denoising, "n_iterations": n_iterations,
            "n_gene_iterations": n_gene_iterations, "n_denoising_iterations": n_denoising_iterations,
            "alpha": alpha, "beta": beta, "gamma": gamma,
            "symmetrize_final": symmetrize_final, "dissociating": dissociating, "standardize": standardize,
            "neighbor_search": neighbor_search,
        }
    )  # fmt: skip
    check_ranges(settings)
    wanted: dict[Output, bool] = {"recovered": recovered, "denoised": denoised}
    outputs = [output for output in wanted if wanted[output]]
    if not outputs:
        raise ValueError("there is nothing to compute: set denoised, recovered or both to True")
    work = Workspace(threads, progress)
    return impute(Expression.of(expression), work, outputs, settings)


def impute(data: Expression, work: Workspace, outputs: Collection[Output], settings: Mapping[str, Value]) -> Imputed:
    """Impute via P (pre-imputed), C (completed over genes), R (recovered) and, if asked for, denoising."""
    if data.passes_through:
        return data.unchanged(outputs, relations=True)
    x, stage = data.matrix, Stages(data, work, settings)
    # The first holds P, then R, then (if R is not an output) the denoised matrix; the second the scaled genes, then C.
    first, second = data.buffer(work), data.buffer(work)

    r, genes = recovered_expression(x, stage, work, first, second)
    s = None
    if "denoised" in outputs:
        graph = stage("denoising: cell graph", final_cell_graph, r)
        target = work.over(second if "recovered" in outputs else r.buffer)
        s = stage.last("denoising: propagation", denoising, x, r, graph, target)
    return Imputed(
        denoised=data.spread(s, s.buffer) if s else None,
        recovered=data.spread(r, work.over(r.buffer)) if "recovered" in outputs else None,
        relations=data.spread_relations(genes.relations),
        seconds=stage.seconds,
        searches=stage.searches,
    )


def recovered_expression(
    x: sp.csr_matrix, stage: Stages, work: Workspace, first: NDArray[np.float32], second: NDArray[np.float32]
) -> tuple[DenseRows, "GeneRelations"]:
    """Return R, in the first of two buffers, and the gene graph: all that precedes denoising."""
    graph = stage("pre-imputation: cell graph", observed_cell_graph, x)
    p, statistics = stage("pre-imputation: propagation", pre_imputation, x, graph, first)

    genes = stage("complete relation: gene graph", gene_relations, p, statistics, second)
    c = stage("complete relation: gene propagation", completion, x, p, genes, second)
    graph = stage("complete relation: cell graph", complete_cell_graph, c)
    r = stage("complete relation: propagation", recovery, x, p, graph, work.over(p.buffer))
    return r, genes


def before_denoising(data: Expression, work: Workspace, settings: Mapping[str, Value]) -> tuple[DenseRows, CellGraph]:
    """Return R and the last cell graph, from which every strength of denoising starts."""
    stage = Stages(data, work, settings)
    r, _ = recovered_expression(data.matrix, stage, work, data.buffer(work), data.buffer(work))
    return r, stage("denoising: cell graph", final_cell_graph, r)


@dataclass(frozen=True)
class GeneRelations:
    """The signed gene graph, the coefficients of its pairs, and the scaling that it was built with."""

    adjacency: sp.csr_matrix
    relations: sp.csr_matrix
    scaling: GeneScaling


def pre_imputation(
    x: sp.csr_matrix, graph: CellGraph, buffer: NDArray[np.float32], work: Workspace, *, n_iterations: int
) -> tuple[DenseRows, CellStatistics]:
    """Return P, in `buffer`, and the mean and standard deviation of its genes."""
    p, statistics = DenseRows(buffer, *x.shape), CellStatistics.empty(x.shape[1])
    propagate_over_cells(graph, x, p.matrix, work, iterations=n_iterations, statistics=statistics)
    return p, statistics


def gene_relations(
    p: DenseRows,
    statistics: CellStatistics,
    scratch: NDArray[np.float32],
    work: Workspace,
    *,
    k_gene: int,
    dissociating: bool,
    standardize: bool,
) -> GeneRelations:
    """Return how genes are related in P.

    The paper doubles the graph by the negation of every gene; here one signed graph stands for both halves.
    """
    scaling = GeneScaling.identity(p.n_columns)
    if standardize:
        scaling = GeneScaling.of(statistics.means, statistics.deviations)
    neighbors = search(gene_rows(p.matrix, scaling, scratch, work, signed=dissociating), k_gene + 1, work)
    return GeneRelations(joined(neighbors, signed=dissociating), relations(neighbors, signed=dissociating), scaling)


def completion(
    x: sp.csr_matrix,
    p: DenseRows,
    genes: GeneRelations,
    buffer: NDArray[np.float32],
    work: Workspace,
    *,
    n_gene_iterations: int,
) -> DenseRows:
    """Return C, in `buffer`."""
    c = DenseRows(buffer, *x.shape)
    propagate_over_genes(genes.adjacency, x, p.matrix, genes.scaling, c.matrix, work, iterations=n_gene_iterations)
    return c


def complete_cell_graph(c: DenseRows, work: Workspace, *, k_cell: int, neighbor_search: str) -> CellGraph:
    """Return the graph of cells that are similar in C."""
    return joined_cells(c, k_cell + 1, work, neighbor_search)


def recovery(
    x: sp.csr_matrix,
    p: DenseRows,
    graph: CellGraph,
    buffer: NDArray[np.float32],
    work: Workspace,
    *,
    n_iterations: int,
    alpha: float,
) -> DenseRows:
    """Return R, in `buffer`, which may be that of P: alpha times P, and the rest from Q."""
    r = DenseRows(buffer, *x.shape)
    propagate_over_cells(graph, x, r.matrix, work, iterations=n_iterations, share=1 - alpha, mixed=p.matrix)
    return r


def final_cell_graph(
    r: DenseRows, work: Workspace, *, k_denoising: int, symmetrize_final: bool, neighbor_search: str
) -> CellGraph:
    """Return the graph of cells that are similar in R."""
    return joined_cells(r, k_denoising + 1, work, neighbor_search, symmetrize=symmetrize_final)


def denoising(
    x: sp.csr_matrix,
    r: DenseRows,
    graph: CellGraph,
    buffer: NDArray[np.float32],
    work: Workspace,
    *,
    n_denoising_iterations: int,
    beta: float,
    gamma: float,
) -> DenseRows:
    """Return the denoised matrix, in `buffer`, which may be that of R: gamma times R, and the rest from S."""
    s = DenseRows(buffer, *x.shape)
    propagate_over_cells(
        graph, x, s.matrix, work, iterations=n_denoising_iterations, beta=beta, share=1 - gamma, mixed=r.matrix
    )
    return s


def cost(shape: Shape, settings: Mapping[str, Value], outputs: Collection[Output], threads: int) -> Cost:
    """Estimate the memory and operations of a run."""
    k_cell, k_gene = int(settings["k_cell"]), int(settings["k_gene"])
    n_cells, n_genes = shape.n_cells, shape.n_genes
    search = search_for(str(settings["neighbor_search"]), n_cells)
    operations = (
        search_operations(n_cells, shape.n_stored, search, sparse=True)
        + search_operations(n_cells, n_cells * n_genes, search)
        + search_operations(n_genes, n_genes * n_cells)
        + cell_propagation_operations(shape, k_cell, int(settings["n_iterations"])) * 2
        + gene_propagation_operations(shape, k_gene, int(settings["n_gene_iterations"]))
    )
    if "denoised" in outputs:
        k_denoising = int(settings["k_denoising"])
        operations += search_operations(n_cells, n_cells * n_genes, search)
        operations += cell_propagation_operations(shape, k_denoising, int(settings["n_denoising_iterations"]))
        k_cell = max(k_cell, k_denoising)
    peak = peak_bytes(shape, threads, n_buffers=2, k_cell=k_cell, k_gene=k_gene, search=search)
    return Cost(peak, operations, buffers=2, kept=kept_bytes(shape, 4 if "denoised" in outputs else 3))
