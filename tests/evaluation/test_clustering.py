"""Clusterings against scikit-learn, cases computed by hand, and groups that are impossible to miss."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics
from sklearn.cluster import KMeans

from sccr_node.evaluation.clustering import accuracy, agreement, compare, k_means, leiden, neighbour_graph, silhouette


def blobs(n_groups=3, n_cells=90, n_genes=12, spread=0.3, seed=0):
    random = np.random.default_rng(seed)
    types = np.arange(n_cells) % n_groups
    centres = random.normal(0, 3, (n_groups, n_genes))
    return (centres[types] + random.normal(0, spread, (n_cells, n_genes))).astype(np.float32), types


def test_accuracy_by_hand():
    types = np.array([0, 0, 0, 1, 1, 2])
    assert accuracy(types, np.array([5, 5, 7, 7, 7, 5])) == pytest.approx(4 / 6)  # two clusters: type 2 has none
    # Four clusters: 5-0 (two cells), 6-1, 7-2; cluster 8 has no partner, so its cell is wrong, and so is 6's other.
    assert accuracy(types, np.array([5, 5, 6, 6, 8, 7])) == pytest.approx(4 / 6)


labels = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=30)


@given(labels)
@settings(deadline=None)
def test_accuracy_is_that_of_the_best_match_of_all(pairs):
    types, clusters = np.array(pairs).T
    places = range(4)
    best = max(sum(match[c] == t for t, c in pairs) for match in permutations(places))
    assert accuracy(types, clusters) == pytest.approx(best / len(pairs))


@given(labels)
@settings(deadline=None)
def test_agreement_against_scikit_learn(pairs):
    types, clusters = np.array(pairs).T
    found = agreement(types, clusters)
    assert found["ari"] == pytest.approx(metrics.adjusted_rand_score(types, clusters))
    assert found["nmi"] == pytest.approx(metrics.normalized_mutual_info_score(types, clusters))


def test_silhouette_against_scikit_learn_and_where_it_is_not_defined():
    cells, types = blobs()
    assert silhouette(cells, types) == pytest.approx(metrics.silhouette_score(cells, types))
    assert np.isnan(silhouette(cells, np.zeros(len(cells), dtype=int)))
    assert np.isnan(silhouette(cells, np.arange(len(cells))))


def test_k_means_keeps_the_best_of_its_restarts():
    cells, _ = blobs(n_groups=6, n_cells=120, spread=1.5)
    found = k_means(cells, 6, seed=0, n_restarts=20, threads=2)
    inertia = sum(((cells[found == c] - cells[found == c].mean(axis=0)) ** 2).sum() for c in range(6))
    assert inertia <= KMeans(6, n_init=20, random_state=0).fit(cells).inertia_ * 1.001


def test_k_means_does_not_depend_on_the_threads_and_does_on_the_seed():
    random = np.random.default_rng(0)
    cells = random.random((200, 8)).astype(np.float32)  # no groups at all: every restart ends elsewhere
    one, two = (k_means(cells, 5, seed=0, n_restarts=4, threads=threads) for threads in (1, 3))
    np.testing.assert_array_equal(one, two)
    assert (k_means(cells, 5, seed=1, n_restarts=1, threads=1) != one).any()


def test_fewer_distinct_cells_than_clusters():
    cells = np.repeat(np.eye(2, 5, dtype=np.float32), 6, axis=0)
    assert len(np.unique(k_means(cells, 4, seed=0, n_restarts=3, threads=1))) == 2


def test_leiden_finds_the_parts_of_a_graph_in_parts():
    cells, types = blobs()
    found = leiden(neighbour_graph(cells, 10), 0.5, seed=0)
    assert metrics.adjusted_rand_score(types, found) == 1.0


def test_the_neighbour_graph_of_few_cells():
    graph = neighbour_graph(np.eye(5, dtype=np.float32), 15)
    assert graph.shape == (5, 5)


@pytest.mark.parametrize("n_components", [None, 4])
def test_compare_gives_one_row_for_each_algorithm_and_seed(n_components):
    cells, types = blobs()
    stages = []
    found = list(
        compare(
            cells, types, seeds=[3, 5], n_restarts=3, n_neighbors=15, resolution=0.5, n_components=n_components,
            threads=2, progress=lambda stage, fraction: stages.append((stage, fraction)),
        )
    )  # fmt: skip
    assert [(run.algorithm, run.seed) for run in found] == [("kmeans", 3), ("kmeans", 5), ("leiden", 3), ("leiden", 5)]
    assert all(run.ari == run.nmi == run.accuracy == 1.0 and run.n_clusters == 3 for run in found)
    assert found[0].silhouette == pytest.approx(found[0].silhouette_types)
    if n_components is None:
        assert found[0].silhouette == pytest.approx(metrics.silhouette_score(cells, types), rel=1e-5)
    assert stages[-1] == ("Leiden", 1.0)
