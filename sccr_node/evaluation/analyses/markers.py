"""Whether the markers of a type, found in the observed expression of one half of the cells, mark it in the other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sccr_node.evaluation.analyses import Analysis, Case, Row, cells_with_types
from sccr_node.evaluation.metrics import Metric
from sccr_node.evaluation.ranks import auc_by_type, halves

N_MARKERS = 10


def strongest(areas: NDArray[np.float64], n_genes: int) -> NDArray[np.intp]:
    """Return the genes with the largest areas, types x genes; ties go to the gene that comes first."""
    return np.argsort(-areas, axis=1, kind="stable")[:, :n_genes]


def score(case: Case) -> list[Row]:
    """Return one row per seed."""
    assert case.types is not None
    cells, types = cells_with_types(case)
    observed = case.expression[case.types >= 0]
    rows: list[Row] = []
    for done, seed in enumerate(case.seeds):
        case.progress("markers", done / len(case.seeds))
        chosen_on, judged_on = halves(types, seed)
        row: Row = {"seed": seed, "marker_auc": float("nan"), "marker_own": float("nan")}
        if len(np.unique(types[chosen_on])) > 1:
            markers = strongest(auc_by_type(observed[chosen_on], types[chosen_on]), N_MARKERS)
            areas = auc_by_type(cells[judged_on], types[judged_on])
            row["marker_auc"] = float(np.take_along_axis(areas, markers, axis=1).mean())
            row["marker_own"] = float(np.mean(areas[:, markers].argmax(axis=0) == np.arange(len(areas))[:, None]))
        rows.append(row)
    case.progress("markers", 1.0)
    return rows


def summary(rows: Sequence[Row]) -> str:
    """Return the mean share of markers of their own type as text."""
    return METRICS["marker_own"].shown(float(np.mean([row["marker_own"] for row in rows])))


METRICS = {
    name: Metric(name, title, meaning, lowest=0, highest=1, better="higher", decimals=3)
    for name, title, meaning in (
        (
            "marker_auc",
            "Area under the curve of markers",
            f"How well the {N_MARKERS} best markers of a type, found in the observed expression of one half of the "
            "cells, tell it from the rest in the other half: 1: always, 0.5: by chance. Smoothing raises it.",
        ),
        (
            "marker_own",
            "Markers of their own type",
            "Share of these markers that mark no other type better than their own.",
        ),
    )
}

ANALYSIS = Analysis(
    title="markers",
    data="full",
    task="clustering",
    columns=("marker_auc", "marker_own"),
    score=score,
    summary=summary,
    ranked_by="marker_own",
    question="Do the markers of a type still mark it?",
    metrics=tuple(METRICS.values()),
    needs=("label_key",),
)
