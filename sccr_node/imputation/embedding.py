"""Principal components of a matrix that is read in blocks of rows."""

from collections.abc import Callable

import numpy as np
import scipy.linalg
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from sccr_node.imputation._kernels import Crew, Progress

ROWS = 512


def principal_components(
    rows: Callable[[int, int], NDArray[np.float32]],
    n_cells: int,
    n_genes: int,
    n_components: int,
    *,
    threads: int | None = None,
    progress: Progress | None = None,
) -> NDArray[np.float32]:
    """Return PCA scores (cells x components), centred, unscaled.

    Parameters
    ----------
    rows
        Reads rows [start, stop) of the matrix; called in blocks of fixed size.

    Returns
    -------
    min(n_components, cells - 1, genes) columns (none for a single cell), by falling variance. Of each component the
    gene loading of largest magnitude is positive.
    """
    kept = max(0, min(n_components, n_cells - 1, n_genes))
    if kept == 0:
        return np.zeros((n_cells, 0), np.float32)
    crew = Crew(threads, progress)
    with threadpool_limits(1), crew.stage("principal components"):
        blocks = [(start, min(start + ROWS, n_cells)) for start in range(0, n_cells, ROWS)]
        mean = sum(rows(*block).sum(axis=0, dtype=np.float64) for block in blocks) / n_cells
        gram = np.zeros((n_genes, n_genes))
        for block in blocks:
            centred = rows(*block) - mean
            gram += centred.T @ centred
        _, loadings = scipy.linalg.eigh(gram, subset_by_index=[n_genes - kept, n_genes - 1])
        loadings = loadings[:, ::-1]
        heaviest = np.abs(loadings).argmax(axis=0)
        loadings = loadings * np.sign(loadings[heaviest, np.arange(kept)])
        return np.concatenate([((rows(*block) - mean) @ loadings).astype(np.float32) for block in blocks])
