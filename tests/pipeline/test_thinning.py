"""Held-out molecules through the real command line: split, impute, score; and what is refused."""

import io
import json

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from sccr_node.evaluation.molecules import HeldOut, score_with_baselines
from sccr_node.numerics import Workspace
from sccr_node.pipeline.hidden import FACTOR_COLUMN
from sccr_node.pipeline.thinning import HELD_OUT_FACTOR_COLUMN, SCORE_COLUMNS
from tests.support.candidates import (
    centred,
    renamed,
    with_a_low_value,
    with_counts,
    with_denoised_counts,
    with_nan,
)


@pytest.fixture
def train(sccr, counts_file):
    path = counts_file.with_name("train.h5ad")
    assert sccr("evaluate", "split-molecules", counts_file, path, "--seed", "4")[0] == 0
    return path


def changed(train, change, name="candidate.h5ad"):
    candidate = ad.read_h5ad(train)
    result = change(candidate)
    path = train.with_name(name)
    (candidate if result is None else result).write_h5ad(path)
    return path


def table(text):
    return pd.read_csv(io.StringIO(text), sep="\t")


def test_the_file_has_both_halves_and_what_scales_them(sccr, few_cells, counts_file):
    path = counts_file.with_name("train.h5ad")
    code, out, err = sccr(
        "evaluate", "split-molecules", counts_file, path, "--seed", "4", "--n-top-genes", "30", "--fraction", "0.6"
    )
    train = ad.read_h5ad(path)
    first, second = (train.layers[name].toarray() for name in ("counts", "held_out"))
    assert (code, out) == (0, "") and train.shape == (60, 30)
    np.testing.assert_array_equal(first + second, few_cells[:, train.var_names].X.toarray())
    assert abs(first.sum() / (first + second).sum() - 0.6) < 0.02
    record = train.uns["sccr_molecules"]
    assert (record["fraction"], record["seed"], record["normalize_by"]) == (0.6, 4, "selected")
    assert (record["n_training"], record["n_held_out"]) == (first.sum(), second.sum())
    assert record["target_sum"] == np.median(first.sum(axis=1))
    assert record["preparation"]["n_top_genes"] == 30
    for counts, column in ((first, FACTOR_COLUMN), (second, HELD_OUT_FACTOR_COLUMN)):
        np.testing.assert_allclose(train.obs[column], record["target_sum"] / counts.sum(axis=1))
    factors = train.obs[FACTOR_COLUMN].to_numpy()[:, None]
    np.testing.assert_allclose(train.X.toarray(), np.log1p(first * factors), rtol=1e-6)
    added = [FACTOR_COLUMN, HELD_OUT_FACTOR_COLUMN]
    pd.testing.assert_frame_equal(train.obs.drop(columns=added), few_cells.obs, check_categorical=False)
    assert "X of" in err and "counts.h5ad: 60 cells × 80 genes" in err and "molecules for training" in err
    assert f"both halves scaled to a depth of {record['target_sum']:g}" in err


def test_the_seed_decides(sccr, counts_file):
    files = [counts_file.with_name(f"{name}.h5ad") for name in "abc"]
    for path, seed in zip(files, "001", strict=True):
        assert sccr("evaluate", "split-molecules", counts_file, path, "--seed", seed)[0] == 0
    assert files[0].read_bytes() == files[1].read_bytes() != files[2].read_bytes()


def test_split_impute_score(sccr, train):
    imputed, output, as_json = (train.with_name(name) for name in ("imputed.h5ad", "score.tsv", "score.json"))
    assert sccr("impute", train, imputed, "--write", "denoised", "--beta", "0.5")[0] == 0
    call = ("evaluate", "score", train, imputed, "--layer", "sccr", "-o", output, "--json", as_json)
    code, out, err = sccr(*call)
    assert (code, out) == (0, "")
    rows = pd.read_csv(output, sep="\t")
    assert tuple(rows) == SCORE_COLUMNS
    assert rows["candidate"].tolist()[:3] == [str(imputed), "nothing", "gene mean"]
    assert rows["candidate"][3].startswith("PCA of rank ")
    assert rows["layer"][0] == "sccr" and rows["layer"][1:].isna().all()
    assert set(rows["seed"]) == {4} and set(rows["fraction"]) == {0.5}
    document = json.loads(as_json.read_text())
    assert document["layer"] == "sccr"
    assert [row["mse"] for row in document["scores"]] == pytest.approx(rows["mse"].tolist(), rel=1e-5)
    # The report shows such a table.
    report = train.with_name("report.html")
    assert sccr("report", imputed, "-o", report, "--scores", output)[0] == 0
    assert "gene mean" in report.read_text()


