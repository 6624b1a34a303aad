"""``sccr promote``: a layer becomes X, the former X a layer, and nothing else changes."""

import re

import anndata
import h5py
import numpy as np
import pytest
from scipy import sparse

from sccr_node.__main__ import main
from tests.support.inputs import write_ten_x_h5
from tests.support.simulated import simulated


@pytest.fixture(scope="module")
def adata():
    data = simulated(n_cells=40, n_genes=30)
    data.layers["sccr"] = sparse.csr_matrix(np.log1p(data.X.toarray()), dtype=np.float32)
    data.obsm["X_sccr"] = np.arange(80, dtype=np.float32).reshape(40, 2)
    data.uns["sccr"] = {"method": "sccr"}
    return data


@pytest.fixture(params=["h5ad", "zarr 2", "zarr 3"])
def source(request, adata, tmp_path):
    name, *version = request.param.split()
    path = tmp_path / f"in.{name}"
    with anndata.settings.override(zarr_write_format=int(version[0]) if version else 2):
        getattr(adata, f"write_{name}")(path)
    return path


def read(path):
    return getattr(anndata, f"read_{path.suffix[1:]}")(path)


def test_the_layer_is_x_and_everything_else_stays(source, adata):
    output = source.with_name(f"out{source.suffix}")
    assert main(["promote", str(source), str(output), "--quiet"]) == 0
    result = read(output)
    np.testing.assert_array_equal(result.X.toarray(), adata.layers["sccr"].toarray())
    np.testing.assert_array_equal(result.layers["unimputed"].toarray(), adata.X.toarray())
    assert set(result.layers) == set(adata.layers) - {"sccr"} | {"unimputed"}
    np.testing.assert_array_equal(result.obsm["X_sccr"], adata.obsm["X_sccr"])
    assert result.obs.equals(adata.obs) and result.var.equals(adata.var)
    assert set(result.uns) == set(adata.uns)
    unchanged = read(source)
    np.testing.assert_array_equal(unchanged.X.toarray(), adata.X.toarray())
    assert "sccr" in unchanged.layers


def test_the_way_back_gives_the_input(source, adata):
    there, back = (source.with_name(f"{name}{source.suffix}") for name in ("there", "back"))
    assert main(["promote", str(source), str(there), "--former", "counts kept", "--quiet"]) == 0
    assert main(["promote", str(there), str(back), "--layer", "counts kept", "--former", "sccr", "--quiet"]) == 0
    result = read(back)
    np.testing.assert_array_equal(result.X.toarray(), adata.X.toarray())
    np.testing.assert_array_equal(result.layers["sccr"].toarray(), adata.layers["sccr"].toarray())


def test_a_file_without_x(adata, tmp_path):
    adata.write_h5ad(tmp_path / "in.h5ad")
    with h5py.File(tmp_path / "in.h5ad", "r+") as file:
        del file["X"]
    assert main(["promote", str(tmp_path / "in.h5ad"), str(tmp_path / "out.h5ad"), "--quiet"]) == 0
    result = read(tmp_path / "out.h5ad")
    np.testing.assert_array_equal(result.X.toarray(), adata.layers["sccr"].toarray())
    assert "unimputed" not in result.layers


REFUSALS = {
    "no such layer": (("in.h5ad", "out.h5ad", "--layer", "magic"), 65, "has no layer 'magic'"),
    "former taken": (("in.h5ad", "out.h5ad", "--former", "complete_counts"), 65, "give another --former"),
    "the same layer": (("in.h5ad", "out.h5ad", "--former", "sccr"), 2, "must be different layers"),
    **{
        f"former {former!r}": (("in.h5ad", "out.h5ad", "--former", former), 2, "--former: should ")
        for former in ("", "a/b", ".", "..", ".zattrs", "zarr.json", " x", "a\tb")
    },
    "raw is not a layer": (("in.h5ad", "out.h5ad", "--layer", "raw"), 65, "in.h5ad has no layer 'raw'; its layers: "),
    "raw with a former": (("in.h5ad", "out.h5ad", "--layer", "raw", "--former", "counts"), 65, "has no layer 'raw'"),
    "10x output": (("in.h5", "out.h5ad"), 65, "in.h5 has no layer 'sccr': it is 10x output, which contains one"),
    "another format": (("in.h5ad", "out.zarr"), 2, "choose a name that ends in .h5ad"),
    "the input": (("in.h5ad", "in.h5ad", "--force"), 2, "in.h5ad"),
    "an existing file": (("in.h5ad", "there.h5ad"), 73, "give --force"),
    "a missing input": (("lost.h5ad", "out.h5ad"), 66, "lost.h5ad does not exist"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_it_refuses_leaves_everything_as_it_was(case, adata, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with_raw = adata.copy()
    with_raw.raw = adata
    with_raw.write_h5ad("in.h5ad")
    write_ten_x_h5(tmp_path / "in.h5", adata.X.toarray(), [("id", name, "Gene Expression") for name in adata.var_names])
    (tmp_path / "there.h5ad").write_text("mine")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    words, code, message = REFUSALS[case]
    assert main(["promote", *words]) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("sccr: error: ") and message in line
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_force_replaces(adata, tmp_path):
    adata.write_h5ad(tmp_path / "in.h5ad")
    (tmp_path / "there.h5ad").write_text("mine")
    assert main(["promote", str(tmp_path / "in.h5ad"), str(tmp_path / "there.h5ad"), "--force", "--quiet"]) == 0
    assert "unimputed" in read(tmp_path / "there.h5ad").layers


@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
def test_a_report_on_a_promoted_result_shows_the_same(tmp_path, suffix, capsys):
    source, imputed, promoted = (tmp_path / f"{name}.{suffix}" for name in ("in", "imputed", "promoted"))
    getattr(simulated(n_cells=60, n_genes=50), f"write_{suffix}")(source)
    sections = []
    assert main(["impute", str(source), str(imputed), "--quiet"]) == 0
    assert main(["promote", str(imputed), str(promoted), "--former", "kept", "--quiet"]) == 0
    for result in (imputed, promoted):
        page = tmp_path / f"{result.stem}.html"
        assert main(["report", str(result), "-o", str(page), "--quiet"]) == 0
        sections.append(re.search(r'<section id="values".*?</section>', page.read_text(), re.S)[0])
    assert sections[0] == sections[1]
