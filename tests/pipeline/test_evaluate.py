"""The evaluating commands through the real command line, and what they read from files."""

import io
import json
import subprocess
import sys
from types import SimpleNamespace

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from sccr_node.contract.shared import PreparationParameters
from sccr_node.data.dataset import open_dataset
from sccr_node.errors import InputProblem
from sccr_node.evaluation import analyses
from sccr_node.pipeline.evaluate import decide_and_prepare, genes_of_layer, read_types
from sccr_node.runtime.console import Console
from tests.support.simulated import simulated

QUIET = Console(quiet=True)


def prepared_by_hand(adata, n_top_genes=None):
    counts = adata.X.toarray().astype(float)
    genes = np.arange(adata.n_vars)
    if n_top_genes:
        genes = np.sort(np.argsort(-counts.var(axis=0), kind="stable")[:n_top_genes])
    counts = counts[:, genes]
    totals = counts.sum(axis=1, keepdims=True)
    return np.log1p(counts / totals * np.median(totals)), counts, genes


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
    assert "1 cell without a label" in said and "is excluded" in said


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([None, None, None], "every value is missing"),
        (["a", "a", None], "only one label ('a')"),
        ([0.5, 1.5, 1.5], "measurements"),
        (["c1", "c2", "c3"], "each of the 3 cells has a different label"),
    ],
)
def test_labels_that_tell_nothing_are_refused(labels, words):
    with pytest.raises(InputProblem) as problem:
        types_of(pd.Series(labels))
    assert words in str(problem.value)


def test_values_of_other_tools_are_taken_as_they_are(few_cells, counts_file):
    values = prepared_by_hand(few_cells)[0] - 0.1
    ad.AnnData(values, few_cells.obs, few_cells.var).write_h5ad(counts_file)
    with open_dataset(counts_file) as data:
        _, prepared = decide_and_prepare(data, PreparationParameters(), QUIET, any_scale=True)
        np.testing.assert_allclose(prepared.expression.toarray(), values, rtol=1e-5, atol=1e-6)
        with pytest.raises(InputProblem, match="negative"):
            decide_and_prepare(data, PreparationParameters(), QUIET)


def test_genes_of_a_result_are_those_that_were_imputed(few_cells, counts_file):
    result = few_cells.copy()
    result.var["sccr_imputed"] = np.arange(80) % 4 == 0
    result.uns["sccr"] = {"version": "1"}
    result.layers["sccr"] = result.layers["sccr_recovered"] = result.layers["other"] = result.X
    result.write_h5ad(counts_file)
    with open_dataset(counts_file) as data:
        for layer in ("sccr", "sccr_recovered"):
            np.testing.assert_array_equal(genes_of_layer(data, layer), np.arange(0, 80, 4))
        assert genes_of_layer(data, "other") is None and genes_of_layer(data, None) is None


def table(text):
    return pd.read_csv(io.StringIO(text), sep="\t")


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


def test_cluster_takes_an_embedding_and_leaves_out_cells_without_a_label(sccr, few_cells, counts_file):
    adata = few_cells.copy()
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


def test_cluster_refuses(refused, few_cells, counts_file):
    adata = few_cells.copy()
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
    cluster(65, ["only one label"], "--label-key", "one")
    cluster(65, ["every value is missing"], "--label-key", "none")
    cluster(65, ["measurements"], "--label-key", "depth")
    cluster(65, ["'X_none'", "X_nan"], "--label-key", "cell_type", "--obsm", "X_none")
    cluster(65, ["NaN", "obsm['X_nan']"], "--label-key", "cell_type", "--obsm", "X_nan")
    cluster(65, ["not a numeric array"], "--label-key", "cell_type", "--obsm", "words")
    cluster(65, ["1 NaN value"], "--label-key", "cell_type", "--layer", "nan")
    cluster(2, ["give only one"], "--label-key", "cell_type", "--layer", "nan", "--obsm", "X_nan")
    cluster(2, ["--seeds"], "--label-key", "cell_type", "--seeds", "a")


