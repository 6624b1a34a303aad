"""Imputation from file to file: what it adds, what it leaves alone, and that one input gives one output."""

import json
import re
from importlib import resources

import anndata
import h5py
import jsonschema
import numpy as np
import pytest
from scipy import sparse

from sccr_node.__main__ import main
from sccr_node.contract.impute import ImputeParameters
from sccr_node.contract.record import RunRecord
from sccr_node.methods import blend, scbfp, sccr, scfp
from tests.support.simulated import simulated


@pytest.fixture(scope="module")
def counts(tmp_path_factory):
    """A small data set of three batches with counts in X."""
    adata = simulated(n_cells=150, n_genes=260, n_types=3, n_batches=3, depth=800)
    expressed = np.flatnonzero(adata.X.sum(axis=0).A1 > 0)[:200]
    adata = adata[:, expressed].copy()
    path = tmp_path_factory.mktemp("counts") / "counts.h5ad"
    adata.write_h5ad(path)
    return path


def impute(source, target, *options, code=0):
    assert main(["impute", str(source), str(target), "--quiet", *map(str, options)]) == code
    return anndata.read_h5ad(target) if code == 0 and target.suffix == ".h5ad" else None


def dense(matrix):
    return matrix.toarray() if sparse.issparse(matrix) else np.asarray(matrix)


def prepared(counts, genes, *, totals_over=None, target=None):
    """Prepare counts as the paper does, in float64, apart from the step's own code."""
    counts = counts.astype(np.float64)
    totals = counts[:, genes if totals_over is None else totals_over].sum(axis=1)
    target = np.median(totals[totals > 0]) if target is None else target
    return np.log1p(counts / totals[:, None] * target)


def top_variance(counts, n):
    order = np.argsort(-counts.astype(np.float64).var(axis=0), kind="stable")
    return np.sort(order[:n])


def test_the_output_is_the_method_on_the_prepared_genes(counts, tmp_path):
    result = impute(counts, tmp_path / "out.h5ad", "--n-top-genes", 60, "--write", "both")
    x = dense(result.X)
    genes = top_variance(x, 60)
    assert np.array_equal(np.flatnonzero(result.var["sccr_imputed"]), genes)
    logs = prepared(x, genes)
    expected = sccr(sparse.csr_matrix(logs[:, genes].astype(np.float32)), recovered=True)
    for key, values in (("sccr", expected.denoised), ("sccr_recovered", expected.recovered)):
        layer = dense(result.layers[key])
        assert layer.dtype == np.float32
        np.testing.assert_allclose(layer[:, genes], values, atol=1e-5)
        others = np.delete(np.arange(x.shape[1]), genes)
        np.testing.assert_allclose(layer[:, others], logs[:, others], atol=1e-5)


@pytest.mark.parametrize(("method", "function"), [("scfp", scfp), ("scbfp", scbfp)])
def test_the_relatives_run_with_their_own_numbers(counts, tmp_path, method, function):
    result = impute(counts, tmp_path / "out.h5ad", "--method", method, "--genes", "all", "--key-added", method)
    x = dense(result.X)
    everything = np.arange(x.shape[1])
    logs = prepared(x, everything)
    np.testing.assert_allclose(
        dense(result.layers[method]), function(sparse.csr_matrix(logs.astype(np.float32))).denoised, atol=1e-5
    )
    assert ("scfp_relations" in result.varp) is False
    assert ("scbfp_relations" in result.varp) is (method == "scbfp")


def test_other_totals_and_depths(counts, tmp_path):
    options = ["--n-top-genes", 60, "--normalize-by", "all", "--target-sum", 1000]
    result = impute(counts, tmp_path / "out.h5ad", *options)
    x = dense(result.X)
    genes = top_variance(x, 60)
    logs = prepared(x, genes, totals_over=np.arange(x.shape[1]), target=1000)
    others = np.delete(np.arange(x.shape[1]), genes)
    np.testing.assert_allclose(dense(result.layers["sccr"])[:, others], logs[:, others], atol=1e-5)
    assert result.uns["sccr"]["params"]["target_sum"] == 1000


