"""Genes whose values are permuted among the cells before imputation: whatever they show afterwards is not there."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

SHARE = 0.1
"""Share of the genes that are permuted: few enough that the others still say which cells are alike."""


def permuted_genes(n_genes: int, seed: int) -> NDArray[np.intp]:
    """Return which genes are permuted, sorted; at least one."""
    n_permuted = max(1, round(SHARE * n_genes))
    return np.sort(np.random.default_rng([seed, 0]).permutation(n_genes)[:n_permuted])


def permute_genes(expression: sparse.csr_matrix, seed: int) -> sparse.csr_matrix:
    """Return the expression with each of the :func:`permuted_genes` permuted among the cells, on its own.

    Parameters
    ----------
    expression
        Cells x genes. It is not changed.
    seed
        Which genes, and how.
    """
    n_cells, n_genes = expression.shape
    random = np.random.default_rng([seed, 1])
    columns = expression.tocsc(copy=True)
    for gene in permuted_genes(n_genes, seed):
        stored = slice(columns.indptr[gene], columns.indptr[gene + 1])
        columns.indices[stored] = random.permutation(n_cells)[columns.indices[stored]]
    columns.has_sorted_indices = False
    columns.sort_indices()
    return sparse.csr_matrix(columns)
