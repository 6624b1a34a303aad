"""The scale of the layers: what is written, that all else stays the same, and that our readers see logarithms."""

import json
import re

import anndata
import numpy as np
import pytest
from scipy import sparse

import sccr_node
from sccr_node.__main__ import main
from sccr_node.data.dataset import open_dataset
from sccr_node.errors import InputProblem, UsageProblem
from sccr_node.results import open_result
from tests.support.simulated import simulated
from tests.support.trees import assert_same

SCALES = ("log1p", "normalized", "counts")
EMPTY = 7


def data_set():
    adata = simulated(n_cells=90, n_genes=120, n_types=3, n_batches=2, depth=700)
    x = adata.X.toarray()
    x[EMPTY] = 0
    adata.X = sparse.csr_matrix(x)
    return adata


def impute(source, target, *options):
    assert main(["impute", str(source), str(target), "--quiet", "--n-top-genes", "50", *map(str, options)]) == 0
    return read(target)


def read(path):
    return getattr(anndata, f"read_{path.suffix[1:]}")(path)


def dense(matrix):
    return matrix.toarray() if sparse.issparse(matrix) else np.asarray(matrix)


@pytest.fixture(scope="module", params=["h5ad", "zarr"])
def files(request, tmp_path_factory):
    """The same result on every scale, by scale."""
    folder = tmp_path_factory.mktemp("scales")
    source = folder / f"in.{request.param}"
    getattr(data_set(), f"write_{request.param}")(source)
    paths = {scale: folder / f"{scale}.{request.param}" for scale in SCALES}
    for scale, path in paths.items():
        impute(source, path, "--write", "both", "--output-scale", scale)
    return paths


def test_the_layers_are_on_the_scale(files):
    results = {scale: read(path) for scale, path in files.items()}
    logs = results["log1p"]
    x = dense(logs.X).astype(np.float64)
    imputed = logs.var["sccr_imputed"].to_numpy()
    depths = np.where(x[:, imputed].sum(axis=1) > 0, x[:, imputed].sum(axis=1), x.sum(axis=1))
    target = np.median(x[:, imputed].sum(axis=1)[x[:, imputed].sum(axis=1) > 0])
    size_factors = np.where(depths > 0, depths / target, 1)
    for layer in ("sccr", "sccr_recovered"):
        values = {scale: dense(result.layers[layer]) for scale, result in results.items()}
        normalized = np.expm1(values["log1p"].astype(np.float64))
        np.testing.assert_allclose(values["normalized"], normalized, rtol=2e-6)
        np.testing.assert_allclose(values["counts"], normalized * size_factors[:, None], rtol=2e-6)
        for scale in SCALES:
            assert values[scale].dtype == np.float32
            assert ((values[scale] == 0) == (values["log1p"] == 0)).all()
            assert not values[scale][EMPTY].any()
        np.testing.assert_array_equal(values["counts"][:, ~imputed], x[:, ~imputed])
    np.testing.assert_allclose(results["counts"].obs["sccr_size_factor"], size_factors, rtol=1e-12)


def test_all_else_is_the_same(files):
    logs = read(files["log1p"])
    assert logs.uns["sccr"]["output_scale"] == "log1p"
    for scale in ("normalized", "counts"):
        other = read(files[scale])
        assert other.uns["sccr"].pop("output_scale") == other.uns["sccr"]["params"].pop("output_scale") == scale
        assert ("sccr_size_factor" in other.obs) is (scale == "counts")
        other.obs = other.obs.drop(columns="sccr_size_factor", errors="ignore")
        expected = logs.copy()
        del expected.uns["sccr"]["output_scale"], expected.uns["sccr"]["params"]["output_scale"]
        for key in ("sccr", "sccr_recovered"):
            del expected.layers[key], other.layers[key]
        assert_same(other, expected)


@pytest.mark.parametrize("layer", ["sccr", "sccr_recovered"])
def test_our_readers_see_logarithms(files, layer):
    wanted = dense(read(files["log1p"]).layers[layer])
    for path in files.values():
        with open_dataset(path, layer) as data:
            found = np.concatenate([block.toarray() for _, block in data.blocks(10_000)])
            some = data.rows(np.array([0, EMPTY, 80])).toarray()
        assert (np.abs(found - wanted) <= 2 * np.spacing(wanted)).all()
        np.testing.assert_array_equal(some, found[[0, EMPTY, 80]])
        with open_result(path) as result:
            output = "denoised" if layer == "sccr" else "recovered"
            np.testing.assert_array_equal(result.dense(output), found[:, result.genes])


def numbers(table):
    """The numbers of a table or page, to three digits."""
    return [f"{float(number):.3g}" for number in re.findall(r"-?\d+\.\d+", table)]


