"""Splitting, imputing the parts and gathering them gives the same as one run with --batch-key, byte for byte."""

import re
import subprocess
import sys

import anndata
import numpy as np
import pytest
from scipy import sparse

from sccr_node.__main__ import main
from sccr_node.pipeline.scatter import file_names
from tests.support.simulated import simulated


def data_set():
    adata = simulated(n_cells=120, n_genes=150, n_types=3, n_batches=3, depth=600)
    x = adata.X.toarray()
    x[7] = 0  # an empty cell
    adata.X = sparse.csr_matrix(x)
    adata.obs["batch"] = ["lonely", *[f"b/{name}" for name in adata.obs["batch"][1:]]]
    return adata


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    path = tmp_path_factory.mktemp("source") / "whole.h5ad"
    data_set().write_h5ad(path)
    return path


def sccr(*arguments, code=0):
    assert main([*map(str, arguments), "--quiet"]) == code


def scatter(source, folder, split_options=(), impute_options=()):
    sccr("split", source, "--batch-key", "batch", "--outdir", folder, *split_options)
    imputed = []
    depth = folder / "target_sum.txt"
    for part in sorted(folder.glob("*.h5ad")):
        target = folder.parent / f"imputed_{part.name}"
        depth_options = ["--target-sum", depth.read_text().strip()] if depth.exists() else []
        sccr("impute", part, target, "--genes", folder / "genes.txt", *depth_options, *impute_options)
        imputed.append(target)
    return imputed


def gather(source, output, imputed):
    """Gather with a record, which the report on the result must know as its own."""
    record, numbers = output.with_name("record.json"), output.with_name("numbers.tsv")
    sccr("gather", source, output, *imputed, "--provenance", record)
    sccr("report", output, "--provenance", record, "--numbers", numbers)
    assert "peak memory" in numbers.read_text().lower()


@pytest.mark.parametrize(
    ("split_options", "impute_options"),
    [
        ([], []),
        (["--n-top-genes", "60", "--normalize-by", "all"], ["--normalize-by", "all", "--write", "both"]),
        (["--genes", "all", "--target-sum", "1000"], ["--method", "scfp", "--n-components", "7"]),
        (["--n-top-genes", "60"], ["--low-rank-share", "0.4", "--low-rank", "50", "--write", "both"]),
        (["--layer", "complete_counts"], ["--layer", "complete_counts", "--method", "scbfp", "--k-cell", "4"]),
    ],
)
def test_the_gathered_file_is_that_of_one_run(source, tmp_path, split_options, impute_options):
    imputed = scatter(source, tmp_path / "parts", split_options, impute_options)
    gather(source, tmp_path / "gathered.h5ad", reversed(imputed))
    options = dict(zip(impute_options[::2], impute_options[1::2], strict=True))
    options |= dict(zip(split_options[::2], split_options[1::2], strict=True))
    flags = [part for option in options.items() for part in option]
    sccr("impute", source, tmp_path / "one.h5ad", "--batch-key", "batch", *flags)
    assert (tmp_path / "gathered.h5ad").read_bytes() == (tmp_path / "one.h5ad").read_bytes()


def test_logs_and_zarr(tmp_path):
    adata = data_set()
    logs = adata.X.astype(np.float32)
    logs.data = np.log1p(logs.data)
    adata.X = logs
    adata.write_zarr(tmp_path / "logs.zarr")
    imputed = scatter(tmp_path / "logs.zarr", tmp_path / "parts")
    assert not (tmp_path / "parts" / "target_sum.txt").exists()
    gather(tmp_path / "logs.zarr", tmp_path / "gathered.zarr", imputed)
    sccr("impute", tmp_path / "logs.zarr", tmp_path / "one.zarr", "--batch-key", "batch")
    files = {path.relative_to(tmp_path / "one.zarr") for path in (tmp_path / "one.zarr").rglob("*") if path.is_file()}
    assert files
    for file in files:
        assert (tmp_path / "gathered.zarr" / file).read_bytes() == (tmp_path / "one.zarr" / file).read_bytes(), file


