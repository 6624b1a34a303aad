"""The plotted cells in two dimensions and in groups: PCA, UMAP and clusters."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from sccr_node.evaluation.clusters import leiden
from sccr_node.evaluation.neighborhoods import N_NEIGHBORS
from sccr_node.report.umap import fuzzy_graph, umap
from sccr_node.runtime.console import Progress

SEED = 0
RESOLUTION = 1.0
FEWEST_CELLS_FOR_UMAP = 3 * N_NEIGHBORS
MOST_CLUSTERS = 12


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
        The neighbour graph of the cells after imputation; None if there are too few cells for one.
    """

    technique: str
    before: NDArray[np.float32]
    after: NDArray[np.float32]
    graph: sparse.csr_matrix | None


def lay_out(before: NDArray[np.float32], after: NDArray[np.float32], progress: Progress | None = None) -> Layout:
    """Place cells in two dimensions, by their components before and after imputation.

    The second UMAP starts from the positions of the first, so that a group moves only if its data changed.

    Parameters
    ----------
    before, after
        Principal components (cells x components).
    progress
        Called with the stage's name and the finished fraction.
    """
    if len(after) < FEWEST_CELLS_FOR_UMAP:
        return Layout("PCA", _two(before), _two(after), None)

    graphs = [fuzzy_graph(components, N_NEIGHBORS) for components in (before, after)]
    first = umap(graphs[0], _two(before), seed=SEED, progress=_half(progress, 0.0))
    second = umap(graphs[1], first, seed=SEED, progress=_half(progress, 0.5))
    return Layout("UMAP", first, second, graphs[1])


def _half(progress: Progress | None, begin: float) -> Callable[[float], None] | None:
    return None if progress is None else lambda fraction: progress("embed cells", begin + fraction / 2)


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
        The neighbour graph of the cells; None if there are too few.
    """
    if graph is not None and find_spec("scanpy") is not None and find_spec("igraph") is not None:
        return Clusters("Leiden clusters", leiden(graph, RESOLUTION, seed=SEED), ("scanpy", "igraph"))
    from scipy.cluster.vq import kmeans2

    n_clusters = max(1, min(MOST_CLUSTERS, len(components) // N_NEIGHBORS))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # empty clusters are dropped below
        _, found = kmeans2(components.astype(np.float64), n_clusters, minit="++", rng=SEED)
    codes = np.unique(found, return_inverse=True)[1].astype(np.int64)
    return Clusters("k-means clusters", codes, ("scipy",))
