"""Clusterings against scikit-learn, and groups that nobody could miss."""

import subprocess
import sys

import numpy as np
from sklearn import metrics
from sklearn.cluster import KMeans

from sccr_node.evaluation.clusters import k_means, leiden, neighbour_graph
from tests.support.groups import blobs


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


def test_k_means_leaves_the_threads_of_blas_as_they_were():
    # A process of its own: no limit of the test run's may hold the libraries, as one that is set outside would.
    script = """
import time

import numpy as np
import scipy.linalg
import sklearn.cluster
from threadpoolctl import threadpool_info, threadpool_limits

from sccr_node.evaluation.clusters import k_means

lengths = iter((0.1, 0.3))
inside = []


def threads():
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]


class OverlappingFits:  # as scikit-learn's fits if the first to begin is the first to end
    def __init__(self, n_clusters, n_init, random_state):
        self.inertia_ = 1.0

    def fit(self, cells):
        with threadpool_limits(1, user_api="blas"):
            time.sleep(next(lengths))
            inside.append(threads())
        self.labels_ = np.zeros(len(cells), dtype=int)
        return self


sklearn.cluster.KMeans = OverlappingFits
before = threads()
k_means(np.zeros((4, 2), dtype=np.float32), 2, seed=0, n_restarts=2, threads=2)
assert {1} == {number for numbers in inside for number in numbers}, inside
assert threads() == before, threads()
"""
    subprocess.run([sys.executable, "-c", script], check=True)