def test_logs_are_used_as_they_are(counts, tmp_path):
    adata = anndata.read_h5ad(counts)
    x = dense(adata.X)
    logs = prepared(x, np.arange(x.shape[1])).astype(np.float32)
    adata.layers["logs"] = sparse.csr_matrix(logs)
    adata.write_h5ad(tmp_path / "logs.h5ad")
    result = impute(tmp_path / "logs.h5ad", tmp_path / "out.h5ad", "--layer", "logs", "--genes", "all")
    expected = sccr(sparse.csr_matrix(logs)).denoised
    assert np.array_equal(dense(result.layers["sccr"]), expected)
    assert result.uns["sccr"]["input"] == {"scale": "log1p", "layer": "logs", "genes": "all"}


def test_the_keys_are_those_of_the_contract(counts, tmp_path):
    result = impute(counts, tmp_path / "out.h5ad", "--key-added", "mine", "--n-components", 7, "--n-top-genes", 60)
    before = anndata.read_h5ad(counts)
    assert set(result.layers) - set(before.layers) == {"mine"}
    assert set(result.obsm) == {"X_mine"}
    assert set(result.varp) == {"mine_relations"}
    assert set(result.var) - set(before.var) == {"mine_imputed"}
    assert set(result.uns) - set(before.uns) == {"mine"}
    assert result.obsm["X_mine"].shape == (150, 7)
    assert result.obsm["X_mine"].dtype == np.float32
    recorded = result.uns["mine"]
    assert set(recorded) == {
        "version", "method", "params", "output_scale", "input", "n_cells", "n_genes", "messages",
    }  # fmt: skip
    assert recorded["n_cells"] == 150
    assert recorded["n_genes"] == 60
    assert any("counts" in message for message in recorded["messages"])
    assert recorded["params"]["n_components"] == 7


def test_the_components_are_those_of_the_imputed_genes(counts, tmp_path):
    result = impute(counts, tmp_path / "out.h5ad", "--n-top-genes", 60, "--n-components", 10)
    genes = result.var["sccr_imputed"].to_numpy()
    values = dense(result.layers["sccr"])[:, genes].astype(np.float64)
    left, singular, _ = np.linalg.svd(values - values.mean(axis=0), full_matrices=False)
    expected = left[:, :10] * singular[:10]
    found = result.obsm["X_sccr"].astype(np.float64)
    signs = np.sign((expected * found).sum(axis=0))
    np.testing.assert_allclose(found, expected * signs, atol=1e-3 * singular[0])


def test_relations_are_signed_symmetric_correlations(counts, tmp_path):
    relations = impute(counts, tmp_path / "out.h5ad", "--n-top-genes", 60)
    matrix = relations.varp["sccr_relations"]
    imputed = relations.var["sccr_imputed"].to_numpy()
    values = matrix.toarray()
    assert sparse.issparse(matrix) and matrix.format == "csr"
    assert np.array_equal(values, values.T)
    assert not values.diagonal().any()
    assert not values[~imputed].any()
    assert np.abs(values).max() <= 1
    assert values.min() < 0 < values.max()


def test_embedding_only_writes_no_layer(counts, tmp_path):
    whole = impute(counts, tmp_path / "whole.h5ad")
    small = impute(counts, tmp_path / "small.h5ad", "--write", "embedding")
    assert set(small.layers) == set(anndata.read_h5ad(counts).layers)
    assert np.array_equal(small.obsm["X_sccr"], whole.obsm["X_sccr"])


