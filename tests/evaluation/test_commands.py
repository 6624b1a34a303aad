"""The commands through the real command line: what they print, write and refuse."""

import json
import subprocess
import sys

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from sccr_node.evaluation.files import FACTOR_COLUMN


def table(text):
    import io

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


def with_nan(candidate):
    candidate.X = candidate.X.toarray()
    candidate.X[3, 5] = np.nan


def with_counts(candidate):
    candidate.X = candidate.layers["counts"]


def with_denoised_counts(candidate):
    candidate.X = candidate.layers["counts"].astype(np.float32) * 10.5


def renamed(candidate):
    candidate.obs_names = ["x" + name for name in candidate.obs_names]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda a: a[1:].copy(), ["lacks 1 cells"]),
        (lambda a: a[:, :-2].copy(), ["lacks 2 genes"]),
        (renamed, ["lacks 60 cells"]),
        (with_nan, ["1 NaN value"]),
        (with_counts, ["holds counts", FACTOR_COLUMN]),
        (with_denoised_counts, ["more than log1p of counts reaches", FACTOR_COLUMN]),
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
    refused(73, ["exists already"], "evaluate", "score", masked, masked, "--json", folder / "there.tsv")
    refused(73, ["there is no folder"], "evaluate", "score", masked, masked, "-o", folder / "no" / "s.tsv")


def test_mask_refuses(refused, counts_file):
    output = counts_file.with_name("m.h5ad")
    refused(2, ["--rate"], "evaluate", "mask", counts_file, output, "--rate", "1")
    refused(2, ["--mechanism"], "evaluate", "mask", counts_file, output, "--mechanism", "mar")
    refused(2, ["name the file"], "evaluate", "mask", counts_file, counts_file.with_name("m.zarr"))
    refused(2, ["it is the input"], "evaluate", "mask", counts_file, counts_file, "--force")
    refused(66, ["does not exist"], "evaluate", "mask", counts_file.with_name("none.h5ad"), output)
    refused(65, ["drops none of the"], "evaluate", "mask", counts_file, output, "--rate", "1e-9")
    refused(65, ["'nolayer'"], "evaluate", "mask", counts_file, output, "--layer", "nolayer")
    output.write_text("kept")
    refused(73, ["exists already"], "evaluate", "mask", counts_file, output)


def test_cluster(sccr, counts_file):
    as_json = counts_file.with_name("c.json")
    code, out, err = sccr(
        "evaluate", "cluster", counts_file, "--label-key", "cell_type", "--seeds", "0,1", "--json", as_json
    )
    assert code == 0
    rows = table(out)
    assert list(rows["algorithm"]) == ["kmeans", "leiden"]
    assert list(rows["n_cells"]) == [60, 60] and list(rows["n_types"]) == [3, 3] and list(rows["n_seeds"]) == [2, 2]
    document = json.loads(as_json.read_text())
    runs = [run["ari"] for run in document["runs"] if run["algorithm"] == "kmeans"]
    assert rows["ari"][0] == pytest.approx(np.mean(runs), abs=1e-5)
    assert rows["ari_sd"][0] == pytest.approx(np.std(runs, ddof=1), abs=1e-5)
    assert rows["ari"][0] > 0.5


def test_cluster_takes_an_embedding_and_leaves_out_cells_without_a_label(sccr, simulated, counts_file):
    adata = simulated.copy()
    codes = adata.obs["cell_type"].astype("category").cat.codes.to_numpy()
    adata.obsm["X_other"] = np.random.default_rng(0).normal(0, 0.1, (60, 4)) + 5 * np.eye(4)[codes]
    adata.obs["number"] = np.where(np.arange(60) < 10, np.nan, codes)
    adata.write_h5ad(counts_file)
    code, out, err = sccr(
        "evaluate", "cluster", counts_file, "--label-key", "number", "--obsm", "X_other", "--seeds", "0"
    )
    assert code == 0 and "10 cells without a label" in err
    rows = table(out)
    assert list(rows["n_cells"]) == [50, 50]
    assert rows["accuracy"][0] == 1.0 and rows["ari_sd"].isna().all()


def test_cluster_takes_the_imputed_genes_of_a_result(sccr, counts_file):
    result = counts_file.with_name("result.h5ad")
    assert sccr("impute", counts_file, result, "--n-top-genes", "50")[0] == 0
    code, _, err = sccr("evaluate", "cluster", result, "--label-key", "cell_type", "--layer", "sccr", "--seeds", "0")
    assert code == 0 and "its 50 imputed genes" in err


