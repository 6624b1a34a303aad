"""scBFP: feature propagation over genes, then smoothing over cells (Lee et al. 2024)."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike, NDArray

from sccr_node.contract.methods import METHODS, Output, Value
from sccr_node.methods.cells import joined_cells, search_for
from sccr_node.methods.expression import Expression, Imputed, check_ranges
from sccr_node.methods.stages import Stages
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
from sccr_node.numerics.graphs import CellGraph, GeneScaling, joined, relations
from sccr_node.numerics.neighbors import DenseRows, SparseRows, search
from sccr_node.numerics.propagation import propagate_over_cells, propagate_over_genes

SELF_WEIGHT = 2.0  # in scBFP the k neighbours include the node itself, with this weight regardless of its similarity


def scbfp(
    expression: sp.csr_matrix | ArrayLike,
    *,
    k_cell: int | None = None,
    k_gene: int | None = None,
    n_iterations: int | None = None,
    n_gene_iterations: int | None = None,
    neighbor_search: str | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Imputed:
    """Impute expression with scBFP. Settings left at None take the published values.

    Parameters
    ----------
    expression
        Cells x genes, sparse or dense: non-negative logs of library-size-normalised counts; 0 means missing.
    k_cell
        Number of nearest neighbours per cell, including itself (default: 10).
    k_gene
        Number of nearest neighbours per gene, including itself (default: 10).
    n_iterations
        Number of smoothing steps over cells (default: 40).
    n_gene_iterations
        Number of propagation steps over genes (default: 10).
    neighbor_search
        How the nearest cells are found: "exact", "clustered", or "auto" (the default), which depends on their number.
    threads
        Number of threads (default: all available CPUs). Does not affect the result.
    progress
        Called with the stage's name and the fraction done, from the calling thread; it can raise to stop.

    Returns
    -------
    The denoised expression, and the cosines of the gene graph. Empty cells and genes are skipped and stay 0.

    Raises
    ------
    ValueError
        A setting is out of range, or the expression is not a matrix.
    """
    settings = METHODS["scbfp"].complete(
        {
            "k_cell": k_cell, "k_gene": k_gene, "n_iterations": n_iterations, "n_gene_iterations": n_gene_iterations,
            "neighbor_search": neighbor_search,
        }
    )  # fmt: skip
    check_ranges(settings)
    work = Workspace(threads, progress)
    return impute(Expression.of(expression), work, ["denoised"], settings)


def impute(data: Expression, work: Workspace, outputs: Collection[Output], settings: Mapping[str, Value]) -> Imputed:
    """Impute by propagation over genes, which gives P, then smooth P over cells."""
    if data.passes_through:
        return data.unchanged(outputs, relations=True)
    x, stage = data.matrix, Stages(data, work, settings)
    genes = stage("genes: graph", observed_gene_relations, x)
    p = stage("genes: propagation", gene_propagation, x, genes, data.buffer(work))
    graph = stage("cells: graph", smoothing_graph, p)
    s = stage.last("cells: propagation", smoothing, p, graph, work.over(p.buffer))
    return Imputed(
        denoised=data.spread(s, s.buffer),
        relations=data.spread_relations(genes.relations),
        seconds=stage.seconds,
        searches=stage.searches,
    )


@dataclass(frozen=True)
class ObservedGeneRelations:
    """The gene graph, normalised by both nodes' degrees, and the cosines of its pairs."""

    adjacency: sp.csr_matrix
    relations: sp.csr_matrix


def observed_gene_relations(x: sp.csr_matrix, work: Workspace, *, k_gene: int) -> ObservedGeneRelations:
    """Return how genes are related in the observed values."""
    neighbors = search(SparseRows.of(x.T.tocsr()), k_gene, work)
    adjacency = joined(neighbors, self_weight=SELF_WEIGHT, degrees=True)
    return ObservedGeneRelations(adjacency, relations(neighbors, signed=False))


def gene_propagation(
    x: sp.csr_matrix,
    genes: ObservedGeneRelations,
    buffer: NDArray[np.float32],
    work: Workspace,
    *,
    n_gene_iterations: int,
) -> DenseRows:
    """Return P, in `buffer`: observed values are restored in every iteration."""
    p, as_it_is = DenseRows(buffer, *x.shape), GeneScaling.identity(x.shape[1])
    propagate_over_genes(genes.adjacency, x, None, as_it_is, p.matrix, work, iterations=n_gene_iterations)
    return p


def smoothing_graph(p: DenseRows, work: Workspace, *, k_cell: int, neighbor_search: str) -> CellGraph:
    """Return the graph of cells that are similar in P."""
    return joined_cells(p, k_cell, work, neighbor_search, self_weight=SELF_WEIGHT)


def smoothing(
    p: DenseRows, graph: CellGraph, buffer: NDArray[np.float32], work: Workspace, *, n_iterations: int
) -> DenseRows:
    """Return the denoised matrix, in `buffer`, which may be that of P: observed values are not restored."""
    s = DenseRows(buffer, p.n_rows, p.n_columns)
    propagate_over_cells(graph, p.matrix, s.matrix, work, iterations=n_iterations, beta=1.0)
    return s


def cost(shape: Shape, settings: Mapping[str, Value], outputs: Collection[Output], threads: int) -> Cost:
    """Estimate the memory and operations of a run."""
    k_cell, k_gene = int(settings["k_cell"]), int(settings["k_gene"])
    cells_searched_by = search_for(str(settings["neighbor_search"]), shape.n_cells)
    operations = (
        # The search among genes is counted like one among cells: the estimate of time is not more precise than that.
        search_operations(shape.n_cells, shape.n_stored, sparse=True)
        + search_operations(shape.n_cells, shape.n_cells * shape.n_genes, cells_searched_by)
        + cell_propagation_operations(shape, k_cell, int(settings["n_iterations"]))
        + gene_propagation_operations(shape, k_gene, int(settings["n_gene_iterations"]))
    )
    peak = peak_bytes(shape, threads, n_buffers=1, k_cell=k_cell, k_gene=k_gene, search=cells_searched_by)
    return Cost(peak, operations, buffers=1, kept=kept_bytes(shape, 2))
