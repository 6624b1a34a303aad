"""What does not fit in memory goes to --work-dir: the same bytes, and nothing is left there."""

import json
import os

import anndata
import numpy as np
import pytest
from scipy import sparse

import sccr_node
from sccr_node.data import matrix
from tests.support.simulated import simulated


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Counts that need 330 MB: two matrices of 5 MB among them."""
    adata = simulated(n_cells=3000, n_genes=400, n_types=5, n_batches=2, depth=800)
    adata.layers.clear()
    path = tmp_path_factory.mktemp("work") / "cells.h5ad"
    adata.write_h5ad(path)
    return path


def memory_needed(said):
    return int(said.split("estimate: ")[1].split(" MB")[0])


@pytest.mark.parametrize(("method", "matrices"), [("sccr", 1), ("sccr", 2), ("scfp", 1), ("scbfp", 1)])
def test_matrices_on_disk_give_the_same_bytes(source, tmp_path, sccr, method, matrices):
    options = ["--method", method, "--write", "both"] if method == "sccr" else ["--method", method]
    plain, other, work = tmp_path / "plain.h5ad", tmp_path / "other.h5ad", tmp_path / "work"
    work.mkdir()
    code, _, said = sccr("impute", source, plain, *options)
    assert code == 0
    limit = f"{memory_needed(said) - 4 * matrices}MB"
    assert sccr("impute", source, other, *options, "--max-memory", limit)[0] == 75
    assert not other.exists()
    code, _, said = sccr("impute", source, other, *options, "--max-memory", limit, "--work-dir", work)
    assert code == 0
    assert f"with {matrices} matri{'x' if matrices == 1 else 'ces'} on disk ({matrices * 4.8:.0f} MB in {work})" in said
    assert plain.read_bytes() == other.read_bytes()
    assert not list(work.iterdir())


def test_the_way_out_is_named(source, tmp_path, refused):
    out = tmp_path / "out.h5ad"
    refused(75, ["keep the largest matrices on disk (--work-dir)"], "impute", source, out, "--max-memory", "310MB")
    too_little = ["not enough memory", "may use only 100 MB", "impute by batches"]
    refused(75, too_little, "impute", source, out, "--max-memory", "100MB", "--work-dir", tmp_path)


@pytest.mark.parametrize("command", ["impute", "split"])
def test_a_bad_folder_is_refused(source, tmp_path, sccr, command):
    out = [tmp_path / "out.h5ad"] if command == "impute" else ["--batch-key", "batch", "--outdir", tmp_path / "out"]
    code, _, said = sccr(command, source, *out, "--work-dir", tmp_path / "none")
    assert code == 73 and f"cannot keep temporary files in {tmp_path / 'none'}: it does not exist" in said
    assert not list(tmp_path.iterdir())


def test_batches_wait_in_the_folder(source, tmp_path, sccr, monkeypatch):
    made = []
    real = os.pwrite

    def noted(descriptor, *given):
        made.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        return real(descriptor, *given)

    monkeypatch.setattr(os, "pwrite", noted)
    work = tmp_path / "work"
    work.mkdir()
    assert sccr("impute", source, tmp_path / "out.h5ad", "--batch-key", "batch", "--work-dir", work)[0] == 0
    assert made and all(name.startswith(str(work)) for name in made)
    assert not list(work.iterdir())


def test_the_python_interface_has_it(source, tmp_path):
    adata = anndata.read_h5ad(source)
    one = sccr_node.impute(adata, batch_key="batch", copy=True, quiet=True)
    other = sccr_node.impute(adata, batch_key="batch", copy=True, quiet=True, work_dir=tmp_path)
    assert (one.layers["sccr"] != other.layers["sccr"]).sum() == 0
    with pytest.raises(sccr_node.errors.OutputProblem, match="reached; choose another work_dir"):
        sccr_node.impute(adata, work_dir=tmp_path / "none", quiet=True)
    for wrong in (5, True, ["a"]):
        with pytest.raises(sccr_node.errors.UsageProblem, match="work_dir: should"):
            sccr_node.impute(adata, work_dir=wrong, quiet=True)


@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
def test_a_large_csc_matrix_is_turned_in_the_folder(source, tmp_path, sccr, monkeypatch, suffix):
    adata = anndata.read_h5ad(source)
    plain, turned = tmp_path / "plain.h5ad", tmp_path / f"csc.{suffix}"
    assert sccr("impute", source, plain)[0] == 0
    adata.X = sparse.csc_matrix(adata.X)
    (adata.write_h5ad if suffix == "h5ad" else adata.write_zarr)(turned)
    monkeypatch.setattr(matrix, "IN_MEMORY_BYTES", 0)
    monkeypatch.setattr(matrix, "TURNED_ENTRIES", 10_000)
    work = tmp_path / "work"
    work.mkdir()
    record = tmp_path / "record.json"
    code, _, _ = sccr("impute", turned, tmp_path / "out.h5ad", "--work-dir", work, "--provenance", record)
    assert code == 0
    assert not list(work.iterdir())
    one, other = (anndata.read_h5ad(path).layers["sccr"] for path in (plain, tmp_path / "out.h5ad"))
    assert np.array_equal(np.asarray(one), np.asarray(other))
    assert json.loads(record.read_text())["params"]["work_dir"] == str(work)
