"""Both halves of the molecules of a data set, prepared alike."""

import anndata as ad
import numpy as np
import pytest
from scipy import sparse

from sccr_node.data.dataset import open_dataset
from sccr_node.data.features import choose_features
from sccr_node.data.halves import read_halves, refuse_other_than_counts
from sccr_node.data.preparation import decide_values
from sccr_node.data.summary import scan
from sccr_node.errors import InputProblem


def halves_of(path, fraction=0.5, seed=0, layer=None, **how):
    with open_dataset(path, layer) as data:
        _, scaling = decide_values(data, choose_features(data), "counts", None)
        return read_halves(data, scaling, how, fraction=fraction, seed=seed)


def test_halves_add_up_and_have_one_depth(few_cells, counts_file):
    halves = halves_of(counts_file, seed=3, genes="all")
    first, second = (half.values.toarray() for half in (halves.training, halves.held_out))
    np.testing.assert_array_equal(first + second, few_cells.X.toarray())
    assert halves.target_sum == np.median(first.sum(axis=1))
    for half, counts in ((halves.training, first), (halves.held_out, second)):
        factors = halves.target_sum / counts.sum(axis=1)
        np.testing.assert_allclose(half.normalization.factors, factors)
        np.testing.assert_allclose(half.expression.toarray(), np.log1p(counts * factors[:, None]), rtol=1e-6)


def test_genes_are_those_that_vary_in_the_training_half(few_cells, counts_file):
    chosen = halves_of(counts_file, seed=1, n_top_genes=20)
    training = halves_of(counts_file, seed=1, genes="all").training.values.toarray().astype(float)
    expected = np.sort(np.argsort(-training.var(axis=0, ddof=1), kind="stable")[:20])
    np.testing.assert_array_equal(chosen.preparation.genes, expected)
    with open_dataset(counts_file) as data:
        whole = np.sort(np.argsort(-few_cells.X.toarray().astype(float).var(axis=0), kind="stable")[:20])
    assert set(expected) != set(whole), data  # the choice differs, or the test shows nothing


def test_depth_over_all_genes_and_a_given_depth(few_cells, counts_file):
    every = halves_of(counts_file, genes="all").held_out.values.toarray().sum(axis=1)
    halves = halves_of(counts_file, n_top_genes=20, normalize_by="all", target_sum=500.0)
    np.testing.assert_allclose(halves.held_out.normalization.factors, 500 / every)
    assert halves.target_sum == 500


def test_near_integers_are_split_as_the_integers_that_they_stand_for(few_cells, counts_file):
    expected = halves_of(counts_file, seed=2).training.values.toarray()
    rounded = few_cells.copy()
    rounded.X = sparse.csr_matrix(few_cells.X.toarray() * (1 + 1e-7), dtype=np.float64)
    rounded.write_h5ad(counts_file)
    np.testing.assert_array_equal(halves_of(counts_file, seed=2).training.values.toarray(), expected)


@pytest.mark.parametrize("change", [np.log1p, lambda counts: counts * 0.7])
def test_logs_and_fractions_are_refused_and_counts_elsewhere_are_named(few_cells, counts_file, change):
    adata = ad.AnnData(sparse.csr_matrix(change(few_cells.X.toarray())), few_cells.obs, few_cells.var)
    for with_counts in (False, True):
        if with_counts:
            adata.layers["counts"] = few_cells.X
        adata.write_h5ad(counts_file)
        with open_dataset(counts_file) as data, pytest.raises(InputProblem) as problem:
            refuse_other_than_counts(data, scan(data), "split the molecules of")
        assert "counts are needed" in str(problem.value) and "--layer" in str(problem.value)
        assert ("--layer counts" in str(problem.value)) == with_counts


def test_messages_say_which_half_they_are_about(few_cells, counts_file):
    with open_dataset(counts_file) as data:
        for half in ("training", "held out"):
            view = data.half(half, share=0.5, seed=0)
            assert view.source == f"the {half.replace(' ', '-')} half of X of {counts_file}"
        with pytest.raises(InputProblem, match="the training half of X of .* contains only zeros"):
            halves_of(counts_file, fraction=1e-9)
