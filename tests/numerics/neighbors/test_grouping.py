"""Groups of similar rows."""

import numpy as np
import pytest
import scipy.sparse as sp

from sccr_node.numerics import Workspace
from sccr_node.numerics._kernels import forced_level, usable_levels
from sccr_node.numerics.neighbors import DenseRows, SparseRows, buffer_size
from sccr_node.numerics.neighbors.grouping import UnitRows, grouped, sketch_axes


def random(n, dimensions, seed=0):
    return np.random.default_rng(seed).normal(size=(n, dimensions)).astype(np.float32)


@pytest.mark.parametrize("n", [1, 31, 32, 33, 1000, 1024])
def test_every_row_is_in_one_group_and_only_the_last_is_smaller(n):
    order = grouped(random(n, 5), 32, Workspace(2))
    assert sorted(order.tolist()) == list(range(n))


def test_rows_of_distinct_clusters_are_not_mixed():
    centres = 50 * random(8, 6)
    cluster = np.random.default_rng(1).permutation(np.repeat(np.arange(8), 96))
    order = grouped(centres[cluster] + random(len(cluster), 6, 2), 32, Workspace(2))
    assert (np.ptp(cluster[order].reshape(-1, 32), axis=1) == 0).all()


@pytest.mark.parametrize("points", [np.zeros((5000, 3), np.float32), np.vstack([random(4999, 3), [[1e6, 0, 0]]])])
def test_rows_that_cannot_be_divided_well_are_divided_all_the_same(points):
    """Equal rows, or one far from all others: the number of splits in a row must not grow with the rows."""
    order = grouped(points.astype(np.float32), 32, Workspace(2))
    assert sorted(order.tolist()) == list(range(5000))


def test_groups_do_not_depend_on_threads():
    points = random(3000, 20)
    orders = [grouped(points, 64, Workspace(threads)) for threads in (1, 2, 3)]
    assert np.array_equal(orders[0], orders[1])
    assert np.array_equal(orders[0], orders[2])


def test_the_axes_are_orthonormal_and_keep_what_is_of_low_rank():
    rows = random(3000, 7) @ random(7, 100, 1)
    buffer = np.zeros(buffer_size(*rows.shape), np.float32)
    dense = DenseRows(buffer, *rows.shape)
    dense.matrix[:] = rows
    unit = UnitRows(dense)
    axes = sketch_axes(unit)
    assert axes.shape == (100, 7)
    np.testing.assert_allclose(axes.T @ axes, np.eye(7), atol=1e-5)
    expected = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    np.testing.assert_allclose(unit.dense(np.arange(3000)), expected, atol=1e-6)
    np.testing.assert_allclose(unit.times(100, 200, axes) @ axes.T, expected[100:200], atol=1e-5)


def test_sparse_rows_are_the_same_as_dense_ones():
    matrix = sp.random(500, 60, 0.2, "csr", np.float32, np.random.default_rng(0))
    matrix[7] = 0  # a row without values has no direction
    matrix.eliminate_zeros()
    buffer = np.zeros(buffer_size(500, 60), np.float32)
    dense = DenseRows(buffer, 500, 60)
    dense.matrix[:] = matrix.toarray()
    one, other = UnitRows(SparseRows.of(matrix)), UnitRows(dense)
    np.testing.assert_allclose(one.dense(np.arange(500)), other.dense(np.arange(500)), atol=1e-6)
    assert (one.dense(np.array([7])) == 0).all()


@pytest.mark.parametrize("level", usable_levels())
@pytest.mark.parametrize("n_columns", [1, 4, 16, 47, 64, 129, 240])
def test_sparse_rows_times_a_matrix(level, n_columns):
    matrix = sp.random(500, 60, 0.2, "csr", np.float32, np.random.default_rng(0))
    factor = random(60, n_columns)
    with forced_level(level):
        for first, last in ((0, 500), (3, 99), (499, 500), (7, 7)):
            product = SparseRows.of(matrix).times(first, last, factor)
            np.testing.assert_allclose(product, matrix[first:last] @ factor.astype(np.float64), atol=1e-5)
