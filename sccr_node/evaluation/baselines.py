"""What any method has to beat: predictions that need no tool."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from sccr_node.contract.imputing import DEFAULT_RANK
from sccr_node.methods import Expression
from sccr_node.methods.blend import low_rank, mix
from sccr_node.numerics import Workspace


def gene_mean(expression: sparse.csr_matrix) -> NDArray[np.float32]:
    """Predict each gene's mean observed value wherever it was not observed.

    Parameters
    ----------
    expression
        Cells x genes, log-normalised. A gene that was never observed is predicted to be 0.
    """
    return _filled(expression, np.zeros(expression.shape[0]))


def gene_and_cell_mean(expression: sparse.csr_matrix) -> NDArray[np.float32]:
    """Predict each gene's mean observed value plus the cell's offset, at least 0, wherever it was not observed.

    The offset is how far a cell's observed values lie above the means of their genes, on average.
    """
    means = _means(expression)
    n_observed = np.diff(expression.indptr)
    of_cell = np.repeat(np.arange(len(n_observed)), n_observed)
    above = np.bincount(of_cell, expression.data - means[expression.indices], minlength=len(n_observed))
    return _filled(expression, above / np.maximum(n_observed, 1))


def truncated_pca(expression: sparse.csr_matrix, work: Workspace) -> NDArray[np.float32]:
    """Return what the leading principal components keep of the expression, at least 0; empty genes and cells stay 0."""
    data = Expression.of(expression)
    kept = np.zeros(data.shape, np.float32)
    if not data.passes_through:
        with work.stage("principal components"):
            components = low_rank(data, min(DEFAULT_RANK, *data.matrix.shape), work)
            mix(data, kept, components, 1.0, work)
    return kept


def _means(expression: sparse.csr_matrix) -> NDArray[np.float64]:
    """Return each gene's mean observed value, 0 if it was never observed."""
    n_genes = expression.shape[1]
    sums = np.bincount(expression.indices, expression.data, minlength=n_genes)
    return np.asarray(sums / np.maximum(np.bincount(expression.indices, minlength=n_genes), 1))


def _filled(expression: sparse.csr_matrix, offsets: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the expression with what was not observed predicted by the genes' means and the cells' offsets."""
    means = _means(expression)
    filled = np.empty(expression.shape, np.float32)
    for cell, offset in enumerate(offsets):
        filled[cell] = np.where(means > 0, np.maximum(means + offset, 0), 0)
        stored = slice(expression.indptr[cell], expression.indptr[cell + 1])
        filled[cell, expression.indices[stored]] = expression.data[stored]
    return filled


FUNCTIONS: Mapping[str, Callable[[sparse.csr_matrix, Workspace], Any]] = {
    "none": lambda expression, work: expression,
    "gene-mean": lambda expression, work: gene_mean(expression),
    "gene-and-cell-mean": lambda expression, work: gene_and_cell_mean(expression),
    "pca": truncated_pca,
}
"""What each baseline of ``contract/benchmark.py`` makes of the data (cells x genes, sparse or dense)."""
