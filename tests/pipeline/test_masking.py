"""Hiding entries and scoring what a tool makes of them, through the real command line and from Python."""

import io
import json
import subprocess
import sys

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from sccr_node.contract.evaluate import EvaluateMaskParameters, EvaluateScoreParameters
from sccr_node.evaluation.analyses.recovery import recovery_scores
from sccr_node.pipeline.hidden import FACTOR_COLUMN
from sccr_node.pipeline.masking import mask_file, score_candidate
from sccr_node.runtime.console import Console
from tests.support.candidates import renamed, with_counts, with_denoised_counts, with_nan

QUIET = Console(quiet=True)


def masked_file(counts_file, **params):
    path = counts_file.with_name("masked.h5ad")
    mask_file(counts_file, path, EvaluateMaskParameters(force=True, **params), QUIET)
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
def test_masked_file_holds_masked_logs_counts_and_the_truth(few_cells, counts_file, mechanism):
    masked = ad.read_h5ad(masked_file(counts_file, rate=0.3, mechanism=mechanism, seed=4, n_top_genes=30))
    logs, counts, genes = prepared_by_hand(few_cells, 30)
    assert list(masked.var_names) == list(few_cells.var_names[genes])
    assert list(masked.obs_names) == list(few_cells.obs_names)
    truth = masked.layers["truth"].toarray()
    asked = truth != 0
    assert abs(asked.sum() - 0.3 * (logs != 0).sum()) <= 1
    np.testing.assert_allclose(truth[asked], logs[asked], rtol=1e-6)
    np.testing.assert_allclose(masked.X.toarray(), np.where(asked, 0, logs), rtol=1e-6)
    np.testing.assert_array_equal(masked.layers["counts"].toarray(), np.where(asked, 0, counts))
    assert masked.layers["truth"].nnz == asked.sum()
    pd.testing.assert_frame_equal(masked.obs.drop(columns=FACTOR_COLUMN), few_cells.obs, check_categorical=False)
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


def test_the_factor_takes_counts_to_the_scale_of_the_truth(few_cells, counts_file):
    masked = ad.read_h5ad(masked_file(counts_file))
    factors = masked.obs[FACTOR_COLUMN].to_numpy()[:, None]
    np.testing.assert_allclose(
        np.log1p(masked.layers["counts"].toarray() * factors), masked.X.toarray(), rtol=1e-5, atol=1e-7
    )


def test_logs_are_masked_as_they_are_and_have_no_counts(few_cells, counts_file):
    logs, _, _ = prepared_by_hand(few_cells)
    ad.AnnData(sparse.csr_matrix(logs.astype(np.float32)), few_cells.obs, few_cells.var).write_h5ad(counts_file)
    masked = ad.read_h5ad(masked_file(counts_file))
    # anndata 0.13 lists X among the layers, as None.
    assert set(masked.layers) - {None} == {"truth"} and FACTOR_COLUMN not in masked.obs
    np.testing.assert_allclose((masked.X + masked.layers["truth"]).toarray(), logs, rtol=1e-6)


def scored(masked, candidate, **params):
    return score_candidate(masked, candidate, EvaluateScoreParameters(**params), QUIET)


@pytest.mark.parametrize("storage", [np.asarray, sparse.csr_matrix, sparse.csc_matrix])
@pytest.mark.parametrize("order", ["same", "other"])
def test_a_candidate_is_aligned_by_name_and_compared_at_the_masked_entries(counts_file, storage, order):
    path = masked_file(counts_file, rate=0.2)
    masked = ad.read_h5ad(path)
    random = np.random.default_rng(0)
    values = random.gamma(2.0, 0.5, masked.shape) * (random.random(masked.shape) < 0.7)
    values -= 0.01 * (random.random(masked.shape) < 0.1)
    where = masked.layers["truth"].toarray() != 0
    expected = recovery_scores(masked.layers["truth"].toarray()[where], values[where])
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


def table(text):
    return pd.read_csv(io.StringIO(text), sep="\t")


@pytest.fixture
def masked(sccr, counts_file):
    path = counts_file.with_name("masked.h5ad")
    assert sccr("evaluate", "mask", counts_file, path, "--rate", "0.3")[0] == 0
    return path


def changed(masked, change):
    candidate = ad.read_h5ad(masked)
    result = change(candidate)
    path = masked.with_name("candidate.h5ad")
    (candidate if result is None else result).write_h5ad(path)
    return path


