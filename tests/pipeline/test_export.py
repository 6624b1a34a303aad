"""``sccr export``: what other programs read from the text is the layer, to the last bit."""

import gzip
import json
import resource
import subprocess
import sys

import anndata
import mudata
import numpy as np
import pandas as pd
import pytest
import scanpy
import scipy.io
from scipy import sparse

from sccr_node.__main__ import main
from sccr_node.data.dataset import open_dataset
from sccr_node.storage.targets import EXPORTED
from tests.support.simulated import simulated

pytestmark = pytest.mark.filterwarnings("ignore")

LISTS = ["barcodes.tsv.gz", "features.tsv.gz", "matrix.mtx.gz"]


def data_set():
    adata = simulated(n_cells=70, n_genes=110, n_types=3, depth=600)
    x = adata.X.toarray()
    x[7] = 0  # a cell without any counts has no entries
    adata.X = sparse.csr_matrix(x)
    adata.var["gene_ids"] = [f"ENSG{n:011d}" for n in range(adata.n_vars)]
    return adata


@pytest.fixture(scope="module", params=["h5ad", "zarr"])
def result(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    getattr(data_set(), f"write_{request.param}")(folder / f"in.{request.param}")
    path = folder / f"result.{request.param}"
    options = ["--n-top-genes", "40", "--write", "both", "--quiet"]
    assert main(["impute", str(folder / f"in.{request.param}"), str(path), *options]) == 0
    return path


def read(path):
    return getattr(anndata, f"read_{path.suffix[1:]}")(path)


def dense(matrix):
    return matrix.toarray() if sparse.issparse(matrix) else np.asarray(matrix)


def expected(path, layer="sccr", all_genes=False):
    """The names and the values to find in the text."""
    adata = read(path)
    genes = np.ones(adata.n_vars, bool) if all_genes else adata.var["sccr_imputed"].to_numpy()
    return adata.obs_names, adata.var[genes], dense(adata.layers[layer])[:, genes]


def export(*words, code=0):
    assert main(["export", *map(str, words), "--quiet"]) == code


@pytest.mark.parametrize(
    ("options", "layer", "all_genes"),
    [([], "sccr", False), (["--expression", "recovered"], "sccr_recovered", False), (["--all-genes"], "sccr", True)],
)
def test_what_scanpy_reads_is_the_layer(result, tmp_path, options, layer, all_genes):
    export(result, tmp_path / "mtx", *options)
    cells, genes, values = expected(result, layer, all_genes)
    assert sorted(path.name for path in (tmp_path / "mtx").iterdir() if path.name != EXPORTED) == LISTS
    found = scanpy.read_10x_mtx(tmp_path / "mtx")
    assert list(found.obs_names) == list(cells)
    assert list(found.var_names) == list(genes.index)
    assert list(found.var["gene_ids"]) == list(genes["gene_ids"])
    assert set(found.var["feature_types"]) == {"Gene Expression"}
    np.testing.assert_array_equal(dense(found.X), values)


def test_the_layout_is_that_of_10x_and_of_readmtx(result, tmp_path):
    """Seurat's ReadMtx: genes x cells; names of genes in the second column of features, of cells in the first one."""
    export(result, tmp_path / "mtx")
    cells, genes, values = expected(result)
    with gzip.open(tmp_path / "mtx" / "matrix.mtx.gz", "rt") as file:
        head = [file.readline() for _ in range(3)]
    assert head[0] == "%%MatrixMarket matrix coordinate real general\n"
    assert head[2].split() == [str(len(genes)), str(len(cells)), str(np.count_nonzero(values))]
    with gzip.open(tmp_path / "mtx" / "matrix.mtx.gz") as file:
        matrix = scipy.io.mmread(file)
    np.testing.assert_array_equal(matrix.toarray().astype(np.float32).T, values)
    features = pd.read_csv(tmp_path / "mtx" / "features.tsv.gz", sep="\t", header=None)
    assert features.shape == (len(genes), 3)
    assert list(features[1]) == list(genes.index)
    assert gzip.open(tmp_path / "mtx" / "barcodes.tsv.gz", "rt").read().splitlines() == list(cells)


@pytest.mark.parametrize("name", ["table.tsv.gz", "table.tsv"])
def test_what_pandas_reads_is_the_layer(result, tmp_path, name):
    export(result, tmp_path / name)
    cells, genes, values = expected(result)
    found = pd.read_csv(tmp_path / name, sep="\t", index_col=0)
    assert list(found.index) == list(cells)
    assert list(found.columns) == list(genes.index)
    np.testing.assert_array_equal(found.to_numpy().astype(np.float32), values)
    is_packed = (tmp_path / name).read_bytes()[:2] == b"\x1f\x8b"
    assert is_packed is name.endswith(".gz")


def test_our_own_reader_reads_the_folder(result, tmp_path):
    export(result, tmp_path / "mtx")
    cells, genes, values = expected(result)
    with open_dataset(tmp_path / "mtx") as data:
        found = np.concatenate([block.toarray() for _, block in data.blocks()])
        assert (list(data.cell_names), list(data.gene_names)) == (list(cells), list(genes.index))
    np.testing.assert_array_equal(found.astype(np.float32), values)


@pytest.mark.parametrize("scale", ["normalized", "counts"])
def test_the_scale_is_the_one_that_was_written(tmp_path, scale, capsys):
    data_set().write_h5ad(tmp_path / "in.h5ad")
    options = ["--n-top-genes", "40", "--output-scale", scale, "--quiet"]
    assert main(["impute", str(tmp_path / "in.h5ad"), str(tmp_path / "out.h5ad"), *options]) == 0
    assert main(["export", str(tmp_path / "out.h5ad"), str(tmp_path / "table.tsv")]) == 0
    assert f"70 cells × 40 genes, layers/sccr ({scale})" in capsys.readouterr().err
    found = pd.read_csv(tmp_path / "table.tsv", sep="\t", index_col=0)
    np.testing.assert_array_equal(found.to_numpy().astype(np.float32), expected(tmp_path / "out.h5ad")[2])


def test_a_promoted_result_and_one_in_mudata(tmp_path):
    data_set().write_h5ad(tmp_path / "in.h5ad")
    options = ["--n-top-genes", "40", "--quiet"]
    assert main(["impute", str(tmp_path / "in.h5ad"), str(tmp_path / "out.h5ad"), *options]) == 0
    assert main(["promote", str(tmp_path / "out.h5ad"), str(tmp_path / "x.h5ad"), "--quiet"]) == 0
    imputed = read(tmp_path / "out.h5ad")
    mudata.MuData({"rna": imputed, "prot": imputed[:, :3].copy()}).write(tmp_path / "multi.h5mu")
    for number, words in enumerate((["out.h5ad"], ["x.h5ad"], ["multi.h5mu", "--modality", "rna"])):
        export(tmp_path / words[0], tmp_path / f"{number}.tsv", *words[1:])
    tables = {(tmp_path / f"{number}.tsv").read_bytes() for number in range(3)}
    assert len(tables) == 1


def test_what_is_written_is_the_same_in_every_run(result, tmp_path):
    for number in range(2):
        export(result, tmp_path / f"{number}")
        export(result, tmp_path / f"{number}.tsv.gz")
    for name in LISTS:
        assert (tmp_path / "0" / name).read_bytes() == (tmp_path / "1" / name).read_bytes()
    assert (tmp_path / "0.tsv.gz").read_bytes() == (tmp_path / "1.tsv.gz").read_bytes()


def test_force_replaces_what_was_exported_and_nothing_else(result, tmp_path, refused):
    target = tmp_path / "mtx"
    export(result, target)
    refused(73, ["already exists", "--force"], "export", result, target)
    export(result, target, "--force", "--all-genes")
    assert json.loads((target / EXPORTED).read_text())["files"] == ["matrix.mtx.gz", "features.tsv.gz", LISTS[0]]
    (target / "mine.txt").write_text("mine")
    words = ["mine.txt", "not written by sccr export"]
    refused(73, words, "export", result, target, "--force")
    (tmp_path / "10x").mkdir()
    (tmp_path / "10x" / "matrix.mtx.gz").write_text("counts of somebody")
    refused(73, ["matrix.mtx.gz", "not written by sccr export"], "export", result, tmp_path / "10x", "--force")
    (tmp_path / "table.tsv").write_text("mine")
    refused(73, ["already exists"], "export", result, tmp_path / "table.tsv")
    export(result, tmp_path / "table.tsv", "--force")


def test_bad_input_is_refused(result, tmp_path, refused):
    out = tmp_path / "out.tsv"
    refused(65, ["contains no result of sccr impute"], "export", result.with_stem("in"), out)
    refused(65, ["no result 'other'"], "export", result, out, "--key-added", "other")
    refused(66, ["does not exist"], "export", tmp_path / "none.h5ad", out)
    refused(73, ["does not exist"], "export", result, tmp_path / "none" / "out.tsv")
    for name in ("out.csv", "out.mtx", "out.txt.gz", "out.h5ad"):
        refused(2, ["give a folder, or a name that ends in .tsv.gz or .tsv"], "export", result, tmp_path / name)
    refused(2, ["--expression"], "export", result, out, "--expression", "imputed")


def imputed(tmp_path, change=lambda adata: None, *options):
    data_set().write_h5ad(tmp_path / "in.h5ad")
    path = tmp_path / "out.h5ad"
    words = ["--n-top-genes", "40", "--quiet", *options]
    assert main(["impute", str(tmp_path / "in.h5ad"), str(path), *words]) == 0
    adata = read(path)
    change(adata)
    adata.write_h5ad(path)
    return path


def with_tabs(adata):
    adata.obs_names = ["a\tb", *adata.obs_names[1:]]


def with_an_empty_gene(adata):
    adata.var_names = np.where(adata.var["sccr_imputed"], " ", adata.var_names)


def with_nan(adata):
    values = dense(adata.layers["sccr"])
    values[3] = np.nan
    adata.layers["sccr"] = values


@pytest.mark.parametrize(
    ("change", "options", "words"),
    [
        (with_tabs, [], ["cell name 'a\\tb'", "rename the cell"]),
        (with_an_empty_gene, [], ["gene name ' ' is empty", "rename the gene"]),
        (with_nan, [], ["layers/sccr", "NaN or infinite"]),
        (lambda adata: None, ["--write", "embedding"], ["contains no expression", "--write embedding"]),
    ],
)
@pytest.mark.parametrize("target", ["out", "out.tsv.gz"])
def test_results_that_cannot_be_exported(tmp_path, refused, change, options, words, target):
    refused(65, words, "export", imputed(tmp_path, change, *options), tmp_path / target, "--quiet")


def test_an_expression_that_was_not_written(tmp_path, refused):
    words = ["contains no recovered expression", "leave out --expression"]
    refused(65, words, "export", imputed(tmp_path), tmp_path / "out", "--expression", "recovered")


def test_names_that_occur_twice_are_kept_with_a_warning(tmp_path, capsys):
    def twice(adata):
        adata.var_names = ["same", "same", *adata.var_names[2:]]

    export(imputed(tmp_path, twice), tmp_path / "mtx", "--all-genes")
    assert "1 gene name occurs more than once" in capsys.readouterr().err
    features = gzip.open(tmp_path / "mtx" / "features.tsv.gz", "rt").read().splitlines()
    assert [line.split("\t")[1] for line in features[:2]] == ["same", "same"]


def test_columns_that_do_not_fit_in_a_list_are_left_out(tmp_path):
    def odd(adata):
        adata.var["gene_ids"] = ["a\tb", *adata.var["gene_ids"][1:]]
        adata.var["feature_types"] = 1

    path = imputed(tmp_path, odd)
    export(path, tmp_path / "mtx", "--all-genes")
    features = pd.read_csv(tmp_path / "mtx" / "features.tsv.gz", sep="\t", header=None)
    assert list(features[0]) == list(features[1]) == list(read(path).var_names)
    assert set(features[2]) == {"Gene Expression"}


@pytest.mark.parametrize("target", ["out", "out.tsv"])
def test_a_file_that_grows_too_large_leaves_nothing(tmp_path, target):
    path = imputed(tmp_path)
    before = sorted(tmp_path.iterdir())

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, 2_000))

    words = [sys.executable, "-m", "sccr_node", "export", str(path), str(tmp_path / target), "--all-genes"]
    ended = subprocess.run(words, preexec_fn=limit, capture_output=True, text=True, check=False)
    assert ended.returncode in (73, 75), ended.stderr
    assert sorted(tmp_path.iterdir()) == before
