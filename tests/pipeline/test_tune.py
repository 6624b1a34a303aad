"""Tuning from file to file: the config is taken by imputation, numbers that are given stay, bad input is refused."""

import json
import re

import anndata
import numpy as np
import pandas as pd
import pytest
import yaml
from scipy import sparse

from sccr_node.data.views import Drawing
from tests.support.simulated import simulated


def shallow(n_cells=260, n_genes=150, n_types=4, n_batches=2, **options):
    """Counts so few that neighbours help: no entries are lost beside those of sampling."""
    adata = simulated(n_cells=n_cells, n_genes=n_genes, n_types=n_types, n_batches=n_batches, depth=120, **options)
    adata.X = adata.layers["complete_counts"].copy()
    return adata


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    path = tmp_path_factory.mktemp("tune") / "counts.h5ad"
    shallow().write_h5ad(path)
    return path


def document(sccr, source, tmp_path, *options):
    path = tmp_path / f"{len(list(tmp_path.iterdir()))}.json"
    code, out, err = sccr("tune", source, "--json", path, "-o", path.with_suffix(".yaml"), *options)
    assert code == 0, err
    return json.loads(path.read_text())


def test_the_config_is_taken_by_impute_and_says_why(sccr, source, tmp_path):
    table, config, record = (tmp_path / name for name in ("tried.tsv", "tuned.yaml", "record.json"))
    code, out, err = sccr("tune", source, "-o", config, "--table", table, "--k-cell", 12)
    assert code == 0 and out == ""
    verdicts = [line for line in err.splitlines() if "values:" in line or "neighbourhoods:" in line]
    assert len(verdicts) == 2 and "of the predictable variation" in verdicts[0] and "cells or fewer" in verdicts[1]
    numbers = yaml.safe_load(config.read_text())
    del numbers["tuning"]
    assert numbers["k_cell"] == 12 and numbers["method"] == "sccr"
    assert {"beta", "low_rank_share"} <= numbers.keys()
    tried = pd.read_csv(table, sep="\t")
    chosen = tried[tried.chosen == "yes"]
    assert len(chosen) == 1 and chosen.beta.item() == numbers["beta"]
    assert chosen.explained.item() > tried[tried.candidate == "published"].explained.item()
    code, _, _ = sccr("impute", source, tmp_path / "out.h5ad", "--config", config, "--provenance", record)
    assert code == 0
    params = json.loads(record.read_text())["params"]
    assert {name: params[name] for name in numbers} == numbers


def test_impute_tune_is_tune_and_impute(sccr, source, tmp_path):
    config, record = tmp_path / "tuned.yaml", tmp_path / "record.json"
    assert sccr("tune", source, "-o", config)[0] == 0
    assert sccr("impute", source, tmp_path / "two.h5ad", "--config", config)[0] == 0
    assert sccr("impute", source, tmp_path / "one.h5ad", "--tune", "--provenance", record)[0] == 0
    one, two = (anndata.read_h5ad(tmp_path / f"{name}.h5ad") for name in ("one", "two"))
    assert np.array_equal(one.obsm["X_sccr"], two.obsm["X_sccr"])
    first, second = (sparse.csr_matrix(each.layers["sccr"]) for each in (one, two))
    assert (first != second).nnz == 0
    told = json.loads(record.read_text())["tuning"]
    noted = one.uns["sccr"]["tuning"]
    assert noted["explained"] == told["explained"] and list(noted["verdicts"]) == told["verdicts"]
    assert set(told["verdicts"]) <= set(one.uns["sccr"]["messages"])
    assert one.uns["sccr"]["params"]["tune"] and "tune" not in two.uns["sccr"]["params"]


def test_the_halves_are_those_of_the_counts(sccr, source, tmp_path):
    """The error of the unimputed half, from nothing but numpy and the draws."""
    counts = anndata.read_h5ad(source).X.tocsr()
    drawn = Drawing(0.5, 3).drawn(counts.data)
    training, held_out = (counts.copy().astype(float) for _ in range(2))
    training.data[:], held_out.data[:] = drawn, counts.data - drawn
    training, held_out = training.toarray(), held_out.toarray()
    genes = np.sort(np.argsort(-training.var(axis=0), kind="stable")[:60])
    logs = []
    totals = training[:, genes].sum(axis=1)
    target = np.median(totals[totals > 0])
    for half in (training[:, genes], held_out[:, genes]):
        logs.append(np.log1p(half / half.sum(axis=1, keepdims=True) * target))
    used = document(sccr, source, tmp_path, "--n-top-genes", 60, "--seed", 3)
    errors = {row["candidate"]: row["error"] for row in used["tried"] if row["candidate"] not in ("denoised", "blend")}
    assert errors["unimputed"] == pytest.approx(((logs[0] - logs[1]) ** 2).mean(), rel=1e-5)
    assert errors["gene mean"] == pytest.approx(((logs[0].mean(axis=0) - logs[1]) ** 2).mean(), rel=1e-5)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (["--beta", 0.77], {"beta": 0.77}),
        (["--low-rank", 3], {"low_rank": 3}),
        (["--low-rank-share", 0.3], {"low_rank_share": 0.3}),
        (["--low-rank-share", 0], {"low_rank_share": 0}),
        (
            ["--beta", 0.6, "--low-rank", 7, "--low-rank-share", 0.5],
            {"beta": 0.6, "low_rank": 7, "low_rank_share": 0.5},
        ),
    ],
)
def test_numbers_that_are_given_are_kept(sccr, source, tmp_path, given, kept):
    numbers = document(sccr, source, tmp_path, *given)["parameters"]
    assert {name: numbers[name] for name in kept} == kept


