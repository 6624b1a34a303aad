"""Whether pseudotime follows a known order of the cells, such as the day or the stage at which they were taken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from scipy import stats

from sccr_node.evaluation.analyses import Analysis, Case, Row, as_dense
from sccr_node.evaluation.metrics import Metric
from sccr_node.evaluation.pseudotime import FEWEST_CELLS_FOR_PSEUDOTIME, diffusion_pseudotime, root_of
from sccr_node.numerics.pca import components_of


@dataclass(frozen=True)
class TrajectorySettings:
    """Number of neighbours per cell in the graph, counting the cell itself, and of principal components."""

    n_neighbors: int
    n_components: int


def score(case: Case) -> list[Row]:
    """Return one row, over the cells whose order is known: it does not depend on a seed."""
    assert case.order is not None
    known = np.isfinite(case.order)
    order = case.order[known]
    if len(order) < FEWEST_CELLS_FOR_PSEUDOTIME:
        return [{"pseudotime": float("nan"), "reached": float("nan")}]
    settings = TrajectorySettings(**case.settings)
    case.progress("pseudotime", 0.0)
    components = components_of(as_dense(case.imputed[known]), settings.n_components, case.threads)
    time = diffusion_pseudotime(components, settings.n_neighbors, root_of(components, order))
    reached = np.isfinite(time)
    # Cells that the graph does not connect with the root come last, as if they were equally late.
    time[~reached] = time[reached].max() + 1
    case.progress("pseudotime", 1.0)
    constant = np.ptp(time) == 0
    return [
        {
            "pseudotime": 0.0 if constant else float(stats.spearmanr(time, order).statistic),
            "reached": float(reached.mean()),
        }
    ]


def summary(rows: Sequence[Row]) -> str:
    """Return the correlation as text."""
    return METRICS["pseudotime"].shown(rows[0]["pseudotime"])


METRICS = {
    metric.name: metric
    for metric in (
        Metric(
            "pseudotime",
            "Agreement of pseudotime",
            "Spearman correlation of diffusion pseudotime, from a cell among the earliest, with the known order.",
            lowest=-1,
            highest=1,
            better="higher",
            decimals=3,
        ),
        Metric(
            "reached",
            "Connected cells",
            "Share of the cells that the neighbour graph connects with the first one; unconnected cells are ranked "
            "last.",
            lowest=0,
            highest=1,
            better=None,
            decimals=3,
        ),
    )
}

ANALYSIS = Analysis(
    title="trajectory",
    data="full",
    task="clustering",
    columns=("pseudotime", "reached"),
    score=score,
    summary=summary,
    ranked_by="pseudotime",
    question="Does pseudotime follow the known order? (requires the column with the order)",
    metrics=tuple(METRICS.values()),
    needs=("order_key",),
    libraries=("scanpy", "sklearn"),
    settings=tuple(field.name for field in fields(TrajectorySettings)),
)