def test_batches_are_imputed_by_themselves(counts, tmp_path):
    result = impute(counts, tmp_path / "out.h5ad", "--batch-key", "batch", "--n-top-genes", 60, "--write", "both")
    x = dense(result.X)
    genes = top_variance(x, 60)
    logs = prepared(x, genes)[:, genes].astype(np.float32)
    for batch in result.obs["batch"].cat.categories:
        cells = (result.obs["batch"] == batch).to_numpy()
        alone = sccr(sparse.csr_matrix(logs[cells]), recovered=True)
        np.testing.assert_allclose(dense(result.layers["sccr"])[cells][:, genes], alone.denoised, atol=1e-5)
        np.testing.assert_allclose(dense(result.layers["sccr_recovered"])[cells][:, genes], alone.recovered, atol=1e-5)
    assert "sccr_relations" not in result.varp
    assert result.obsm["X_sccr"].shape == (150, 50)
    assert any("each imputed separately" in message for message in result.uns["sccr"]["messages"])


def test_only_the_denoised_output_and_its_components_are_blended(counts, tmp_path):
    options = ["--n-top-genes", 60, "--write", "both"]
    plain = impute(counts, tmp_path / "plain.h5ad", *options)
    result = impute(counts, tmp_path / "blend.h5ad", *options, "--low-rank-share", 0.4, "--low-rank", 7)
    genes = result.var["sccr_imputed"].to_numpy()
    logs = prepared(dense(result.X), np.flatnonzero(genes))[:, genes].astype(np.float32)
    denoised = dense(result.layers["sccr"])[:, genes]
    expected = blend(logs, dense(plain.layers["sccr"])[:, genes], share=0.4, rank=7)
    np.testing.assert_allclose(denoised, expected, atol=1e-5)
    assert np.array_equal(dense(result.layers["sccr_recovered"]), dense(plain.layers["sccr_recovered"]))
    centred = denoised.astype(np.float64) - denoised.mean(axis=0, dtype=np.float64)
    variances = np.linalg.svd(centred, compute_uv=False)[:50] ** 2
    np.testing.assert_allclose((result.obsm["X_sccr"].astype(np.float64) ** 2).sum(axis=0), variances, rtol=1e-3)
    assert result.uns["sccr"]["params"]["low_rank"] == 7


def test_too_few_cells_for_the_rank_of_the_blend_are_said(counts, tmp_path, capsys):
    adata = anndata.read_h5ad(counts)
    adata.obs["batch"] = ["one"] * 12 + ["alone"] + ["two"] * 137
    adata.write_h5ad(tmp_path / "in.h5ad")
    blended = ["--batch-key", "batch", "--low-rank-share", 0.4]
    result = impute(tmp_path / "in.h5ad", tmp_path / "out.h5ad", *blended)
    said = "only 12 cells in the smallest batch for low_rank = 20: there are only 11 principal components"
    assert said in capsys.readouterr().err
    assert said in list(result.uns["sccr"]["messages"])


@pytest.mark.parametrize(
    "options",
    [[], ["--batch-key", "batch", "--write", "both"], ["--method", "scbfp", "--low-rank-share", "0.3"]],
)
@pytest.mark.parametrize("suffix", [".h5ad", ".zarr"])
def test_threads_and_repetition_do_not_change_a_byte(counts, tmp_path, options, suffix):
    def content(path):
        if path.is_file():
            return path.read_bytes()
        return {str(file.relative_to(path)): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}

    outputs = []
    for name, threads in (("one", 1), ("two", 2), ("again", 2), ("three", 3)):
        path = tmp_path / f"{name}{suffix}"
        impute(counts, path, "--threads", threads, *options)
        outputs.append(content(path))
    assert all(output == outputs[0] for output in outputs[1:])


def test_threads_do_not_change_a_byte_on_real_data(shared_data, tmp_path):
    for threads in (1, 2):
        impute(shared_data / "mouse_bladder_2100.h5ad", tmp_path / f"{threads}.h5ad", "--threads", threads)
    assert (tmp_path / "1.h5ad").read_bytes() == (tmp_path / "2.h5ad").read_bytes()


