"""The blend against numpy's SVD in float64."""

import numpy as np
import pytest
import scipy.sparse as sp
from random_inputs import random_expression

from sccr_node.methods import blend, scbfp, sccr, scfp
from sccr_node.numerics import pca


def transcription(x, denoised, share, rank):
    """The mean of the denoised matrix and of the non-empty cells' truncated SVD around the genes' means."""
    used = x.sum(axis=1) > 0
    observed = x[used].astype(np.float64)
    mean = observed.mean(axis=0)
    u, s, loadings = np.linalg.svd(observed - mean, full_matrices=False)
    kept = (u[:, :rank] * s[:rank]) @ loadings[:rank] + mean
    blended = denoised.astype(np.float64)
    blended[used] = np.maximum((1 - share) * blended[used] + share * kept, 0)
    return blended


@pytest.mark.parametrize("method", [sccr, scfp, scbfp])
@pytest.mark.parametrize("gram_genes", [0, 4096])
@pytest.mark.parametrize("share", [0.3, 1])
def test_equals_the_transcription(monkeypatch, method, gram_genes, share):
    monkeypatch.setattr(pca, "GRAM_GENES", gram_genes)
    x = random_expression(1, 300, 50)
    x[[3, 290]], x[:, 7] = 0, 0
    denoised = method(x).denoised
    blended = blend(sp.csr_matrix(x), denoised, share=share, rank=4)
    np.testing.assert_allclose(blended, transcription(x, denoised, share, 4), atol=1e-5)
    assert blended.dtype == np.float32 and not blended[[3, 290]].any() and not blended[:, 7].any()


def test_the_denoised_matrix_is_left_alone_and_share_0_is_it():
    x = random_expression(2, 40, 20)
    denoised = scfp(x).denoised
    before = denoised.copy()
    assert np.array_equal(blend(x, denoised, share=0, rank=3), before)
    assert not np.array_equal(blend(x, denoised, share=0.5, rank=3), before)
    assert np.array_equal(denoised, before)


def test_the_full_rank_gives_the_observed_matrix_back():
    x = random_expression(3, 12, 30)
    np.testing.assert_allclose(blend(x, np.zeros_like(x), share=1, rank=1000), x, atol=1e-5)


def test_threads_do_not_matter():
    x = random_expression(4, 700, 60)
    denoised = sccr(x).denoised
    one, three = (blend(x, denoised, share=0.4, rank=6, threads=threads) for threads in (1, 3))
    assert np.array_equal(one, three)


def test_one_cell_passes_through():
    x = np.array([[0, 2, 0]], np.float32)
    assert np.array_equal(blend(x, x, share=0.7, rank=2), x)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"share": 1.1, "rank": 2}, "share is 1.1"),
        ({"share": -0.1, "rank": 2}, "share is -0.1"),
        ({"share": 0.5, "rank": 0}, "rank is 0"),
    ],
)
def test_refused(options, said):
    x = random_expression(5, 10, 5)
    with pytest.raises(ValueError, match=said):
        blend(x, x, **options)
    with pytest.raises(ValueError, match="the denoised expression is"):
        blend(x, x[:, :3], share=0.5, rank=2)