@pytest.mark.parametrize("storage", [np.asarray, sparse.csr_matrix, sparse.csc_matrix])
@pytest.mark.parametrize("order", ["same", "other"])
def test_a_candidate_is_aligned_by_name(sccr, train, storage, order):
    given = ad.read_h5ad(train)
    random = np.random.default_rng(0)
    values = random.gamma(2.0, 0.5, given.shape) * (random.random(given.shape) < 0.7)
    held_out = HeldOut(
        given.X.tocsr(), given.layers["held_out"].tocsr(), given.obs[HELD_OUT_FACTOR_COLUMN].to_numpy(), 0.5
    )
    expected = score_with_baselines(held_out, [(np.arange(60), values)], "it", Workspace(1))[0]
    candidate = ad.AnnData(storage(values), given.obs[[]], given.var[[]])
    if order == "other":
        candidate = candidate[random.permutation(60), random.permutation(80)].copy()
    path = train.with_name("candidate.h5ad")
    candidate.write_h5ad(path)
    found = table(sccr("evaluate", "score", train, path)[1]).iloc[0]
    for metric in SCORE_COLUMNS[5:]:
        assert found[metric] == pytest.approx(getattr(expected, metric), rel=1e-5)


def test_other_fractions_have_no_floor(sccr, counts_file):
    path = counts_file.with_name("train.h5ad")
    assert sccr("evaluate", "split-molecules", counts_file, path, "--fraction", "0.8")[0] == 0
    code, out, _ = sccr("evaluate", "score", path, path)
    rows = table(out)
    assert code == 0 and rows[["floor", "explained"]].isna().all(axis=None) and rows["mse"].notna().all()


def times(factor):
    def change(candidate):
        candidate.X = candidate.X * factor

    return change


def test_a_candidate_of_another_base_or_depth_is_told(sccr, train):
    code, _, err = sccr("evaluate", "score", train, changed(train, times(1 / np.log(10))))
    assert code == 0 and "warning" in err and "times the held-out ones" in err and "a different scale" in err
    code, _, err = sccr("evaluate", "score", train, changed(train, times(1.44)))
    assert code == 0 and "overestimates" in err
    assert "warning" not in sccr("evaluate", "score", train, train)[2]


def with_an_imputed_layer(candidate):
    candidate.layers["magic"] = candidate.X * 0.9


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda a: a[1:].copy(), ["lacks 1 cell "]),
        (lambda a: a[:, :-2].copy(), ["lacks 2 genes"]),
        (renamed, ["lacks 60 cells"]),
        (with_nan, ["1 NaN value"]),
        (with_counts, ["contains counts", FACTOR_COLUMN]),
        (with_denoised_counts, ["too high for log expression", FACTOR_COLUMN]),
        (centred, ["of its values are negative", "centred", FACTOR_COLUMN]),
        (lambda a: setattr(a, "X", -a.X.toarray() - 0.01), ["100% of its values are negative"]),
        (with_a_low_value, ["values down to -1e+300, too low for log expression", FACTOR_COLUMN]),
        (with_an_imputed_layer, ["it is the training data", "--layer: 'magic'"]),
    ],
)
def test_candidates_that_are_not_made_from_the_training_half_are_refused(refused, train, change, words):
    candidate = changed(train, change)
    refused(65, ["candidate.h5ad", *words], "evaluate", "score", train, candidate, "-o", train.with_name("s.tsv"))


