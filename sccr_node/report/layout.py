"""The plotted cells in two dimensions and in groups: PCA, UMAP and clusters, depending on what is installed."""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sccr_node.evaluation.clusters import leiden, neighbour_graph
from sccr_node.evaluation.neighborhoods import N_NEIGHBORS
from sccr_node.runtime.numba_cache import use_compiled_functions

SEED = 0
RESOLUTION = 1.0
FEWEST_CELLS_FOR_UMAP = 3 * N_NEIGHBORS
N_EPOCHS = 200
MOST_CLUSTERS = 12


def lay_out(
    before: NDArray[np.float32], after: NDArray[np.float32]
) -> tuple[str, NDArray[np.float32], NDArray[np.float32]]:
    """Place cells in two dimensions, by their components before and after imputation.

    The second UMAP starts from the positions of the first, so that a group moves only if its data changed.

    Returns
    -------
    tuple
        "UMAP" or "PCA", and the positions before and after (cells x 2 each).
    """
    if len(after) < FEWEST_CELLS_FOR_UMAP or find_spec("umap") is None:
        return "PCA", _two(before), _two(after)
    first = _umap(before, None)
    return "UMAP", first, _umap(after, first)


def _two(components: NDArray[np.float32]) -> NDArray[np.float32]:
    places = np.zeros((len(components), 2), dtype=np.float32)
    places[:, : min(2, components.shape[1])] = components[:, :2]
    return places


def _umap(components: NDArray[np.float32], start: NDArray[np.float32] | None) -> NDArray[np.float32]:
    from sklearn.neighbors import NearestNeighbors

    use_compiled_functions()
    from umap import UMAP

    init: Any = "spectral"
    if start is not None:
        noise = np.random.default_rng(SEED).normal(scale=1e-3, size=start.shape)
        init = (10 * (start - start.mean(axis=0)) / max(float(np.abs(start).max()), 1e-6) + noise).astype(np.float32)
    # Exact search takes less than a second for the plotted cells; UMAP's own would first compile for twenty seconds.
    distances, neighbours = NearestNeighbors(n_neighbors=N_NEIGHBORS, algorithm="brute").fit(components).kneighbors()
    itself = np.arange(len(components))[:, None]
    known = (
        np.hstack([itself, neighbours[:, :-1]]),
        np.hstack([np.zeros_like(distances[:, :1]), distances[:, :-1]]).astype(np.float32),
    )
    with warnings.catch_warnings():
        # The warnings are expected: a seed means one thread, and some data give a graph in several pieces.
        warnings.simplefilter("ignore")
        model = UMAP(
            n_neighbors=N_NEIGHBORS,
            min_dist=0.3,
            n_epochs=N_EPOCHS,
            init=init,
            precomputed_knn=known,
            random_state=SEED,
            n_jobs=1,
        )
        return np.asarray(model.fit_transform(components), dtype=np.float32)


def find_clusters(components: NDArray[np.float32]) -> tuple[str, NDArray[np.int64]]:
    """Cluster cells without labels: Leiden on a neighbour graph if scanpy and igraph are installed, else k-means.

    Returns
    -------
    tuple
        A title such as "Leiden clusters", and each cell's cluster, numbered from 0.
    """
    n_cells = len(components)
    if n_cells >= FEWEST_CELLS_FOR_UMAP and find_spec("scanpy") is not None and find_spec("igraph") is not None:
        return "Leiden clusters", leiden(neighbour_graph(components, N_NEIGHBORS), RESOLUTION, seed=SEED)
    from scipy.cluster.vq import kmeans2

    n_clusters = max(1, min(MOST_CLUSTERS, n_cells // N_NEIGHBORS))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # empty clusters are dropped below
        _, clusters = kmeans2(components.astype(np.float64), n_clusters, minit="++", rng=SEED)
    return "k-means clusters", np.unique(clusters, return_inverse=True)[1].astype(np.int64)
