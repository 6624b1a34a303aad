"""The clustered search: exact among the rows that it compares, with a recall that is what it says."""

import numpy as np
import pytest
import scipy.sparse as sp

from sccr_node.numerics import Workspace
from sccr_node.numerics._kernels import forced_level, usable_levels
from sccr_node.numerics.neighbors import DenseRows, SparseRows, buffer_size, clustered, probing, search
from sccr_node.numerics.neighbors.blocks import Blocks
from sccr_node.numerics.neighbors.proposals import nearest_compared
from tests.numerics.neighbors.test_exact import expected_lists

KEPT = 16


def typed(n_types=30, n=6000, dimensions=80, spread=0.6, seed=0):
    """Rows of several types: not negative, and sparse."""
    random = np.random.default_rng(seed)
    centres = random.gamma(0.3, 2.0, (n_types, dimensions))
    rows = centres[random.integers(n_types, size=n)] * random.lognormal(0, spread, (n, dimensions))
    rows[random.random(rows.shape) < 0.3] = 0
    return rows.astype(np.float32)


def dense_rows(e):
    rows = DenseRows(np.zeros(buffer_size(*e.shape), np.float32), *e.shape)
    rows.matrix[:] = e
    return rows


def both_kinds(e):
    return {"dense": dense_rows(e), "sparse": SparseRows.of(sp.csr_matrix(e))}


@pytest.fixture(scope="module")
def rows_and_lists():
    e = typed()
    return e, *expected_lists(e, KEPT)


@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_it_finds_as_many_neighbours_as_it_says(rows_and_lists, kind):
    e, indices, scores = rows_and_lists
    rows = both_kinds(e)[kind]
    found = search(rows, KEPT, Workspace(2), "clustered")
    if kind == "dense":
        assert np.array_equal(rows.matrix, e)  # in their places again
    hits = (found.indices[:, 1:, None] == indices[:, None, 1:]).any(axis=1)
    summary = found.summary
    assert summary.recall >= 0.99
    assert abs(hits.mean() - summary.recall) < 0.005
    assert summary.n_groups == 47
    assert 1 < summary.n_searched < 24
    # What is listed has its exact cosine, and is listed in order.
    unit = e.astype(np.float64) / np.linalg.norm(e.astype(np.float64), axis=1, keepdims=True)
    cosines = np.einsum("ikd,id->ik", unit[found.indices], unit)
    np.testing.assert_allclose(found.scores, cosines, atol=1e-11)
    assert (np.diff(found.scores, axis=1) <= 0).all()
    assert (found.scores <= scores + 1e-11).all()


@pytest.mark.parametrize("level", usable_levels())
@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_it_is_exact_among_the_rows_that_are_compared(kind, level):
    e = typed(n=700)
    random = np.random.default_rng(3)
    near = random.random((22, 22)) < 0.2
    near |= near.T | np.eye(22, dtype=bool)
    # Ties: the lower name comes first, wherever the row is.
    e[100:160] = e[100]
    names = random.permutation(700).astype(np.int32)
    with forced_level(level):
        # 64: what the sparse kernel takes at a time.
        blocks = Blocks(700, 64, sp.csr_matrix(near[:11, :11]))
        found = nearest_compared(both_kinds(e)[kind], KEPT, blocks, Workspace(2), names)
    of_row = np.arange(700) // 64
    unit = e.astype(np.float64) / np.linalg.norm(e.astype(np.float64), axis=1, keepdims=True)
    cosines = np.round((unit @ unit.T) * 2.0**38) / 2.0**38
    cosines[~near[np.ix_(of_row, of_row)]] = 0
    for row in range(700):
        ranked = np.lexsort((names, -cosines[row]))[:KEPT]
        there = cosines[row][ranked] > 0
        np.testing.assert_allclose(found.scores[row], np.where(there, cosines[row][ranked], 0), atol=1e-11)
        assert np.array_equal(found.indices[row], np.where(there, names[ranked], -1)), row