@pytest.mark.parametrize("promoted", [False, True])
def test_the_report_shows_the_same(files, tmp_path, promoted):
    sections = []
    for scale, path in files.items():
        shown = path
        if promoted:
            shown = tmp_path / path.name
            assert main(["promote", str(path), str(shown), "--quiet"]) == 0
        page = tmp_path / f"{scale}.html"
        assert main(["report", str(shown), "-o", str(page), "--quiet"]) == 0
        sections.append(numbers(re.search(r'<section id="values".*?</section>', page.read_text(), re.S)[0]))
    assert sections[0]
    assert sections[0] == sections[1] == sections[2]


def test_clusters_and_scores_are_the_same(files, tmp_path, capsys):
    tables = []
    for path in files.values():
        options = ["--label-key", "cell_type", "--seeds", "0", "--n-restarts", "2", "--quiet"]
        assert main(["evaluate", "cluster", str(path), "--layer", "sccr", *options]) == 0
        tables.append(numbers(capsys.readouterr().out))
    assert tables[0] == tables[1] == tables[2]
    masked = tmp_path / "masked.h5ad"
    source = next(iter(files.values())).with_stem("in")
    assert main(["evaluate", "mask", str(source), str(masked), "--n-top-genes", "50", "--quiet"]) == 0
    rows = []
    for scale in SCALES:
        candidate = tmp_path / f"candidate_{scale}.h5ad"
        how = ["--layer", "counts", "--genes", "all", "--output-scale", scale]
        assert main(["impute", str(masked), str(candidate), *how, "--quiet"]) == 0
        assert main(["evaluate", "score", str(masked), str(candidate), "--layer", "sccr", "--quiet"]) == 0
        rows.append(numbers(capsys.readouterr().out))
    assert rows[0]
    assert rows[0] == rows[1] == rows[2]


@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
@pytest.mark.parametrize("scale", ["normalized", "counts"])
def test_the_gathered_file_is_that_of_one_run(tmp_path, suffix, scale):
    source, parts = tmp_path / f"in.{suffix}", tmp_path / "parts"
    getattr(data_set(), f"write_{suffix}")(source)
    how = ["--quiet", "--batch-key", "batch", "--n-top-genes", "50"]
    assert main(["split", str(source), "--outdir", str(parts), *how]) == 0
    imputed = []
    for part in sorted(parts.glob("*.h5ad")):
        imputed.append(str(tmp_path / f"imputed_{part.name}"))
        depth = (parts / "target_sum.txt").read_text().strip()
        options = ["--genes", str(parts / "genes.txt"), "--target-sum", depth, "--quiet"]
        assert main(["impute", str(part), imputed[-1], *options]) == 0
    scaled = ["--output-scale", scale, "--quiet"]
    assert main(["gather", str(source), str(tmp_path / f"gathered.{suffix}"), *imputed, *scaled]) == 0
    assert main(["impute", str(source), str(tmp_path / f"one.{suffix}"), *how, *scaled]) == 0
    assert bytes_of(tmp_path / f"gathered.{suffix}") == bytes_of(tmp_path / f"one.{suffix}")


def bytes_of(path):
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    return {file.relative_to(path): file.read_bytes() for file in files if file.is_file()}


def test_gather_refuses_parts_on_another_scale(tmp_path, refused):
    source, parts = tmp_path / "in.h5ad", tmp_path / "parts"
    data_set().write_h5ad(source)
    assert main(["split", str(source), "--outdir", str(parts), "--batch-key", "batch", "--quiet"]) == 0
    imputed = []
    for part in sorted(parts.glob("*.h5ad")):
        imputed.append(tmp_path / f"imputed_{part.name}")
        depth = (parts / "target_sum.txt").read_text().strip()
        options = ["--genes", str(parts / "genes.txt"), "--target-sum", depth, "--output-scale", "counts", "--quiet"]
        assert main(["impute", str(part), str(imputed[-1]), *options]) == 0
    words = [imputed[0].name, "--output-scale counts", "give it to sccr gather"]
    refused(65, words, "gather", source, tmp_path / "out.h5ad", *imputed)


@pytest.fixture
def logs_file(tmp_path):
    adata = data_set()
    logs = adata.X.astype(np.float32)
    logs.data = np.log1p(logs.data)
    adata.X = logs
    adata.layers.clear()
    adata.write_h5ad(tmp_path / "logs.h5ad")
    return tmp_path / "logs.h5ad"