def test_numbers_from_a_config_and_the_environment_are_kept(sccr, source, tmp_path, monkeypatch):
    (tmp_path / "some.yaml").write_text("beta: 0.66\n")
    monkeypatch.setenv("SCCR_LOW_RANK", "4")
    numbers = document(sccr, source, tmp_path, "--config", tmp_path / "some.yaml")["parameters"]
    assert numbers["beta"] == 0.66 and numbers.get("low_rank", 4) == 4


def test_batches_are_imputed_by_themselves_with_one_set_of_numbers(sccr, source, tmp_path):
    whole = document(sccr, source, tmp_path)
    apart = document(sccr, source, tmp_path, "--batch-key", "batch")
    assert whole["explained"] != apart["explained"]
    assert "batch_key" not in apart["parameters"]
    adata = anndata.read_h5ad(source)
    adata.obs["tiny"] = ["alone", *["rest"] * (adata.n_obs - 1)]
    adata.write_h5ad(tmp_path / "tiny.h5ad")
    assert document(sccr, tmp_path / "tiny.h5ad", tmp_path, "--batch-key", "tiny")["parameters"]["beta"]


def test_fewer_cells_are_drawn_from_every_batch_in_proportion(sccr, source, tmp_path, capsys):
    used = document(sccr, source, tmp_path, "--max-cells", 100, "--batch-key", "batch")
    assert 98 <= used["n_cells"] <= 100
    assert document(sccr, source, tmp_path, "--max-cells", 0)["n_cells"] == 260
    other = document(sccr, source, tmp_path, "--max-cells", 100, "--batch-key", "batch", "--seed", 1)
    assert other["explained"] != used["explained"]


def test_threads_do_not_change_a_byte(sccr, source, tmp_path):
    texts = []
    for threads in (1, 2, 3):
        assert sccr("tune", source, "--threads", threads, "--json", tmp_path / "all.json", "--force")[0] == 0
        texts.append((tmp_path / "all.json").read_bytes())
    assert texts[0] == texts[1] == texts[2]


def test_flags_that_the_config_leaves_out_are_told(sccr, source, tmp_path):
    config = tmp_path / "tuned.yaml"
    given = ["--batch-key", "batch", "--n-top-genes", 60, "--normalize-by", "all"]
    code, _, err = sccr("tune", source, "-o", config, *given)
    told = "--batch-key batch --n-top-genes 60 --normalize-by all"
    hint = next(line for line in err.splitlines() if "impute with: sccr impute" in line)
    assert code == 0 and all(flag in hint for flag in told.split(" --")) and told.split()[0] in config.read_text()
    command = hint.split("impute with: sccr ")[1].replace("OUTPUT", str(tmp_path / "out.h5ad")).split()
    assert sccr(*command)[0] == 0


def test_advice_against_imputing_is_shown_even_if_quiet(sccr, tmp_path):
    adata = shallow(n_cells=120)
    adata.X = adata.X * 100_000
    adata.write_h5ad(tmp_path / "deep.h5ad")
    code, _, err = sccr("impute", tmp_path / "deep.h5ad", tmp_path / "out.h5ad", "--tune", "--quiet")
    assert code == 0 and "values: do not impute" in err
    code, _, err = sccr("tune", tmp_path / "deep.h5ad", "-o", tmp_path / "tuned.yaml")
    assert code == 0 and "to impute all the same: sccr impute" in err and "impute with" not in err


def test_the_config_goes_to_standard_output(sccr, source):
    code, out, _ = sccr("tune", source, "--quiet")
    assert code == 0
    assert yaml.safe_load(out)["method"] == "sccr" and out.startswith("# sccr tune")


