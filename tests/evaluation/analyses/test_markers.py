"""Markers of simulated types are found, and lost by what mixes the types."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from sccr_node.evaluation.analyses.markers import score, strongest
from sccr_node.evaluation.ranks import halves
from tests.support.cases import case


def marked():
    """Cells of three types with ten markers each, among 60 genes."""
    random = np.random.default_rng(0)
    types = np.arange(300) % 3
    rates = 0.5 + 1.5 * (np.arange(60)[None, :] // 10 == types[:, None])
    return np.log1p(random.poisson(rates)).astype(np.float32), types


def test_by_scikit_learn():
    cells, types = marked()
    (row,) = score(case(cells, types))
    _, judged_on = halves(types, 0)
    areas = [roc_auc_score(types[judged_on] == gene // 10, cells[judged_on, gene]) for gene in range(30)]
    assert row["marker_auc"] == pytest.approx(np.mean(areas)) and row["marker_own"] == 1


def test_markers_are_found_in_what_was_observed_and_judged_in_what_was_imputed():
    cells, types = marked()
    exchanged = cells[np.random.default_rng(1).permutation(300)]
    (lost,) = score(case(exchanged, types, expression=cells))
    assert lost["marker_auc"] == pytest.approx(0.5, abs=0.05) and lost["marker_own"] < 0.7
    means = np.array([cells[types == each].mean(axis=0) for each in range(3)])
    (perfect,) = score(case(means[types], types, expression=cells))
    assert perfect["marker_auc"] == 1 and perfect["marker_own"] == 1


def test_unlabelled_cells_and_few_genes():
    cells, types = marked()
    types[::2] = -1
    (row,) = score(case(cells[:, :4], types))
    assert 0 <= row["marker_own"] <= 1
    assert np.isnan(score(case(cells, np.where(np.arange(300) < 2, np.arange(300), -1)))[0]["marker_auc"])
    assert strongest(np.array([[0.5, 0.9, 0.9]]), 2).tolist() == [[1, 2]]
