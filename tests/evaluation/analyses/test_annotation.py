"""Annotation against scikit-learn's own splitting and scoring."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, balanced_accuracy_score
from sklearn.preprocessing import scale

from sccr_node.evaluation.analyses.annotation import score
from sccr_node.evaluation.ranks import halves
from tests.support.cases import case
from tests.support.groups import blobs


def test_against_scikit_learn():
    cells, types = blobs(n_groups=4, n_cells=400, n_genes=10, spread=4)
    types[types == 3] = np.where(np.arange(400)[types == 3] < 60, 3, 0)
    types[:5] = -1
    rows = score(case(cells, types, seeds=(0, 1)))
    assert [row["seed"] for row in rows] == [0, 1] and rows[0] != rows[1]
    cells, types = cells[5:], types[5:]
    learnt, tested = halves(types, 0)
    mean, spread = cells[learnt].mean(axis=0), cells[learnt].std(axis=0)
    model = LogisticRegression(max_iter=1000).fit(scale(cells[learnt]), types[learnt])
    expected = model.predict((cells[tested] - mean) / spread)
    assert rows[0]["annotation"] == pytest.approx(balanced_accuracy_score(types[tested], expected), abs=0.02)
    assert rows[0]["annotation_cells"] == pytest.approx(accuracy_score(types[tested], expected), abs=0.01)
    assert 0.5 < rows[0]["annotation"] < rows[0]["annotation_cells"] < 0.99


def test_labels_without_meaning_are_not_learnt():
    random = np.random.default_rng(0)
    (row,) = score(case(random.random((600, 5), dtype=np.float32), random.integers(0, 3, 600)))
    assert row["annotation"] == pytest.approx(1 / 3, abs=0.1)


def test_types_of_one_cell_cannot_be_learnt():
    cells, _ = blobs(n_cells=12)
    (row,) = score(case(cells, np.array([0] * 10 + [1, -1])))
    assert np.isnan(row["annotation"]) and np.isnan(row["annotation_cells"])
