"""The neighbour searches: exact, with ties broken by the lower index, however candidates are proposed."""

import numpy as np
import oracle
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from sccr_node.numerics import Workspace
from sccr_node.numerics._kernels import forced_level, usable_levels
from sccr_node.numerics.neighbors import DenseRows, SparseRows, buffer_size, search


def dense_search(e, kept, threads=2, signed=False):
    n, dimensions = e.shape
    rows = DenseRows(np.empty(buffer_size(n, dimensions), np.float32), n, dimensions, signed=signed)
    rows.matrix[:] = e
    found = search(rows, kept, Workspace(threads))
    assert np.array_equal(rows.matrix, e)  # the rows are there again
    return found


def sparse_search(e, kept, threads=2):
    return search(SparseRows.of(sp.csr_matrix(e)), kept, Workspace(threads))


def expected_lists(e, kept, signed=False):
    kept = min(kept, len(e))
    similarity, _ = oracle.kept_neighbours(e.astype(np.float64), kept)
    ranked = np.argsort(-np.abs(similarity) if signed else -similarity, axis=1, kind="stable")[:, :kept]
    scores = np.take_along_axis(similarity, ranked, axis=1)
    there = scores != 0 if signed else scores > 0
    return np.where(there, ranked, -1), np.where(there, scores, 0)


def clear_of_the_grid(e):
    """Rows none of whose cosines lies between two steps of the grid, where two float64 sums may round two ways."""
    wide = e.astype(np.float64)
    norms = np.linalg.norm(wide, axis=1, keepdims=True)
    unit = np.divide(wide, norms, out=np.zeros_like(wide), where=norms > 0)
    return (np.abs(np.abs(unit @ unit.T) * 2.0**40 % 1 - 0.5) > 1e-3).all(axis=1)


# Small integers give exact ties in plenty: equal rows, parallel rows, zero rows, orthogonal rows.
tied_rows = st.tuples(st.integers(0, 10_000), st.integers(1, 120), st.integers(1, 8), st.integers(1, 30))


@given(tied_rows, st.sampled_from(list(usable_levels())))
def test_ties_go_to_the_lower_index(shape, level):
    seed, n, dimensions, kept = shape
    e = np.random.default_rng(seed).choice([0, 0, 1, 2, 3], (n, dimensions)).astype(np.float32)
    indices, scores = expected_lists(e, kept)
    clear = clear_of_the_grid(e)
    with forced_level(level):
        for found in (sparse_search(e, kept), dense_search(e, kept)):
            np.testing.assert_allclose(found.scores, scores, atol=1e-11)
            assert np.array_equal(found.indices[clear], indices[clear])


@given(tied_rows, st.sampled_from(list(usable_levels())))
def test_signed_ties_go_to_the_lower_index(shape, level):
    seed, n, dimensions, kept = shape
    e = np.random.default_rng(seed).choice([-2, -1, 0, 1, 2], (n, dimensions)).astype(np.float32)
    indices, scores = expected_lists(e, kept, signed=True)
    with forced_level(level):
        found = dense_search(e, kept, signed=True)
    np.testing.assert_allclose(found.scores, scores, atol=1e-11)
    clear = clear_of_the_grid(e)
    assert np.array_equal(found.indices[clear], indices[clear])


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
    assert np.array_equal(sparse_search(e, 16, threads).indices, indices)