def test_where_the_files_lie_does_not_change_a_byte(counts, tmp_path):
    genes = anndata.read_h5ad(counts).var_names[:50]
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "genes.txt").write_text("\n".join([*genes, genes[0]]))
        (tmp_path / folder / f"{folder}.h5ad").write_bytes(counts.read_bytes())
        source = tmp_path / folder / f"{folder}.h5ad"
        impute(source, tmp_path / folder / "out.h5ad", "--genes", tmp_path / folder / "genes.txt")
    assert (tmp_path / "here" / "out.h5ad").read_bytes() == (tmp_path / "there" / "out.h5ad").read_bytes()


def test_a_second_run_under_the_same_name_needs_leave(counts, tmp_path):
    impute(counts, tmp_path / "one.h5ad")
    impute(tmp_path / "one.h5ad", tmp_path / "two.h5ad", code=65)
    assert not (tmp_path / "two.h5ad").exists()
    again = impute(tmp_path / "one.h5ad", tmp_path / "two.h5ad", "--overwrite-keys", "--n-top-genes", 30)
    assert again.var["sccr_imputed"].sum() == 30
    other = impute(tmp_path / "one.h5ad", tmp_path / "three.h5ad", "--key-added", "other")
    assert {"sccr", "other"} <= set(other.layers)


def test_a_replaced_result_leaves_no_key_of_the_old_one(counts, tmp_path):
    impute(counts, tmp_path / "both.h5ad", "--write", "both")
    again = impute(tmp_path / "both.h5ad", tmp_path / "scfp.h5ad", "--method", "scfp", "--overwrite-keys")
    assert "sccr_recovered" not in again.layers
    assert "sccr_relations" not in again.varp


def test_the_record_fits_its_schema_and_its_run(counts, tmp_path):
    impute(counts, tmp_path / "out.h5ad", "--provenance", tmp_path / "run.json", "--batch-key", "batch", "--alpha", 0.1)
    record = json.loads((tmp_path / "run.json").read_text())
    jsonschema.validate(record, RunRecord.model_json_schema())
    assert record["params"]["alpha"] == 0.1
    assert record["params"]["gamma"] == 0.01
    assert [batch["name"] for batch in record["batches"]] == ["batch_1", "batch_2", "batch_3"]
    assert record["input"]["n_cells"] == 150
    assert record["result"]["keys"] == ["layers/sccr", "obsm/X_sccr", "var/sccr_imputed", "uns/sccr"]
    assert record["result"]["zeros_after"] < record["result"]["zeros_before"]
    assert record["command"][:4] == ["sccr", "impute", str(counts), str(tmp_path / "out.h5ad")]
    assert record["command"][-4:] == ["--batch-key", "batch", "--alpha", "0.1"]
    resources_used = record["resources"]
    assert 0 < resources_used["peak_memory_bytes"]
    assert sum(resources_used["seconds"].values()) <= resources_used["total_seconds"]


@pytest.mark.parametrize(
    "options",
    [
        ("--low-rank-share", 0.3, "--low-rank", 10),
        ("--method", "scfp", "--batch-key", "batch", "--n-components", 3),
        ("--write", "both", "--output-scale", "counts", "--target-sum", 1000),
        ("--genes", "genes.txt", "--genes-missing", "skip", "--neighbor-search", "clustered"),
        ("--tune",),
    ],
)
def test_the_report_knows_the_record_of_a_result(counts, tmp_path, monkeypatch, sccr, options):
    monkeypatch.chdir(tmp_path)
    genes = anndata.read_h5ad(counts, backed="r").var_names[:80]
    (tmp_path / "genes.txt").write_text("\n".join([*genes, "absent"]))
    impute(counts, tmp_path / "out.h5ad", "--provenance", "run.json", *options)
    assert sccr("promote", "out.h5ad", "promoted.h5ad", "--layer", "sccr")[0] == 0
    for result in ("out", "promoted"):
        words = ("report", f"{result}.h5ad", "--provenance", "run.json", "--numbers", f"{result}.tsv")
        assert sccr(*words)[0] == 0


