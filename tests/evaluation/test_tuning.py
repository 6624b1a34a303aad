"""Tuning against direct computations: every setting imputed by itself, and a share found by trying all of them."""

from itertools import pairwise

import numpy as np
import pytest
from scipy import sparse

from sccr_node.contract.methods import METHODS
from sccr_node.evaluation import tuning
from sccr_node.evaluation.tuning import (
    Grid,
    Products,
    ScoredSetting,
    choose,
    denoised_of,
    judge_neighborhoods,
    products,
    scored_genes,
    start_of,
    walked,
)
from sccr_node.methods import blend, sccr
from sccr_node.numerics import Workspace

RANKS = (2, 5)


def halves(seed=0, n_cells=90, n_genes=40, depth=150.0):
    """Logs of two halves of counts of three groups of cells; one cell and one gene are empty."""
    rng = np.random.default_rng(seed)
    profiles = rng.gamma(0.5, 1, (3, n_genes))
    means = profiles[rng.integers(3, size=n_cells)] * rng.gamma(5, 0.2, (n_cells, 1))
    means *= depth / means.sum(axis=1).mean()
    means[11], means[:, 7] = 0, 0
    return [
        sparse.csr_matrix(np.log1p(100 * x / np.maximum(1, x.sum(axis=1, keepdims=True))).astype(np.float32))
        for x in (rng.poisson(means / 2), rng.poisson(means / 2))
    ]


def settings(**given):
    return METHODS["sccr"].complete(given)


def scored(seed=0, genes=None, n_powers=40, **given):
    training, held_out = halves(seed)
    work = Workspace(2)
    begin = start_of("sccr", training, held_out, settings(**given), RANKS, work)
    genes = np.ones(training.shape[1]) if genes is None else genes
    return training, held_out, begin, products(begin, RANKS, n_powers, genes, work, seed=0)


def dense_error(training, held_out, made, genes=slice(None)):
    """The mean squared error over cells and genes that are not empty."""
    cells, used = training.getnnz(axis=1) > 0, training.getnnz(axis=0) > 0
    off = np.asarray(made, np.float64) - held_out.toarray()
    mask = np.zeros(training.shape[1], bool)
    mask[genes] = True
    return (off[cells][:, used & mask] ** 2).mean()


@pytest.mark.parametrize(("beta", "gamma", "n_iterations"), [(0.3, 0.01, 40), (0.9, 0.0, 40), (0.99, 0.2, 5)])
@pytest.mark.parametrize("share", [0.0, 0.35, 1.0])
def test_every_error_is_that_of_the_imputation(beta, gamma, n_iterations, share):
    genes = np.random.default_rng(1).random(40) < 0.6
    training, held_out, _, found = scored(genes=genes.astype(float))
    result = sccr(training, beta=beta, gamma=gamma, n_denoising_iterations=n_iterations).denoised
    denoised = found.denoised(beta, n_iterations, gamma)
    assert found.error(denoised) == pytest.approx(dense_error(training, held_out, result, genes), rel=1e-5)
    weights = (1 - share) * denoised + share * found.of("rank 5")
    blended = blend(training, result, share=share, rank=5)
    # Negative values are cut off after tuning.
    assert found.error(weights) == pytest.approx(dense_error(training, held_out, blended, genes), rel=2e-2)


def test_genes_that_stand_for_others_give_nearly_the_error_of_all(monkeypatch):
    monkeypatch.setattr(tuning, "SCORED_GENES", 16)
    monkeypatch.setattr(tuning, "ALWAYS_SCORED", 6)
    rng = np.random.default_rng(0)
    levels = rng.gamma(0.5, 2, 400)
    training = sparse.csr_matrix(np.log1p(rng.poisson(levels, (50, 400))).astype(np.float32))
    by_gene = training.toarray().var(axis=0)
    found = []
    for seed in range(200):
        weights = scored_genes(training, seed=seed)
        assert weights.sum() == pytest.approx(400) and (weights > 0).sum() == 16
        assert set(np.argsort(-by_gene, kind="stable")[:6]) <= set(np.flatnonzero(weights == 1))
        found.append(weights @ by_gene / by_gene.sum())
    assert np.mean(found) == pytest.approx(1, abs=0.03)
    assert np.std(found) < 0.1
    assert np.array_equal(scored_genes(training[:, :16], seed=0), np.ones(16))


def test_a_weight_counts_as_so_many_genes():
    whole = scored()[3]
    double = scored(genes=np.full(40, 2.0))[3]
    weights = whole.denoised(0.8, 40, 0.01)
    assert double.error(weights) == pytest.approx(whole.error(weights))
    assert double.n_entries.sum() == 2 * whole.n_entries.sum()


def test_baselines_are_what_they_say():
    training, held_out, begin, found = scored()
    cells = training.getnnz(axis=1) > 0
    means = np.zeros(training.shape) + training.toarray()[cells].mean(axis=0)
    assert found.error(found.of("0")) == pytest.approx(dense_error(training, held_out, training.toarray()))
    assert found.error(found.of("gene mean")) == pytest.approx(dense_error(training, held_out, means), rel=1e-6)
    recovered = sccr(training, recovered=True).recovered
    assert found.error(found.of("recovered")) == pytest.approx(dense_error(training, held_out, recovered), rel=1e-6)
    assert begin.held_out.shape == begin.data.matrix.shape == (89, 39)


def test_the_share_has_the_smallest_error():
    _, _, _, found = scored()
    first, second = found.denoised(0.8, 40, 0.01), found.of("rank 2")
    share = found.best_share(first, second)
    errors = {w: found.error((1 - w) * first + w * second) for w in np.linspace(0, 1, 501)}
    assert abs(share - min(errors, key=errors.get)) <= 0.002
    assert found.best_share(first, first) == 0.0
    assert found.best_share(found.of("held out"), second) == 0.0
    assert found.best_share(second, found.of("held out")) == 1.0