def test_cluster_refuses(refused, simulated, counts_file):
    adata = simulated.copy()
    adata.obs["one"] = "T cell"
    adata.obs["none"] = pd.Series([None] * 60, index=adata.obs_names, dtype="object").astype("category")
    adata.obs["depth"] = np.linspace(0.1, 5, 60)
    adata.obsm["X_nan"] = np.full((60, 2), np.nan)
    adata.obsm["words"] = pd.DataFrame({"a": ["word"] * 60}, index=adata.obs_names)
    adata.layers["nan"] = adata.X.toarray().astype(np.float32)
    adata.layers["nan"][0, 0] = np.nan
    adata.write_h5ad(counts_file)

    def cluster(exit_code, words, *arguments):
        output = counts_file.with_name("c.tsv")
        refused(exit_code, words, "evaluate", "cluster", counts_file, "-o", output, *arguments)

    cluster(2, ["--label-key"])
    cluster(65, ["'celltype'", "cell_type"], "--label-key", "celltype")
    cluster(65, ["one label only"], "--label-key", "one")
    cluster(65, ["every value is missing"], "--label-key", "none")
    cluster(65, ["measurements"], "--label-key", "depth")
    cluster(65, ["'X_none'", "X_nan"], "--label-key", "cell_type", "--obsm", "X_none")
    cluster(65, ["NaN", "obsm['X_nan']"], "--label-key", "cell_type", "--obsm", "X_nan")
    cluster(65, ["not a table of numbers"], "--label-key", "cell_type", "--obsm", "words")
    cluster(65, ["1 NaN value"], "--label-key", "cell_type", "--layer", "nan")
    cluster(2, ["choose one"], "--label-key", "cell_type", "--layer", "nan", "--obsm", "X_nan")
    cluster(2, ["--seeds"], "--label-key", "cell_type", "--seeds", "a")


def test_without_its_libraries_clustering_says_how_to_get_them(refused, counts_file, monkeypatch):
    from sccr_node.evaluation import steps

    monkeypatch.setattr(steps, "CLUSTERING_NEEDS", ("sklearn", "a_library_that_nobody_has"))
    refused(
        2,
        ["a_library_that_nobody_has", "sccr-node[full]"],
        "evaluate", "cluster", counts_file, "--label-key", "cell_type",
    )  # fmt: skip


def test_relations_of_data_and_of_a_result_agree(sccr, counts_file):
    result, pairs, as_json = (counts_file.with_name(name) for name in ("r.h5ad", "p.tsv", "r.json"))
    built = sccr("evaluate", "relations", counts_file, "--n-top-genes", "50", "--n-pairs", "5", "--pairs", pairs)
    assert built[0] == 0 and "is built" in built[2]
    assert sccr("impute", counts_file, result, "--n-top-genes", "50")[0] == 0
    read = sccr("evaluate", "relations", result, "--n-pairs", "5", "--json", as_json)
    assert read[0] == 0 and "is read from varp" in read[2]
    assert built[1] == read[1]
    rows = table(read[1])
    assert list(rows["pairs"]) == ["data", "graph"]
    assert rows["n_pairs"][0] <= 50 * 49 / 2 and rows["associating"][1] + rows["dissociating"][1] == pytest.approx(1)
    adata = ad.read_h5ad(result)
    graph = adata.varp["sccr_relations"]
    assert rows["n_pairs"][1] == graph.nnz / 2
    listed = pd.read_csv(pairs, sep="\t")
    assert list(listed["kind"].unique()) in (["associating", "dissociating"], ["associating"])
    strongest = listed.iloc[0]
    at = [adata.var_names.get_loc(strongest[name]) for name in ("gene_1", "gene_2")]
    assert strongest["r"] == pytest.approx(graph[at[0], at[1]], rel=1e-5)
    assert strongest["r"] == pytest.approx(graph.max(), rel=1e-5)
    assert json.loads(as_json.read_text())["pairs"][0]["gene_1"] == strongest["gene_1"]


def test_relations_of_a_result_look_at_the_layer_it_was_made_from(sccr, simulated, counts_file):
    adata = simulated.copy()
    adata.layers["raw"] = adata.X
    adata.X = adata.X.toarray() - 1.5
    adata.write_h5ad(counts_file)
    result = counts_file.with_name("r.h5ad")
    assert sccr("impute", counts_file, result, "--layer", "raw")[0] == 0
    assert sccr("evaluate", "relations", result)[1] == sccr("evaluate", "relations", counts_file, "--layer", "raw")[1]


def test_relations_refuse(refused, sccr, simulated, counts_file):
    from scipy import sparse

    refused(66, ["does not exist"], "evaluate", "relations", counts_file.with_name("none.h5ad"))
    refused(2, ["--method"], "evaluate", "relations", counts_file, "--method", "scfp")
    adata = simulated.copy()
    adata.varp["sccr_relations"] = sparse.csr_matrix((80, 80), dtype=np.float32)
    adata.write_h5ad(counts_file)
    refused(65, ["joins no genes"], "evaluate", "relations", counts_file)


def test_help_and_version_do_not_import_the_libraries():
    script = """
import sys
from sccr_node.cli.app import run
run(["evaluate", "cluster", "--help"])
run(["benchmark", "--help"])
heavy = {"numpy", "scipy", "pandas", "anndata", "sklearn", "scanpy"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", script], check=True, stdout=subprocess.DEVNULL)
