"""UMAP in numpy against umap-learn: the same graph, and neighbours that are kept as well."""

import subprocess
import sys
import warnings

import numpy as np
import pytest
from scipy import sparse
from sklearn.manifold import trustworthiness
from sklearn.neighbors import NearestNeighbors
from umap import UMAP
from umap.umap_ import find_ab_params, fuzzy_simplicial_set

from sccr_node.report.umap import CURVE, fuzzy_graph, umap

N_NEIGHBORS = 15


def cells(n_cells: int = 600, n_groups: int = 6, duplicates: int = 0) -> np.ndarray:
    """Return groups of different sizes and spreads, some of them near each other."""
    generator = np.random.default_rng(1)
    labels = np.minimum(generator.geometric(0.35, n_cells) - 1, n_groups - 1)
    centres = generator.standard_normal((n_groups, 20)) * 2
    spread = np.linspace(0.4, 1.5, n_groups)[labels]
    points = centres[labels] + spread[:, None] * generator.standard_normal((n_cells, 20))
    points[:duplicates] = points[0]
    return points.astype(np.float32)


def neighbours_of(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return neighbours and distances as umap-learn takes them: its own search would compile for long."""
    search = NearestNeighbors(n_neighbors=N_NEIGHBORS, algorithm="brute").fit(points.astype(np.float64))
    distances, neighbours = search.kneighbors(points.astype(np.float64))
    distances[:, 0] = 0  # a cell and itself, but for rounding
    return neighbours, distances.astype(np.float32)


def reference_graph(points: np.ndarray) -> sparse.csr_matrix:
    neighbours, distances = neighbours_of(points)
    found = fuzzy_simplicial_set(points, N_NEIGHBORS, 0, "euclidean", knn_indices=neighbours, knn_dists=distances)
    return found[0].tocsr()


def test_the_graph_is_umap_learns():
    points = cells()
    graph, reference = fuzzy_graph(points, N_NEIGHBORS), reference_graph(points)
    assert abs(graph - reference).max() < 1e-3
    assert abs(graph - graph.T).max() < 1e-12


def test_cells_that_are_the_same_are_no_problem():
    graph = fuzzy_graph(cells(200, duplicates=40), N_NEIGHBORS)
    assert np.isfinite(graph.data).all() and graph.data.max() <= 1
    assert np.isfinite(umap(graph, np.zeros((200, 2), dtype=np.float32), seed=0)).all()
    same = fuzzy_graph(np.zeros((60, 5), dtype=np.float32), N_NEIGHBORS)
    assert np.isfinite(umap(same, np.zeros((60, 2), dtype=np.float32), seed=0)).all()


def test_the_curve_is_umaps_at_the_distance_at_which_its_exponent_is_one():
    a, b = find_ab_params(1.0, 0.2)
    assert (CURVE, 1.0) == pytest.approx((a, b), abs=0.005)


def test_neighbours_are_kept_as_well_as_by_umap_learn():
    points = cells()
    ours = umap(fuzzy_graph(points, N_NEIGHBORS), points[:, :2], seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = UMAP(N_NEIGHBORS, min_dist=0.2, n_epochs=200, random_state=0, precomputed_knn=neighbours_of(points))
        theirs = model.fit_transform(points)
    kept, reference = (trustworthiness(points, places, n_neighbors=N_NEIGHBORS) for places in (ours, theirs))
    assert kept > reference - 0.01
    # Neither collapsed nor scattered: the maps are of about the same size.
    assert 0.4 < np.ptp(ours, axis=0).max() / np.ptp(theirs, axis=0).max() < 2.5


def test_the_same_seed_gives_the_same_map():
    points = cells(150)
    graph = fuzzy_graph(points, N_NEIGHBORS)
    first, again, other = (umap(graph, points[:, :2], seed=seed) for seed in (0, 0, 1))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_nothing_is_compiled():
    # A process of its own: others of this test run import numba.
    script = """
import sys
import numpy as np
from sccr_node.report.layout import lay_out
cells = np.random.default_rng(0).standard_normal((60, 5)).astype(np.float32)
assert lay_out(cells, cells).technique == "UMAP"
assert not {"numba", "umap", "pynndescent", "scanpy"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", script], check=True)