def test_parts_carry_all_that_belongs_to_their_cells(source, tmp_path):
    sccr("split", source, "--batch-key", "batch", "--outdir", tmp_path / "parts")
    whole = anndata.read_h5ad(source)
    parts = [anndata.read_h5ad(path) for path in sorted((tmp_path / "parts").glob("*.h5ad"))]
    assert sorted(path.name for path in (tmp_path / "parts").iterdir()) == [
        ".sccr-split.json", "b_batch_1.h5ad", "b_batch_2.h5ad", "b_batch_3.h5ad", "genes.txt", "lonely.h5ad",
        "target_sum.txt",
    ]  # fmt: skip
    assert sum(part.n_obs for part in parts) == whole.n_obs
    for part in parts:
        rows = part.uns["sccr_part"]["rows"]
        assert (part.X != whole.X[rows]).nnz == 0
        assert (part.layers["complete_counts"] != whole.layers["complete_counts"][rows]).nnz == 0
        assert list(part.obs_names) == list(whole.obs_names[rows])
        assert part.obs["batch"].nunique() == 1
        assert part.uns["simulation"].keys() == whole.uns["simulation"].keys()


def test_split_does_not_claim_to_impute(source, tmp_path, capsys):
    assert main(["split", str(source), "--batch-key", "batch", "--outdir", str(tmp_path / "parts")]) == 0
    said = capsys.readouterr().err
    assert "4 batches in obs['batch'], one file per batch" in said
    assert "imputed by itself" not in said and "relations" not in said


def test_names_of_parts_are_safe_and_their_own():
    names = file_names(["a/b", "a b", "A_B", "../..", "", "x" * 300, "é", "-rf"])
    assert len({name.lower() for name in names}) == len(names)
    assert all(name.endswith(".h5ad") and len(name) < 120 and "/" not in name for name in names)
    assert not any(name.startswith((".", "-")) for name in names)


def test_names_of_parts_in_other_scripts_can_be_read_and_passed_on():
    batches = ["患者一", "患者二", "Пациент", "été", "e\u0301te\u0301", "\u202eabc\n", "\ue000", "日本語" * 60]
    names = file_names(batches)
    assert names[:7] == [
        "HuanZheYi.h5ad", "HuanZheEr.h5ad", "Patsient.h5ad", "ete.h5ad", "ete_2.h5ad", "abc.h5ad", "batch.h5ad",
    ]  # fmt: skip
    assert all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,110}\.h5ad", name) for name in names)


def refused(capsys, code, *arguments):
    assert main([*map(str, arguments)]) == code
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("sccr: error: ")]
    assert len(lines) == 1
    return lines[0]


def test_split_refuses(source, tmp_path, capsys):
    assert "--batch-key is required" in refused(capsys, 2, "split", source, "--outdir", tmp_path / "parts")
    assert "--outdir is required" in refused(capsys, 2, "split", source, "--batch-key", "batch")
    options = ["--outdir", tmp_path / "parts"]
    assert "no column 'donor'" in refused(capsys, 65, "split", source, "--batch-key", "donor", *options)
    (tmp_path / "parts").mkdir()
    assert "--force" in refused(capsys, 73, "split", source, "--batch-key", "batch", *options)
    assert list((tmp_path / "parts").iterdir()) == []


