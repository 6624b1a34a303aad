"""Layouts and clusters of the plotted cells."""

import numpy as np
import pytest

from sccr_node.report import layout as embedding


def groups(n_cells: int = 90, n_groups: int = 3) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    labels = np.arange(n_cells) % n_groups
    return (8 * np.eye(n_groups, 12)[labels] + generator.standard_normal((n_cells, 12))).astype(np.float32), labels


def test_umap_keeps_groups_apart_and_repeats():
    components, labels = groups()
    layout = embedding.lay_out(components, components)
    assert layout.technique == "UMAP"
    for places in (layout.before, layout.after):
        middles = np.array([places[labels == group].mean(axis=0) for group in range(3)])
        nearest = np.argmin(((places[:, None] - middles[None]) ** 2).sum(axis=2), axis=1)
        assert (nearest == labels).mean() > 0.95
    assert np.array_equal(embedding.lay_out(components, components).after, layout.after)


def test_groups_stay_in_their_place_on_the_second_map():
    components, labels = groups(600, 8)
    layout = embedding.lay_out(components, components)
    before, after = (
        np.array([places[labels == group].mean(axis=0) for group in range(8)])
        for places in (layout.before, layout.after)
    )
    assert all(np.corrcoef(before[:, axis], after[:, axis])[0, 1] > 0.8 for axis in (0, 1))


def test_the_progress_of_both_maps_is_told():
    components, _ = groups()
    told = []
    embedding.lay_out(components, components, lambda stage, fraction: told.append((stage, fraction)))
    fractions = [fraction for _, fraction in told]
    assert {stage for stage, _ in told} == {"embed cells"}
    assert fractions == sorted(fractions) and fractions[0] < 0.01 and fractions[-1] == 1


def test_few_cells_are_shown_by_principal_components():
    components, _ = groups(embedding.FEWEST_CELLS_FOR_UMAP - 1)
    layout = embedding.lay_out(components[:, :1], components)
    assert layout.technique == "PCA" and layout.graph is None
    assert np.array_equal(layout.after, components[:, :2])
    assert np.array_equal(layout.before[:, 1], np.zeros(len(components)))


@pytest.mark.parametrize("installed", [True, False])
def test_clusters_are_the_groups(monkeypatch, installed):
    if not installed:
        monkeypatch.setattr(embedding, "find_spec", lambda name: None)
        monkeypatch.setattr(embedding, "MOST_CLUSTERS", 3)
    components, labels = groups()
    graph = embedding.lay_out(components, components).graph
    clusters = embedding.find_clusters(components, graph)
    assert clusters.title == ("Leiden clusters" if installed else "k-means clusters")
    assert clusters.packages == (("scanpy", "igraph") if installed else ("scipy",))
    # Every cluster lies within one group.
    assert all(len(set(labels[clusters.codes == cluster])) == 1 for cluster in np.unique(clusters.codes))
    assert np.array_equal(embedding.find_clusters(components, graph).codes, clusters.codes)


def test_a_handful_of_cells_is_one_cluster():
    clusters = embedding.find_clusters(np.zeros((4, 2), dtype=np.float32), None)
    assert clusters.title == "k-means clusters" and clusters.codes.tolist() == [0, 0, 0, 0]
