"""Results of other tools in a benchmark: what is scored for what, and what is refused before anything runs."""

import io

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from sccr_node.errors import NotEnoughResources
from sccr_node.pipeline import benchmark

FEW = ("--methods", "none,scfp", "--rates", "0.4", "--seeds", "0", "--n-restarts", "1", "--label-key", "cell_type")


@pytest.fixture
def compared(sccr, counts_file):
    """Run a small benchmark; gives its table and what it said."""

    def run(*arguments):
        code, out, err = sccr("benchmark", counts_file, *FEW, *arguments)
        assert code == 0, err
        return pd.read_csv(io.StringIO(out), sep="\t"), err

    return run


@pytest.fixture
def ours(sccr, counts_file):
    """What sccr impute makes of the input with scFP: the same as the benchmark's own run."""
    path = counts_file.with_name("imputed.h5ad")
    assert sccr("impute", counts_file, path, "--method", "scfp")[0] == 0
    return path


def scores(table, method):
    rows = table[table["method"] == method].drop(columns=["method", "seconds", "peak_mb"])
    return rows.reset_index(drop=True)


def test_a_candidate_is_scored_as_the_method_that_made_it(compared, ours):
    layer = ("--candidate-layer", "mine=sccr", "--analyses", "clustering,neighbors,annotation")
    table, err = compared("--candidate", f"mine={ours}", *layer)
    assert f"candidate mine: layer 'sccr' of {ours}, made from the full data" in err
    pd.testing.assert_frame_equal(scores(table, "mine"), scores(table, "scfp"))
    assert table.loc[table["method"] == "mine", ["seconds", "peak_mb"]].isna().all().all()


def test_cells_and_genes_in_another_order_and_in_zarr(compared, ours, tmp_path):
    adata = ad.read_h5ad(ours)
    random = np.random.default_rng(0)
    shuffled = adata[random.permutation(adata.n_obs), random.permutation(adata.n_vars)].copy()
    mine = ad.AnnData(shuffled.layers["sccr"], obs=shuffled.obs[[]], var=shuffled.var[[]])
    mine = ad.concat([mine, ad.AnnData(mine.X[:, :2], obs=mine.obs, var=pd.DataFrame(index=["x", "y"]))], axis=1)
    mine.write_zarr(tmp_path / "mine.zarr")
    table, _ = compared("--candidate", f"mine={tmp_path / 'mine.zarr'}", "--analyses", "clustering")
    pd.testing.assert_frame_equal(scores(table, "mine"), scores(table, "scfp"))


def test_candidates_of_masked_data_are_scored_for_recovery_only(sccr, compared, counts_file, ours):
    masked, imputed = counts_file.with_name("masked.h5ad"), counts_file.with_name("i.h5ad")
    assert sccr("evaluate", "mask", counts_file, masked, "--rate", "0.4", "--seed", "0")[0] == 0
    assert sccr("impute", masked, imputed, "--method", "scfp")[0] == 0
    both = ("--candidate", f"mine={imputed}", "--candidate", f"mine={ours}", "--candidate-layer", "mine=sccr")
    table, err = compared(*both)
    assert "made from 40% dropped (mcar), seed 0" in err
    mine = scores(table, "mine")
    pd.testing.assert_frame_equal(mine, scores(table, "scfp"), check_exact=False, rtol=1e-5)
    assert set(mine["task"]) == {"recovery", "clustering"}
    table, err = compared(*both[:2], *both[4:], "--analyses", "clustering")
    assert "mine is not scored: it can only be used for recovery" in err and "mine" not in set(table["method"])
    table, err = compared(*both[2:], "--analyses", "recovery")
    assert "mine is not scored: it can only be used for analyses of the full data" in err


