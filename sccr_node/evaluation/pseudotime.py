"""How far cells are along a trajectory: diffusion pseudotime, as scanpy computes it."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

from sccr_node.evaluation.clusters import with_neighbours

FEWEST_CELLS_FOR_PSEUDOTIME = 20
"""Diffusion maps have 15 components."""

EARLIEST_CELLS, EARLIEST_SHARE = 5, 0.01


def root_of(components: NDArray[np.float32], order: NDArray[np.float64]) -> int:
    """Return the cell to begin with: of the earliest cells, the one closest to their mean.

    Parameters
    ----------
    components
        Cells x coordinates.
    order
        Known order of the cells. The earliest are 1 % of the cells, at least 5, and those as early as the last of them.
    """
    n_earliest = min(len(order), max(EARLIEST_CELLS, round(EARLIEST_SHARE * len(order))))
    earliest = np.flatnonzero(order <= np.sort(order)[n_earliest - 1])
    places = components[earliest].astype(np.float64)
    return int(earliest[np.argmin(((places - places.mean(axis=0)) ** 2).sum(axis=1))])


def diffusion_pseudotime(components: NDArray[np.float32], n_neighbors: int, root: int) -> NDArray[np.float64]:
    """Return scanpy's diffusion pseudotime of the cells; infinite for those that the root's graph does not reach.

    Parameters
    ----------
    components
        Cells x coordinates, at least :data:`FEWEST_CELLS_FOR_PSEUDOTIME` of them.
    n_neighbors
        Number of neighbours, counting the cell itself.
    root
        The cell at which time is 0.
    """
    import scanpy as sc
    from threadpoolctl import threadpool_limits

    holder = with_neighbours(components, n_neighbors)
    holder.uns["iroot"] = root
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore")
        sc.tl.diffmap(holder)
        sc.tl.dpt(holder)
    return np.asarray(holder.obs["dpt_pseudotime"], dtype=np.float64)
