"""How well clusters of cells agree with known cell types."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sccr_node.evaluation.analyses import Analysis, Case, Row, cells_with_types
from sccr_node.evaluation.clusters import Labels, k_means, leiden, neighbour_graph
from sccr_node.evaluation.metrics import METRICS
from sccr_node.numerics import Progress
from sccr_node.numerics.pca import components_of

RESOLUTIONS = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.2, 1.5, 2.0, 3.0)
"""The grid of Leiden's resolutions in a benchmark."""

MOST_HALVINGS = 6
"""How often the gap of the grid in which the number of clusters passes the number of types is halved."""

AVERAGED = ("ari", "nmi", "accuracy", "silhouette")
"""The metrics whose mean and standard deviation over the seeds are printed."""

SUMMARY_COLUMNS = (
    "algorithm",
    "n_cells",
    "n_types",
    "n_seeds",
    "n_clusters",
    *(name for metric in AVERAGED for name in (metric, f"{metric}_sd")),
    "silhouette_types",
)


@dataclass(frozen=True)
class ClusteringSettings:
    """How cells are clustered.

    Attributes
    ----------
    n_restarts
        Number of k-means restarts; the best one is kept.
    n_neighbors
        Number of neighbours per cell in Leiden's graph, counting the cell itself.
    resolution
        Resolution of Leiden.
    n_components
        Number of principal components; None uses the coordinates as they are.
    """

    n_restarts: int
    n_neighbors: int
    resolution: float
    n_components: int | None


@dataclass(frozen=True)
class Clustering:
    """One clustering and its agreement with the cell types; for the metrics see ``metrics.py``."""

    algorithm: str
    seed: int
    n_clusters: int
    ari: float
    nmi: float
    accuracy: float
    silhouette: float
    """NaN if undefined: a single cluster, or one cell in each."""
    silhouette_types: float
    resolution: float = float("nan")
    """Leiden's; NaN for k-means."""