def test_log_record_and_report_say_the_same_time(counts, tmp_path, sccr):
    files = {name: tmp_path / name for name in ("out.h5ad", "run.json", "page.html")}
    code, _, said = sccr(
        "impute", counts, files["out.h5ad"], "--provenance", files["run.json"], "--report", files["page.html"]
    )
    assert code == 0
    took = json.loads(files["run.json"].read_text())["resources"]
    assert took["seconds"]["report"] > 0 and sum(took["seconds"].values()) <= took["total_seconds"]
    shown = f"{took['total_seconds']:.1f} s"
    written = [line for line in said.splitlines() if "wrote " in line]
    assert f"wrote {files['out.h5ad']}: " in written[0] and "also wrote" in written[1]
    # No second total in these lines.
    assert [re.findall(r"[\d.]+ s\b", line) for line in written] == [[shown], [shown]]
    page = files["page.html"].read_text()
    assert f"The run took {shown} on" in page and '<th scope="row">report</th>' in page


def test_a_short_run_says_what_it_found_and_not_what_it_passed_through(counts, tmp_path, sccr):
    _, _, said = sccr("impute", counts, tmp_path / "out.h5ad")
    assert len(said.splitlines()) <= 9 and "…" not in said
    code, _, said = sccr("impute", counts, tmp_path / "again.h5ad", "--log-format", "json")
    lines = [json.loads(line) for line in said.splitlines()]
    stages = [line["stage"] for line in lines if "stage" in line]
    assert code == 0 and {"scan", "denoising: propagation", "principal components"} <= set(stages)
    told = {name: line[name] for line in lines for name in line}
    assert told["n_cells"] == 150 and told["memory_bytes"] > 0 and told["estimated_seconds"] >= 0
    assert told["output"] == str(tmp_path / "again.h5ad") and "layers/sccr" in told["keys"]


@pytest.mark.parametrize("source", ["h5ad", "zarr"])
@pytest.mark.parametrize("target", ["h5ad", "zarr"])
def test_every_pair_of_formats(counts, tmp_path, source, target):
    adata = anndata.read_h5ad(counts)
    path = tmp_path / f"in.{source}"
    adata.write_h5ad(path) if source == "h5ad" else adata.write_zarr(path)
    impute(path, tmp_path / f"out.{target}")
    read = anndata.read_h5ad if target == "h5ad" else anndata.read_zarr
    result, direct = read(tmp_path / f"out.{target}"), impute(counts, tmp_path / "direct.h5ad")
    assert np.array_equal(dense(result.layers["sccr"]), dense(direct.layers["sccr"]))
    assert np.array_equal(dense(result.X), dense(adata.X))
    assert result.uns["sccr"]["n_genes"] == direct.uns["sccr"]["n_genes"]


def test_ten_x_output_is_read_with_its_other_features(tmp_path):
    """A 10x file with antibodies: they stay, and are neither chosen nor counted."""
    random = np.random.default_rng(0)
    matrix = sparse.csc_matrix(random.poisson(1.0, (60, 40)))  # features x cells
    path = tmp_path / "filtered.h5"
    with h5py.File(path, "w") as file:
        group = file.create_group("matrix")
        for name, values in (("data", matrix.data), ("indices", matrix.indices), ("indptr", matrix.indptr)):
            group[name] = values
        group["shape"] = np.array(matrix.shape)
        group["barcodes"] = np.array([f"cell{i}".encode() for i in range(40)])
        features = group.create_group("features")
        features["id"] = np.array([f"ENSG{i}".encode() for i in range(60)])
        features["name"] = np.array([f"gene{i}".encode() for i in range(60)])
        kinds = [b"Gene Expression"] * 50 + [b"Antibody Capture"] * 10
        features["feature_type"] = np.array(kinds)
        features["genome"] = np.array([b"GRCh38"] * 60)
    result = impute(path, tmp_path / "out.h5ad", "--genes", "all")
    assert result.shape == (40, 60)
    assert np.array_equal(np.flatnonzero(result.var["sccr_imputed"]), np.arange(50))
    assert list(result.var["gene_ids"][:2]) == ["ENSG0", "ENSG1"]


# --- accepted, and said


