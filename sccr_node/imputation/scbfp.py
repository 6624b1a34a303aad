"""scBFP: feature propagation over genes, then smoothing over cells (Lee et al. 2024)."""

import scipy.sparse as sp
from numpy.typing import ArrayLike

from sccr_node.imputation._kernels import Crew, Progress
from sccr_node.imputation.expression import Expression, Imputed, check_ranges
from sccr_node.imputation.graphs import Standard, joined, nearest_dense, nearest_sparse, relations
from sccr_node.imputation.propagation import propagate_over_cells, propagate_over_genes

SELF_WEIGHT = 2.0  # in scBFP the k neighbours include the node, whose weight is this whatever its similarity


def scbfp(
    expression: sp.csr_matrix | ArrayLike,
    *,
    k_cell: int = 10,
    k_gene: int = 10,
    n_iterations: int = 40,
    n_gene_iterations: int = 10,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Imputed:
    """Impute expression by scBFP: the denoised matrix, and the gene graph's cosines. Parameters as for `sccr`."""
    check_ranges(k_cell=k_cell, k_gene=k_gene, n_iterations=n_iterations, n_gene_iterations=n_gene_iterations)
    crew = Crew(threads, progress)
    data = Expression.of(expression)
    if data.passes_through:
        return data.unchanged(denoised=True, recovered=False, relations=True)
    x, buffer = data.matrix, data.buffer()
    p = data.view(buffer)

    with crew.stage("genes: graph"):
        nearest = nearest_sparse(x.T.tocsr(), k_gene, crew)
        graph = joined(nearest, self_weight=SELF_WEIGHT, degrees=True)
    with crew.stage("genes: propagation"):
        as_it_is = Standard.identity(x.shape[1])
        propagate_over_genes(graph, x, None, as_it_is, p, crew, iterations=n_gene_iterations)
    with crew.stage("cells: graph"):
        graph = joined(nearest_dense(buffer, *x.shape, k_cell, crew), self_weight=SELF_WEIGHT)
    with crew.stage("cells: propagation"):
        propagate_over_cells(graph, p, p, crew, iterations=n_iterations, beta=1.0)
    return Imputed(
        denoised=data.spread(buffer),
        relations=data.spread_relations(relations(nearest, signed=False)),
        seconds=crew.seconds,
    )
