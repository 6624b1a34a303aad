"""The search for the nearest cells: chosen by a parameter, and recorded with what it left out."""

import json

import anndata
import numpy as np
import pytest

import sccr_node
from sccr_node import methods
from tests.support.simulated import simulated

STAGES = ["pre-imputation: cell graph", "complete relation: cell graph", "denoising: cell graph"]


def many_cells():
    """Enough cells for several groups, in two batches, the second of them small."""
    adata = simulated(n_cells=2600, n_genes=120, n_types=12, n_batches=1, depth=800)
    adata.layers.clear()
    adata.obs["batch"] = np.where(np.arange(adata.n_obs) < 2500, "b/large", "small")
    return adata


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    path = tmp_path_factory.mktemp("searches") / "cells.h5ad"
    many_cells().write_h5ad(path)
    return path


def _dense(layer):
    return layer.toarray() if hasattr(layer, "toarray") else layer


def test_what_a_search_by_groups_left_out_is_said_and_recorded(source, tmp_path, sccr):
    out, record = tmp_path / "out.h5ad", tmp_path / "record.json"
    code, _, said = sccr("impute", source, out, "--neighbor-search", "clustered", "--provenance", record)
    assert code == 0
    noted = anndata.read_h5ad(out).uns["sccr"]
    assert noted["params"]["neighbor_search"] == "clustered"
    searches = noted["searches"]
    assert list(searches["stage"]) == STAGES
    assert set(searches["batch"]) == {""}
    assert (np.asarray(searches["recall"]) >= 0.99).all()
    assert (np.asarray(searches["n_groups"]) == 21).all()
    recorded = json.loads(record.read_text())
    assert recorded["params"]["neighbor_search"] == "clustered"
    assert [search["stage"] for search in recorded["searches"]] == STAGES
    for name, values in searches.items():
        assert [search[name] for search in recorded["searches"]] == list(values)
    for stage, recall in zip(STAGES, searches["recall"], strict=True):
        assert f"{stage}: cells compared with" in said
        assert f"which finds {recall:.1%} of the nearest cells" in said


def test_few_cells_are_compared_with_all_others_unless_asked(source, tmp_path, sccr):
    outs = {}
    for name, options in {
        "auto": (),
        "exact": ("--neighbor-search", "exact"),
        "clustered": ("--neighbor-search", "clustered"),
    }.items():
        assert sccr("impute", source, tmp_path / f"{name}.h5ad", *options)[0] == 0
        outs[name] = anndata.read_h5ad(tmp_path / f"{name}.h5ad")
    assert "searches" not in outs["auto"].uns["sccr"]
    assert "neighbor_search" not in outs["auto"].uns["sccr"]["params"]
    assert outs["exact"].uns["sccr"]["params"]["neighbor_search"] == "exact"
    layers = {name: _dense(out.layers["sccr"]) for name, out in outs.items()}
    assert np.array_equal(layers["auto"], layers["exact"])
    # One in a hundred neighbours is another: the values hardly change.
    off = np.abs(layers["clustered"] - layers["exact"])
    assert 0 < off.max()
    assert off.mean() < 0.01 * layers["exact"].mean()


@pytest.mark.parametrize("method", ["scfp", "scbfp"])
def test_every_method_has_the_search(source, tmp_path, sccr, method):
    out = tmp_path / "out.h5ad"
    assert sccr("impute", source, out, "--method", method, "--neighbor-search", "clustered")[0] == 0
    assert len(anndata.read_h5ad(out).uns["sccr"]["searches"]["stage"]) == (2 if method == "scfp" else 1)


def test_each_batch_has_its_own_searches_also_when_split_and_gathered(source, tmp_path, sccr):
    whole, options = tmp_path / "whole.h5ad", ("--neighbor-search", "clustered")
    assert sccr("impute", source, whole, "--batch-key", "batch", *options)[0] == 0
    noted = anndata.read_h5ad(whole).uns["sccr"]["searches"]
    assert list(noted["batch"]) == ["b/large"] * 3  # the small one was compared as a whole

    parts = tmp_path / "parts"
    assert sccr("split", source, "--batch-key", "batch", "--outdir", parts)[0] == 0
    depth = (parts / "target_sum.txt").read_text().strip()
    imputed = []
    for part in sorted(parts.glob("*.h5ad")):
        imputed.append(tmp_path / f"imputed_{part.name}")
        given = ("--genes", parts / "genes.txt", "--target-sum", depth)
        assert sccr("impute", part, imputed[-1], *given, *options)[0] == 0
    gathered = tmp_path / "gathered.h5ad"
    assert sccr("gather", source, gathered, *imputed)[0] == 0
    made, at_once = anndata.read_h5ad(gathered), anndata.read_h5ad(whole)
    assert np.array_equal(_dense(made.layers["sccr"]), _dense(at_once.layers["sccr"]))
    assert np.array_equal(made.obsm["X_sccr"], at_once.obsm["X_sccr"])
    theirs = made.uns["sccr"]["searches"]
    assert {name: list(values) for name, values in theirs.items()} == {
        name: list(values) for name, values in noted.items()
    }


def test_the_search_in_python_and_in_a_config(source, tmp_path, sccr):
    adata = anndata.read_h5ad(source)
    sccr_node.impute(adata, neighbor_search="clustered", quiet=True)
    config = tmp_path / "config.yaml"
    config.write_text("neighbor_search: clustered\n")
    out = tmp_path / "out.h5ad"
    assert sccr("impute", source, out, "--config", config)[0] == 0
    written = anndata.read_h5ad(out)
    assert np.array_equal(adata.obsm["X_sccr"], written.obsm["X_sccr"])
    assert adata.uns["sccr"]["searches"]["recall"] == list(written.uns["sccr"]["searches"]["recall"])


def test_an_unknown_search_is_refused(source, tmp_path, sccr):
    out = tmp_path / "out.h5ad"
    code, _, said = sccr("impute", source, out, "--neighbor-search", "fast")
    assert code == 2
    assert "--neighbor-search" in said
    assert "'auto', 'exact' or 'clustered'" in said
    assert not out.exists()
    with pytest.raises(sccr_node.errors.SccrError, match="neighbor_search: should be 'auto', 'exact' or 'clustered'"):
        sccr_node.impute(anndata.read_h5ad(source), neighbor_search="fast")
    with pytest.raises(ValueError, match="neighbor_search is 'fast': it must be one of auto, exact, clustered"):
        methods.scfp(np.ones((3, 3)), neighbor_search="fast")