def test_mask_impute_score(sccr, masked):
    imputed, output, as_json = (masked.with_name(name) for name in ("imputed.h5ad", "score.tsv", "score.json"))
    assert sccr("impute", masked, imputed, "--write", "recovered")[0] == 0
    before = table(sccr("evaluate", "score", masked, masked)[1])
    code, out, _ = sccr(
        "evaluate", "score", masked, imputed, "--layer", "sccr_recovered", "-o", output, "--json", as_json
    )
    assert (code, out) == (0, "")
    after = pd.read_csv(output, sep="\t")
    assert list(after) == [
        "candidate", "layer", "mechanism", "rate", "seed", "n_entries", "rmse", "mae", "median_ae", "cosine",
    ]  # fmt: skip
    assert after["mae"][0] < 0.6 * before["mae"][0] and after["cosine"][0] > 0.9
    assert json.loads(as_json.read_text())["mae"] == pytest.approx(after["mae"][0], rel=1e-5)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda a: a[1:].copy(), ["lacks 1 cell "]),
        (lambda a: a[:, :-2].copy(), ["lacks 2 genes"]),
        (renamed, ["lacks 60 cells"]),
        (with_nan, ["1 NaN value"]),
        (with_counts, ["contains counts", FACTOR_COLUMN]),
        (with_denoised_counts, ["too high for log expression", FACTOR_COLUMN]),
    ],
)
def test_candidates_that_are_not_made_from_the_masked_data_are_refused(refused, masked, change, words):
    candidate = changed(masked, change)
    refused(65, ["candidate.h5ad", *words], "evaluate", "score", masked, candidate, "-o", masked.with_name("s.tsv"))


def test_a_candidate_with_more_genes_is_refused(refused, masked):
    wide = changed(masked, lambda a: ad.concat([a, a[:, :2].copy()], axis=1, index_unique="-", join="outer"))
    refused(65, ["80 genes"], "evaluate", "score", masked, wide)


def test_score_refuses(refused, masked, counts_file):
    folder = masked.parent
    refused(65, ["not written by sccr evaluate mask"], "evaluate", "score", counts_file, masked)
    refused(66, ["does not exist"], "evaluate", "score", masked, folder / "none.h5ad")
    refused(66, ["does not exist"], "evaluate", "score", folder / "none.h5ad", masked)
    refused(65, ["has no layer 'magic'"], "evaluate", "score", masked, masked, "--layer", "magic")
    refused(2, ["it is the input"], "evaluate", "score", masked, masked, "-o", masked, "--force")
    (folder / "there.tsv").write_text("")
    refused(73, ["already exists"], "evaluate", "score", masked, masked, "--json", folder / "there.tsv")
    refused(73, ["the folder", "does not exist"], "evaluate", "score", masked, masked, "-o", folder / "no" / "s.tsv")


def test_mask_refuses(refused, counts_file):
    output = counts_file.with_name("m.h5ad")
    refused(2, ["--rate"], "evaluate", "mask", counts_file, output, "--rate", "1")
    refused(2, ["--mechanism"], "evaluate", "mask", counts_file, output, "--mechanism", "mar")
    refused(2, ["choose a name that ends in .h5ad"], "evaluate", "mask", counts_file, counts_file.with_name("m.zarr"))
    refused(2, ["it is the input"], "evaluate", "mask", counts_file, counts_file, "--force")
    refused(66, ["does not exist"], "evaluate", "mask", counts_file.with_name("none.h5ad"), output)
    refused(
        65,
        ["cannot mask", "would drop none of the", "--rate"],
        "evaluate",
        "mask",
        counts_file,
        output,
        "--rate",
        "1e-9",
    )
    refused(65, ["'nolayer'"], "evaluate", "mask", counts_file, output, "--layer", "nolayer")
    output.write_text("kept")
    refused(73, ["already exists"], "evaluate", "mask", counts_file, output)


def test_names_that_repeat_are_masked_without_a_remark(few_cells, counts_file):
    adata = few_cells.copy()
    adata.var_names = ["same", "same", *adata.var_names[2:]]
    adata.write_h5ad(counts_file)
    command = [sys.executable, "-m", "sccr_node", "evaluate", "mask", counts_file, counts_file.with_name("m.h5ad")]
    run = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
    assert "1 gene name occurs more than once" in run.stderr  # our own remark stays
    assert "not unique" not in run.stderr, run.stderr
