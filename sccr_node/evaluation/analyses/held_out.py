"""How well a method that got half of the molecules predicts the other half, over all entries."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sccr_node.evaluation.analyses import Analysis, Case, Row, as_dense
from sccr_node.evaluation.metrics import METRICS
from sccr_node.evaluation.molecules import score_alone
from sccr_node.numerics import Workspace

COLUMNS = ("n_entries", "mse", "mse_observed", "mse_unobserved", "floor", "explained", "deviance", "correlation")


def score(case: Case) -> list[Row]:
    """Return one row: the metrics over all entries."""
    assert case.held_out is not None
    n_cells, n_genes = case.imputed.shape
    height = max(1, (1 << 20) // n_genes)
    blocks = (
        (np.arange(first, min(first + height, n_cells)), as_dense(case.imputed[first : first + height]))
        for first in range(0, n_cells, height)
    )
    found = score_alone(
        case.held_out,
        ((rows, values.astype(np.float64)) for rows, values in blocks),
        Workspace(case.threads, case.progress),
    )
    return [{name: getattr(found, name) for name in COLUMNS}]


def summary(rows: Sequence[Row]) -> str:
    """Return the scores of a run as text."""
    return ", ".join(METRICS[name].shown(rows[0][name]) for name in ("explained", "mse", "deviance"))


ANALYSIS = Analysis(
    title="held-out molecules",
    data="halved",
    task="clustering",  # the denoised output: the recovered one is made for masked entries
    columns=COLUMNS,
    score=score,
    summary=summary,
    ranked_by="mse",
    question="Are held-out molecules predicted?",
)
