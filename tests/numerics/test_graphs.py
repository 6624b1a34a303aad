"""The graphs: what is joined, with which weights, and how they are normalised."""

import numpy as np
import oracle
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from sccr_node.numerics import Workspace, cell_graph
from sccr_node.numerics.graphs import joined, relations
from sccr_node.numerics.neighbors import DenseRows, SparseRows, buffer_size, search


@given(st.integers(0, 10_000), st.integers(1, 50), st.integers(1, 20), st.booleans())
def test_cell_graph_is_the_papers(seed, n, k, symmetrize):
    e = np.random.default_rng(seed).gamma(1.0, 1.0, (n, 12)).astype(np.float32)
    expected = oracle.graph(e.astype(np.float64), k, symmetrize)
    for matrix in (e, sp.csr_matrix(e)):
        graph = cell_graph(matrix, k, symmetrize=symmetrize)
        np.testing.assert_allclose(graph.toarray(), expected, atol=1e-6)


def test_relations_of_one_way_neighbours_are_symmetric():
    rows = DenseRows(np.empty(buffer_size(60, 5), np.float32), 60, 5, signed=True)
    rows.matrix[:] = np.random.default_rng(4).normal(size=(60, 5))
    found = search(rows, 4, Workspace(2))
    union = relations(found, signed=True)
    pairs = {(min(i, j), max(i, j)) for i, row in enumerate(found.indices) for j in row if j >= 0 and i != j}
    assert {(i, j) for i, j in zip(*union.nonzero(), strict=True) if i < j} == pairs
    assert (union != union.T).nnz == 0 and union.nnz == 2 * len(pairs)


def test_self_weight_and_degrees():
    rows = SparseRows.of(sp.csr_matrix(np.array([[1, 0], [1, 1], [0, 1]], np.float32)))
    found = search(rows, 2, Workspace(1))
    graph = joined(found, self_weight=2.0, degrees=True).toarray()
    np.testing.assert_allclose(graph, graph.T)
    half = np.sqrt(0.5)
    a = np.array([[2, half, 0], [half, 2, half / 2], [0, half / 2, 2]])
    degree = a.sum(axis=1)
    np.testing.assert_allclose(graph, a / np.sqrt(np.outer(degree, degree)), rtol=1e-6)
