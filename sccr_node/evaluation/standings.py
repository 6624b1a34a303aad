"""Who did best in a benchmark: every method's rank in every comparison."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from sccr_node.evaluation.analyses import Row, known_metrics, load


class Comparison(NamedTuple):
    """Rows that can be compared with each other: of one analysis, one clustering algorithm, one kind of mask."""

    task: str
    algorithm: str | None
    mechanism: str | None
    rate: float | None

    @classmethod
    def of(cls, row: Row) -> Comparison:
        """Return the comparison that a row belongs to."""
        return cls(row["task"], *(row.get(name) for name in cls._fields[1:]))


@dataclass(frozen=True)
class Standing:
    """How a method did in a comparison.

    Attributes
    ----------
    comparison, method
        Where, and who.
    metric
        What is ranked.
    mean, sd
        Over the seeds; the sample standard deviation is NaN for one.
    rank
        From 1; methods with the same mean share the better rank. None without a mean.
    n_ranked
        Number of methods with a rank.
    """

    comparison: Comparison
    method: str
    metric: str
    mean: float
    sd: float
    rank: int | None
    n_ranked: int


def standings(rows: Sequence[Row]) -> list[Standing]:
    """Return the standings, in the order of the table.

    Parameters
    ----------
    rows
        Those of a benchmark's table.
    """
    metrics = known_metrics()
    by_comparison: dict[Comparison, dict[str, list[float]]] = {}
    for row in rows:
        if (ranked_by := load(row["task"]).ranked_by) is not None:
            value = row.get(ranked_by)
            values = by_comparison.setdefault(Comparison.of(row), {}).setdefault(row["method"], [])
            values.append(float("nan") if value is None else float(value))
    found = []
    for comparison, by_method in by_comparison.items():
        metric = load(comparison.task).ranked_by
        assert metric is not None
        means = {method: float(np.mean(values)) for method, values in by_method.items()}
        ranks = _ranks(means, higher=metrics[metric].better == "higher")
        found += [
            Standing(
                comparison,
                method,
                metric,
                means[method],
                float(np.std(values, ddof=1)) if len(values) > 1 else float("nan"),
                ranks.get(method),
                len(ranks),
            )
            for method, values in by_method.items()
        ]
    return found


def _ranks(means: dict[str, float], *, higher: bool) -> dict[str, int]:
    """Return the ranks of those that have a mean."""
    known = {method: mean for method, mean in means.items() if np.isfinite(mean)}
    # As many digits as the table shows: what looks the same there is the same.
    values = [float(f"{mean:.6g}") * (-1 if higher else 1) for mean in known.values()]
    return dict(zip(known, (int(rank) for rank in stats.rankdata(values, method="min")), strict=True))


def with_ranks(rows: Sequence[Row], found: Sequence[Standing]) -> list[Row]:
    """Return the rows with the rank of their method in their comparison: rows that differ by the seed share it."""
    ranks = {(standing.comparison, standing.method): standing.rank for standing in found}
    return [{**row, "rank": ranks.get((Comparison.of(row), row["method"]))} for row in rows]


def mean_ranks(found: Sequence[Standing]) -> dict[str, float]:
    """Return every method's mean rank as a share, from 0 (first) to 1 (last); NaN if it is ranked nowhere.

    Every analysis weighs the same, however many comparisons it has; methods take part in different ones, so that ranks
    themselves could not be averaged. Bounds, which no method reaches without the labels, do not count.
    """
    shares: dict[str, dict[str, list[float]]] = {}
    for standing in found:
        by_task = shares.setdefault(standing.method, {})
        bound = standing.comparison.algorithm in load(standing.comparison.task).bounds
        if standing.rank is not None and standing.n_ranked > 1 and not bound:
            by_task.setdefault(standing.comparison.task, []).append((standing.rank - 1) / (standing.n_ranked - 1))
    means: dict[str, Any] = {
        method: [float(np.mean(values)) for values in by_task.values()] for method, by_task in shares.items()
    }
    return {method: float(np.mean(values)) if values else float("nan") for method, values in means.items()}
