"""The blend: a weighted mean of the denoised expression and a low-rank reconstruction of the observed one.

Not part of the published methods. Propagation and truncated PCA err in different ways, so that their mean is closer to
the expected expression than either (docs/evaluation.md has the figures); it improves every method, not just scCR.
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike, NDArray
from threadpoolctl import threadpool_limits

from sccr_node.methods.expression import Expression
from sccr_node.numerics import Progress, Workspace
from sccr_node.numerics.pca import Components, leading_components, rows_of

STAGE = "blend with principal components"
MIXED_CELLS = 256  # cells per block: its temporaries fit in the cache


@dataclass(frozen=True)
class Blend:
    """How much of the blend is the low-rank reconstruction (`share`, from 0 to 1), and its `rank`."""

    share: float
    rank: int


def blend(
    expression: sp.csr_matrix | ArrayLike,
    denoised: ArrayLike,
    *,
    share: float,
    rank: int,
    threads: int | None = None,
    progress: Progress | None = None,
) -> NDArray[np.float32]:
    """Blend denoised expression, of any method, with a truncated PCA of the observed expression.

    Parameters
    ----------
    expression
        Cells x genes, sparse or dense: the logs that were imputed.
    denoised
        What a method made of them, cells x genes.
    share
        Weight of the low-rank reconstruction, from 0 to 1; the rest is the denoised expression.
    rank
        Number of principal components, at most the number of cells - 1 and of genes.
    threads
        Number of threads (default: all available CPUs). Does not affect the result.
    progress
        Called with the stage's name and the fraction done, from the calling thread; it can raise to stop.

    Returns
    -------
    Cells x genes, float32, not negative. Empty cells and genes keep the denoised values.

    Raises
    ------
    ValueError
        The share or the rank is out of range, or the shapes differ.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share is {share}: it must be between 0 and 1")
    if rank < 1:
        raise ValueError(f"rank is {rank}: it must be at least 1")
    data, blended = Expression.of(expression), np.array(denoised, dtype=np.float32, order="C")
    if blended.shape != data.shape:
        raise ValueError(f"the denoised expression is {blended.shape}, but the observed one {data.shape}")
    blend_in_place(data, blended, Blend(share, rank), Workspace(threads, progress))
    return blended


def blend_in_place(data: Expression, denoised: NDArray[np.float32], asked: Blend, work: Workspace) -> None:
    """Replace denoised expression by the blend."""
    if data.passes_through or not asked.share:
        return
    with work.stage(STAGE):
        components = low_rank(data, asked.rank, work)
        mix(data, denoised, components, asked.share, work)


def low_rank(data: Expression, rank: int, work: Workspace) -> Components:
    """Return the principal axes of the observed expression."""
    return leading_components(rows_of(data.matrix), *data.matrix.shape, rank, work)


def mix(data: Expression, denoised: NDArray[np.float32], components: Components, share: float, work: Workspace) -> None:
    """Replace denoised expression by its mean with what the components keep of the observed one, not below 0."""
    x, cells, genes = data.matrix, data.cells, data.genes
    compact = x.shape != data.shape

    def block(worker: int, first: int) -> None:
        own = slice(first, min(first + MIXED_CELLS, len(cells)))
        where = np.ix_(cells[own], genes) if compact else own
        kept = components.rebuilt(components.scores(x[own].toarray()))
        denoised[where] = np.maximum((1 - share) * denoised[where].astype(np.float64) + share * kept, 0)

    with threadpool_limits(1, user_api="blas"):
        work.run(block, range(0, len(cells), MIXED_CELLS))
