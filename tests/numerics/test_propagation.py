"""Propagation on blocks against dense products, for every instruction level and block width."""

import numpy as np
import oracle
import pytest
import scipy.sparse as sp
from random_inputs import random_expression, without_empty

from sccr_node.numerics import Workspace, cell_graph, hard_propagation, propagation, soft_propagation
from sccr_node.numerics._kernels import forced_level, usable_levels
from sccr_node.numerics.graphs import CellGraph
from sccr_node.numerics.propagation import CellStatistics, propagate_over_cells

X = without_empty(random_expression(7, 130, 150))


@pytest.mark.parametrize("level", usable_levels())
@pytest.mark.parametrize("width", [16, 32, 64])
@pytest.mark.parametrize("iterations", [0, 1, 6])
def test_hard_and_soft(monkeypatch, level, width, iterations):
    monkeypatch.setattr(propagation, "block_width", lambda *_: width)
    graph = cell_graph(X, 5)
    dense, wide = graph.toarray().astype(np.float64), X.astype(np.float64)
    with forced_level(level):
        hard = hard_propagation(graph, sp.csr_matrix(X), iterations)
        soft = soft_propagation(graph, sp.csr_matrix(X), 0.7, iterations)
        from_dense = soft_propagation(graph, X, 0.7, iterations)
    np.testing.assert_allclose(hard, oracle.hard(dense, wide, wide, X != 0, iterations), atol=1e-5)
    np.testing.assert_allclose(soft, oracle.soft(dense, wide, 0.7, iterations), atol=1e-5)
    assert np.array_equal(soft, from_dense)


def test_blocks_of_any_width_give_the_same_bits(monkeypatch):
    graph, results = cell_graph(X, 5), []
    for width in (16, 32, 64):
        monkeypatch.setattr(propagation, "block_width", lambda *_, width=width: width)
        results.append(hard_propagation(graph, sp.csr_matrix(X)))
    assert np.array_equal(results[0], results[1]) and np.array_equal(results[0], results[2])


def test_wide_vectors_give_the_bits_of_narrow_ones():
    if "avx512" not in usable_levels():
        pytest.skip("this CPU has no AVX-512")
    graph, results = cell_graph(X, 5), []
    for level in ("avx2", "avx512"):
        with forced_level(level):
            results.append(soft_propagation(graph, X))
    assert np.array_equal(*results)


def test_mixing_and_statistics_on_the_way():
    graph, x = cell_graph(X, 5), sp.csr_matrix(X)
    plain = hard_propagation(graph, x, 3)
    mixed = np.random.default_rng(0).random(X.shape, np.float32)
    out, statistics = mixed.copy(), CellStatistics.empty(X.shape[1])
    propagate_over_cells(
        CellGraph(graph), x, out, Workspace(2), iterations=3, share=0.8, mixed=out, statistics=statistics
    )
    np.testing.assert_allclose(out, 0.8 * plain + 0.2 * mixed, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(statistics.means, plain.mean(axis=0, dtype=np.float64), rtol=1e-12)
    np.testing.assert_allclose(statistics.deviations, plain.std(axis=0, ddof=1, dtype=np.float64), rtol=1e-9)


@pytest.mark.parametrize("order", [np.arange(len(X))[::-1].copy(), np.random.default_rng(0).permutation(len(X))])
def test_the_order_of_cells_does_not_matter(order):
    graph, x = cell_graph(X, 5), sp.csr_matrix(X)
    out = np.empty_like(X)
    propagate_over_cells(CellGraph(graph, order), x, out, Workspace(1), iterations=9)
    np.testing.assert_allclose(out, hard_propagation(graph, x, 9), atol=1e-6)


def test_blocks_of_many_threads_take_no_more_than_the_matrix():
    assert propagation.block_width(2000, 2) == 64 and propagation.block_width(50, 2) == 64
    for threads in (4, 8, 16):
        assert threads * 3 * propagation.block_width(2000, threads) <= 2000
    assert propagation.block_width(50, 64) == 16