def test_without_its_libraries_clustering_says_how_to_get_them(refused, sccr, counts_file, monkeypatch):
    monkeypatch.setattr(analyses, "find_spec", lambda name: None if name == "igraph" else name)
    label = ("--label-key", "cell_type")
    refused(2, ["igraph", "sccr-node[full]"], "evaluate", "cluster", counts_file, *label)
    refused(2, ["igraph", "sccr-node[full]"], "benchmark", counts_file, *label, "--analyses", "clustering")
    # A benchmark does what it can, and says what it leaves out.
    few = ("--methods", "none", "--rates", "0.4", "--seeds", "0")
    code, out, err = sccr("benchmark", counts_file, *label, *few)
    assert code == 0 and "igraph" in err and "sccr-node[full]" in err
    assert set(table(out)["task"]) == {"recovery"}


def test_relations_of_data_and_of_a_result_agree(sccr, counts_file):
    result, pairs, as_json = (counts_file.with_name(name) for name in ("r.h5ad", "p.tsv", "r.json"))
    built = sccr("evaluate", "relations", counts_file, "--n-top-genes", "50", "--n-pairs", "5", "--pairs", pairs)
    assert built[0] == 0 and "building the gene graph of scCR" in built[2]
    assert sccr("impute", counts_file, result, "--n-top-genes", "50")[0] == 0
    read = sccr("evaluate", "relations", result, "--n-pairs", "5", "--json", as_json)
    assert read[0] == 0 and "using the gene graph in varp" in read[2]
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


def test_relations_of_a_result_look_at_the_layer_it_was_made_from(sccr, few_cells, counts_file):
    adata = few_cells.copy()
    adata.layers["raw"] = adata.X
    adata.X = adata.X.toarray() - 1.5
    adata.write_h5ad(counts_file)
    result = counts_file.with_name("r.h5ad")
    assert sccr("impute", counts_file, result, "--layer", "raw")[0] == 0
    assert sccr("evaluate", "relations", result)[1] == sccr("evaluate", "relations", counts_file, "--layer", "raw")[1]


def test_relations_refuse(refused, sccr, few_cells, counts_file):

    refused(66, ["does not exist"], "evaluate", "relations", counts_file.with_name("none.h5ad"))
    refused(2, ["--method"], "evaluate", "relations", counts_file, "--method", "scfp")
    adata = few_cells.copy()
    adata.varp["sccr_relations"] = sparse.csr_matrix((80, 80), dtype=np.float32)
    adata.write_h5ad(counts_file)
    refused(65, ["has no edges"], "evaluate", "relations", counts_file)


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


