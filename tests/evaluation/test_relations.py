"""Gene relations against numpy's correlations and a case computed by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from sccr_node.evaluation import relations
from sccr_node.evaluation.relations import shares_in_data, shares_in_graph, strongest_pairs


@given(st.integers(0, 1000), st.integers(1, 5))
@settings(deadline=None, max_examples=30)
def test_shares_in_data_against_numpy(seed, genes_at_a_time):
    random = np.random.default_rng(seed)
    dense = (random.random((20, 9)) * (random.random((20, 9)) < 0.5)).astype(np.float32)
    dense[:, 4] = 1.5  # a gene that does not vary has no correlation
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(relations, "TILE_BYTES", 16 * 20 * genes_at_a_time)
        found = shares_in_data(sparse.csr_matrix(dense))
    varying = dense[:, dense.min(axis=0) < dense.max(axis=0)].astype(float)
    r = np.corrcoef(varying.T)[np.triu_indices(varying.shape[1], k=1)]
    assert found.n_pairs == r.size
    assert found.n_associating == (r > 1e-10).sum()
    assert found.n_dissociating == (r < -1e-10).sum()
    assert found.associating == pytest.approx((r > 1e-10).mean())


def graph():
    edges = np.zeros((5, 5))
    for first, second, r in [(0, 1, 0.9), (0, 2, -0.4), (1, 3, -0.8), (2, 3, 0.2), (3, 4, -0.8)]:
        edges[first, second] = edges[second, first] = r
    return sparse.csr_matrix(edges)


def test_shares_and_strongest_pairs_by_hand():
    found = shares_in_graph(graph())
    assert (found.n_pairs, found.n_associating, found.n_dissociating) == (5, 2, 3)
    assert (found.associating, found.dissociating) == (0.4, 0.6)
    associating, dissociating = strongest_pairs(graph(), 2)
    assert associating == [(0, 1, 0.9), (2, 3, 0.2)]
    assert dissociating == [(1, 3, -0.8), (3, 4, -0.8)]  # a tie goes to the lower columns


def test_a_graph_without_edges():
    found = shares_in_graph(sparse.csr_matrix((3, 3)))
    assert found.n_pairs == 0 and np.isnan(found.associating) and np.isnan(found.dissociating)
    assert strongest_pairs(sparse.csr_matrix((3, 3)), 5) == ([], [])
