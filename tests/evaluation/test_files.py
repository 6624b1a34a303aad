"""Masked data, candidates and labels, read from files."""

import io
from types import SimpleNamespace

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from sccr_node.contract.evaluate import EvaluateMaskParameters, EvaluateScoreParameters
from sccr_node.contract.shared import PreparationParameters
from sccr_node.data.dataset import open_input
from sccr_node.errors import InputProblem
from sccr_node.evaluation.files import (
    FACTOR_COLUMN,
    genes_of_layer,
    matching,
    prepare,
    read_types,
    score_candidate,
    write_masked,
)
from sccr_node.evaluation.metrics import recovery
from sccr_node.runtime.console import Console

QUIET = Console(quiet=True)


def masked_file(counts_file, **params):
    path = counts_file.with_name("masked.h5ad")
    write_masked(counts_file, path, EvaluateMaskParameters(force=True, **params), QUIET)
    return path


def prepared_by_hand(adata, n_top_genes=None):
    counts = adata.X.toarray().astype(float)
    genes = np.arange(adata.n_vars)
    if n_top_genes:
        genes = np.sort(np.argsort(-counts.var(axis=0), kind="stable")[:n_top_genes])
    counts = counts[:, genes]
    totals = counts.sum(axis=1, keepdims=True)
    return np.log1p(counts / totals * np.median(totals)), counts, genes


@pytest.mark.parametrize("mechanism", ["mcar", "mnar"])
def test_masked_file_holds_masked_logs_counts_and_the_truth(simulated, counts_file, mechanism):
    masked = ad.read_h5ad(masked_file(counts_file, rate=0.3, mechanism=mechanism, seed=4, n_top_genes=30))
    logs, counts, genes = prepared_by_hand(simulated, 30)
    assert list(masked.var_names) == list(simulated.var_names[genes])
    assert list(masked.obs_names) == list(simulated.obs_names)
    truth = masked.layers["truth"].toarray()
    asked = truth != 0
    assert abs(asked.sum() - 0.3 * (logs != 0).sum()) <= 1
    np.testing.assert_allclose(truth[asked], logs[asked], rtol=1e-6)
    np.testing.assert_allclose(masked.X.toarray(), np.where(asked, 0, logs), rtol=1e-6)
    np.testing.assert_array_equal(masked.layers["counts"].toarray(), np.where(asked, 0, counts))
    assert masked.layers["truth"].nnz == asked.sum()
    pd.testing.assert_frame_equal(masked.obs.drop(columns=FACTOR_COLUMN), simulated.obs, check_categorical=False)
    record = masked.uns["sccr_mask"]
    assert (record["rate"], record["mechanism"], record["seed"]) == (0.3, mechanism, 4)
    assert (record["n_masked"], record["n_observed"]) == (asked.sum(), (logs != 0).sum())
    assert record["target_sum"] == np.median(counts.sum(axis=1))
    assert ("lambda" in record) == (mechanism == "mnar")


def test_older_anndata_can_read_masked_files(counts_file):
    with h5py.File(masked_file(counts_file)) as file:
        encodings = []
        file.visititems(lambda name, item: encodings.append(item.attrs.get("encoding-type")))
        assert "null" not in encodings and "raw" not in file


def test_the_factor_takes_counts_to_the_scale_of_the_truth(simulated, counts_file):
    masked = ad.read_h5ad(masked_file(counts_file))
    factors = masked.obs[FACTOR_COLUMN].to_numpy()[:, None]
    np.testing.assert_allclose(
        np.log1p(masked.layers["counts"].toarray() * factors), masked.X.toarray(), rtol=1e-5, atol=1e-7
    )


def test_logs_are_masked_as_they_are_and_have_no_counts(simulated, counts_file):
    logs, _, _ = prepared_by_hand(simulated)
    ad.AnnData(sparse.csr_matrix(logs.astype(np.float32)), simulated.obs, simulated.var).write_h5ad(counts_file)
    masked = ad.read_h5ad(masked_file(counts_file))
    assert list(masked.layers) == ["truth"] and FACTOR_COLUMN not in masked.obs
    np.testing.assert_allclose((masked.X + masked.layers["truth"]).toarray(), logs, rtol=1e-6)


def scored(masked, candidate, **params):
    return score_candidate(masked, candidate, EvaluateScoreParameters(**params), QUIET)