def test_a_mask_of_other_data_is_told(sccr, refused, counts_file, tmp_path):
    def masked(name, source, *arguments):
        assert sccr("evaluate", "mask", source, tmp_path / name, "--rate", "0.4", *arguments)[0] == 0
        return tmp_path / name

    def bad(path, *words):
        refused(65, words, "benchmark", counts_file, *FEW, "--candidate", f"mine={path}")

    bad(
        masked("few_genes.h5ad", counts_file, "--n-top-genes", "30"),
        "masked differently, or from other data",
        "with the same genes",
    )
    bad(masked("deep.h5ad", counts_file, "--target-sum", "5000"), "masked differently, or from other data")
    same = masked("same.h5ad", counts_file)
    adata = ad.read_h5ad(same)
    adata.uns["sccr_mask"]["seed"] = 1
    adata.write_h5ad(same)
    bad(same, "masked differently, or from other data")
    adata.uns["sccr_mask"] = {"rate": 2.0, "mechanism": "mcar", "seed": 1}
    adata.write_h5ad(same)
    bad(same, "is not a mask")
    del adata.uns["sccr_mask"]
    adata.write_h5ad(same)
    bad(same, "it was made from data with hidden values", "is gone")


def test_candidates_of_half_of_the_molecules(sccr, compared, counts_file, ours):
    train, imputed = counts_file.with_name("train.h5ad"), counts_file.with_name("i.h5ad")
    assert sccr("evaluate", "split-molecules", counts_file, train, "--seed", "5")[0] == 0
    assert sccr("impute", train, imputed, "--method", "scfp", "--genes", "all", "--input-scale", "log1p")[0] == 0
    given = ("--candidate", f"mine={imputed}", "--candidate-layer", "mine=sccr")
    table, err = compared(*given, "--analyses", "held_out", "--seeds", "5")
    assert "made from half of the molecules, seed 5" in err
    mine = scores(table, "mine")
    pd.testing.assert_frame_equal(mine, scores(table, "scfp"), check_exact=False, rtol=1e-4)
    code, out, err = sccr("evaluate", "score", train, imputed, "--layer", "sccr")
    assert code == 0, err
    alone = pd.read_csv(io.StringIO(out), sep="\t")
    for name in ("mse", "mse_observed", "mse_unobserved", "floor", "explained", "deviance", "correlation"):
        np.testing.assert_allclose(mine[name][0], alone[name][0], rtol=1e-5)
        np.testing.assert_allclose(scores(table, "none")[name][0], alone[name][1], rtol=1e-5)
    table, err = compared(*given, "--analyses", "clustering")
    assert "mine is not scored: it can only be used for held-out molecules, which" in err
    assert "mine" not in set(table["method"])


def test_halves_of_other_data_are_told(sccr, refused, counts_file, tmp_path):
    def split(name, *arguments):
        assert sccr("evaluate", "split-molecules", counts_file, tmp_path / name, *arguments)[0] == 0
        return tmp_path / name

    def bad(path, *words):
        refused(65, words, "benchmark", counts_file, *FEW, "--analyses", "held_out", "--candidate", f"mine={path}")

    bad(split("few_genes.h5ad", "--n-top-genes", "30"), "split differently, or from other data", "with the same genes")
    bad(split("deep.h5ad", "--target-sum", "5000"), "split differently, or from other data", "target_sum")
    bad(split("most.h5ad", "--fraction", "0.9"), "90% of the molecules", "sccr evaluate score")
    same = split("same.h5ad")
    adata = ad.read_h5ad(same)
    adata.layers["magic"] = adata.X.copy()
    adata.write_h5ad(same)
    bad(same, "the training half as it was", "--candidate-layer mine=LAYER", "'magic'")
    adata.uns["sccr_molecules"]["seed"] = 1
    adata.write_h5ad(same)
    bad(same, "split differently, or from other data")
    del adata.uns["sccr_molecules"]["seed"]
    adata.write_h5ad(same)
    bad(same, "uns['sccr_molecules']")


