"""How close imputed values are to the truth at the entries that were masked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from sccr_node.evaluation.analyses import Analysis, Case, Row
from sccr_node.evaluation.metrics import METRICS


@dataclass(frozen=True)
class Recovery:
    """Errors of imputed log expression at the masked entries; for the metrics see ``metrics.py``."""

    n_entries: int
    rmse: float
    mae: float
    median_ae: float
    cosine: float


def recovery_scores(truth: NDArray[np.floating], imputed: NDArray[np.floating]) -> Recovery:
    """Compare imputed with true values.

    The published code of scFP, scBFP and scCR prints mean(sqrt(difference^2)) as "RMSE". That is the mean absolute
    error; here, each of the two has its own name.

    Parameters
    ----------
    truth
        The masked values, one-dimensional.
    imputed
        The imputed values of the same entries, in the same order.

    Raises
    ------
    ValueError
        The lengths differ, nothing was masked, or a value is not finite.
    """
    if truth.shape != imputed.shape or truth.ndim != 1:
        raise ValueError(f"true and imputed values differ in shape: {truth.shape} and {imputed.shape}")
    if truth.size == 0:
        raise ValueError("no entry was masked")
    true = truth.astype(np.float64)
    guess = imputed.astype(np.float64)
    if not (np.isfinite(true).all() and np.isfinite(guess).all()):
        raise ValueError("a value is not finite")
    distance = np.abs(guess - true)
    lengths = float(np.linalg.norm(true) * np.linalg.norm(guess))
    return Recovery(
        n_entries=true.size,
        rmse=float(np.sqrt(np.mean(np.square(distance)))),
        mae=float(np.mean(distance)),
        median_ae=float(np.median(distance)),
        cosine=float(true @ guess) / lengths if lengths > 0 else 0.0,
    )


def score(case: Case) -> list[Row]:
    """Return one row: the metrics over all masked entries."""
    truth = case.truth.tocoo()
    return [asdict(recovery_scores(truth.data, np.asarray(case.imputed[truth.row, truth.col]).ravel()))]


def summary(rows: Sequence[Row]) -> str:
    """Return the errors of a run as text."""
    return ", ".join(METRICS[name].shown(rows[0][name]) for name in ("mae", "median_ae", "cosine"))


ANALYSIS = Analysis(
    title="recovery",
    data="masked",
    task="recovery",
    columns=("n_entries", "rmse", "mae", "median_ae", "cosine"),
    score=score,
    summary=summary,
    ranked_by="mae",
    question="Are hidden values recovered?",
)
