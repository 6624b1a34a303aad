"""Conservation of cell types by scib-metrics, the field's own benchmark of embeddings."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sccr_node.evaluation.analyses import Analysis, Case, Row, cells_with_types
from sccr_node.evaluation.metrics import Metric
from sccr_node.evaluation.neighborhoods import N_COMPONENTS
from sccr_node.numerics.pca import components_of

LISI_NEIGHBORS, GRAPH_NEIGHBORS = 90, 15
"""What scib-metrics' own benchmark uses, counting the cell itself."""

FEWEST_CELLS_FOR_SCIB = 10


def neighbors_for_scib(components: NDArray[np.float32], n_neighbors: int) -> Any:
    """Return the nearest cells (and itself) of every cell by exact search, as scib-metrics takes them."""
    from scib_metrics.nearest_neighbors import NeighborsResults
    from sklearn.neighbors import NearestNeighbors

    kept = min(n_neighbors, len(components))
    search = NearestNeighbors(n_neighbors=kept, algorithm="brute").fit(components)
    distances, indices = search.kneighbors(components)
    return NeighborsResults(indices=indices, distances=distances)


def score(case: Case) -> list[Row]:
    """Return one row: it does not depend on a seed."""
    import scib_metrics

    cells, types = cells_with_types(case)
    if len(cells) < FEWEST_CELLS_FOR_SCIB:
        return [dict.fromkeys(METRICS, float("nan"))]
    case.progress("scib-metrics", 0.0)
    components = components_of(cells, N_COMPONENTS, case.threads)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        row = {
            "clisi": float(scib_metrics.clisi_knn(neighbors_for_scib(components, LISI_NEIGHBORS), types)),
            "graph_connectivity": float(
                scib_metrics.graph_connectivity(neighbors_for_scib(components, GRAPH_NEIGHBORS), types)
            ),
        }
    case.progress("scib-metrics", 1.0)
    return [row]


def summary(rows: Sequence[Row]) -> str:
    """Return the metrics as text."""
    return ", ".join(METRICS[name].shown(rows[0][name]) for name in METRICS)


METRICS = {
    name: Metric(name, title, meaning, lowest=0, highest=1, better="higher", decimals=3)
    for name, title, meaning in (
        (
            "clisi",
            "Cell type LISI",
            "Purity of cell types among a cell's neighbours (cLISI, as scaled by scib-metrics): 1 if there is only one "
            "type.",
        ),
        (
            "graph_connectivity",
            "Graph connectivity",
            "Share of the cells of a type that its part of the neighbour graph connects, averaged over the types.",
        ),
    )
}

ANALYSIS = Analysis(
    title="scib-metrics",
    data="full",
    task="clustering",
    columns=("clisi", "graph_connectivity"),
    score=score,
    summary=summary,
    ranked_by="clisi",
    question="Are cells of a type kept together, as measured by scib-metrics? (requires scib-metrics)",
    metrics=tuple(METRICS.values()),
    needs=("label_key",),
    libraries=("scib_metrics", "sklearn"),
    extra="benchmark",
)
