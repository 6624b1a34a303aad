"""Layouts and clusters of the plotted cells."""

import numpy as np
import pytest

from sccr_node.report import layout as embedding


def groups(n_cells: int = 90, n_groups: int = 3) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    labels = np.arange(n_cells) % n_groups
    return (8 * np.eye(n_groups, 12)[labels] + generator.standard_normal((n_cells, 12))).astype(np.float32), labels


def test_umap_keeps_groups_apart_and_repeats(monkeypatch):
    components, labels = groups()
    technique, before, after = embedding.lay_out(components, components)
    assert technique == "UMAP"
    for places in (before, after):
        middles = np.array([places[labels == group].mean(axis=0) for group in range(3)])
        nearest = np.argmin(((places[:, None] - middles[None]) ** 2).sum(axis=2), axis=1)
        assert (nearest == labels).mean() > 0.95
    assert np.array_equal(embedding.lay_out(components, components)[2], after)


def test_without_umap_it_is_principal_components(monkeypatch):
    monkeypatch.setattr(embedding, "find_spec", lambda name: None)
    components, _ = groups()
    technique, before, after = embedding.lay_out(components[:, :1], components)
    assert technique == "PCA"
    assert np.array_equal(after, components[:, :2])
    assert np.array_equal(before[:, 1], np.zeros(90))


@pytest.mark.parametrize("installed", [True, False])
def test_clusters_are_the_groups(monkeypatch, installed):
    if not installed:
        monkeypatch.setattr(embedding, "find_spec", lambda name: None)
        monkeypatch.setattr(embedding, "MOST_CLUSTERS", 3)
    components, labels = groups()
    title, clusters = embedding.find_clusters(components)
    assert title == ("Leiden clusters" if installed else "k-means clusters")
    # Every cluster lies within one group.
    assert all(len(set(labels[clusters == cluster])) == 1 for cluster in np.unique(clusters))
    assert np.array_equal(embedding.find_clusters(components)[1], clusters)


def test_a_handful_of_cells_is_one_cluster():
    title, clusters = embedding.find_clusters(np.zeros((4, 2), dtype=np.float32))
    assert title == "k-means clusters" and clusters.tolist() == [0, 0, 0, 0]
