"""Find groups of cells: k-means as the papers do it, and Leiden on a neighbour graph as people do it."""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sccr_node.runtime.numba_cache import use_compiled_functions

Labels = NDArray[np.int64]


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
        # OpenMP keeps its number of threads for each thread that starts a region: set here, it ends with this thread.
        with threadpool_limits(1, user_api="openmp"):
            fit = KMeans(n_clusters, n_init=1, random_state=start).fit(expression)
        return float(fit.inertia_), fit.labels_.astype(np.int64)

    # BLAS has one number for the whole process. Limits that are set and restored in several threads at a time overlap
    # (scikit-learn sets one in every fit), and the last to leave may restore another's limit for good. With this one
    # around them all, every thread finds 1 and restores 1.
    with (
        threadpool_limits(1, user_api="blas"),
        warnings.catch_warnings(),
        ThreadPoolExecutor(min(threads, n_restarts)) as pool,
    ):
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
