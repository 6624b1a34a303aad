"""How well a method that got half of the molecules predicts the other half, over all entries."""

from __future__ import annotations

from collections.abc import Sequence

from sccr_node.evaluation.analyses import Analysis, Case, Row
from sccr_node.evaluation.metrics import METRICS
from sccr_node.evaluation.molecules import in_blocks, score_alone
from sccr_node.numerics import Workspace

COLUMNS = ("n_entries", "mse", "mse_observed", "mse_unobserved", "floor", "explained", "deviance", "correlation")


def score(case: Case) -> list[Row]:
    """Return one row: the metrics over all entries."""
    assert case.held_out is not None
    found = score_alone(case.held_out, in_blocks(case.imputed), Workspace(case.threads, case.progress))
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