def test_records_that_cannot_be_are_the_candidates_fault(sccr, refused, counts_file):
    train = counts_file.with_name("train.h5ad")
    assert sccr("evaluate", "split-molecules", counts_file, train)[0] == 0
    command = ("benchmark", counts_file, *FEW, "--analyses", "held_out", "--candidate", f"mine={train}")
    adata = ad.read_h5ad(train)
    for seed in (-1, 0.7):
        adata.uns["sccr_molecules"]["seed"] = seed
        adata.write_h5ad(train)
        words = f"cannot read uns['sccr_molecules'] of {train}: it is not stored as expected (its seed is {seed})"
        refused(65, [words], *command)
    adata.uns["sccr_mask"] = {"rate": 0.4, "mechanism": "mcar", "seed": 1}
    adata.write_h5ad(train)
    refused(65, [f"cannot score X of {train}: it has two kinds of hidden values"], *command)


def test_held_out_molecules_on_another_scale_are_told_as_by_score(sccr, compared, counts_file):
    train = counts_file.with_name("train.h5ad")
    assert sccr("evaluate", "split-molecules", counts_file, train, "--seed", "5")[0] == 0
    adata = ad.read_h5ad(train)
    adata.X = adata.X / np.log(2)
    adata.write_h5ad(counts_file.with_name("base2.h5ad"))
    given = ("--candidate", f"mine={counts_file.with_name('base2.h5ad')}", "--analyses", "held_out", "--seeds", "5")
    found = [text for text in compared(*given)[1].splitlines() if "times the held-out ones" in text]
    err = sccr("evaluate", "score", train, counts_file.with_name("base2.h5ad"))[2]
    told = [text for text in err.splitlines() if "times the held-out ones" in text]
    assert len(found) == 1 and found == told


def test_molecules_need_counts(sccr, refused, counts_file):
    logs = counts_file.with_name("logs.h5ad")
    adata = ad.read_h5ad(counts_file)
    adata.X = sparse.csr_matrix(np.log1p(adata.X.toarray()))
    adata.write_h5ad(logs)
    words = ["--input-scale", "log1p", *FEW[:-4], "--n-restarts", "1"]
    refused(65, ["counts are needed"], "benchmark", logs, *words, "--analyses", "held_out")
    code, out, err = sccr("benchmark", logs, *words, "--analyses", "held_out,recovery")
    assert code == 0 and "skipping held_out: cannot split the molecules" in err
    assert set(pd.read_csv(io.StringIO(out), sep="\t")["task"]) == {"recovery"}


def test_what_cannot_be_compared_is_refused_before_anything_runs(refused, counts_file, ours, monkeypatch):
    monkeypatch.setattr(benchmark, "run_apart", None)
    logs = ad.read_h5ad(ours)
    logs = ad.AnnData(sparse.csr_matrix(logs.layers["sccr"]), obs=logs.obs[["cell_type"]], var=logs.var[[]])
    path = counts_file.with_name("candidate.h5ad")

    def bad(adata, *words, extra=()):
        adata.write_h5ad(path)
        refused(65, words, "benchmark", counts_file, *FEW, "--candidate", f"mine={path}", *extra)

    bad(ad.read_h5ad(counts_file), "it contains counts", "--candidate-layer mine=LAYER")
    bad(logs[:50], "it lacks 10 cells of the input", "all cells of the input")
    bad(logs[:, 2:], "it lacks 2 genes of the input", "--genes")
    bad(ad.concat([logs, logs[:1]], index_unique="-"), "it lacks 60 cells")
    more = ad.concat([logs, ad.AnnData(logs.X[:3], var=logs.var, obs=pd.DataFrame(index=["a", "b", "c"]))])
    bad(more, "it has 3 extra cells", "exactly the cells")
    centred = logs.copy()
    centred.X = logs.X.toarray() - logs.X.toarray().mean(axis=0)
    bad(centred, "of its values are negative", "--candidate-layer mine=LAYER")
    low = logs.copy()
    low.X = logs.X.toarray().astype(np.float64)
    low.X[3, 5] = -1e300
    bad(low, "values down to -1e+300, too low for log expression", "--candidate-layer mine=LAYER")
    high = logs.copy()
    high.X = logs.X * 100.5
    bad(high, "too high for log expression", "log1p of counts at a common depth")
    wrong = logs.copy()
    wrong.X = logs.X.copy()
    wrong.X.data[0] = np.nan
    bad(wrong, "NaN")
    bad(logs, "no layer 'other'", extra=("--candidate-layer", "mine=other"))
    refused(
        65, ["given as a candidate twice"],
        "benchmark", counts_file, *FEW, *(f"--candidate={name}={path}" for name in ("a", "b")),
    )  # fmt: skip
    other = counts_file.with_name("other.h5ad")
    logs.copy().write_h5ad(other, compression="gzip")
    refused(
        65, ["another file of that name was made from the same data"],
        "benchmark", counts_file, *FEW, *(f"--candidate=a={file}" for file in (path, other)),
    )  # fmt: skip
    refused(66, ["absent.h5ad"], "benchmark", counts_file, *FEW, "--candidate", "mine=absent.h5ad")