def spoiled(slot, key, value):
    def change(adata):
        if slot == "uns":
            adata.uns["sccr_molecules"][key] = value
        elif slot == "obs":
            adata.obs[key] = value
        else:
            adata.layers[key] = adata.layers[key] * value

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (spoiled("uns", "fraction", "half"), ["uns['sccr_molecules']"]),
        (spoiled("obs", HELD_OUT_FACTOR_COLUMN, 0.0), [HELD_OUT_FACTOR_COLUMN, "contains 0"]),
        (spoiled("obs", HELD_OUT_FACTOR_COLUMN, "x"), [HELD_OUT_FACTOR_COLUMN]),
        (
            spoiled("layers", "held_out", 0.5),
            ["layers['held_out']", "is not as sccr evaluate split-molecules wrote it"],
        ),
        (times(0.9), ["its X is not the training half", "first, then the candidate"]),
        (spoiled("obs", FACTOR_COLUMN, np.nan), ["its X is not the training half"]),
        (lambda a: a.layers.pop("counts") is None, ["no layer 'counts'"]),
        (lambda a: a[:1].copy(), ["at least 2 are needed"]),
        (lambda a: a.obs.pop(HELD_OUT_FACTOR_COLUMN) is None, [HELD_OUT_FACTOR_COLUMN]),
    ],
)
def test_training_data_that_were_changed_are_refused(refused, train, change, words):
    def kept(adata):
        result = change(adata)
        return result if isinstance(result, ad.AnnData) else None

    broken = changed(train, kept, "broken.h5ad")
    refused(65, ["broken.h5ad", *words], "evaluate", "score", broken, broken)


def test_split_molecules_refuses(refused, few_cells, counts_file):
    output = counts_file.with_name("t.h5ad")
    split = ("evaluate", "split-molecules")
    for fraction in ("0", "1", "1.5", "nan"):
        refused(2, ["--fraction"], *split, counts_file, output, "--fraction", fraction)
    refused(2, ["--input-scale"], *split, counts_file, output, "--input-scale", "log1p")
    refused(2, ["--log-base"], *split, counts_file, output, "--log-base", "2")
    refused(2, ["--seed"], *split, counts_file, output, "--seed", "-1")
    refused(2, ["choose a name that ends in .h5ad"], *split, counts_file, counts_file.with_name("t.zarr"))
    refused(2, ["it is the input"], *split, counts_file, counts_file, "--force")
    refused(66, ["does not exist"], *split, counts_file.with_name("none.h5ad"), output)
    refused(65, ["'nolayer'"], *split, counts_file, output, "--layer", "nolayer")
    refused(65, ["training half", "only zeros"], *split, counts_file, output, "--fraction", "1e-9")
    output.write_text("kept")
    refused(73, ["already exists"], *split, counts_file, output)
    assert output.read_text() == "kept"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (lambda counts: np.log1p(counts), ["counts are needed", "logarithms", "--layer"]),
        (lambda counts: counts * 0.7, ["counts are needed", "corrected counts", "--layer"]),
        (lambda counts: counts - 1.5, ["negative"]),
        (lambda counts: counts * 0, ["only zeros"]),
        (lambda counts: np.where(np.arange(len(counts))[:, None] == 0, counts, 0), ["only 1 cell"]),
    ],
)
@pytest.mark.parametrize("more", [(), ("--input-scale", "counts")])
def test_only_counts_of_several_cells_can_be_split(refused, few_cells, counts_file, values, words, more):
    counts = few_cells.X.toarray().astype(float)
    ad.AnnData(sparse.csr_matrix(values(counts)), few_cells.obs, few_cells.var).write_h5ad(counts_file)
    output = counts_file.with_name("t.h5ad")
    words = [word.replace("only 1 cell", "1 cell has molecules") for word in words]
    refused(65, words, "evaluate", "split-molecules", counts_file, output, *more)


def test_one_cell_cannot_be_split(refused, few_cells, counts_file):
    few_cells[:1].copy().write_h5ad(counts_file)
    output = counts_file.with_name("t.h5ad")
    refused(65, ["1 cell has molecules", "at least 2"], "evaluate", "split-molecules", counts_file, output)


def test_cells_that_will_not_be_scored_are_told(sccr, few_cells, counts_file):
    adata = few_cells.copy()
    counts = adata.X.toarray()
    counts[:3] = 0
    adata.X = sparse.csr_matrix(counts)
    adata.write_h5ad(counts_file)
    path = counts_file.with_name("train.h5ad")
    code, _, err = sccr("evaluate", "split-molecules", counts_file, path)
    assert code == 0 and "3 cells have no molecule in one of the halves, and will not be scored" in err
    code, out, _ = sccr("evaluate", "score", path, path)
    assert code == 0 and set(table(out)["n_entries"]) == {57 * 80}
