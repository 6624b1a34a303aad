"""Ranks by hand: which rows are compared, which direction is better, who shares a rank."""

import numpy as np
import pytest

from sccr_node.evaluation.standings import Comparison, mean_ranks, standings, with_ranks


def row(task, method, **values):
    return {"task": task, "method": method, **values}


ROWS = [
    row("recovery", "none", mechanism="mcar", rate=0.2, seed=0, mae=0.9),
    row("recovery", "none", mechanism="mcar", rate=0.2, seed=1, mae=0.7),
    row("recovery", "sccr", mechanism="mcar", rate=0.2, seed=0, mae=0.3),
    row("recovery", "sccr", mechanism="mcar", rate=0.2, seed=1, mae=0.1),
    row("recovery", "mine", mechanism="mcar", rate=0.2, seed=0, mae=0.8),
    row("recovery", "sccr", mechanism="mcar", rate=0.4, seed=0, mae=0.4),
    row("clustering", "none", algorithm="leiden", seed=0, ari=0.5),
    row("clustering", "sccr", algorithm="leiden", seed=0, ari=0.7),
    row("clustering", "none", algorithm="kmeans", seed=0, ari=0.6),
    row("clustering", "sccr", algorithm="kmeans", seed=0, ari=float("nan")),
    row("neighbors", "sccr", vote=None),
]


def test_by_hand():
    found = {(one.comparison, one.method): one for one in standings(ROWS)}
    recovery = Comparison("recovery", None, "mcar", 0.2)
    # Lower is better; two methods share the second rank.
    assert [found[recovery, name].rank for name in ("none", "sccr", "mine")] == [2, 1, 2]
    none = found[recovery, "none"]
    assert (none.metric, none.n_ranked) == ("mae", 3)
    assert (none.mean, none.sd) == (pytest.approx(0.8), pytest.approx(np.std([0.9, 0.7], ddof=1)))
    assert np.isnan(found[recovery, "mine"].sd)
    assert found[Comparison("recovery", None, "mcar", 0.4), "sccr"].rank == 1
    leiden, k_means = (Comparison("clustering", name, None, None) for name in ("leiden", "kmeans"))
    assert [found[leiden, name].rank for name in ("none", "sccr")] == [2, 1]  # higher is better
    assert [found[k_means, name].rank for name in ("none", "sccr")] == [1, None]
    assert found[Comparison("neighbors", None, None, None), "sccr"].rank is None


def test_rows_get_the_rank_of_their_comparison():
    ranked = with_ranks(ROWS, standings(ROWS))
    assert [one["rank"] for one in ranked] == [2, 2, 1, 1, 2, 1, 2, 1, 1, None, None]
    assert "rank" not in ROWS[0]


def test_every_analysis_weighs_the_same_and_lone_methods_are_not_ranked():
    shares = mean_ranks(standings(ROWS))
    # none: (2 - 1) / (3 - 1) in recovery, last in Leiden; k-means and the rate of 0.4 have one method only.
    assert shares == {"none": pytest.approx((0.5 + 1) / 2), "sccr": 0, "mine": pytest.approx(0.5)}
    assert np.isnan(mean_ranks(standings(ROWS[-1:]))["sccr"])
