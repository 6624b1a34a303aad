"""Layouts and clusters of the plotted cells."""

import os
import random
import subprocess
import sys
import warnings

import anndata as ad
import igraph
import numpy as np
import pytest
import scanpy as sc
from sklearn.manifold import trustworthiness
from sklearn.neighbors import NearestNeighbors
from umap import UMAP

from sccr_node.evaluation.neighborhoods import N_NEIGHBORS
from sccr_node.reports import layout as embedding
from sccr_node.runtime import signals
from tests.support import REPOSITORY

LUNGS = REPOSITORY / "docs" / "data" / "mouse_lung.h5ad"


def groups(n_cells: int = 90, n_groups: int = 3) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    labels = np.arange(n_cells) % n_groups
    return (8 * np.eye(n_groups, 12)[labels] + generator.standard_normal((n_cells, 12))).astype(np.float32), labels


def without(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    find_spec = embedding.find_spec
    monkeypatch.setattr(embedding, "find_spec", lambda name: None if name in packages else find_spec(name))


@pytest.fixture(scope="module")
def lungs() -> np.ndarray:
    """Return principal components of mouse lungs, by scanpy."""
    cells = ad.read_h5ad(LUNGS)
    sc.pp.normalize_total(cells)
    sc.pp.log1p(cells)
    sc.pp.pca(cells, n_comps=50)
    return np.asarray(cells.obsm["X_pca"], dtype=np.float32)


def test_umap_keeps_groups_apart():
    components, labels = groups()
    layout = embedding.lay_out(components, components)
    assert layout.technique == "UMAP"
    for places in (layout.before, layout.after):
        middles = np.array([places[labels == group].mean(axis=0) for group in range(3)])
        nearest = np.argmin(((places[:, None] - middles[None]) ** 2).sum(axis=2), axis=1)
        assert (nearest == labels).mean() > 0.95


def test_the_same_cells_give_the_same_map_whatever_others_drew():
    components, _ = groups()
    first = embedding.lay_out(components, components)
    random.seed(7)
    igraph.Graph.Erdos_Renyi(50, 0.2).layout_umap()
    again = embedding.lay_out(components, components)
    assert first.before.tobytes() == again.before.tobytes()
    assert first.after.tobytes() == again.after.tobytes()


def test_a_signal_is_heard_between_the_rounds(monkeypatch):
    components, _ = groups()
    told = iter([None, None, signals.Interrupted(15)])

    def check():
        problem = next(told)
        if problem is not None:
            raise problem

    monkeypatch.setattr(signals, "check", check)
    shown = []
    with pytest.raises(signals.Interrupted):
        embedding.lay_out(components, components, lambda stage, fraction: shown.append((stage, fraction)))
    assert shown == [("embed cells", 0.125), ("embed cells", 0.25)]


def test_igraph_draws_as_before_afterwards():
    components, _ = groups()
    drawn = []
    for lay_out in (False, True):
        random.seed(7)
        if lay_out:
            embedding.lay_out(components, components)
        drawn.append(igraph.Graph.Erdos_Renyi(50, 0.2).get_edgelist())
    assert drawn[0] == drawn[1]


def test_neighbours_are_kept_as_well_as_by_umap_learn(lungs):
    layout = embedding.lay_out(lungs, lungs)
    # Given the neighbours, umap-learn does not search for them, for which it would compile for long.
    distances, neighbours = NearestNeighbors(n_neighbors=N_NEIGHBORS, algorithm="brute").fit(lungs).kneighbors(lungs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = UMAP(N_NEIGHBORS, n_epochs=200, random_state=0, precomputed_knn=(neighbours, distances))
        theirs = model.fit_transform(lungs)
    reference = trustworthiness(lungs, theirs, n_neighbors=N_NEIGHBORS)
    for places in (layout.before, layout.after):
        assert trustworthiness(lungs, places, n_neighbors=N_NEIGHBORS) > reference - 0.01
        # Neither collapsed nor scattered: the maps are of about the same size.
        assert 0.4 < np.ptp(places, axis=0).max() / np.ptp(theirs, axis=0).max() < 2.5


def test_groups_stay_in_their_place_on_the_second_map():
    components, labels = groups(600, 8)
    layout = embedding.lay_out(components, components)
    before, after = (
        np.array([places[labels == group].mean(axis=0) for group in range(8)])
        for places in (layout.before, layout.after)
    )
    assert all(np.corrcoef(before[:, axis], after[:, axis])[0, 1] > 0.8 for axis in (0, 1))


def test_the_graph_connects_the_nearest_neighbours():
    components, _ = groups()
    graph = embedding.lay_out(components, components).graph
    directed = NearestNeighbors(n_neighbors=N_NEIGHBORS - 1).fit(components).kneighbors_graph()
    assert np.array_equal(graph.toarray(), directed.maximum(directed.T).toarray())


@pytest.mark.parametrize("n_components", [1, 5])
def test_cells_that_are_the_same_are_no_problem(n_components):
    same = np.zeros((60, n_components), dtype=np.float32)
    some = np.random.default_rng(0).standard_normal((60, n_components)).astype(np.float32)
    some[:30] = some[0]
    layout = embedding.lay_out(same, some)
    for places in (layout.before, layout.after):
        assert np.isfinite(places).all() and (np.ptp(places, axis=0) > 0.1).all()


def test_few_cells_are_shown_by_principal_components():
    components, _ = groups(embedding.FEWEST_CELLS_FOR_UMAP - 1)
    layout = embedding.lay_out(components[:, :1], components)
    assert layout.technique == "PCA" and layout.graph is None
    assert np.array_equal(layout.after, components[:, :2])
    assert np.array_equal(layout.before[:, 1], np.zeros(len(components)))


def test_as_few_cells_as_umap_takes():
    components, _ = groups(embedding.FEWEST_CELLS_FOR_UMAP)
    assert embedding.lay_out(components, components).technique == "UMAP"


def test_without_igraph_it_is_principal_components(monkeypatch):
    without(monkeypatch, "igraph")
    components, _ = groups()
    layout = embedding.lay_out(components[:, :1], components)
    assert layout.technique == "PCA" and layout.graph is None
    assert np.array_equal(layout.after, components[:, :2])
    assert np.array_equal(layout.before[:, 1], np.zeros(90))


@pytest.mark.parametrize("missing", [(), ("scanpy",), ("igraph", "scanpy")])
def test_clusters_are_the_groups(monkeypatch, missing):
    without(monkeypatch, *missing)
    monkeypatch.setattr(embedding, "MOST_CLUSTERS", 3)
    components, labels = groups()
    graph = embedding.lay_out(components, components).graph
    clusters = embedding.find_clusters(components, graph)
    assert clusters.title == ("k-means clusters" if missing else "Leiden clusters")
    assert clusters.packages == (("scipy",) if missing else ("scanpy", "igraph"))
    # Every cluster lies within one group.
    assert all(len(set(labels[clusters.codes == cluster])) == 1 for cluster in np.unique(clusters.codes))
    assert np.array_equal(embedding.find_clusters(components, graph).codes, clusters.codes)


def test_a_handful_of_cells_is_one_cluster():
    clusters = embedding.find_clusters(np.zeros((4, 2), dtype=np.float32), None)
    assert clusters.title == "k-means clusters" and clusters.codes.tolist() == [0, 0, 0, 0]


def test_nothing_is_compiled(tmp_path):
    # A process of its own: other tests import umap-learn.
    script = """
import sys
import numpy as np
from sccr_node.reports.layout import find_clusters, lay_out
cells = np.random.default_rng(0).standard_normal((60, 5)).astype(np.float32)
layout = lay_out(cells, cells)
assert layout.technique == "UMAP"
assert not {"numba", "umap", "pynndescent", "scanpy"} & set(sys.modules)
assert find_clusters(cells, layout.graph).title == "Leiden clusters"
assert not {"umap", "pynndescent"} & set(sys.modules)
"""
    environment = {"NUMBA_CACHE_DIR": str(tmp_path / "numba"), "MPLCONFIGDIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", script], check=True, env={**os.environ, **environment})
    assert not list(tmp_path.rglob("*.nbc"))
