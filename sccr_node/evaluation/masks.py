"""Artificial dropout: choose observed entries of an expression matrix and set them to zero, keeping the truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, sparse

from sccr_node.contract.shared import Mechanism
from sccr_node.runtime.words import quantity


@dataclass(frozen=True)
class Masked:
    """An expression matrix with some observed entries set to zero, and their true values."""

    expression: sparse.csr_matrix
    """Cells x genes; the dropped entries are not stored."""
    truth: sparse.csr_matrix
    """Cells x genes; only the dropped entries, with their values."""
    strength: float | None
    """Lambda of the MNAR probabilities; None with MCAR."""


def mask_expression(expression: sparse.csr_matrix, rate: float, mechanism: Mechanism, seed: int) -> Masked:
    """Drop a fraction of the observed (non-zero) entries of an expression matrix.

    Parameters
    ----------
    expression
        Cells x genes, log-normalised, non-negative. It is not changed.
    rate
        Fraction of the observed entries to drop, between 0 and 1.
    mechanism
        ``mcar``: every observed entry is equally likely to be dropped; ``mnar``: low expression is more likely.
    seed
        The same seed drops the same entries.

    Raises
    ------
    ValueError
        So few entries are observed that the rate would drop none or all of them.
    """
    observed = sparse.csr_matrix(expression, copy=True)
    observed.sum_duplicates()
    observed.eliminate_zeros()
    n_observed = observed.nnz
    probabilities, strength = drop_probabilities(observed.data, rate, mechanism)
    dropped = draw(probabilities, seed)
    if not 0 < dropped.sum() < n_observed:
        share = "none" if not dropped.any() else "all"
        entries = quantity(n_observed, "observed entry", "observed entries")
        raise ValueError(f"a rate of {rate:g} would drop {share} of the {entries}")
    return Masked(_keep_entries(observed, ~dropped), _keep_entries(observed, dropped), strength)


def drop_probabilities(
    values: NDArray[np.floating], rate: float, mechanism: Mechanism
) -> tuple[NDArray[np.float64], float | None]:
    """Return the probability that each observed value is dropped, and lambda if the mechanism has one.

    With MNAR it is exp(-lambda x^2) for the log value x: 1 at zero, and lower for higher values. The factor before the
    exponential is 1, so the mean falls from 1 (lambda = 0) to 0 (lambda large) and every rate between has exactly one
    lambda; with a smaller factor, rates above it could not be reached.

    Parameters
    ----------
    values
        The observed values, one-dimensional, all positive.
    rate
        The required mean probability.
    mechanism
        ``mcar`` or ``mnar``.
    """
    if not 0 < rate < 1:
        raise ValueError(f"the rate must be between 0 and 1, not {rate:g}")
    if mechanism == "mcar" or values.size == 0:
        return np.full(values.size, rate), None
    largest = float(values.max())
    squares = np.square(values.astype(np.float64) / largest)

    def excess(strength: float) -> float:
        return float(np.exp(-strength * squares).mean()) - rate

    upper = 1.0
    while excess(upper) > 0:
        upper *= 4
    strength = float(optimize.brentq(excess, 0.0, upper, xtol=1e-12, rtol=1e-12))
    return np.exp(-strength * squares), strength / largest**2


def draw(probabilities: NDArray[np.float64], seed: int) -> NDArray[np.bool_]:
    """Draw each entry with its probability, so that the number drawn is the expected one (rounded up or down).

    Uses systematic sampling in random order: independent draws would miss the expected number by chance, by several
    per cent for a small matrix.

    Parameters
    ----------
    probabilities
        One per entry, between 0 and 1.
    seed
        Seed of the order and the starting point.
    """
    random = np.random.default_rng(seed)
    order = random.permutation(probabilities.size)
    steps = np.floor(np.cumsum(probabilities[order]) + random.random()).astype(np.int64)
    drawn = np.empty(probabilities.size, dtype=bool)
    drawn[order] = np.diff(steps, prepend=0) > 0
    return drawn


def drop_entries(matrix: sparse.csr_matrix, pattern: sparse.csr_matrix) -> sparse.csr_matrix:
    """Return a matrix without the entries that a pattern stores.

    Parameters
    ----------
    matrix
        Cells x genes, such as counts.
    pattern
        Cells x genes; the entries it stores are dropped from the matrix, whatever their values.
    """
    kept = sparse.csr_matrix(matrix, copy=True)
    kept.sum_duplicates()
    kept.eliminate_zeros()
    dropped = np.isin(positions(kept), positions(pattern))
    return _keep_entries(kept, ~dropped)


def positions(matrix: sparse.csr_matrix) -> NDArray[np.int64]:
    """Return the position of each stored entry, counting all entries row by row."""
    rows = np.repeat(np.arange(matrix.shape[0], dtype=np.int64), np.diff(matrix.indptr))
    return rows * matrix.shape[1] + matrix.indices


def _keep_entries(matrix: sparse.csr_matrix, kept: NDArray[np.bool_]) -> sparse.csr_matrix:
    # Not via a boolean matrix, which would store a second copy and then drop it.
    ends = np.concatenate([[0], np.cumsum(kept)])[matrix.indptr]
    return sparse.csr_matrix((matrix.data[kept], matrix.indices[kept], ends), shape=matrix.shape)
