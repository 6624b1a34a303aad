"""The neighbour searches: exact, with ties by the lower index, whatever proposes the candidates."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from sccr_node.imputation._kernels import Crew, forced_level, usable_levels
from sccr_node.imputation.graphs import buffer_size, cell_graph, joined, nearest_dense, nearest_sparse, relations

from . import oracle


def dense_search(e, kept, threads=2, signed=False):
    n, dimensions = e.shape
    buffer = np.empty(buffer_size(n, dimensions), np.float32)
    buffer[: e.size] = e.ravel()
    found = nearest_dense(buffer, n, dimensions, kept, Crew(threads), signed=signed)
    assert np.array_equal(buffer[: e.size], e.ravel())  # the rows are there again
    return found


def expected_lists(e, kept, signed=False):
    kept = min(kept, len(e))
    similarity, _ = oracle.kept_neighbours(e.astype(np.float64), kept)
    ranked = np.argsort(-np.abs(similarity) if signed else -similarity, axis=1, kind="stable")[:, :kept]
    scores = np.take_along_axis(similarity, ranked, axis=1)
    there = scores != 0 if signed else scores > 0
    return np.where(there, ranked, -1), np.where(there, scores, 0)


# Small integers give exact ties in plenty: equal rows, parallel rows, zero rows, orthogonal rows.
tied_rows = st.tuples(st.integers(0, 10_000), st.integers(1, 120), st.integers(1, 8), st.integers(1, 30))


@given(tied_rows, st.sampled_from(list(usable_levels())))
def test_ties_go_to_the_lower_index(shape, level):
    seed, n, dimensions, kept = shape
    e = np.random.default_rng(seed).choice([0, 0, 1, 2, 3], (n, dimensions)).astype(np.float32)
    indices, scores = expected_lists(e, kept)
    with forced_level(level):
        for found in (nearest_sparse(sp.csr_matrix(e), kept, Crew(2)), dense_search(e, kept)):
            np.testing.assert_allclose(found.scores, scores, atol=1e-11)
            assert np.array_equal(found.indices, indices)


@given(tied_rows, st.sampled_from(list(usable_levels())))
def test_signed_ties_go_to_the_lower_index(shape, level):
    seed, n, dimensions, kept = shape
    e = np.random.default_rng(seed).choice([-2, -1, 0, 1, 2], (n, dimensions)).astype(np.float32)
    indices, scores = expected_lists(e, kept, signed=True)
    with forced_level(level):
        found = dense_search(e, kept, signed=True)
    np.testing.assert_allclose(found.scores, scores, atol=1e-11)
    assert np.array_equal(found.indices, indices)


@pytest.mark.parametrize("level", usable_levels())
@pytest.mark.parametrize(("n", "dimensions"), [(1100, 37), (513, 300), (64, 129)])
def test_several_tiles_and_chunks(level, n, dimensions):
    e = np.random.default_rng(n).normal(size=(n, dimensions)).astype(np.float32)
    indices, scores = expected_lists(e, 11)
    with forced_level(level):
        found = dense_search(e, 11)
    np.testing.assert_allclose(found.scores, scores, atol=1e-11)
    assert np.array_equal(found.indices, indices)


@given(st.integers(0, 10_000))
def test_near_ties_below_float32_are_decided_by_float64(seed):
    """Rows that differ by one float32 step: no float32 sum orders them, and the proof must fall back to the scan."""
    rng = np.random.default_rng(seed)
    e = np.tile(rng.gamma(2.0, 1.0, 300).astype(np.float32), (80, 1))
    e[np.arange(80), rng.permutation(300)[:80]] *= np.float32(1) + rng.integers(1, 2000, 80) * np.float32(2.0**-23)
    indices, scores = expected_lists(e, 9)
    found = dense_search(e, 9)
    np.testing.assert_allclose(found.scores, scores, atol=2e-12)
    exact = e.astype(np.float64)
    exact /= np.linalg.norm(exact, axis=1, keepdims=True)
    # Compared by score: two roundings of float64 may lie on two sides of a step of the grid.
    for row in range(80):
        chosen = np.sort((exact @ exact[row])[found.indices[row]])[::-1]
        np.testing.assert_allclose(chosen, scores[row], atol=2e-12)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_many_identical_rows(threads):
    e = np.random.default_rng(0).gamma(1.0, 1.0, (900, 40)).astype(np.float32)
    e[100:700] = e[100]
    indices, _ = expected_lists(e, 16)
    assert np.array_equal(dense_search(e, 16, threads).indices, indices)
    assert np.array_equal(nearest_sparse(sp.csr_matrix(e), 16, Crew(threads)).indices, indices)


@given(st.integers(0, 10_000), st.integers(1, 50), st.integers(1, 20), st.booleans())
def test_cell_graph_is_the_papers(seed, n, k, symmetrize):
    e = np.random.default_rng(seed).gamma(1.0, 1.0, (n, 12)).astype(np.float32)
    expected = oracle.graph(e.astype(np.float64), k, symmetrize)
    for matrix in (e, sp.csr_matrix(e)):
        graph = cell_graph(matrix, k, symmetrize=symmetrize)
        np.testing.assert_allclose(graph.toarray(), expected, atol=1e-6)


def test_relations_of_one_way_neighbours_are_symmetric():
    e = np.random.default_rng(4).normal(size=(60, 5)).astype(np.float32)
    found = dense_search(e, 4, signed=True)
    union = relations(found, signed=True)
    pairs = {(min(i, j), max(i, j)) for i, row in enumerate(found.indices) for j in row if j >= 0 and i != j}
    assert {(i, j) for i, j in zip(*union.nonzero(), strict=True) if i < j} == pairs
    assert (union != union.T).nnz == 0 and union.nnz == 2 * len(pairs)


def test_self_weight_and_degrees():
    found = nearest_sparse(sp.csr_matrix(np.array([[1, 0], [1, 1], [0, 1]], np.float32)), 2, Crew(1))
    graph = joined(found, self_weight=2.0, degrees=True).toarray()
    np.testing.assert_allclose(graph, graph.T)
    half = np.sqrt(0.5)
    a = np.array([[2, half, 0], [half, 2, half / 2], [0, half / 2, 2]])
    degree = a.sum(axis=1)
    np.testing.assert_allclose(graph, a / np.sqrt(np.outer(degree, degree)), rtol=1e-6)
