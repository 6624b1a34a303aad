"""How close imputed values are to the truth at the entries that were masked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Recovery:
    """Distance between imputed and true log expression over the masked entries."""

    n_entries: int
    rmse: float
    """The root of the mean squared difference."""
    mae: float
    """The mean absolute difference: what the papers of scFP, scBFP and scCR print as "RMSE"."""
    median_ae: float
    """The median absolute difference."""
    cosine: float
    """Cosine of the angle between the two vectors of values; 0 where every imputed value is 0."""


def recovery(truth: NDArray[np.floating], imputed: NDArray[np.floating]) -> Recovery:
    """Compare imputed with true values.

    The published code of scFP, scBFP and scCR prints mean(sqrt(difference^2)) as "RMSE". That is the mean absolute
    error; here each of the two has its own name.

    Parameters
    ----------
    truth
        The values that were masked, one dimension.
    imputed
        What the method put at the same entries, in the same order.

    Raises
    ------
    ValueError
        If the lengths differ, nothing was masked, or a value is not finite.
    """
    if truth.shape != imputed.shape or truth.ndim != 1:
        raise ValueError(f"truth and imputed values differ in shape: {truth.shape} and {imputed.shape}")
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
