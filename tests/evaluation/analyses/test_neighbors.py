"""Neighbours against scikit-learn's search and classifier, and which types are rare."""

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.metrics import balanced_accuracy_score
from sklearn.neighbors import NearestNeighbors

from sccr_node.evaluation.analyses.neighbors import is_rare, score
from tests.support.cases import case
from tests.support.groups import blobs


def test_rare_types_have_few_cells_or_a_small_share():
    assert is_rare(np.repeat([0, 1, 3], [49, 50, 100])).tolist() == [True, False, False]
    assert is_rare(np.repeat([0, 1], [60, 6000])).tolist() == [True, False]


def test_against_scikit_learn():
    cells, types = blobs(n_groups=5, n_cells=400, n_genes=60, spread=8, seed=3)
    types[types == 4] = np.where(np.arange(400)[types == 4] < 100, 4, 3)  # a rare type inside another
    types[:7] = -1
    (row,) = score(case(cells, types))
    cells, types = cells[7:], types[7:]
    components = PCA(50, svd_solver="full").fit_transform(cells)
    neighbors = NearestNeighbors(n_neighbors=15).fit(components).kneighbors(return_distance=False)
    votes = np.array([np.bincount(types[near]).argmax() for near in neighbors])
    assert row["vote"] == pytest.approx(balanced_accuracy_score(types, votes)) and 0.3 < row["vote"] < 0.99
    assert row["vote_rare"] == pytest.approx((votes == 4)[types == 4].mean()) and row["n_rare"] == 1
    own = (types[neighbors] == types[:, None]).mean(axis=1)
    assert row["own_neighbors"] == pytest.approx(np.mean([own[types == each].mean() for each in range(5)]))
    assert row["own_neighbors_rare"] == pytest.approx(own[types == 4].mean())


def test_without_rare_types_their_columns_are_empty():
    cells, types = blobs(n_cells=300)
    (row,) = score(case(cells, types))
    assert row["vote"] == 1 and row["n_rare"] == 0 and np.isnan([row["vote_rare"], row["own_neighbors_rare"]]).all()


def test_fewer_cells_than_neighbours():
    (row,) = score(case(np.eye(4, dtype=np.float32), np.array([0, 0, 1, 1])))
    assert 0 <= row["vote"] <= 1 and row["n_rare"] == 2
