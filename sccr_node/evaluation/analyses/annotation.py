"""Whether a classifier that learns the types from one half of the cells recognises them in the other half."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sccr_node.evaluation.analyses import Analysis, Case, Row, cells_with_types
from sccr_node.evaluation.metrics import Metric
from sccr_node.evaluation.neighborhoods import mean_by_type
from sccr_node.evaluation.ranks import halves

MOST_SOLVER_ITERATIONS = 300


def predicted(training: NDArray[np.float32], types: NDArray[np.int64], cells: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the types of cells by logistic regression on scaled genes, as CellTypist trains it.

    Parameters
    ----------
    training, types
        Cells x genes, and their types.
    cells
        Other cells x the same genes.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits

    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=MOST_SOLVER_ITERATIONS, tol=1e-3))
    # One thread, so that sums are added in the same order however many there are.
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore", ConvergenceWarning)  # the last digits do not change which type is likeliest
        return np.asarray(model.fit(training, types).predict(cells), dtype=np.int64)


def score(case: Case) -> list[Row]:
    """Return one row per seed: the balanced accuracy, and that over the cells (types weigh as they are frequent)."""
    cells, types = cells_with_types(case)
    rows: list[Row] = []
    for done, seed in enumerate(case.seeds):
        case.progress("annotation", done / len(case.seeds))
        learnt, tested = halves(types, seed)
        row: Row = {"seed": seed, "annotation": float("nan"), "annotation_cells": float("nan")}
        if len(np.unique(types[learnt])) > 1:
            right = predicted(cells[learnt], types[learnt], cells[tested]) == types[tested]
            row["annotation"] = float(np.mean(mean_by_type(right, types[tested])))
            row["annotation_cells"] = float(right.mean())
        rows.append(row)
    case.progress("annotation", 1.0)
    return rows


def summary(rows: Sequence[Row]) -> str:
    """Return the mean accuracy as text."""
    return METRICS["annotation"].shown(float(np.mean([row["annotation"] for row in rows])))


METRICS = {
    name: Metric(name, title, meaning, lowest=0, highest=1, better="higher", decimals=3)
    for name, title, meaning in (
        (
            "annotation",
            "Balanced accuracy of annotation",
            "How often a logistic regression that was trained on one half of the cells recognises the type of a cell "
            "in the other half, averaged over the types.",
        ),
        (
            "annotation_cells",
            "Accuracy of annotation",
            "The same, averaged over the cells, so that common types weigh more.",
        ),
    )
}

ANALYSIS = Analysis(
    title="annotation",
    data="full",
    task="clustering",
    columns=("annotation", "annotation_cells"),
    score=score,
    summary=summary,
    ranked_by="annotation",
    question="Does a classifier recognise the types of other cells?",
    metrics=tuple(METRICS.values()),
    needs=("label_key",),
    libraries=("sklearn",),
)