def variant(counts, path, change):
    adata = anndata.read_h5ad(counts)
    changed = change(adata)
    (adata if changed is None else changed).write_h5ad(path)
    return path


def said(capsys):
    return capsys.readouterr().err


def test_one_cell_passes_through(counts, tmp_path, capsys):
    source = variant(counts, tmp_path / "in.h5ad", lambda adata: adata[:1].copy())
    result = impute(source, tmp_path / "out.h5ad", "--genes", "all")
    assert "only 1 cell: its values pass through unchanged" in said(capsys)
    np.testing.assert_allclose(dense(result.layers["sccr"]), np.log1p(dense(result.X)), rtol=1e-6)
    assert result.obsm["X_sccr"].shape[0] == 1


def test_a_batch_of_one_passes_through(counts, tmp_path, capsys):
    def one_alone(adata):
        adata.obs["sample"] = ["lonely", *["many"] * (adata.n_obs - 1)]

    source = variant(counts, tmp_path / "in.h5ad", one_alone)
    result = impute(source, tmp_path / "out.h5ad", "--batch-key", "sample", "--genes", "all")
    assert "batch 'lonely' has only 1 cell" in said(capsys)
    logs = prepared(dense(result.X), np.arange(result.n_vars))
    np.testing.assert_allclose(dense(result.layers["sccr"])[0], logs[0], atol=1e-5)


def test_duplicate_gene_names_are_said_and_kept(counts, tmp_path, capsys):
    def duplicate(adata):
        adata.var_names = ["gene_same", "gene_same", *adata.var_names[2:]]

    with pytest.warns(UserWarning, match="unique"):
        source = variant(counts, tmp_path / "in.h5ad", duplicate)
        result = impute(source, tmp_path / "out.h5ad")
    assert "occur" in said(capsys)
    assert list(result.var_names[:2]) == ["gene_same", "gene_same"]


def test_empty_cells_and_genes_take_no_part(counts, tmp_path, capsys):
    def emptied(adata):
        x = adata.X.toarray()
        x[[3, 70]] = 0
        x[:, [5, 9]] = 0
        adata.X = sparse.csr_matrix(x)

    source = variant(counts, tmp_path / "in.h5ad", emptied)
    result = impute(source, tmp_path / "out.h5ad", "--genes", "all", "--write", "both")
    message = said(capsys)
    assert "2 cells express none of the selected genes; they are skipped and stay 0" in message
    assert "2 selected genes are not expressed in any cell; they are skipped and stay 0" in message
    cells = np.delete(np.arange(150), [3, 70])
    genes = np.delete(np.arange(200), [5, 9])
    without = variant(source, tmp_path / "without.h5ad", lambda adata: adata[cells][:, genes].copy())
    alone = impute(without, tmp_path / "alone.h5ad", "--genes", "all", "--write", "both")
    for key in ("sccr", "sccr_recovered"):
        layer = dense(result.layers[key])
        assert np.array_equal(layer[np.ix_(cells, genes)], dense(alone.layers[key]))
        assert not layer[[3, 70]].any()
        assert not layer[:, [5, 9]].any()


def test_constant_genes_few_genes_and_few_cells(counts, tmp_path, capsys):
    def few(adata):
        small = adata[:6, :8].copy()
        x = small.X.toarray()
        x[:, 0] = 3
        small.X = sparse.csr_matrix(x)
        return small

    source = variant(counts, tmp_path / "in.h5ad", few)
    result = impute(source, tmp_path / "out.h5ad")
    message = said(capsys)
    assert "2,000 genes were requested, but there are only 8" in result.uns["sccr"]["messages"][1]
    assert "there are only 6 cells for 15 neighbours: every cell becomes a neighbour of every other" in message
    assert result.obsm["X_sccr"].shape == (6, 5)
    assert np.isfinite(dense(result.layers["sccr"])).all()


