"""Scores on held-out molecules: against plain numpy, and against a simulation whose truth is known."""

import numpy as np
import pytest
from scipy import sparse, stats
from threadpoolctl import threadpool_limits

from sccr_node.evaluation import molecules
from sccr_node.evaluation.baselines import gene_and_cell_mean, gene_mean
from sccr_node.evaluation.masks import mask_expression
from sccr_node.evaluation.molecules import LEAST_COUNT, HeldOut, score_with_baselines
from sccr_node.methods import blend, scbfp, sccr, scfp
from sccr_node.numerics import Workspace, pca
from tests.support.simulated import simulated


def halves(counts, fraction=0.5, seed=0):
    """Both halves at the median depth of the training half, by numpy alone."""
    first = np.random.default_rng(seed).binomial(counts, fraction)
    second = counts - first
    target = np.median(first.sum(axis=1))
    factors = [target / np.maximum(half.sum(axis=1), 1) for half in (first, second)]
    logs = sparse.csr_matrix(np.log1p(first * factors[0][:, None]).astype(np.float32))
    return HeldOut(logs, sparse.csr_matrix(second), factors[1], fraction)


def scores(held_out, predicted, **named):
    blocks = [(np.arange(len(predicted)), predicted)]
    return {found.name: found for found in score_with_baselines(held_out, blocks, "candidate", Workspace(1), **named)}


@pytest.fixture(scope="module")
def truth():
    """Cells whose counts are Poisson draws from known rates; nothing is lost."""
    adata = simulated(n_cells=400, n_genes=150, n_types=4, depth=1500, dropout=0, seed=3)
    return adata.X.toarray(), adata.layers["expected_counts"].astype(np.float64)


@pytest.fixture(scope="module")
def split(truth):
    return halves(truth[0])


def expected_logs(rates, factors):
    """The expectation of log1p(count x factor) of Poisson counts."""
    total, chance = np.zeros_like(rates), np.exp(-rates)
    for count in range(1, int(rates.max() + 12 * np.sqrt(rates.max()) + 20)):
        chance = chance * rates / count
        total += chance * np.log1p(count * factors[:, None])
    return total


def test_metrics_are_what_numpy_says(split):
    random = np.random.default_rng(1)
    predicted = random.gamma(1.0, 0.5, split.training.shape) - 0.05
    predicted[:, 7] = 0.3
    found = scores(split, predicted)["candidate"]
    counts = split.counts.toarray()
    logs = np.log1p(counts * split.factors[:, None])
    squares = (predicted - logs) ** 2
    seen = split.training.toarray() > 0
    assert found.n_entries == logs.size
    assert found.mse == pytest.approx(squares.mean())
    assert found.mse_observed == pytest.approx(squares[seen].mean())
    assert found.mse_unobserved == pytest.approx(squares[~seen].mean())
    expected = np.maximum(np.expm1(np.maximum(predicted, 0)) / split.factors[:, None], LEAST_COUNT)
    parts = np.where(counts > 0, counts * np.log(np.maximum(counts, 1) / expected), 0) - (counts - expected)
    assert found.deviance == pytest.approx(2 * parts.mean())
    by_gene = [
        0.0 if gene == 7 else stats.pearsonr(predicted[:, gene], logs[:, gene])[0]
        for gene in np.flatnonzero(logs.std(axis=0) > 0)
    ]
    assert found.correlation == pytest.approx(np.median(by_gene))
    assert found.overestimate == pytest.approx(predicted.mean() / logs.mean())


def test_references_are_nothing_the_gene_mean_and_the_best_pca(split):
    found = scores(split, split.training.toarray().astype(float))
    logs = np.log1p(split.counts.toarray() * split.factors[:, None])
    training = split.training.toarray().astype(float)
    nothing = ((training - logs) ** 2).mean()
    gene_mean = ((training.mean(axis=0) - logs) ** 2).mean()
    assert found["nothing"].mse == found["candidate"].mse == pytest.approx(nothing)
    assert found["gene mean"].mse == pytest.approx(gene_mean)
    assert (found["gene mean"].correlation, found["gene mean"].explained) == (0, 0)
    floor = nothing / 2
    assert found["nothing"].floor == pytest.approx(floor)
    assert found["nothing"].explained == pytest.approx((gene_mean - nothing) / (gene_mean - floor))
    u, s, v = np.linalg.svd(training - training.mean(axis=0), full_matrices=False)
    errors = {
        rank: ((np.maximum(u[:, :rank] * s[:rank] @ v[:rank] + training.mean(axis=0), 0) - logs) ** 2).mean()
        for rank in molecules.RANKS
    }
    best = min(errors, key=errors.get)
    assert list(found) == ["candidate", "nothing", "gene mean", f"PCA of rank {best}"]
    assert found[f"PCA of rank {best}"].mse == pytest.approx(errors[best], rel=1e-6)


@pytest.mark.parametrize("fraction", [0.3, 0.8])
def test_floor_and_explained_are_only_known_for_equal_halves(truth, fraction):
    for found in scores(halves(truth[0], fraction), np.ones(truth[0].shape)).values():
        assert np.isnan(found.floor) and np.isnan(found.explained) and found.mse > 0


