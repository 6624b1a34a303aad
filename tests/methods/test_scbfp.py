"""scBFP against an independent transcription's numbers and the dense one here."""

import numpy as np
import oracle
import pytest
import scipy.sparse as sp
from hypothesis import assume, given
from hypothesis import strategies as st
from random_inputs import margin, random_expression, without_empty

from sccr_node.methods import scbfp


def test_golden(golden):
    np.testing.assert_allclose(scbfp(sp.csr_matrix(golden["input"])).denoised, golden["scbfp"], atol=1e-5)


@given(
    seed=st.integers(0, 10_000), n_cells=st.integers(2, 45), n_genes=st.integers(1, 40), k=st.integers(1, 20),
    k_gene=st.integers(1, 20),
)  # fmt: skip
def test_equals_the_transcription(seed, n_cells, n_genes, k, k_gene):
    x = without_empty(random_expression(seed, n_cells, n_genes))
    wide = x.astype(np.float64)
    p = oracle.hard(oracle.scbfp_graph(wide.T, k_gene, True), wide.T, wide.T, wide.T != 0, 10).T
    assume(min(margin(x.T, k_gene), margin(p, k)) > 5e-6)
    expected = oracle.scbfp(x, k, k_gene, 10)
    np.testing.assert_allclose(scbfp(x, k_cell=k, k_gene=k_gene, n_iterations=10).denoised, expected, atol=1e-4)


def test_relations_are_cosines(golden):
    x = golden["input"]
    relations = scbfp(x).relations
    unit = x.astype(np.float64)
    unit /= np.linalg.norm(unit, axis=0)
    rows, columns = relations.nonzero()
    np.testing.assert_allclose(relations.data, (unit.T @ unit)[rows, columns], atol=1e-6)
    assert (relations != relations.T).nnz == 0 and not relations.diagonal().any()


def test_empty_cells_and_genes_change_nothing():
    x = without_empty(random_expression(5, 40, 30))
    padded = np.zeros((43, 33), np.float32)
    padded[2:42, 1:31] = x
    result = scbfp(padded)
    assert np.array_equal(result.denoised[2:42, 1:31], scbfp(x).denoised)
    assert np.count_nonzero(result.denoised) == np.count_nonzero(result.denoised[2:42, 1:31])
    assert result.relations.shape == (33, 33)


def test_one_cell_passes_through():
    x = np.array([[0, 2, 0], [0, 0, 0]], np.float32)
    result = scbfp(x)
    assert np.array_equal(result.denoised, x) and result.relations.nnz == 0


def test_refused():
    with pytest.raises(ValueError, match="k_gene is 0"):
        scbfp(np.eye(3, dtype=np.float32), k_gene=0)