def test_an_untouched_matrix_beside_a_layer_is_told(refused, counts_file, sccr, ours):
    masked = counts_file.with_name("masked.h5ad")
    assert sccr("evaluate", "mask", counts_file, masked, "--rate", "0.4", "--seed", "0")[0] == 0
    adata = ad.read_h5ad(masked)
    adata.layers["magic"] = adata.X.toarray() + 0.1
    adata.write_h5ad(masked)
    command = ("benchmark", counts_file, *FEW, "--candidate", f"mine={masked}")
    refused(65, ["zero at every masked entry", "--candidate-layer mine=LAYER", "'magic'"], *command)


def test_a_changed_candidate_is_scored_anew(sccr, counts_file, ours, monkeypatch):
    output = counts_file.with_name("b.tsv")
    command = ["benchmark", counts_file, *FEW, "--analyses", "neighbors", "-o", output]
    command += ["--candidate", f"mine={ours}", "--candidate-layer", "mine=sccr"]

    def full(*arguments, **options):
        raise NotEnoughResources("the disk is full")

    monkeypatch.setattr(benchmark, "write_tables", full)
    assert sccr(*command)[0] == 75
    assert "3 of 3 runs already finished" in sccr(*command)[2]
    adata = ad.read_h5ad(ours)
    adata.layers["sccr"] = adata.layers["sccr"] * 1.01
    adata.write_h5ad(ours)
    assert "2 of 3 runs already finished" in sccr(*command)[2]


def test_names_and_layers(refused, counts_file, ours):
    def bad(words, *arguments):
        refused(2, words, "benchmark", counts_file, *FEW, *arguments)

    def config(text):
        path = counts_file.with_name("config.json")
        path.write_text(text)
        return path

    bad(["--candidate: should be NAME=FILE"], "--candidate", str(ours))
    bad(["--candidate: should be NAME=FILE"], "--candidate", "mine=")
    bad(["'a b' is not a valid name"], "--candidate", f"a b={ours}")
    bad(["sccr is the name of a method"], "--candidate", f"sccr={ours}")
    bad(["--candidate-layer names yours"], "--candidate", f"mine={ours}", "--candidate-layer", "yours=X")
    bad(["candidate: mine has no file"], "--config", config('{"candidate": {"mine": ""}}'))
    bad(["candidate: mine has no file"], "--config", config('{"candidate": {"mine": []}}'))
    bad(["candidate: should be"], "--config", config('{"candidate": 3}'))
    bad(["two layers for mine"], "--candidate", f"mine={ours}", *2 * ("--candidate-layer", "mine=X"))


def test_in_a_config_file_and_in_the_environment(sccr, counts_file, ours, monkeypatch):
    config = counts_file.with_name("config.yaml")
    config.write_text(f"candidate:\n  mine: {ours}\ncandidate_layer:\n  mine: sccr\n")
    command = ("benchmark", counts_file, *FEW, "--analyses", "neighbors")
    assert "\nneighbors\tmine\t" in sccr(*command, "--config", config)[1]
    monkeypatch.setenv("SCCR_CANDIDATE", f"yours={ours}")
    monkeypatch.setenv("SCCR_CANDIDATE_LAYER", "yours=sccr")
    assert "\nneighbors\tyours\t" in sccr(*command)[1]
    # A later source replaces the whole mapping, like any other value.
    assert "\nneighbors\tmine\t" not in sccr(*command, "--config", config)[1]