def test_standard_errors_are_those_of_pairs():
    """Over many data sets, a difference scatters by about its standard error."""
    found = [scored(seed)[3] for seed in range(30)]
    first, second = found[0].denoised(0.5, 40, 0.01), found[0].denoised(0.9, 40, 0.01)
    differences, errors = zip(*(each.difference(first, second) for each in found), strict=True)
    # The data sets differ by their profiles too: the scatter is larger, but of the same order.
    assert 0.5 * np.mean(errors) < np.std(differences) < 8 * np.mean(errors)
    assert found[0].difference(first, first) == (0.0, 0.0)


def test_batches_add_up():
    one, two = scored(1)[3], scored(2)[3]
    both = one + two
    weights = both.denoised(0.8, 40, 0.01)
    n_one, n_two = one.n_entries.sum(), two.n_entries.sum()
    expected = (one.error(weights) * n_one + two.error(weights) * n_two) / (n_one + n_two)
    assert both.error(weights) == pytest.approx(expected)


def test_the_choice_is_the_weakest_smoothing_within_one_standard_error():
    found = scored()[3]
    choice = choose("sccr", found, Grid(ranks=RANKS), settings())
    best = min(choice.tried, key=lambda each: each.error)
    assert best.above == 0.0
    assert choice.chosen.above <= choice.chosen.standard_error
    near = [each for each in choice.tried if each.above <= each.standard_error]
    ranks = {each.low_rank or np.inf for each in near}
    assert (choice.chosen.low_rank or np.inf) == max(ranks)
    assert walked(choice.chosen) == min(walked(each) for each in near if each.low_rank == choice.chosen.low_rank)
    assert [each for each in choice.tried if each.chosen] == [choice.chosen]
    assert all(first.beta <= second.beta for first, second in pairwise(choice.tried))
    assert {each.name for each in choice.tried} == {"denoised", "blend"}
    assert set(choice.baselines) == {"unimputed", "gene mean", "recovered", "published", "PCA"}
    assert choice.baselines["gene mean"].explained == pytest.approx(0)


@pytest.mark.parametrize(
    ("grid", "kept"),
    [
        (Grid(betas=(0.85,), ranks=RANKS), {"beta": {0.85}}),
        (Grid(iterations=(3,), ranks=RANKS), {"n_denoising_iterations": {3}}),
        (Grid(ranks=(5,)), {"low_rank": {5, None}}),
        (Grid(ranks=RANKS, share=0.0), {"low_rank_share": {0.0}, "low_rank": {None}}),
        (Grid(ranks=RANKS, share=0.25), {"low_rank_share": {0.25}}),
        (Grid(betas=(0.5,), ranks=(2,), share=1.0), {"low_rank_share": {1.0}, "beta": {0.5}, "low_rank": {2}}),
    ],
)
def test_numbers_that_are_given_are_kept(grid, kept):
    choice = choose("sccr", scored()[3], grid, settings())
    for name, values in kept.items():
        assert {getattr(each, name) for each in choice.tried} <= values


def test_identical_halves_need_no_imputation():
    """If the other half were known without noise, the unimputed values would be perfect, and the weakest is chosen."""
    training, _ = halves()
    work = Workspace(1)
    begin = start_of("sccr", training, training, settings(), RANKS, work)
    found = products(begin, RANKS, 40, np.ones(40), work, seed=0)
    choice = choose("sccr", found, Grid(ranks=RANKS), settings())
    assert choice.baselines["unimputed"].error == pytest.approx(0, abs=1e-12)
    assert choice.chosen.beta == 0.3 and choice.chosen.n_denoising_iterations == 1


def test_what_is_judged_is_the_imputation():
    training, _, begin, _ = scored()
    chosen = ScoredSetting("blend", 0.8, 4, 5, 0.4, 0, 0, 0, 0)
    made = denoised_of(begin, chosen, settings(), Workspace(2))
    expected = blend(training, sccr(training, beta=0.8, n_denoising_iterations=4).denoised, share=0.4, rank=5)
    np.testing.assert_allclose(made, expected[np.ix_(begin.data.cells, begin.data.genes)], atol=1e-5)


def test_neighborhoods_of_unimputed_data_do_not_change():
    _, _, begin, _ = scored()
    nothing = ScoredSetting("denoised", 0.0, 40, None, 0.0, 0, 0, 0, 0)
    found = judge_neighborhoods([begin], nothing, settings(gamma=0.0), Workspace(1), seed=0)
    assert found.change == 0.0 and found.n_averaged == 1.0
    strong = ScoredSetting("denoised", 0.99, 40, None, 0.0, 0, 0, 0, 0)
    assert judge_neighborhoods([begin], strong, settings(), Workspace(1), seed=0).n_averaged > 10


def test_threads_do_not_matter():
    training, held_out = halves(3, n_cells=300)
    made = []
    for threads in (1, 3):
        work = Workspace(threads)
        begin = start_of("sccr", training, held_out, settings(), RANKS, work)
        made.append(products(begin, RANKS, 40, np.ones(40), work, seed=0).sums)
    assert np.array_equal(*made)


def test_products_name_their_parts():
    found = scored(n_powers=3)[3]
    assert isinstance(found, Products)
    assert found.names == ("0", "1", "2", "3", "recovered", "gene mean", "rank 2", "rank 5", "held out")
    assert found.sums.shape == (50, 9, 9) and found.n_entries.sum() == 89 * 39
