"""Halves of a matrix: they add up, their molecules are binomial, and how they are read does not matter."""

import numpy as np
import pytest
from scipy import sparse, stats

from sccr_node.data.matrix import CsrMatrix, DenseMatrix
from sccr_node.data.views import Drawing, HalfOf


def counts(seed=0, n_cells=60, n_genes=40):
    rng = np.random.default_rng(seed)
    return sparse.csr_matrix(rng.poisson(rng.gamma(0.5, 4, n_genes), (n_cells, n_genes)))


def matrix_of(values):
    return CsrMatrix(values.data, values.indices, values.indptr, values.shape)


def whole(view, max_bytes=1 << 20):
    parts, ends = [], 0
    for first, block in view.blocks(max_bytes):
        assert first == ends and block.has_sorted_indices and block.data.all()
        ends += block.shape[0]
        parts.append(block)
    return sparse.vstack(parts).toarray()


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [np.int32, np.uint8, np.float32])
def test_halves_add_up_to_the_matrix(share, dtype):
    x = counts().astype(dtype)
    training, held_out = (whole(HalfOf(matrix_of(x), share, 7, half)) for half in ("training", "held out"))
    assert np.array_equal(training + held_out, x.toarray())
    assert training.min() >= 0 and held_out.min() >= 0


def test_blocks_and_storage_do_not_matter():
    x = counts(1)
    halves = [
        whole(HalfOf(matrix, 0.5, 3, "training"), max_bytes)
        for matrix in (matrix_of(x), DenseMatrix(x.toarray()))
        for max_bytes in (100, 3000, 1 << 20)
    ]
    assert all(np.array_equal(half, halves[0]) for half in halves)
    assert not np.array_equal(halves[0], whole(HalfOf(matrix_of(x), 0.5, 4, "training")))


@pytest.mark.parametrize("n", [1, 2, 5, 40, 3_000_000])
@pytest.mark.parametrize("share", [0.5, 0.8])
def test_molecules_are_binomial(n, share):
    drawn = Drawing(share, 11).drawn(np.full(20_000, n))
    low, high = stats.binom.ppf([1e-9, 1 - 1e-9], n, share)
    assert low <= drawn.min() and drawn.max() <= high
    assert stats.kstest(drawn + np.random.default_rng(0).random(20_000), _smooth(n, share)).pvalue > 1e-3


def _smooth(n, share):
    """The distribution of a binomial number plus a uniform one, which is continuous."""

    def cdf(x):
        below = np.floor(x)
        return stats.binom.cdf(below - 1, n, share) + (x - below) * stats.binom.pmf(below, n, share)

    return cdf


def test_halves_of_independent_molecules_are_independent():
    """Thinned Poisson counts are independent, which makes one half a fair judge of the other."""
    x = np.random.default_rng(5).poisson(3, 200_000)
    training = Drawing(0.5, 5).drawn(x)
    assert abs(np.corrcoef(training, x - training)[0, 1]) < 0.01


def test_near_integers_are_made_integers_first():
    x = counts(2).astype(np.float64)
    x.data += 1e-9
    halves = [whole(HalfOf(matrix_of(x), 0.5, 0, half)) for half in ("training", "held out")]
    assert np.array_equal(sum(halves), np.rint(x.toarray()))