COMMANDS = {
    "mask": ("evaluate", "mask", "IN", "OUT"),
    "cluster": ("evaluate", "cluster", "IN", "--label-key", "cell_type"),
    "split-molecules": ("evaluate", "split-molecules", "IN", "OUT"),
    "relations": ("evaluate", "relations", "IN"),
    "benchmark": ("benchmark", "IN"),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_gene_file_that_is_missing_is_bad_usage_or_missing_input_by_who_names_it(refused, counts_file, command):
    places = {"IN": counts_file, "OUT": counts_file.with_name("out.h5ad")}
    words = [places.get(word, word) for word in COMMANDS[command]]
    absent, config = counts_file.with_name("absent.txt"), counts_file.with_name("config.json")
    config.write_text(json.dumps({"genes": str(absent)}))
    refused(66, [f"--genes {absent}"], *words, "--genes", absent)
    refused(66, ["the gene file named in the config file"], *words, "--config", config)


def test_cluster_refuses_parameters_that_coordinates_leave_without_effect(refused, sccr, few_cells, counts_file):
    adata = few_cells.copy()
    adata.obsm["X_pca"] = np.random.default_rng(0).random((60, 4))
    adata.write_h5ad(counts_file)
    command = ("evaluate", "cluster", counts_file, "--label-key", "cell_type", "--obsm", "X_pca")
    for idle in (("--n-top-genes", "10"), ("--genes", "all"), ("--target-sum", "1000"), ("--n-components", "3")):
        refused(2, [idle[0], "no effect", "X_pca"], *command, *idle)
    config = counts_file.with_name("c.json")
    config.write_text('{"normalize_by": "all"}')
    refused(2, ["normalize_by", "c.json"], *command, "--config", config)
    # A form passes the defaults too.
    assert sccr(*command, "--n-components", "50", "--genes", "top-variance", "--seeds", "0")[0] == 0


def test_a_number_of_genes_that_is_asked_for_comes_before_those_that_were_imputed(sccr, counts_file):
    result = counts_file.with_name("result.h5ad")
    assert sccr("impute", counts_file, result, "--n-top-genes", "50")[0] == 0
    command = ("evaluate", "cluster", result, "--label-key", "cell_type", "--layer", "sccr", "--seeds", "0")
    code, _, err = sccr(*command, "--n-top-genes", "20", "--n-restarts", "1")
    assert code == 0 and "is a result of sccr impute" not in err


def test_relations_refuse_what_a_stored_graph_leaves_without_effect(refused, sccr, counts_file):
    result, built = counts_file.with_name("r.h5ad"), counts_file.with_name("b.h5ad")
    assert sccr("impute", counts_file, result, "--n-top-genes", "50")[0] == 0
    assert sccr("impute", counts_file, built, "--method", "scbfp")[0] == 0
    relations = ("evaluate", "relations")
    refused(2, ["--method scbfp", "(method sccr) is used", "--key"], *relations, result, "--method", "scbfp")
    refused(2, ["--n-top-genes", "no effect"], *relations, result, "--n-top-genes", "20")
    code, _, err = sccr(*relations, built, "--method", "sccr")  # a form passes the default too
    assert code == 0 and "(method scbfp) is used: --method sccr has no effect" in err
    code, _, err = sccr(*relations, built, "--method", "scbfp")
    assert code == 0 and "no effect" not in err
    code, _, err = sccr(*relations, result, "--method", "scbfp", "--key", "other")
    assert code == 0 and "building the gene graph of scBFP" in err


def test_several_tables_are_written_all_or_none(refused, counts_file, monkeypatch):
    from sccr_node.errors import NotEnoughResources
    from sccr_node.storage import files

    staged_text = files.staged_text

    def full(path, text, **options):
        if path.name == "s.tsv":
            raise NotEnoughResources("no space left on the disk")
        return staged_text(path, text, **options)

    monkeypatch.setattr(files, "staged_text", full)
    names = {"--pairs": "p.tsv", "--json": "s.json", "-o": "s.tsv"}
    tables = [word for flag, name in names.items() for word in (flag, counts_file.with_name(name))]
    refused(75, ["no space left"], "evaluate", "relations", counts_file, *tables)


def test_data_without_x_are_evaluated_by_what_is_read(tmp_path, sccr):
    whole = simulated(n_cells=80, n_genes=60, n_types=3)
    cells = ad.AnnData(None, obs=whole.obs, var=whole.var, layers={"counts": whole.X})
    cells.write_h5ad(tmp_path / "in.h5ad")
    assert sccr("impute", tmp_path / "in.h5ad", tmp_path / "out.h5ad", "--layer", "counts")[0] == 0
    for words in (["cluster", tmp_path / "out.h5ad", "--label-key", "cell_type", "--obsm", "X_sccr", "--seeds", "0"],
                  ["relations", tmp_path / "out.h5ad"]):  # fmt: skip
        code, table, err = sccr("evaluate", *words)
        assert code == 0 and table, err
    code, _, err = sccr("evaluate", "relations", tmp_path / "in.h5ad")
    assert code == 65 and "has no X: choose a layer with --layer" in err