def test_gather_refuses(source, tmp_path, capsys):
    imputed = scatter(source, tmp_path / "parts")
    out = tmp_path / "out.h5ad"
    part = sorted((tmp_path / "parts").glob("*.h5ad"))[0]
    genes = ["--genes", tmp_path / "parts" / "genes.txt"]
    depth = ["--target-sum", (tmp_path / "parts" / "target_sum.txt").read_text().strip()]

    twice = tmp_path / "again.h5ad"
    twice.write_bytes(imputed[0].read_bytes())
    assert "are both batch" in refused(capsys, 65, "gather", source, out, *imputed, twice)
    assert "may use only 1 MB" in refused(capsys, 75, "gather", source, out, *imputed, "--max-memory", "1MB")
    assert "no part was given for 1 of the 4 batches" in refused(capsys, 65, "gather", source, out, *imputed[1:])
    assert "impute it first" in refused(capsys, 65, "gather", source, out, part, *imputed[1:])
    assert "is not a part written by sccr split" in refused(capsys, 65, "gather", source, out, source)
    assert "Missing argument 'PARTS" in refused(capsys, 2, "gather", source, out)

    sccr("impute", part, tmp_path / "deeper.h5ad", *genes, "--target-sum", "99")
    line = refused(capsys, 65, "gather", source, out, tmp_path / "deeper.h5ad", *imputed[1:])
    assert "target_sum" in line
    sccr("impute", part, tmp_path / "other.h5ad", *genes, *depth, "--alpha", "0.5")
    assert "alpha" in refused(capsys, 65, "gather", source, out, tmp_path / "other.h5ad", *imputed[1:])
    sccr("impute", part, tmp_path / "genes.h5ad", "--n-top-genes", "20", *depth)
    assert "genes" in refused(capsys, 65, "gather", source, out, tmp_path / "genes.h5ad", *imputed[1:])

    adata = data_set()
    adata.obs_names = [f"other_{name}" for name in adata.obs_names]
    adata.write_h5ad(tmp_path / "strange.h5ad")
    line = refused(capsys, 65, "gather", tmp_path / "strange.h5ad", out, *imputed)
    assert "its cells are different" in line

    out.write_text("precious")
    assert "--force" in refused(capsys, 73, "gather", source, out, *imputed)
    assert out.read_text() == "precious"


def test_gather_takes_more_parts_than_files_may_be_open(tmp_path):
    adata = data_set()
    adata.obs["batch"] = [f"b{n % 40}" for n in range(adata.n_obs)]
    adata.write_h5ad(tmp_path / "many.h5ad")
    imputed = scatter(tmp_path / "many.h5ad", tmp_path / "parts")
    program = (
        "import resource, sys\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))\n"
        "from sccr_node.__main__ import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    words = ["gather", tmp_path / "many.h5ad", tmp_path / "out.h5ad", *imputed, "--quiet"]
    ended = subprocess.run([sys.executable, "-c", program, *map(str, words)], stderr=subprocess.PIPE, text=True)
    assert ended.returncode == 0, ended.stderr


def test_gather_needs_the_denoised_expression(source, tmp_path, capsys):
    imputed = scatter(source, tmp_path / "parts", (), ["--write", "recovered"])
    line = refused(capsys, 65, "gather", source, tmp_path / "out.h5ad", *imputed)
    assert "--write denoised or both" in line


@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
def test_results_of_data_without_x_are_read(tmp_path, suffix):
    """By all who need its results, not its matrix: report, export, gather."""
    whole, source = data_set(), tmp_path / f"whole.{suffix}"
    layers = {"another": whole.X * 2, "counts": whole.X}
    without = anndata.AnnData(None, obs=whole.obs, var=whole.var, layers=layers)
    without.write_h5ad(source) if suffix == "h5ad" else without.write_zarr(source)
    one = tmp_path / f"one.{suffix}"
    sccr("impute", source, one, "--layer", "counts", "--batch-key", "batch")
    imputed = scatter(source, tmp_path / "parts", ["--layer", "counts"], ["--layer", "counts"])
    gathered = tmp_path / f"gathered.{suffix}"
    gather(source, gathered, imputed)
    if suffix == "h5ad":
        assert gathered.read_bytes() == one.read_bytes()
    sccr("export", one, tmp_path / "one.tsv")
    sccr("report", one, "-o", tmp_path / "one.html")
    assert (tmp_path / "one.tsv").read_text().count("\n") == 121


def test_data_without_x_are_imputed_by_layer(tmp_path, capsys):
    whole = data_set()
    anndata.AnnData(None, obs=whole.obs, var=whole.var, layers={"counts": whole.X}).write_h5ad(tmp_path / "in.h5ad")
    sccr("impute", tmp_path / "in.h5ad", tmp_path / "out.h5ad", code=65)
    assert "has no X: choose a layer with --layer; its layers: 'counts'" in capsys.readouterr().err
