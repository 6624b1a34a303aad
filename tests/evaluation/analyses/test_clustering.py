"""Agreement of clusters and types against scikit-learn, and cases worked out by hand."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from sklearn import metrics

from sccr_node.evaluation.analyses.clustering import (
    ClusteringSettings,
    accuracy,
    at_resolutions,
    cluster_agreement,
    compare,
    silhouette,
)
from sccr_node.evaluation.clusters import neighbour_graph
from tests.support.groups import blobs


def test_accuracy_by_hand():
    types = np.array([0, 0, 0, 1, 1, 2])
    assert accuracy(types, np.array([5, 5, 7, 7, 7, 5])) == pytest.approx(4 / 6)  # two clusters: type 2 has none
    # Four clusters: 5-0 (two cells), 6-1, 7-2; cluster 8 has no partner, so its cell is wrong, and so is 6's other.
    assert accuracy(types, np.array([5, 5, 6, 6, 8, 7])) == pytest.approx(4 / 6)


labels = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=30)


@given(labels)
@examples(deadline=None)
def test_accuracy_is_that_of_the_best_match_of_all(pairs):
    types, clusters = np.array(pairs).T
    places = range(4)
    best = max(sum(match[c] == t for t, c in pairs) for match in permutations(places))
    assert accuracy(types, clusters) == pytest.approx(best / len(pairs))


@given(labels)
@examples(deadline=None)
def test_agreement_against_scikit_learn(pairs):
    types, clusters = np.array(pairs).T
    found = cluster_agreement(types, clusters)
    assert found["ari"] == pytest.approx(metrics.adjusted_rand_score(types, clusters))
    assert found["nmi"] == pytest.approx(metrics.normalized_mutual_info_score(types, clusters))


def test_silhouette_against_scikit_learn_and_where_it_is_not_defined():
    cells, types = blobs()
    assert silhouette(cells, types) == pytest.approx(metrics.silhouette_score(cells, types))
    assert np.isnan(silhouette(cells, np.zeros(len(cells), dtype=int)))
    assert np.isnan(silhouette(cells, np.arange(len(cells))))


@pytest.mark.parametrize("n_components", [None, 4])
def test_compare_gives_one_row_for_each_algorithm_and_seed(n_components):
    cells, types = blobs()
    stages = []
    settings = ClusteringSettings(n_restarts=3, n_neighbors=15, resolution=0.5, n_components=n_components)

    def progress(stage, fraction):
        stages.append((stage, fraction))

    found = list(compare(cells, types, settings, seeds=[3, 5], threads=2, progress=progress))
    assert [(run.algorithm, run.seed) for run in found] == [("kmeans", 3), ("kmeans", 5), ("leiden", 3), ("leiden", 5)]
    assert all(run.ari == run.nmi == run.accuracy == 1.0 and run.n_clusters == 3 for run in found)
    assert found[0].silhouette == pytest.approx(found[0].silhouette_types)
    if n_components is None:
        assert found[0].silhouette == pytest.approx(metrics.silhouette_score(cells, types), rel=1e-5)
    assert stages[-1] == ("Leiden", 1.0)


def test_leiden_at_the_number_of_types_and_at_its_best():
    # Two types far apart: at a low resolution there is one cluster per type, at a higher one each falls into several.
    cells, types = blobs(n_groups=2, n_cells=400)
    settings = ClusteringSettings(n_restarts=1, n_neighbors=15, resolution=1.0, n_components=None)
    grid = (0.01, 1.0)

    found = compare(cells, types, settings, seeds=[0, 1], threads=1, progress=lambda *_: None, resolutions=grid)
    by_name = {(run.algorithm, run.seed): run for run in found}
    assert len(by_name) == 8
    for seed in (0, 1):
        assert by_name["leiden", seed].resolution == 1 and np.isnan(by_name["kmeans", seed].resolution)
        closest, best = by_name["leiden_types", seed], by_name["leiden_best", seed]
        assert (closest.n_clusters, closest.ari, best.ari) == (2, 1.0, 1.0)
        assert by_name["leiden", seed].ari < 1


def test_the_number_of_types_is_sought_between_the_points_of_the_grid():
    graph = neighbour_graph(np.random.default_rng(0).random((450, 2)), 15)  # one cloud: any number of clusters
    tried = at_resolutions(graph, 9, (0.02, 3.0), seed=0)
    assert len(np.unique(tried[0.02])) < 9 < len(np.unique(tried[3.0])) and len(tried) > 2
    assert 9 in {len(np.unique(clusters)) for clusters in tried.values()}
    assert set(at_resolutions(graph, 1000, (0.02, 3.0), seed=0)) == {0.02, 3.0}
