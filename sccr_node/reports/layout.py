"""The plotted cells in two dimensions and in groups: PCA, UMAP and clusters, depending on what is installed.

UMAP is igraph's, which is compiled: umap-learn would first compile for about a minute on every machine.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray
from scipy import sparse

from sccr_node.evaluation.clusters import leiden
from sccr_node.evaluation.neighborhoods import N_NEIGHBORS, nearest
from sccr_node.numerics import Workspace
from sccr_node.runtime import signals
from sccr_node.runtime.console import Progress

SEED = 0
RESOLUTION = 1.0
FEWEST_CELLS_FOR_UMAP = 3 * N_NEIGHBORS
N_ROUNDS, N_EPOCHS = 4, 50
"""igraph's own 500 epochs take two and a half times as long, for a trustworthiness of 0.974 in place of 0.971.

In rounds, because igraph lets nothing else run, and a signal would wait for all of them; each begins with large steps
again, which costs another 0.002 (mouse lungs).
"""

MIN_DIST = 0.3
"""At igraph's own 0.01, the cells of a group cover each other; trustworthiness hardly differs (0.973, mouse lungs)."""

WIDEST_START = 10.0
"""The largest coordinate at which UMAP starts: umap-learn's number."""

MOST_CLUSTERS = 12

_SCIPY = tuple(int(number) for number in scipy.__version__.split(".")[:2])


@dataclass(frozen=True)
class Layout:
    """Cells in two dimensions, before and after imputation.

    Attributes
    ----------
    technique
        "UMAP" or "PCA".
    before, after
        The positions (cells x 2 each).
    graph
        Which cells are neighbours of each other after imputation (cells x cells, symmetric, ones); None if there is no
        UMAP.
    packages
        The packages that placed them, beside our own.
    """

    technique: str
    before: NDArray[np.float32]
    after: NDArray[np.float32]
    graph: sparse.csr_matrix | None
    packages: tuple[str, ...]


def lay_out(before: NDArray[np.float32], after: NDArray[np.float32], progress: Progress | None = None) -> Layout:
    """Place cells in two dimensions, by their components before and after imputation.

    The second UMAP starts from the positions of the first, so that a group moves only if its data changed.

    Parameters
    ----------
    before, after
        Principal components (cells x components).
    progress
        Called with the stage and what of it is done.
    """

    def placed(before: float) -> Callable[[float], None]:
        return lambda fraction: None if progress is None else progress("embed cells", before + fraction / 2)

    if len(after) < FEWEST_CELLS_FOR_UMAP or find_spec("igraph") is None:
        return Layout("PCA", _two(before), _two(after), None, ())
    first = _umap(before, _neighbors(before), _two(before), placed(0.0))
    neighbors = _neighbors(after)
    second = _umap(after, neighbors, first, placed(0.5))
    return Layout("UMAP", first, second, _graph(neighbors), ("igraph",))


def _neighbors(components: NDArray[np.float32]) -> NDArray[np.int64]:
    # UMAP counts the cell itself. One thread: see the caller of lay_out.
    return nearest(components, N_NEIGHBORS - 1, Workspace(1))


def _umap(
    components: NDArray[np.float32],
    neighbors: NDArray[np.int64],
    start: NDArray[np.float32],
    placed: Callable[[float], None],
) -> NDArray[np.float32]:
    import igraph

    points = components.astype(np.float64)
    distances = np.stack([np.linalg.norm(points - points[column], axis=1) for column in neighbors.T], axis=1)
    cells = np.repeat(np.arange(len(points)), neighbors.shape[1])
    graph = igraph.Graph(len(points), np.column_stack([cells, neighbors.ravel()]), directed=True)
    centred = start - start.mean(axis=0)
    # A little noise, so that no two cells start in the same place.
    noise = np.random.default_rng(SEED).normal(scale=1e-3, size=start.shape)
    scaled = WIDEST_START * centred / max(float(np.abs(centred).max()), 1e-6) + noise
    igraph.set_random_number_generator(random.Random(SEED))
    try:
        places, lengths = scaled.tolist(), distances.ravel().tolist()
        for number in range(N_ROUNDS):
            signals.check()
            places = graph.layout_umap(dist=lengths, seed=places, min_dist=MIN_DIST, epochs=N_EPOCHS).coords
            placed((number + 1) / N_ROUNDS)
    finally:
        igraph.set_random_number_generator(random)  # igraph's default; it cannot be asked which one it had
    return np.asarray(places, dtype=np.float32)


def _graph(neighbors: NDArray[np.int64]) -> sparse.csr_matrix:
    n, kept = neighbors.shape
    pointers = np.arange(0, n * kept + 1, kept)
    directed = sparse.csr_matrix((np.ones(n * kept), neighbors.ravel(), pointers), shape=(n, n))
    return sparse.csr_matrix(directed.maximum(directed.T))


def _two(components: NDArray[np.float32]) -> NDArray[np.float32]:
    places = np.zeros((len(components), 2), dtype=np.float32)
    places[:, : min(2, components.shape[1])] = components[:, :2]
    return places


@dataclass(frozen=True)
class Clusters:
    """Clusters of cells: what they are, each cell's number from 0, and the packages that found them."""

    title: str
    codes: NDArray[np.int64]
    packages: tuple[str, ...]


def find_clusters(components: NDArray[np.float32], graph: sparse.csr_matrix | None) -> Clusters:
    """Cluster cells without labels: Leiden on their neighbour graph if scanpy and igraph are installed, else k-means.

    Parameters
    ----------
    components
        Cells x components.
    graph
        Which cells are neighbours (cells x cells, symmetric); None without one.
    """
    if graph is not None and find_spec("scanpy") is not None and find_spec("igraph") is not None:
        return Clusters("Leiden clusters", leiden(graph, RESOLUTION, seed=SEED), ("scanpy", "igraph"))
    from scipy.cluster.vq import kmeans2

    n_clusters = max(1, min(MOST_CLUSTERS, len(components) // N_NEIGHBORS))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # empty clusters are dropped below
        seed: dict[str, Any] = {"rng" if _SCIPY >= (1, 15) else "seed": SEED}
        _, found = kmeans2(components.astype(np.float64), n_clusters, minit="++", **seed)
    codes = np.unique(found, return_inverse=True)[1].astype(np.int64)
    return Clusters("k-means clusters", codes, ("scipy",))
