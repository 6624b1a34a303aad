"""The evaluating commands through the real command line, and what they read from files."""

import io
import json
import subprocess
import sys
from types import SimpleNamespace

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from sccr_node.contract.evaluate import EvaluateMaskParameters
from sccr_node.contract.shared import PreparationParameters
from sccr_node.data.dataset import open_input
from sccr_node.errors import InputProblem
from sccr_node.evaluation import analyses
from sccr_node.evaluation.analyses.recovery import recovery
from sccr_node.pipeline.evaluate import (
    FACTOR_COLUMN,
    genes_of_layer,
    mask_file,
    matching,
    prepare,
    read_types,
    score_candidate,
)
from sccr_node.runtime.console import Console

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
    assert list(masked.layers) == ["truth"] and FACTOR_COLUMN not in masked.obs
    np.testing.assert_allclose((masked.X + masked.layers["truth"]).toarray(), logs, rtol=1e-6)


def scored(masked, candidate, **params):
    return score_candidate(masked, candidate, params.get("layer"), QUIET)


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

    np.testing.assert_array_equal(matching(strings("a b c"), strings("c a b"), "gene", "X"), [2, 0, 1])
    np.testing.assert_array_equal(matching(strings("a a b"), strings("a a b"), "gene", "X"), [0, 1, 2])
    for found, words in (("a b", "lacks 1 gene "), ("a b c d", "adds 1 gene "), ("b c d", "lacks 1")):
        with pytest.raises(InputProblem, match=words):
            matching(strings("a b c"), strings(found), "gene", "X")
    with pytest.raises(InputProblem, match="names are not unique"):
        matching(strings("a a b"), strings("a b a"), "gene", "X")


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
    with open_input(counts_file) as data:
        _, prepared = prepare(data, PreparationParameters(), QUIET, any_scale=True)
        np.testing.assert_allclose(prepared.expression.toarray(), values, rtol=1e-5, atol=1e-6)
        with pytest.raises(InputProblem, match="negative"):
            prepare(data, PreparationParameters(), QUIET)


def test_genes_of_a_result_are_those_that_were_imputed(few_cells, counts_file):
    result = few_cells.copy()
    result.var["sccr_imputed"] = np.arange(80) % 4 == 0
    result.uns["sccr"] = {"version": "1"}
    result.layers["sccr"] = result.layers["sccr_recovered"] = result.layers["other"] = result.X
    result.write_h5ad(counts_file)
    with open_input(counts_file) as data:
        for layer in ("sccr", "sccr_recovered"):
            np.testing.assert_array_equal(genes_of_layer(data, layer), np.arange(0, 80, 4))
        assert genes_of_layer(data, "other") is None and genes_of_layer(data, None) is None


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


def test_without_its_libraries_clustering_says_how_to_get_them(refused, counts_file, monkeypatch):
    monkeypatch.setattr(analyses, "find_spec", lambda name: None if name == "igraph" else name)
    label = ("--label-key", "cell_type")
    refused(2, ["igraph", "sccr-node[full]"], "evaluate", "cluster", counts_file, *label)
    refused(2, ["igraph", "sccr-node[full]"], "benchmark", counts_file, *label)


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
    from scipy import sparse

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
    "relations": ("evaluate", "relations", "IN"),
    "benchmark": ("benchmark", "IN"),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_gene_file_that_is_missing_is_bad_usage_or_missing_input_by_who_names_it(refused, counts_file, command):
    places = {"IN": counts_file, "OUT": counts_file.with_name("out.h5ad")}
    words = [places.get(word, word) for word in COMMANDS[command]]
    absent, config = counts_file.with_name("absent.txt"), counts_file.with_name("config.json")
    config.write_text(json.dumps({"genes": str(absent)}))
    refused(2, [f"--genes {absent}"], *words, "--genes", absent)
    refused(66, ["the gene file named in the config file"], *words, "--config", config)


def test_names_that_repeat_are_masked_without_a_remark(few_cells, counts_file):
    adata = few_cells.copy()
    adata.var_names = ["same", "same", *adata.var_names[2:]]
    adata.write_h5ad(counts_file)
    command = [sys.executable, "-m", "sccr_node", "evaluate", "mask", counts_file, counts_file.with_name("m.h5ad")]
    run = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
    assert "1 gene name occurs more than once" in run.stderr  # our own remark stays
    assert "not unique" not in run.stderr, run.stderr


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