def test_blocks_and_their_order_do_not_matter(split, monkeypatch):
    predicted = np.random.default_rng(2).random(split.training.shape)
    whole = scores(split, predicted)["candidate"]
    order = np.random.default_rng(3).permutation(len(predicted))
    monkeypatch.setattr(molecules, "SCORED_VALUES", 1000)
    pieces = [(rows, predicted[rows]) for rows in np.array_split(order, 7)]
    again = score_with_baselines(split, pieces, "candidate", Workspace(2))[0]
    for metric in ("mse", "mse_observed", "mse_unobserved", "deviance", "correlation", "explained"):
        assert getattr(again, metric) == pytest.approx(getattr(whole, metric), rel=1e-9)


def test_cells_that_are_empty_in_a_half_are_not_scored(truth):
    counts = truth[0].copy()
    counts[3] = 0
    held_out = halves(counts)
    kept = np.arange(len(counts)) != 3
    predicted = np.ones(counts.shape)
    assert scores(held_out, predicted)["candidate"] == scores(held_out.only(kept), predicted[kept])["candidate"]
    with pytest.raises(ValueError, match="only 1 of its cells"):
        scores(held_out.only(np.array([2, 3])), predicted[:2])


def test_an_oracle_beats_every_method_and_the_floor_is_its_error(truth, split):
    """The floor, which needs no truth, agrees to 5 % with the error of whoever knows the rates."""
    oracle = scores(split, expected_logs(truth[1] / 2, split.factors))
    best = oracle["candidate"]
    assert best.floor == pytest.approx(best.mse, rel=0.05)
    assert best.explained == pytest.approx(1, abs=0.05)
    for reference in list(oracle.values())[1:]:
        assert best.mse < reference.mse and best.deviance < reference.deviance
    logs = split.training
    both = sccr(logs, recovered=True)
    tried = {
        "scCR": both.denoised,
        "scCR recovered": both.recovered,
        "scCR, less smoothed": sccr(logs, beta=0.7).denoised,
        "scFP": scfp(logs).denoised,
        "scBFP": scbfp(logs).denoised,
        "blend": blend(logs, both.denoised, share=0.5, rank=10),
        "gene mean": gene_mean(logs),
        "gene and cell mean": gene_and_cell_mean(logs),
    }
    for name, predicted in tried.items():
        found = scores(split, predicted.astype(float))["candidate"]
        assert best.mse < found.mse and best.explained > found.explained, name
        assert best.mse_unobserved < found.mse_unobserved, name
        assert best.deviance < found.deviance, name


@pytest.mark.parametrize("seed", [1, 2])
def test_the_floor_is_that_of_shallow_data_too(seed):
    adata = simulated(n_cells=500, n_genes=200, n_types=3, depth=300, dropout=0, seed=seed)
    held_out = halves(adata.X.toarray(), seed=seed)
    found = scores(held_out, expected_logs(adata.layers["expected_counts"].astype(float) / 2, held_out.factors))
    assert found["candidate"].floor == pytest.approx(found["candidate"].mse, rel=0.05)


def test_an_overestimate_is_caught_by_held_out_molecules_and_not_by_masking():
    """Twice the truth wherever nothing was observed.

    Few entries are masked where the truth is low, and each of these had a molecule: more is better there.
    """
    adata = simulated(n_cells=600, n_genes=200, n_types=4, depth=40, dropout=0, seed=3)
    counts, rates = adata.X.toarray(), adata.layers["expected_counts"].astype(np.float64)
    split = halves(counts)
    totals = counts.sum(axis=1)
    scale = np.median(totals) / totals
    masked = mask_expression(sparse.csr_matrix(np.log1p(counts * scale[:, None])), 0.4, "mcar", 0)
    hidden = masked.truth.tocoo()
    honest = np.log1p(rates * scale[:, None])
    twice = np.where(masked.expression.toarray() > 0, honest, np.log1p(2 * rates * scale[:, None]))
    errors = [np.abs(values[hidden.row, hidden.col] - hidden.data).mean() for values in (honest, twice)]
    assert errors[1] < errors[0]  # masking prefers the overestimate

    honest = np.log1p(rates / 2 * split.factors[:, None])
    twice = np.where(split.training.toarray() > 0, honest, np.log1p(rates * split.factors[:, None]))
    judged, caught = (scores(split, values)["candidate"] for values in (honest, twice))
    assert caught.mse > 1.02 * judged.mse and caught.explained < judged.explained - 0.02
    assert caught.mse_unobserved > 1.2 * judged.mse_unobserved
    assert caught.deviance > 1.05 * judged.deviance
    assert caught.mse_observed == judged.mse_observed


def test_nothing_is_dense_for_all_cells(monkeypatch):
    """Memory grows with a block, not with the number of cells."""
    import tracemalloc

    monkeypatch.setattr(molecules, "SCORED_VALUES", 1 << 14)
    monkeypatch.setattr(pca, "BLOCK_VALUES", 1 << 14)
    counts = np.random.default_rng(0).poisson(0.05, (4000, 300))
    held_out = halves(counts)
    blocks = ((np.arange(at, at + 200), np.full((200, 300), 0.1)) for at in range(0, 4000, 200))
    tracemalloc.start()
    with threadpool_limits(1):
        score_with_baselines(held_out, blocks, "candidate", Workspace(1))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4000 * 300 * 8 / 2
