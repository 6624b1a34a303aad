"""Rankings of genes against scipy and a simulated truth."""

import numpy as np
import pytest
from scipy import sparse, stats

from sccr_node.evaluation.analyses.differential import overlap, pseudobulk_changes, rank_agreement, score
from tests.support.cases import case


def test_agreement_is_spearmans_averaged_over_the_types():
    random = np.random.default_rng(0)
    found, expected = random.integers(0, 9, (2, 3, 50)).astype(float)
    each = [stats.spearmanr(*pair).statistic for pair in zip(found, expected, strict=True)]
    assert rank_agreement(found, expected) == pytest.approx(np.mean(each))
    assert (
        rank_agreement(expected, expected) == pytest.approx(1)
        and rank_agreement(np.ones((1, 5)), np.arange(5.0)[None]) == 0
    )


def test_overlap_by_hand():
    first, second = np.array([[5.0, 4, 3, 2, 1]]), np.array([[5.0, 1, 2, 3, 4]])
    assert overlap(first, second, 2) == 0.5 and overlap(first, first, 3) == 1 and overlap(first, second, 5) == 1


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix])
def test_pseudobulk_by_hand(form):
    counts = np.array([[1.0, 0], [3, 2], [6, 5], [10, 5]])
    changes = pseudobulk_changes(form(np.log1p(counts).astype(np.float32)), np.array([0, 0, 4, 4]))
    expected = [[np.log(2.001 / 8.001), np.log(1.001 / 5.001)], [np.log(8.001 / 2.001), np.log(5.001 / 1.001)]]
    np.testing.assert_allclose(changes, expected, rtol=1e-5)


def simulated(seed=0):
    random = np.random.default_rng(seed)
    types = np.arange(600) % 3
    rates = np.exp(random.normal(-1, 1, 100) + random.normal(0, 0.7, (3, 100)) * (random.random(100) < 0.5))[types]
    return np.log1p(random.poisson(rates)).astype(np.float32), np.log1p(rates).astype(np.float32), types


def test_the_truth_agrees_best_and_noise_not_at_all():
    observed, truth, types = simulated()
    nothing, best, none_at_all = (
        score(case(cells, types, expression=observed, seeds=(0, 1)))
        for cells in (observed, truth, np.random.default_rng(9).random(observed.shape, dtype=np.float32))
    )
    assert [row["seed"] for row in nothing] == [0, 1] and nothing[0] != nothing[1]
    assert 0.5 < nothing[0]["de_pseudobulk"] < best[0]["de_pseudobulk"]
    assert 0.5 < nothing[0]["de_ranks"] < 1
    assert none_at_all[0]["de_ranks"] == pytest.approx(0, abs=0.2)
    assert none_at_all[0]["de_top"] == pytest.approx(0.5, abs=0.12)  # 50 of 100 genes, by chance


def test_types_of_one_cell_have_no_ranking():
    observed, _, _ = simulated()
    (row,) = score(case(observed[:3], np.array([0, 0, 1])))
    assert np.isnan([row["de_ranks"], row["de_top"], row["de_pseudobulk"]]).all()
