"""scFP against the published numbers and the dense transcription."""

import numpy as np
import oracle
import pytest
import scipy.sparse as sp
from hypothesis import assume, given
from hypothesis import strategies as st
from random_inputs import margin, random_expression, without_empty

from sccr_node.methods import scfp


def test_golden(golden):
    result = scfp(sp.csr_matrix(golden["input"]))
    np.testing.assert_allclose(result.denoised, golden["scfp"], atol=1e-5)
    assert result.recovered is None and result.relations is None


@given(seed=st.integers(0, 10_000), n_cells=st.integers(2, 45), n_genes=st.integers(1, 40), k=st.integers(1, 20))
def test_equals_the_transcription(seed, n_cells, n_genes, k):
    x = without_empty(random_expression(seed, n_cells, n_genes))
    p = oracle.hard(oracle.graph(x.astype(np.float64), k), x.astype(np.float64), x, x != 0, 10)
    assume(min(margin(x, k + 1), margin(p, k + 1)) > 5e-6)
    np.testing.assert_allclose(scfp(x, k_cell=k, n_iterations=10).denoised, oracle.scfp(x, k, 10), atol=1e-4)


@given(seed=st.integers(0, 10_000), k_denoising=st.integers(1, 20), n_denoising_iterations=st.integers(1, 12))
def test_denoising_has_numbers_of_its_own(seed, k_denoising, n_denoising_iterations):
    x = without_empty(random_expression(seed, 30, 20))
    p = oracle.hard(oracle.graph(x.astype(np.float64), 6), x.astype(np.float64), x, x != 0, 9)
    assume(min(margin(x, 7), margin(p, k_denoising + 1)) > 5e-6)
    own = {"k_denoising": k_denoising, "n_denoising_iterations": n_denoising_iterations}
    result = scfp(x, k_cell=6, n_iterations=9, **own)
    np.testing.assert_allclose(result.denoised, oracle.scfp(x, 6, 9, **own), atol=1e-4)
    same = scfp(x, k_cell=6, n_iterations=9, k_denoising=6, n_denoising_iterations=9)
    assert np.array_equal(same.denoised, scfp(x, k_cell=6, n_iterations=9).denoised)


def test_outputs_stay_within_what_was_observed():
    x = without_empty(random_expression(3, 50, 30))
    denoised = scfp(x).denoised
    assert denoised.min() >= 0 and (denoised.max(axis=0) <= x.max(axis=0) * (1 + 1e-5)).all()


def test_one_cell_passes_through():
    x = np.array([[0, 2, 0]], np.float32)
    result = scfp(x)
    assert np.array_equal(result.denoised, x) and result.relations is None


def test_refused():
    with pytest.raises(ValueError, match="beta is 2"):
        scfp(np.eye(3, dtype=np.float32), beta=2)
