"""Cluster cells: by k-means, as in the papers, and by Leiden on a neighbour graph, as is usual."""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sccr_node.runtime.numba_cache import prepare_numba, use_compiled_functions

Labels = NDArray[np.int64]


def k_means(expression: NDArray[np.float32], n_clusters: int, *, seed: int, n_restarts: int, threads: int) -> Labels:
    """Return the best of several k-means clusterings (k-means++ starts, Lloyd's iterations, lowest inertia).

    Each restart runs on one thread, several at a time: sums within a restart are then always added in the same order,
    and the result does not depend on the number of threads.

    Parameters
    ----------
    expression
        Cells x genes.
    n_clusters
        Number of clusters.
    seed
        Seed from which each restart's own seed is drawn.
    n_restarts
        Number of starts.
    threads
        Number of restarts that run at a time.
    """
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    starts = [int(start) for start in np.random.default_rng(seed).integers(2**31, size=n_restarts)]

    def restart(start: int) -> tuple[float, Labels]:
        # OpenMP keeps a thread count for each thread that starts a region: set here, it ends with this thread.
        with threadpool_limits(1, user_api="openmp"):
            fit = KMeans(n_clusters, n_init=1, random_state=start).fit(expression)
        return float(fit.inertia_), fit.labels_.astype(np.int64)

    # BLAS has one thread count for the whole process. Limits that several threads set and restore at the same time
    # overlap (scikit-learn sets one in every fit), and the last thread to leave may restore another's limit for good.
    # With this limit around all of them, every thread finds 1 and restores 1.
    with (
        threadpool_limits(1, user_api="blas"),
        warnings.catch_warnings(),
        ThreadPoolExecutor(min(threads, n_restarts)) as pool,
    ):
        # With fewer distinct cells than clusters, some clusters stay empty; the table shows how many there are.
        warnings.simplefilter("ignore", ConvergenceWarning)
        fits = list(pool.map(restart, starts))
    return min(fits, key=lambda fit: fit[0])[1]


def neighbour_graph(components: NDArray[np.float32], n_neighbors: int) -> Any:
    """Return scanpy's neighbour graph (UMAP connectivities) of cells; see :func:`with_neighbours`."""
    return with_neighbours(components, n_neighbors).obsp["connectivities"]


def with_neighbours(components: NDArray[np.float32], n_neighbors: int) -> Any:
    """Return an AnnData object with scanpy's neighbour graph, by exact search, so that it is reproducible.

    Parameters
    ----------
    components
        Cells x coordinates.
    n_neighbors
        Number of neighbours, counting the cell itself, as scanpy does; at most one fewer than there are cells is used.
    """
    use_compiled_functions()
    import anndata as ad
    import scanpy as sc

    holder = ad.AnnData(obsm={"X": np.asarray(components, dtype=np.float32)})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sc.pp.neighbors(holder, n_neighbors=min(n_neighbors, len(components) - 1), use_rep="X", transformer="sklearn")
    return holder


def leiden(graph: Any, resolution: float, *, seed: int) -> Labels:
    """Return Leiden's clusters of a weighted neighbour graph (modularity, two iterations, as scanpy recommends).

    Parameters
    ----------
    graph
        Cells x cells, symmetric, sparse.
    resolution
        Higher values give more clusters.
    seed
        Seed of the order in which cells are moved.
    """
    prepare_numba()  # the graph is given: nothing has to be compiled
    import anndata as ad
    import scanpy as sc

    holder = ad.AnnData(shape=graph.shape)
    sc.tl.leiden(
        holder, resolution, adjacency=graph, random_state=seed, flavor="igraph", n_iterations=2, directed=False
    )
    return np.asarray(holder.obs["leiden"].cat.codes, dtype=np.int64)
