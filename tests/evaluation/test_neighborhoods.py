"""Neighbours, their predictions and their votes against scikit-learn and dense transcriptions."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.metrics import balanced_accuracy_score
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors

from sccr_node.evaluation.neighborhoods import averaged_cells, nearest, prediction_error, votes_by_type
from sccr_node.numerics import Workspace, cell_graph
from sccr_node.numerics.graphs import CellGraph


def points(seed=0, n=700, n_components=8):
    return np.random.default_rng(seed).normal(size=(n, n_components)).astype(np.float32)


@pytest.mark.parametrize("n", [2, 15, 16, 700])
def test_nearest_equals_scikit_learn(n):
    x = points(n=n)
    kept = min(15, n - 1)
    found = nearest(x, 15, Workspace(2))
    expected = NearestNeighbors(n_neighbors=kept).fit(x.astype(np.float64)).kneighbors(return_distance=False)
    assert np.array_equal(found, expected)


def test_ties_go_to_the_lower_index_and_threads_do_not_matter():
    x = np.repeat(points(1, 40), 10, axis=0)
    found = nearest(x, 15, Workspace(1))
    same = np.arange(len(x)) // 10
    assert all(np.array_equal(found[i, :9], np.setdiff1d(np.flatnonzero(same == same[i]), [i])) for i in range(len(x)))
    assert np.array_equal(found, nearest(x, 15, Workspace(3)))


def test_prediction_error_equals_the_transcription():
    rng = np.random.default_rng(2)
    truth = sparse.random(600, 30, 0.3, "csr", None, rng)
    neighbors = nearest(points(2, 600), 7, Workspace(2))
    dense = truth.toarray()
    expected = ((dense[neighbors].mean(axis=1) - dense) ** 2).mean()
    assert prediction_error(neighbors, truth, Workspace(2)) == pytest.approx(expected, rel=1e-12)


def test_the_mean_vote_of_the_types_equals_scikit_learn():
    x, rng = points(3, 500, 3), np.random.default_rng(3)
    types = (x[:, 0] > 0.5).astype(np.int64) + (rng.random(500) < 0.05) * 2
    neighbors = nearest(x, 15, Workspace(1))
    votes = [
        KNeighborsClassifier(15).fit(x[neighbors[i]], types[neighbors[i]]).predict(x[i : i + 1])[0] for i in range(500)
    ]
    assert votes_by_type(neighbors, types).mean() == pytest.approx(balanced_accuracy_score(types, votes))


@pytest.mark.parametrize(("beta", "n_iterations"), [(0.0, 40), (0.5, 40), (0.95, 7), (1.0, 300)])
def test_averaged_cells_equals_the_transcription(beta, n_iterations):
    x = np.abs(points(4, 120, 10))
    graph = cell_graph(x, 5)
    dense = graph.toarray().astype(np.float64)
    weights = np.eye(120)
    for _ in range(n_iterations):
        weights = beta * dense @ weights + (1 - beta) * np.eye(120)
    expected = weights.sum(axis=1) ** 2 / (weights**2).sum(axis=1)
    found = averaged_cells(CellGraph(graph), beta, n_iterations, Workspace(1), seed=0)
    np.testing.assert_allclose(np.sort(found), np.sort(expected), rtol=1e-3)
    if beta == 0:
        assert np.array_equal(found, np.ones(120))
