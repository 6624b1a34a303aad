"""How well clusters of cells agree with known cell types: k-means as the papers do it, and Leiden as people do it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sccr_node.numerics import principal_components
from sccr_node.runtime.numba_cache import use_compiled_functions

Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Clustering:
    """One clustering, compared with the cell types."""

    algorithm: str
    seed: int
    n_clusters: int
    ari: float
    """Adjusted Rand index: 1 for the same partition, around 0 for a random one."""
    nmi: float
    """Normalised mutual information (arithmetic mean), from 0 to 1."""
    accuracy: float
    """Share of the cells that are in the cluster matched to their type."""
    silhouette: float
    """How much nearer the cells are to their own cluster than to the next one, from -1 to 1; NaN for one cluster."""
    silhouette_types: float
    """The same for the known types in place of the clusters: it depends on the data alone."""


def compare(
    expression: NDArray[np.float32],
    types: Labels,
    *,
    seeds: list[int],
    n_restarts: int,
    n_neighbors: int,
    resolution: float,
    n_components: int | None,
    threads: int,
    progress: Callable[[str, float], None],
) -> Iterator[Clustering]:
    """Cluster cells with every seed, by k-means and by Leiden, and compare the clusters with their types.

    k-means runs on the matrix itself, with as many clusters as there are types. Leiden's neighbour graph and the
    silhouettes are computed in principal components of the matrix.

    Parameters
    ----------
    expression
        Cells x genes (or x coordinates).
    types
        The type of each cell, as numbers from 0.
    seeds
        One k-means and one Leiden clustering for each.
    n_restarts
        How many times k-means starts; the best of them counts.
    n_neighbors
        How many nearest cells each cell is joined to for Leiden.
    resolution
        Resolution of Leiden.
    n_components
        How many principal components to take; None takes the coordinates as they are.
    threads
        How many restarts run at a time. The result does not depend on it.
    progress
        Called with a stage's name and the finished fraction.
    """
    components = expression
    if n_components is not None:
        n_cells, n_values = expression.shape
        components = principal_components(
            lambda first, last: expression[first:last], n_cells, n_values, n_components, threads=threads
        )
    n_types = len(np.unique(types))
    of_types = silhouette(components, types)

    def compared(algorithm: str, seed: int, clusters: Labels) -> Clustering:
        return Clustering(
            algorithm=algorithm,
            seed=seed,
            n_clusters=len(np.unique(clusters)),
            **agreement(types, clusters),
            silhouette=silhouette(components, clusters),
            silhouette_types=of_types,
        )

    for done, seed in enumerate(seeds):
        progress("k-means", done / len(seeds))
        clusters = k_means(expression, n_types, seed=seed, n_restarts=n_restarts, threads=threads)
        yield compared("kmeans", seed, clusters)
    progress("Leiden", 0.0)
    graph = neighbour_graph(components, n_neighbors)
    for seed in seeds:
        yield compared("leiden", seed, leiden(graph, resolution, seed=seed))
    progress("Leiden", 1.0)


def agreement(types: Labels, clusters: Labels) -> dict[str, float]:
    """Return ``ari``, ``nmi`` and ``accuracy`` of clusters; their numbers may differ from the number of types."""
    from sklearn import metrics

    return {
        "ari": float(metrics.adjusted_rand_score(types, clusters)),
        "nmi": float(metrics.normalized_mutual_info_score(types, clusters)),
        "accuracy": accuracy(types, clusters),
    }


def accuracy(types: Labels, clusters: Labels) -> float:
    """Return the share of cells in the cluster of their type, under the best one-to-one match of clusters to types.

    Where there are more clusters than types, the cells of the clusters that are left without a partner count as wrong;
    where there are fewer, so do the cells of the types without one.
    """
    from scipy.optimize import linear_sum_assignment
    from sklearn.metrics.cluster import contingency_matrix

    together = contingency_matrix(types, clusters)
    matched_types, matched_clusters = linear_sum_assignment(together, maximize=True)
    return float(together[matched_types, matched_clusters].sum() / len(types))


def silhouette(components: NDArray[np.float32], clusters: Labels) -> float:
    """Return the mean silhouette (Euclidean); NaN where it is not defined: one cluster, or one cell in each."""
    from sklearn.metrics import silhouette_score

    if not 1 < len(np.unique(clusters)) < len(clusters):
        return float("nan")
    return float(silhouette_score(components, clusters))


def k_means(expression: NDArray[np.float32], n_clusters: int, *, seed: int, n_restarts: int, threads: int) -> Labels:
    """Return the best of several k-means clusterings (k-means++ starts, Lloyd's iterations, lowest inertia).

    Each restart runs on one thread, several at a time: sums within a restart then come in one order, and the result
    is the same for any number of threads.

    Parameters
    ----------
    expression
        Cells x genes.
    n_clusters
        As many as there are types.
    seed
        Each restart draws its own seed from it.
    n_restarts
        How many starts.
    threads
        How many restarts run at a time.
    """
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    starts = [int(start) for start in np.random.default_rng(seed).integers(2**31, size=n_restarts)]

    def restart(start: int) -> tuple[float, Labels]:
        # Within the thread: OpenMP keeps the number of threads for each thread that starts a region.
        with threadpool_limits(1):
            fit = KMeans(n_clusters, n_init=1, random_state=start).fit(expression)
        return float(fit.inertia_), fit.labels_.astype(np.int64)

    with warnings.catch_warnings(), ThreadPoolExecutor(min(threads, n_restarts)) as pool:
        # Fewer distinct cells than clusters: some clusters stay empty, and the table shows how many there are.
        warnings.simplefilter("ignore", ConvergenceWarning)
        fits = list(pool.map(restart, starts))
    return min(fits, key=lambda fit: fit[0])[1]


def neighbour_graph(components: NDArray[np.float32], n_neighbors: int) -> Any:
    """Return scanpy's neighbour graph (UMAP connectivities), with an exact search so that one input gives one graph.

    Parameters
    ----------
    components
        Cells x coordinates.
    n_neighbors
        How many, the cell itself included, as scanpy counts; at most as many as there are cells.
    """
    use_compiled_functions()
    import anndata as ad
    import scanpy as sc

    holder = ad.AnnData(obsm={"X": np.asarray(components, dtype=np.float32)})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sc.pp.neighbors(holder, n_neighbors=min(n_neighbors, len(components) - 1), use_rep="X", transformer="sklearn")
    return holder.obsp["connectivities"]


def leiden(graph: Any, resolution: float, *, seed: int) -> Labels:
    """Return Leiden's clusters of a weighted neighbour graph (modularity, two iterations: scanpy's advice).

    Parameters
    ----------
    graph
        Cells x cells, symmetric, sparse.
    resolution
        Higher values give more clusters.
    seed
        Of the order in which cells are moved.
    """
    use_compiled_functions()
    import anndata as ad
    import scanpy as sc

    holder = ad.AnnData(shape=graph.shape)
    sc.tl.leiden(
        holder, resolution, adjacency=graph, random_state=seed, flavor="igraph", n_iterations=2, directed=False
    )
    return np.asarray(holder.obs["leiden"].cat.codes, dtype=np.int64)