def test_genes_of_one_value_are_said(counts, tmp_path, capsys):
    def level(adata):
        x = np.log1p(adata.X.toarray()).astype(np.float32)
        x[:, 0] = 1.25
        adata.X = sparse.csr_matrix(x)

    source = variant(counts, tmp_path / "in.h5ad", level)
    result = impute(source, tmp_path / "out.h5ad", "--genes", "all")
    assert "1 selected gene has the same value in every non-empty cell; its correlation" in said(capsys)
    np.testing.assert_allclose(dense(result.layers["sccr"])[:, 0], 1.25, rtol=1e-5)


def test_a_highly_variable_choice_and_a_list(counts, tmp_path):
    def mark(adata):
        adata.var["highly_variable"] = np.arange(adata.n_vars) % 3 == 0

    source = variant(counts, tmp_path / "in.h5ad", mark)
    marked = impute(source, tmp_path / "out.h5ad", "--genes", "highly-variable")
    assert np.array_equal(np.flatnonzero(marked.var["sccr_imputed"]), np.arange(0, 200, 3))
    (tmp_path / "genes.txt").write_text("\n".join(marked.var_names[[7, 3, 199]]))
    listed = impute(source, tmp_path / "listed.h5ad", "--genes", tmp_path / "genes.txt")
    assert np.array_equal(np.flatnonzero(listed.var["sccr_imputed"]), [3, 7, 199])


def test_sparse_layers_stay_sparse_and_full_ones_are_dense(counts, tmp_path):
    few = impute(counts, tmp_path / "few.h5ad", "--n-top-genes", 10)
    assert sparse.issparse(few.layers["sccr"]) and few.layers["sccr"].dtype == np.float32
    full = impute(counts, tmp_path / "full.h5ad", "--genes", "all")
    assert isinstance(full.layers["sccr"], np.ndarray)


# --- the paper's ablations reach the method


@pytest.mark.parametrize("flag", ["--no-dissociating", "--no-standardize", "--no-symmetrize-final"])
def test_ablations(counts, tmp_path, flag):
    plain = impute(counts, tmp_path / "plain.h5ad", "--genes", "all")
    ablated = impute(counts, tmp_path / "ablated.h5ad", "--genes", "all", flag)
    option = flag.removeprefix("--no-").replace("-", "_")
    logs = sparse.csr_matrix(prepared(dense(plain.X), np.arange(200)).astype(np.float32))
    np.testing.assert_allclose(dense(ablated.layers["sccr"]), sccr(logs, **{option: False}).denoised, atol=1e-5)
    assert not np.array_equal(dense(plain.layers["sccr"]), dense(ablated.layers["sccr"]))
    if flag == "--no-dissociating":
        assert ablated.varp["sccr_relations"].data.min() >= 0


def test_a_config_file_runs_the_step(counts, tmp_path):
    config = tmp_path / "run.yaml"
    config.write_text("n_top_genes: 40\nmethod: scfp\nkey_added: fromconfig\n")
    result = impute(counts, tmp_path / "out.h5ad", "--config", config)
    assert result.var["fromconfig_imputed"].sum() == 40
    assert result.uns["fromconfig"]["method"] == "scfp"


def test_dry_run_says_the_estimate_and_writes_nothing(counts, tmp_path, capsys):
    assert (
        main(["impute", str(counts), str(tmp_path / "out.h5ad"), "--dry-run", "--provenance", str(tmp_path / "p")]) == 0
    )
    text = said(capsys)
    assert "estimate: " in text and "of memory" in text and " s on " in text
    assert list(tmp_path.iterdir()) == []


def test_nothing_printed_on_success_looks_like_a_failure(counts, tmp_path, capsys):
    assert main(["impute", str(counts), str(tmp_path / "out.h5ad"), "--batch-key", "batch"]) == 0
    captured = capsys.readouterr()
    for stream in (captured.out, captured.err):
        assert "error:" not in stream.lower()
        assert "exception:" not in stream.lower()


def test_the_package_is_typed():
    assert (resources.files("sccr_node") / "py.typed").is_file()
    assert ImputeParameters.model_fields["alpha"].title
