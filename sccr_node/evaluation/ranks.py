"""How well single genes tell a type of cells from the rest, and cells in two halves that are alike."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

RANKED_GENES = 64
"""Genes that are ranked at a time."""


def auc_by_type(expression: Any, types: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the area under the ROC curve of every gene for every type: the chance to be higher in it than elsewhere.

    This is the Wilcoxon rank-sum statistic (Mann-Whitney's U) as a share of its maximum; ties count a half.

    Parameters
    ----------
    expression
        Cells x genes, dense or CSR.
    types
        Type of each cell; at least two occur.

    Returns
    -------
    Types that occur (in increasing order) x genes.
    """
    columns = expression if isinstance(expression, np.ndarray) else expression.tocsc()
    present, of_cell = np.unique(types, return_inverse=True)
    belongs = (of_cell == np.arange(len(present))[:, None]).astype(np.float64)
    n_own = belongs.sum(axis=1)[:, None]
    n_genes = columns.shape[1]
    areas = np.empty((len(present), n_genes))
    for first in range(0, n_genes, RANKED_GENES):
        some = columns[:, first : first + RANKED_GENES]
        ranks = stats.rankdata(some if isinstance(some, np.ndarray) else some.toarray(), axis=0)
        above = belongs @ ranks - n_own * (n_own + 1) / 2
        areas[:, first : first + RANKED_GENES] = above / (n_own * (len(types) - n_own))
    return areas


def halves(types: NDArray[np.int64], seed: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the cells of two random halves, in each of which every type has half of its cells (the odd one first).

    Parameters
    ----------
    types
        Type of each cell (-1: no type). Cells without a type, or alone in theirs, are in neither half.
    seed
        Which cells are drawn.
    """
    random = np.random.default_rng(seed)
    first: list[NDArray[np.intp]] = []
    second: list[NDArray[np.intp]] = []
    for each in np.unique(types[types >= 0]):
        cells = random.permutation(np.flatnonzero(types == each))
        if len(cells) > 1:
            middle = -(-len(cells) // 2)
            first.append(cells[:middle])
            second.append(cells[middle:])
    if not first:
        nothing = np.array([], dtype=np.intp)
        return nothing, nothing
    return np.sort(np.concatenate(first)), np.sort(np.concatenate(second))