def compare(
    expression: NDArray[np.float32],
    types: Labels,
    settings: ClusteringSettings,
    *,
    seeds: Sequence[int],
    threads: int,
    progress: Progress,
    resolutions: Sequence[float] = (),
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
    settings
        How cells are clustered.
    seeds
        One k-means and one Leiden clustering per seed.
    threads
        Number of k-means restarts that run at a time. Does not affect the result.
    progress
        Called with a stage's name and the finished fraction.
    resolutions
        Increasing. If given, Leiden also runs at these, and the clusterings are added whose number of clusters is
        closest to the number of types (``leiden_types``) and whose adjusted Rand index is the best (``leiden_best``).
    """
    components = expression
    if settings.n_components is not None:
        components = components_of(expression, settings.n_components, threads)
    n_types = len(np.unique(types))
    of_types = silhouette(components, types)

    def compared(algorithm: str, seed: int, clusters: Labels, resolution: float = float("nan")) -> Clustering:
        return Clustering(
            algorithm=algorithm,
            seed=seed,
            n_clusters=len(np.unique(clusters)),
            **cluster_agreement(types, clusters),
            silhouette=silhouette(components, clusters),
            silhouette_types=of_types,
            resolution=resolution,
        )

    for done, seed in enumerate(seeds):
        progress("k-means", done / len(seeds))
        clusters = k_means(expression, n_types, seed=seed, n_restarts=settings.n_restarts, threads=threads)
        yield compared("kmeans", seed, clusters)
    progress("Leiden", 0.0)
    graph = neighbour_graph(components, settings.n_neighbors)
    for seed in seeds:
        yield compared("leiden", seed, leiden(graph, settings.resolution, seed=seed), settings.resolution)
    for done, seed in enumerate(seeds if resolutions else ()):
        progress("Leiden at other resolutions", done / len(seeds))
        tried = at_resolutions(graph, n_types, resolutions, seed=seed)
        closest = min(tried, key=lambda at: (abs(len(np.unique(tried[at])) - n_types), at))
        agreeing = max(tried, key=lambda at: (cluster_agreement(types, tried[at])["ari"], -at))
        yield compared("leiden_types", seed, tried[closest], closest)
        yield compared("leiden_best", seed, tried[agreeing], agreeing)
    progress("Leiden", 1.0)


def at_resolutions(graph: Any, n_types: int, resolutions: Sequence[float], *, seed: int) -> dict[float, Labels]:
    """Return Leiden's clusters by resolution: on a grid, and between its points until there are as many as types.

    Parameters
    ----------
    graph
        Cells x cells, symmetric, sparse.
    n_types
        Number of types. Between two points of the grid, the resolution is halved at most :data:`MOST_HALVINGS` times.
    resolutions
        The grid, increasing.
    seed
        Seed of Leiden.
    """
    tried = {at: leiden(graph, at, seed=seed) for at in resolutions}
    below = [at for at in resolutions if len(np.unique(tried[at])) < n_types]
    above = [at for at in resolutions if len(np.unique(tried[at])) > n_types and (not below or at > below[-1])]
    if not below or not above:
        return tried
    low, high = below[-1], above[0]
    for _ in range(MOST_HALVINGS):
        if any(len(np.unique(clusters)) == n_types for clusters in tried.values()):
            break
        middle = (low + high) / 2
        tried[middle] = leiden(graph, middle, seed=seed)
        low, high = (middle, high) if len(np.unique(tried[middle])) < n_types else (low, middle)
    return tried


def cluster_agreement(types: Labels, clusters: Labels) -> dict[str, float]:
    """Return ``ari``, ``nmi`` and ``accuracy``; there can be more or fewer clusters than types."""
    from sklearn import metrics

    return {
        "ari": float(metrics.adjusted_rand_score(types, clusters)),
        "nmi": float(metrics.normalized_mutual_info_score(types, clusters)),
        "accuracy": accuracy(types, clusters),
    }


def accuracy(types: Labels, clusters: Labels) -> float:
    """Return the fraction of cells in their type's cluster, under the best one-to-one matching of clusters and types.

    If there are more clusters than types, cells in unmatched clusters count as wrong; if there are fewer, so do the
    cells of unmatched types.
    """
    from scipy.optimize import linear_sum_assignment
    from sklearn.metrics.cluster import contingency_matrix

    together = contingency_matrix(types, clusters)
    matched_types, matched_clusters = linear_sum_assignment(together, maximize=True)
    return float(together[matched_types, matched_clusters].sum() / len(types))


def silhouette(components: NDArray[np.float32], clusters: Labels) -> float:
    """Return the mean silhouette (Euclidean); NaN if undefined: a single cluster, or one cell in each."""
    from sklearn.metrics import silhouette_score

    if not 1 < len(np.unique(clusters)) < len(clusters):
        return float("nan")
    return float(silhouette_score(components, clusters))


def averages(found: Sequence[Clustering], types: Labels) -> list[Row]:
    """Return one row per algorithm: means and sample standard deviations (NaN for one seed) over the seeds.

    Parameters
    ----------
    found
        One clustering per algorithm and seed.
    types
        The types of the cells that were clustered.
    """
    rows = []
    for algorithm in dict.fromkeys(run.algorithm for run in found):
        runs = [run for run in found if run.algorithm == algorithm]
        row: Row = {
            "algorithm": algorithm,
            "n_cells": len(types),
            "n_types": len(np.unique(types)),
            "n_seeds": len(runs),
            "n_clusters": float(np.mean([run.n_clusters for run in runs])),
        }
        for metric in AVERAGED:
            values = [getattr(run, metric) for run in runs]
            row[metric] = float(np.mean(values))
            row[f"{metric}_sd"] = float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")
        row["silhouette_types"] = runs[0].silhouette_types
        rows.append(row)
    return rows


def score(case: Case) -> list[Row]:
    """Return one row per algorithm and seed, over the cells that have a type."""
    cells, types = cells_with_types(case)
    found = compare(
        cells,
        types,
        ClusteringSettings(**case.settings),
        seeds=case.seeds,
        threads=case.threads,
        progress=case.progress,
        resolutions=RESOLUTIONS,
    )
    return [asdict(clustering) for clustering in found]


def summary(rows: Sequence[Row]) -> str:
    """Return the mean ARI of each algorithm as text."""
    algorithms = dict.fromkeys(row["algorithm"] for row in rows)
    means = {name: float(np.mean([row["ari"] for row in rows if row["algorithm"] == name])) for name in algorithms}
    return ", ".join(f"{name} {METRICS['ari'].shown(mean)}" for name, mean in means.items())


ANALYSIS = Analysis(
    title="clustering",
    data="full",
    task="clustering",
    columns=("algorithm", "n_clusters", "ari", "nmi", "accuracy", "silhouette", "silhouette_types"),
    score=score,
    summary=summary,
    appended=("resolution",),
    ranked_by="ari",
    question="Do clusters agree with the cell types?",
    note=(
        "leiden is at the given resolution, leiden_types at that with as many clusters as types, and leiden_best at "
        "that with the best ari. leiden_best uses the labels by which it is judged: it is an upper bound, and does not "
        "count in the mean ranks."
    ),
    bounds=("leiden_best",),
    needs=("label_key",),
    libraries=("sklearn", "scanpy", "igraph"),
    settings=tuple(field.name for field in fields(ClusteringSettings)),
)