def test_other_formats_and_layers(sccr, tmp_path):
    adata = shallow(n_cells=120)
    adata.layers["c"] = adata.X.toarray()
    adata.X = np.log1p(adata.X.toarray())
    adata.write_zarr(tmp_path / "in.zarr")
    assert document(sccr, tmp_path / "in.zarr", tmp_path, "--layer", "c")["parameters"]["beta"]


def written(tmp_path, change):
    adata = shallow(n_cells=120)
    path = tmp_path / "bad.h5ad"
    (change(adata) or adata).write_h5ad(path)
    return path


def test_what_cannot_be_tuned_is_refused(refused, sccr, source, tmp_path):
    def logs(adata):
        adata.X = sparse.csr_matrix(np.log1p(1e4 * adata.X.toarray() / adata.X.sum(axis=1).A1[:, None]))

    def fractions(adata):
        adata.X = adata.X * 0.7

    def huge(adata):
        adata.X = adata.X.astype(float)
        adata.X.data[0] = 1e30

    def one_molecule(adata):
        adata.X = sparse.csr_matrix(np.eye(*adata.shape))

    def empty(adata):
        adata.X = sparse.csr_matrix(adata.shape)

    path = written(tmp_path, logs)
    refused(65, ["cannot tune on", "counts are needed", "--layer"], "tune", path)
    refused(65, ["cannot tune on", "counts are needed", "--layer"], "impute", path, tmp_path / "out.h5ad", "--tune")
    path = written(tmp_path, fractions)
    refused(65, ["cannot tune on", "fractional values", "raw counts"], "tune", path, "--input-scale", "counts")
    path = written(tmp_path, lambda adata: adata[:1].copy())
    refused(65, ["too few cells to tune on", "(found: 1)"], "tune", path)
    path = written(tmp_path, lambda adata: adata[:30].copy())
    refused(65, ["too few cells to tune on", "(found: 30)"], "tune", path)
    refused(65, [], "tune", written(tmp_path, empty))
    refused(2, ["--method sccr"], "tune", source, "--method", "scfp")
    refused(2, ["--method sccr"], "impute", source, tmp_path / "out.h5ad", "--tune", "--method", "scbfp")
    refused(2, ["max-cells"], "tune", source, "--max-cells", -1)
    refused(2, ["low-rank"], "tune", source, "--low-rank", 0)
    refused(65, ["nothing"], "tune", source, "--batch-key", "nothing")
    refused(75, ["not enough memory: tuning needs"], "tune", source, "--max-memory", "100MB")
    refused(2, ["at most 200 iterations"], "tune", source, "--n-denoising-iterations", 201)
    refused(2, ["--write recovered"], "impute", source, tmp_path / "out.h5ad", "--tune", "--write", "recovered")
    path = written(tmp_path, huge)
    refused(65, ["counts up to 1e+30, too large to split"], "tune", path)
    path = written(tmp_path, one_molecule)
    refused(65, ["too few cells to tune on", "in both halves"], "tune", path)
    path = written(tmp_path, lambda adata: adata[:30].copy())
    refused(65, ["too few cells to tune on"], "impute", path, tmp_path / "out.h5ad", "--tune", "--dry-run")
    (tmp_path / "there.yaml").write_text("")
    refused(73, ["there.yaml", "--force"], "tune", source, "-o", tmp_path / "there.yaml")
    refused(2, ["counts.h5ad", "it is the input"], "tune", source, "-o", source, "--force")


def test_a_dry_run_does_not_tune(sccr, source, tmp_path):
    code, _, err = sccr("impute", source, tmp_path / "out.h5ad", "--tune", "--dry-run")
    assert code == 0 and "tuned on" not in err and not (tmp_path / "out.h5ad").exists()


def test_the_estimate_of_a_tuned_run_includes_tuning(sccr, refused, source, tmp_path):
    output, record = tmp_path / "out.h5ad", tmp_path / "run.json"

    def estimate(*options):
        code, _, shown = sccr("impute", source, output, "--dry-run", *options)
        assert code == 0, shown
        shown = re.search(r"estimate: (\d+) MB of memory .* about (\d+) s", shown)
        return int(shown[1]), int(shown[2])

    alone, both = estimate(), estimate("--tune")
    assert both[0] > alone[0] and both[1] > alone[1]
    between = f"{(alone[0] + both[0]) // 2}MB"
    refused(75, ["not enough memory: tuning needs about", "sccr tune --max-cells"], "impute", source, output, "--tune",
            "--max-memory", between)  # fmt: skip
    code, _, shown = sccr("impute", source, output, "--tune", "--max-memory", between)
    assert code == 75 and "hold out" not in shown and not output.exists()
    assert sccr("impute", source, output, "--tune", "--provenance", record)[0] == 0
    resources = json.loads(record.read_text())["resources"]
    assert round(resources["estimated_memory_bytes"] / 1e6) == both[0]
