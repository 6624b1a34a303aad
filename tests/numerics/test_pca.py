"""Principal components against numpy's SVD in float64, and against scikit-learn."""

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.decomposition import PCA

from sccr_node.numerics import pca, principal_components


def exact_scores(x, kept):
    centred = x.astype(np.float64) - x.mean(axis=0, dtype=np.float64)
    u, s, loadings = np.linalg.svd(centred, full_matrices=False)
    heaviest = np.abs(loadings).argmax(axis=1)
    return (u * s * np.sign(loadings[np.arange(len(s)), heaviest]))[:, :kept]


def components(x, kept, **options):
    return principal_components(lambda start, stop: x[start:stop], *x.shape, kept, **options)


def low_rank(seed, n_cells, n_genes, rank=30):
    rng = np.random.default_rng(seed)
    spectrum = 0.8 ** np.arange(rank)
    x = (rng.normal(size=(n_cells, rank)) * spectrum) @ rng.normal(size=(rank, n_genes))
    return (3 + x + 0.01 * rng.normal(size=x.shape)).astype(np.float32)


@pytest.mark.parametrize("gram_genes", [0, 4096])
@pytest.mark.parametrize(
    ("n_cells", "n_genes", "wanted"),
    [(300, 120, 10), (600, 300, 20), (150, 700, 20), (40, 30, 50), (2, 5, 3), (5, 1, 3), (64, 64, 63)],
)
def test_equals_the_svd(monkeypatch, gram_genes, n_cells, n_genes, wanted):
    monkeypatch.setattr(pca, "GRAM_GENES", gram_genes)
    monkeypatch.setattr(pca, "BLOCK_VALUES", 60_000)  # several blocks of rows
    x = low_rank(n_cells, n_cells, n_genes)
    kept = min(wanted, n_cells - 1, n_genes)
    scores, expected = components(x, wanted), exact_scores(x, kept)
    assert scores.shape == (n_cells, kept) and scores.dtype == np.float32
    np.testing.assert_allclose(
        scores / np.abs(expected).max(axis=0), expected / np.abs(expected).max(axis=0), atol=1e-4
    )


def test_noise_without_structure_converges():
    x = np.random.default_rng(3).normal(size=(400, 300)).astype(np.float32)
    expected = exact_scores(x, 8)
    np.testing.assert_allclose(components(x, 8), expected, atol=1e-4 * np.abs(expected).max())


def test_any_number_of_threads_gives_the_same_bits():
    x = low_rank(5, 900, 400)
    one = components(x, 20, threads=1)
    assert np.array_equal(one, components(x, 20, threads=2)) and np.array_equal(one, components(x, 20, threads=3))


def test_fewer_directions_than_components():
    """Cells that lie on a plane have scores on two components, and zeros beyond."""
    rng = np.random.default_rng(2)
    x = (rng.normal(size=(60, 2)) @ rng.normal(size=(2, 40))).astype(np.float32)
    scores = components(x, 10)
    expected = exact_scores(x, 2)
    np.testing.assert_allclose(scores[:, :2], expected, atol=1e-4)
    assert np.abs(scores[:, 2:]).max() < 1e-4


def test_few_cells_of_many_genes():
    """The products have the rank of the cells: every component is wanted, and there are no more."""
    x = low_rank(7, 12, 500)
    np.testing.assert_allclose(components(x, 50), exact_scores(x, 11), atol=1e-3)


def test_what_the_process_did_before_does_not_matter():
    x = low_rank(5, 300, 200, rank=8)
    x[:, 8:] = 0  # fewer directions than components, in a matrix that is large enough for ARPACK
    first = components(x, 20)
    components(low_rank(6, 400, 300), 20)
    assert np.array_equal(components(x, 20), first)


def test_a_constant_matrix_has_zero_scores():
    assert not components(np.full((20, 6), 2.5, np.float32), 3).any()


def test_a_single_cell_has_no_components():
    assert components(np.ones((1, 5), np.float32), 3).shape == (1, 0)


def test_progress_may_stop_it():
    def stop(stage, fraction):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        components(low_rank(0, 50, 20), 3, progress=stop)


@pytest.mark.parametrize("shape", [(120, 40), (30, 80), (5, 7), (2, 3)])
def test_components_are_those_of_scikit_learn(shape):
    matrix = np.random.default_rng(2).poisson(1.0, shape).astype(np.float64)
    n_components = min(50, shape[0] - 1, shape[1])
    found = pca.components_of(sp.csr_matrix(matrix), 50, threads=1)
    expected = PCA(n_components, svd_solver="full").fit_transform(matrix)
    assert np.abs(found) == pytest.approx(np.abs(expected), abs=1e-4)