def test_what_contradicts_itself_is_refused(logs_file, counts_file, tmp_path, refused):
    out, counts = tmp_path / "out.h5ad", ["--output-scale", "counts"]
    words = ["--output-scale counts requires counts", "treated as logarithms", "give --output-scale normalized"]
    refused(2, words, "impute", logs_file, out, *counts, "--quiet")
    refused(2, ["contradicts --input-scale log1p"], "impute", logs_file, out, *counts, "--input-scale", "log1p")
    refused(2, ["no effect on --write embedding"], "impute", counts_file, out, *counts, "--write", "embedding")
    refused(
        2, ["--output-scale", "'log1p', 'normalized' or 'counts'"], "impute", counts_file, out, "--output-scale", "x"
    )
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"output_scale": "counts"}))
    refused(2, ["output_scale", "requires counts"], "impute", logs_file, out, "--config", config, "--quiet")


def test_logarithms_become_normalised_values(logs_file, tmp_path):
    logs = dense(impute(logs_file, tmp_path / "logs_out.h5ad").layers["sccr"])
    found = dense(impute(logs_file, tmp_path / "out.h5ad", "--output-scale", "normalized").layers["sccr"])
    np.testing.assert_allclose(found, np.expm1(logs.astype(np.float64)), rtol=1e-6)


@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
def test_a_result_on_another_scale_is_replaced_whole(tmp_path, suffix):
    paths = [tmp_path / f"{name}.{suffix}" for name in ("in", "first", "second", "once")]
    getattr(data_set(), f"write_{suffix}")(paths[0])
    impute(paths[0], paths[1], "--output-scale", "counts")
    second = impute(paths[1], paths[2], "--overwrite-keys")
    assert "sccr_size_factor" not in second.obs
    assert_same(second, impute(paths[0], paths[3]))


def test_a_result_is_imputed_again_as_logarithms(files, tmp_path):
    again = {}
    for scale, path in files.items():
        target = tmp_path / path.name
        how = ["--layer", "sccr", "--input-scale", "log1p", "--key-added", "again"]
        again[scale] = dense(impute(path, target, *how).layers["again"])
    for scale in ("normalized", "counts"):
        np.testing.assert_allclose(again[scale], again["log1p"], atol=1e-5)


def damaged(tmp_path, how):
    adata = data_set()
    sccr_node.impute(adata, output_scale="counts", n_top_genes=50, quiet=True)
    how(adata)
    adata.write_h5ad(tmp_path / "damaged.h5ad")
    return tmp_path / "damaged.h5ad"


def without_size_factors(adata):
    del adata.obs["sccr_size_factor"]


def with_empty_size_factors(adata):
    adata.obs["sccr_size_factor"] = 0.0


def with_unknown_scale(adata):
    adata.uns["sccr"]["output_scale"] = "sqrt"


@pytest.mark.parametrize(
    ("how", "words"),
    [
        (without_size_factors, ["obs['sccr_size_factor']", "is gone", "impute again"]),
        (with_empty_size_factors, ["obs['sccr_size_factor']", "not positive"]),
        (with_unknown_scale, ["uns['sccr']['output_scale'] is 'sqrt'", "log1p, normalized, counts"]),
    ],
)
def test_what_leads_nowhere_is_refused(tmp_path, refused, how, words):
    path = damaged(tmp_path, how)
    refused(65, words, "report", path, "-o", tmp_path / "page.html", "--quiet")
    refused(65, words, "evaluate", "cluster", path, "--layer", "sccr", "--label-key", "cell_type", "--quiet")
    with open_dataset(path) as data:  # what is not affected can be read
        assert data.n_cells == 90


def test_in_python_as_on_the_command_line(files, tmp_path):
    for scale, path in files.items():
        written = read(path)
        adata = data_set()
        sccr_node.impute(adata, write="both", n_top_genes=50, output_scale=scale, quiet=True)
        for key in ("sccr", "sccr_recovered"):
            np.testing.assert_array_equal(dense(adata.layers[key]), dense(written.layers[key]))
        assert adata.uns["sccr"]["output_scale"] == scale
        assert list(adata.obs) == list(written.obs)
    with pytest.raises(UsageProblem, match="output_scale='normalized'"):
        logs = anndata.AnnData(np.log1p(data_set().X.toarray()).astype(np.float32))
        sccr_node.impute(logs, output_scale="counts", quiet=True)
    with pytest.raises(InputProblem, match="is a result of sccr impute already"):
        sccr_node.impute(adata, layer="sccr", key_added="again", quiet=True)


def test_a_finished_row_of_a_batch_is_left_alone(tmp_path, sccr):
    data_set().write_h5ad(tmp_path / "in.h5ad")
    manifest = tmp_path / "manifest.csv"
    row = f"{tmp_path}/in.h5ad,{tmp_path}/out.h5ad,{tmp_path}/out.json"
    for scale, code, said in (("counts", 0, ""), ("counts", 0, ""), ("normalized", 73, "output_scale")):
        manifest.write_text(f"input,output,provenance,output_scale\n{row},{scale}\n")
        ended, _, err = sccr("batch", "--manifest", manifest, "--n-top-genes", "50")
        assert ended == code
        assert said in err
