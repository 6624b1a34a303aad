"""scCR: pre-imputation, the complete relation between genes and cells, denoising (Um, Yoon, Ahn, Yeo; NeurIPS 2024)."""

import scipy.sparse as sp
from numpy.typing import ArrayLike

from sccr_node.imputation._kernels import Crew, Progress
from sccr_node.imputation.expression import Expression, Imputed, check_ranges
from sccr_node.imputation.graphs import Standard, joined, nearest_dense, nearest_genes, nearest_sparse, relations
from sccr_node.imputation.propagation import CellStatistics, propagate_over_cells, propagate_over_genes


def sccr(
    expression: sp.csr_matrix | ArrayLike,
    *,
    k_cell: int = 15,
    k_gene: int = 2,
    n_iterations: int = 40,
    n_gene_iterations: int = 40,
    alpha: float = 0.05,
    beta: float = 0.99,
    gamma: float = 0.01,
    symmetrize_final: bool = True,
    dissociating: bool = True,
    standardize: bool = True,
    denoised: bool = True,
    recovered: bool = False,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Imputed:
    """Impute expression by scCR.

    Parameters
    ----------
    expression
        Cells x genes, sparse or dense: non-negative logs of library-size-normalised counts; 0 means missing.
    k_cell, k_gene
        Neighbours of a cell, and of a gene.
    n_iterations, n_gene_iterations
        Iterations of each propagation over cells, and over genes.
    alpha
        Share of the pre-imputed expression in the recovered one.
    beta
        Share of the neighbours in each step of denoising.
    gamma
        Share of the recovered expression in the denoised one.
    symmetrize_final
        Whether the graph of the last stage is symmetric.
    dissociating
        Whether genes are joined by negative correlations too.
    standardize
        Whether genes are standardised before their relations are sought.
    denoised, recovered
        Which outputs are wanted; without `denoised` the third stage is left out.
    threads
        How many threads work; by default as many as the CPUs that the process may use. No value depends on it.
    progress
        Called with the stage's name and the fraction of it that is done, from the calling thread; it may raise to stop.

    Returns
    -------
    The outputs wanted, with the signed gene graph. Empty cells and genes take no part and stay 0.

    Raises
    ------
    ValueError
        For a number outside its range, or an expression that is not a matrix.
    """
    check_ranges(
        k_cell=k_cell, k_gene=k_gene, n_iterations=n_iterations, n_gene_iterations=n_gene_iterations,
        alpha=alpha, beta=beta, gamma=gamma,
    )  # fmt: skip
    if not (denoised or recovered):
        raise ValueError("neither the denoised nor the recovered expression is wanted: ask for one")
    crew = Crew(threads, progress)
    data = Expression.of(expression)
    if data.passes_through:
        return data.unchanged(denoised=denoised, recovered=recovered, relations=True)
    x = data.matrix
    n_cells, n_genes = x.shape

    # One holds P, then R, then (where R is not wanted) the denoised matrix; the other the standardised genes, then C.
    first, second = data.buffer(), data.buffer()
    p, c = data.view(first), data.view(second)

    with crew.stage("pre-imputation: cell graph"):
        graph = joined(nearest_sparse(x, k_cell + 1, crew))
    with crew.stage("pre-imputation: propagation"):
        statistics = CellStatistics.empty(n_genes)
        propagate_over_cells(graph, x, p, crew, iterations=n_iterations, statistics=statistics)

    with crew.stage("complete relation: gene graph"):
        standard = Standard.of(statistics.means, statistics.deviations) if standardize else Standard.identity(n_genes)
        # A gene and the negations of the others, in the paper's doubled graph, are one signed graph.
        nearest = nearest_genes(p, standard, second, k_gene + 1, crew, signed=dissociating)
        gene_relations = data.spread_relations(relations(nearest, signed=dissociating))
    with crew.stage("complete relation: gene propagation"):
        graph = joined(nearest, signed=dissociating)
        propagate_over_genes(graph, x, p, standard, c, crew, iterations=n_gene_iterations)
    with crew.stage("complete relation: cell graph"):
        graph = joined(nearest_dense(second, n_cells, n_genes, k_cell + 1, crew))
    with crew.stage("complete relation: propagation"):
        r = p
        propagate_over_cells(graph, x, r, crew, iterations=n_iterations, share=1 - alpha, mixed=p)

    if denoised:
        with crew.stage("denoising: cell graph"):
            graph = joined(nearest_dense(first, n_cells, n_genes, k_cell + 1, crew), symmetrize=symmetrize_final)
        with crew.stage("denoising: propagation"):
            target = second if recovered else first
            propagate_over_cells(
                graph, x, data.view(target), crew, iterations=n_iterations, beta=beta, share=1 - gamma, mixed=r
            )
    return Imputed(
        denoised=data.spread(target) if denoised else None,
        recovered=data.spread(first) if recovered else None,
        relations=gene_relations,
        seconds=crew.seconds,
    )
