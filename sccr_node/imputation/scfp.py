"""scFP: feature propagation over cells, hard and then soft (Yun, Lee, Park 2023)."""

import scipy.sparse as sp
from numpy.typing import ArrayLike

from sccr_node.imputation._kernels import Crew, Progress
from sccr_node.imputation.expression import Expression, Imputed, check_ranges
from sccr_node.imputation.graphs import joined, nearest_dense, nearest_sparse
from sccr_node.imputation.propagation import propagate_over_cells


def scfp(
    expression: sp.csr_matrix | ArrayLike,
    *,
    k_cell: int = 15,
    n_iterations: int = 40,
    beta: float = 0.99,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Imputed:
    """Impute expression by scFP: the denoised matrix only. The parameters are those of `sccr`."""
    check_ranges(k_cell=k_cell, n_iterations=n_iterations, beta=beta)
    crew = Crew(threads, progress)
    data = Expression.of(expression)
    if data.passes_through:
        return data.unchanged(denoised=True, recovered=False, relations=False)
    x, buffer = data.matrix, data.buffer()
    p = data.view(buffer)

    with crew.stage("hard propagation: cell graph"):
        graph = joined(nearest_sparse(x, k_cell + 1, crew))
    with crew.stage("hard propagation"):
        propagate_over_cells(graph, x, p, crew, iterations=n_iterations)
    with crew.stage("soft propagation: cell graph"):
        graph = joined(nearest_dense(buffer, *x.shape, k_cell + 1, crew))
    with crew.stage("soft propagation"):
        propagate_over_cells(graph, p, p, crew, iterations=n_iterations, beta=beta)
    return Imputed(denoised=data.spread(buffer), seconds=crew.seconds)