@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_it_is_the_same_for_any_number_of_threads(kind):
    e = typed(n=5000)
    found = [search(both_kinds(e)[kind], KEPT, Workspace(threads), "clustered") for threads in (1, 2, 3)]
    assert found[0].summary is not None
    for other in found[1:]:
        assert np.array_equal(found[0].indices, other.indices)
        assert np.array_equal(found[0].scores, other.scores)
        assert found[0].summary == other.summary


@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_rows_without_groups_are_compared_with_all_others(kind):
    e = np.abs(np.random.default_rng(0).normal(size=(1500, 200))).astype(np.float32)
    found = search(both_kinds(e)[kind], KEPT, Workspace(2), "clustered")
    assert found.summary is None  # nothing was left out
    indices, scores = expected_lists(e, KEPT)
    assert np.array_equal(found.indices, indices)
    np.testing.assert_allclose(found.scores, scores, atol=1e-11)


def test_lists_that_are_said_to_be_proved_are_complete(monkeypatch):
    """Of tight groups far from each other much can be proved; of loose ones, as in real cells, hardly anything."""
    random = np.random.default_rng(0)
    tight = np.repeat(random.gamma(0.3, 2.0, (20, 80)), 128, axis=0) * random.lognormal(0, 0.01, (2560, 80))
    e = random.permutation(np.concatenate([tight.astype(np.float32), typed(n=1500)]))
    indices, _ = expected_lists(e, KEPT)
    seen = []

    def noting(sketch, scores, blocks, work, proved=clustered.proved):
        seen.append(proved(sketch, scores, blocks, work))
        return seen[-1]

    orders = []

    def ordering(*arguments, grouped=clustered.grouped):
        orders.append(grouped(*arguments))
        return orders[-1]

    monkeypatch.setattr(clustered, "proved", noting)
    monkeypatch.setattr(clustered, "grouped", ordering)
    found = search(dense_rows(e), KEPT, Workspace(2), "clustered")
    certain = orders[0][seen[0]]
    assert found.summary.proved == len(certain) / len(e)
    assert 100 < len(certain) < 3000
    assert np.array_equal(found.indices[certain], indices[certain])


@pytest.mark.parametrize("kind", ["dense", "sparse"])
@pytest.mark.parametrize("shape", [(1, 3), (2, 1), (130, 5), (129, 2)])
def test_few_rows(kind, shape):
    e = np.random.default_rng(0).gamma(1.0, 1.0, shape).astype(np.float32)
    found = search(both_kinds(e)[kind], KEPT, Workspace(2), "clustered")
    indices, _ = expected_lists(e, KEPT)
    assert np.array_equal(found.indices, indices)


@pytest.mark.parametrize("kind", ["dense", "sparse"])
@pytest.mark.parametrize("kept", [1, 2, 400])
def test_few_and_many_neighbours(kind, kept):
    e = typed(n=2000)
    found = search(both_kinds(e)[kind], kept, Workspace(2), "clustered")
    indices, scores = expected_lists(e, kept)
    assert found.scores.sum() >= 0.98 * scores.sum()
    assert np.array_equal(found.indices[:, 0], indices[:, 0])


@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_rows_that_have_no_neighbours(kind):
    """Nothing can be sampled of rows at right angles to each other."""
    found = search(both_kinds(np.eye(1500, dtype=np.float32))[kind], KEPT, Workspace(2), "clustered")
    assert np.array_equal(found.indices[:, 0], np.arange(1500))
    assert (found.indices[:, 1:] == -1).all()


@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_equal_rows_and_rows_without_values(kind):
    e = typed(n=3000)
    e[:1000] = e[0]
    e[1000:1200] = 0
    found = search(both_kinds(e)[kind], KEPT, Workspace(2), "clustered")
    assert (found.indices[1000:1200] == -1).all()
    assert (found.scores[:1000] == 1).all()
    assert not np.isin(found.indices, np.arange(1000, 1200)).any()


def test_more_groups_are_looked_at_if_a_few_do_not_suffice(monkeypatch):
    found = {}
    for votes in (64, 1):
        monkeypatch.setattr(probing, "VOTES", votes)
        found[votes] = search(both_kinds(typed())["dense"], KEPT, Workspace(2), "clustered").summary
    assert found[1].recall >= probing.RECALL
    assert found[1].n_searched < 2 * found[64].n_searched