@pytest.mark.parametrize("storage", [np.asarray, sparse.csr_matrix, sparse.csc_matrix])
@pytest.mark.parametrize("order", ["same", "other"])
def test_a_candidate_is_aligned_by_name_and_compared_at_the_masked_entries(counts_file, storage, order):
    path = masked_file(counts_file, rate=0.2)
    masked = ad.read_h5ad(path)
    random = np.random.default_rng(0)
    values = random.gamma(2.0, 0.5, masked.shape) * (random.random(masked.shape) < 0.7) - 0.01
    where = masked.layers["truth"].toarray() != 0
    expected = recovery(masked.layers["truth"].toarray()[where], values[where])
    candidate = ad.AnnData(storage(values), masked.obs[[]], masked.var[[]])
    if order == "other":
        candidate = candidate[random.permutation(60), random.permutation(80)].copy()
    candidate.layers["mine"] = candidate.X
    del candidate.X
    candidate.write_h5ad(counts_file.with_name("candidate.h5ad"))
    row = scored(path, counts_file.with_name("candidate.h5ad"), layer="mine")
    assert (row["layer"], row["rate"], row["seed"], row["n_entries"]) == ("mine", 0.2, 0, where.sum())
    for metric in ("rmse", "mae", "median_ae", "cosine"):
        assert row[metric] == pytest.approx(getattr(expected, metric), rel=1e-6)


def test_the_masked_data_themselves_score_as_nothing_imputed(counts_file):
    path = masked_file(counts_file)
    row = scored(path, path)
    assert row["mae"] == pytest.approx(ad.read_h5ad(path).layers["truth"].data.mean(), rel=1e-6)
    assert row["cosine"] == 0


def test_matching_names():
    def strings(text):
        return np.array(text.split())

    np.testing.assert_array_equal(matching(strings("a b c"), strings("c a b"), "genes", "X"), [2, 0, 1])
    np.testing.assert_array_equal(matching(strings("a a b"), strings("a a b"), "genes", "X"), [0, 1, 2])
    for found, words in (("a b", "lacks 1 genes"), ("a b c d", "has besides them 1 genes"), ("b c d", "lacks 1")):
        with pytest.raises(InputProblem, match=words):
            matching(strings("a b c"), strings(found), "genes", "X")
    with pytest.raises(InputProblem, match="names repeat"):
        matching(strings("a a b"), strings("a b a"), "genes", "X")


def types_of(column):
    data = SimpleNamespace(path="file.h5ad", obs_column=lambda name: column)
    said = io.StringIO()
    return read_types(data, "celltype", Console(stream=said)), said.getvalue()


@pytest.mark.parametrize(
    "labels",
    [
        pd.Series(["b", "a", "b", "a"]),
        pd.Series(["b", "a", "b", "a"], dtype="category"),
        pd.Series([7, 3, 7, 3]),
        pd.Series([7.0, 3.0, 7.0, 3.0]),
        pd.Series([True, False, True, False]),
        pd.Series([7, 3, 7, 3], dtype="Int64"),
    ],
)
def test_labels_of_any_kind(labels):
    types, said = types_of(labels)
    assert types.tolist() == [1, 0, 1, 0] and said == ""


@pytest.mark.parametrize(
    "labels",
    [
        pd.Series(["b", None, "a", "b"]),
        pd.Series(["b", "", "a", "b"]),
        pd.Series(["b", np.nan, "a", "b"], dtype="category"),
        pd.Series([7, np.nan, 3, 7]),
        pd.Series([7, pd.NA, 3, 7], dtype="Int64"),
    ],
)
def test_cells_without_a_label_are_left_out_and_that_is_said(labels):
    types, said = types_of(labels)
    assert types.tolist() == [1, -1, 0, 1]
    assert "1 cells without a label" in said


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([None, None, None], "every value is missing"),
        (["a", "a", None], "one label only ('a')"),
        ([0.5, 1.5, 1.5], "measurements"),
        (["c1", "c2", "c3"], "as many labels as cells"),
    ],
)
def test_labels_that_tell_nothing_are_refused(labels, words):
    with pytest.raises(InputProblem) as problem:
        types_of(pd.Series(labels))
    assert words in str(problem.value)


def test_values_of_other_tools_are_taken_as_they_are(simulated, counts_file):
    values = prepared_by_hand(simulated)[0] - 0.1
    ad.AnnData(values, simulated.obs, simulated.var).write_h5ad(counts_file)
    with open_input(counts_file) as data:
        _, prepared = prepare(data, PreparationParameters(), QUIET, any_scale=True)
        np.testing.assert_allclose(prepared.expression.toarray(), values, rtol=1e-5, atol=1e-6)
        with pytest.raises(InputProblem, match="negative"):
            prepare(data, PreparationParameters(), QUIET)


def test_genes_of_a_result_are_those_that_were_imputed(simulated, counts_file):
    result = simulated.copy()
    result.var["sccr_imputed"] = np.arange(80) % 4 == 0
    result.uns["sccr"] = {"version": "1"}
    result.layers["sccr"] = result.layers["sccr_recovered"] = result.layers["other"] = result.X
    result.write_h5ad(counts_file)
    with open_input(counts_file) as data:
        for layer in ("sccr", "sccr_recovered"):
            np.testing.assert_array_equal(genes_of_layer(data, layer), np.arange(0, 80, 4))
        assert genes_of_layer(data, "other") is None and genes_of_layer(data, None) is None
