"""Recovery against scikit-learn and a case worked out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics
from sklearn.metrics.pairwise import cosine_similarity

from sccr_node.evaluation.analyses.recovery import recovery_scores


def test_by_hand():
    found = recovery_scores(np.array([1.0, 2.0, 2.0]), np.array([1.0, 0.0, 3.0]))
    assert found.n_entries == 3
    assert found.rmse == pytest.approx(np.sqrt(5 / 3))
    assert found.mae == pytest.approx(1.0)
    assert found.median_ae == pytest.approx(1.0)
    assert found.cosine == pytest.approx(7 / (3 * np.sqrt(10)))


# scikit-learn takes vectors shorter than its rounding for zero, where the cosine still is what it is: so rounded ones.
IMPUTED = st.floats(-1, 12).map(lambda value: round(value, 4))


@given(st.lists(st.tuples(st.floats(0.01, 12), IMPUTED), min_size=1, max_size=50))
def test_against_scikit_learn(pairs):
    truth, imputed = (np.array(values, dtype=np.float32) for values in zip(*pairs, strict=True))
    found = recovery_scores(truth, imputed)
    truth, imputed = truth.astype(float), imputed.astype(float)
    assert found.rmse == pytest.approx(metrics.root_mean_squared_error(truth, imputed))
    assert found.mae == pytest.approx(metrics.mean_absolute_error(truth, imputed))
    assert found.median_ae == pytest.approx(metrics.median_absolute_error(truth, imputed))
    assert found.cosine == pytest.approx(cosine_similarity([truth], [imputed])[0, 0], abs=1e-9)


def test_what_the_papers_print_as_rmse_is_the_mean_absolute_error():
    random = np.random.default_rng(0)
    truth, imputed = random.random(100), random.random(100)
    assert np.mean(np.sqrt((truth - imputed) ** 2)) == pytest.approx(recovery_scores(truth, imputed).mae)


def test_nothing_imputed_has_cosine_zero():
    assert recovery_scores(np.ones(4), np.zeros(4)).cosine == 0.0


@pytest.mark.parametrize(
    ("truth", "imputed", "what"),
    [([1.0], [1.0, 2.0], "differ in shape"), ([], [], "no entry"), ([1.0], [np.nan], "not finite")],
)
def test_what_cannot_be_compared_is_refused(truth, imputed, what):
    with pytest.raises(ValueError, match=what):
        recovery_scores(np.array(truth), np.array(imputed))
