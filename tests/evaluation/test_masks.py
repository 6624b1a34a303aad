"""Masks: the requested rate, the preference for low values, nothing else changed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from sccr_node.evaluation.masks import draw, drop_entries, drop_probabilities, mask_expression


def expression(n_cells=200, n_genes=150, density=0.2, seed=0):
    random = np.random.default_rng(seed)
    dense = random.gamma(2.0, 0.7, (n_cells, n_genes)) * (random.random((n_cells, n_genes)) < density)
    return sparse.csr_matrix(dense.astype(np.float32))


@pytest.mark.parametrize("mechanism", ["mcar", "mnar"])
@pytest.mark.parametrize("rate", [0.01, 0.2, 0.4, 0.8, 0.99])
@pytest.mark.parametrize("n_cells", [3, 300])
def test_the_rate_is_hit_to_one_entry(mechanism, rate, n_cells):
    data = expression(n_cells=n_cells)
    masked = mask_expression(data, rate, mechanism, seed=1)
    assert abs(masked.truth.nnz - rate * data.nnz) <= 1
    if n_cells == 300:
        assert masked.truth.nnz / data.nnz == pytest.approx(rate, rel=0.01)


@pytest.mark.parametrize("mechanism", ["mcar", "mnar"])
def test_masked_and_truth_are_the_data_and_share_no_entry(mechanism):
    data = expression()
    before = data.copy()
    masked = mask_expression(data, 0.3, mechanism, seed=0)
    assert (masked.expression + masked.truth != data).nnz == 0
    assert masked.expression.multiply(masked.truth).nnz == 0
    assert masked.expression.has_canonical_format and masked.truth.dtype == np.float32
    assert (data != before).nnz == 0


def test_one_seed_one_mask_and_another_seed_another():
    data = expression()
    first, again, other = (mask_expression(data, 0.3, "mcar", seed=seed).truth for seed in (0, 0, 1))
    assert (first != again).nnz == 0
    assert (first != other).nnz > 0


def test_stored_zeros_and_duplicates_are_no_observed_entries():
    data = sparse.csr_matrix(
        (np.array([1.0, 0.0, 2.0, 1.0]), np.array([0, 1, 2, 2]), np.array([0, 2, 4])), shape=(2, 3)
    )
    masked = mask_expression(data, 0.5, "mcar", seed=0)
    assert masked.truth.nnz == masked.expression.nnz == 1


def test_mcar_does_not_look_at_the_values():
    data = expression(n_cells=2000)
    masked = mask_expression(data, 0.4, "mcar", seed=0)
    # Over 60,000 values: the standard error of the difference is about 0.01.
    assert masked.truth.data.mean() == pytest.approx(masked.expression.data.mean(), abs=0.04)


def test_mnar_drops_as_often_as_its_formula_says():
    data = expression(n_cells=2000)
    masked = mask_expression(data, 0.4, "mnar", seed=0)
    edges = np.quantile(data.data, np.linspace(0, 1, 11))
    dropped = np.histogram(masked.truth.data, edges)[0] / np.histogram(data.data, edges)[0]
    by_formula = np.exp(-masked.strength * np.square(data.data.astype(float)))
    expected = np.histogram(data.data, edges, weights=by_formula)[0] / np.histogram(data.data, edges)[0]
    np.testing.assert_allclose(dropped, expected, atol=0.02)
    assert (np.diff(dropped) < 0).all() and dropped[0] > 0.85 and dropped[-1] < 0.01


@given(
    values=st.lists(st.floats(1e-3, 15), min_size=1, max_size=200),
    rate=st.floats(0.001, 0.999),
)
@settings(deadline=None, max_examples=60)
def test_mnar_has_a_lambda_for_every_rate(values, rate):
    values = np.array(values, dtype=np.float32)
    probabilities, strength = drop_probabilities(values, rate, "mnar")
    assert probabilities.mean() == pytest.approx(rate, rel=1e-6)
    np.testing.assert_allclose(probabilities, np.exp(-strength * values.astype(float) ** 2), rtol=1e-6, atol=1e-12)


@given(probabilities=st.lists(st.floats(0, 1), min_size=1, max_size=100), seed=st.integers(0, 100))
def test_draws_number_what_is_expected(probabilities, seed):
    drawn = draw(np.array(probabilities), seed)
    assert abs(drawn.sum() - sum(probabilities)) < 1 + 1e-9
    assert not drawn[np.array(probabilities) == 0].any()


def test_each_entry_is_drawn_with_its_own_probability():
    probabilities = np.array([0.1, 0.9, 0.5, 0.3, 0.7])
    often = np.mean([draw(probabilities, seed) for seed in range(4000)], axis=0)
    np.testing.assert_allclose(often, probabilities, atol=0.03)


@pytest.mark.parametrize(("rate", "what"), [(1e-6, "none"), (1 - 1e-6, "all")])
def test_a_rate_that_means_none_or_all_is_refused(rate, what):
    data = sparse.csr_matrix(np.ones((2, 5)))
    with pytest.raises(ValueError, match=f"would drop {what} of the 10 observed entries"):
        mask_expression(data, rate, "mcar", seed=0)


def test_entries_are_dropped_from_counts_where_the_pattern_stores_them():
    counts = sparse.csr_matrix(np.array([[1, 0, 3], [4, 5, 0]]))
    pattern = sparse.csr_matrix(np.array([[0.5, 0, 0], [0, 2.0, 1.0]]))
    np.testing.assert_array_equal(drop_entries(counts, pattern).toarray(), [[0, 0, 3], [4, 0, 0]])
