"""MuData files: one modality is imputed, all else stays as it is, byte for byte, and mudata reads what comes out."""

import json

import anndata
import h5py
import mudata
import numpy as np
import pytest
from scipy import sparse

from sccr_node.__main__ import main
from tests.support.simulated import simulated
from tests.support.trees import assert_hdf5_kept, assert_same

pytestmark = pytest.mark.filterwarnings("ignore")

OPTIONS = ("--modality", "rna", "--n-top-genes", "50", "--quiet")


def rna():
    adata = simulated(n_cells=90, n_genes=120, n_types=3, n_batches=2, depth=700)
    adata.raw = adata
    return adata


def with_proteins(cells):
    """The same cells and others, with fewer features: modalities need not have the same cells."""
    proteins = anndata.AnnData(sparse.csr_matrix(np.arange(360, dtype=np.float32).reshape(90, 4)))
    proteins.obs_names = [*cells.obs_names[10:], *(f"other_{n}" for n in range(10))]
    proteins.var_names = [f"CD{n}" for n in range(4)]
    return proteins


@pytest.fixture(scope="module")
def multi(tmp_path_factory):
    """A file with two modalities."""
    cells = rna()
    path = tmp_path_factory.mktemp("multi") / "multi.h5mu"
    data = mudata.MuData({"rna": cells, "prot": with_proteins(cells)})
    data.obs["donor"] = "d1"
    data.obsm["X_joint"] = np.ones((data.n_obs, 2))
    data.uns["note"] = "keep me"
    data.write(path)
    return path


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    """The same cells as AnnData."""
    path = tmp_path_factory.mktemp("single") / "single.h5ad"
    rna().write_h5ad(path)
    return path


def impute(source, target, *options):
    assert main(["impute", str(source), str(target), *map(str, options or OPTIONS)]) == 0
    return target


def added(layers=("sccr",)):
    keys = [*(f"layers/{layer}" for layer in layers), "obsm", "varp", "var/sccr_imputed", "uns/sccr"]
    return {f"/mod/rna/{key}" for key in keys}


def without(about, *names):
    return {name: value for name, value in about.items() if name not in names}


def test_one_modality_is_imputed_and_the_rest_is_kept(multi, single, tmp_path):
    target = impute(multi, tmp_path / "out.h5mu")
    # AnnData writes these slots also if they are empty.
    with h5py.File(multi) as file:
        empty = {f"/mod/rna/{slot}" for slot in ("obsm", "varp") if slot in file["mod/rna"]}
    new = {"/mod/rna/obsm/X_sccr", "/mod/rna/varp/sccr_relations"}
    expected = added() - empty | {name for name in new if name.rsplit("/", 1)[0] in empty}
    assert_hdf5_kept(multi, target, expected, {("/mod/rna/var", "column-order")})
    assert target.read_bytes()[:100] == multi.read_bytes()[:100]  # the block before HDF5 that names MuData
    found, alone = mudata.read(target), anndata.read_h5ad(impute(single, tmp_path / "out.h5ad", *OPTIONS[2:]))
    of_rna = found["rna"]
    assert of_rna.uns["sccr"]["params"].pop("modality") == "rna"
    assert_same(of_rna.layers["sccr"], alone.layers["sccr"])
    assert_same(of_rna.obsm["X_sccr"], alone.obsm["X_sccr"])
    assert_same(of_rna.uns["sccr"], alone.uns["sccr"])
    before = mudata.read(multi)
    assert_same(found["prot"], before["prot"])
    assert_same(dict(found.obsm), dict(before.obsm))
    assert_same(found.obs, before.obs)
    assert found.uns["note"] == "keep me"


@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
def test_a_modality_is_written_as_anndata(multi, single, tmp_path, suffix):
    found = getattr(anndata, f"read_{suffix}")(impute(multi, tmp_path / f"out.{suffix}"))
    expected = getattr(anndata, f"read_{suffix}")(impute(single, tmp_path / f"alone.{suffix}", *OPTIONS[2:]))
    assert found.uns["sccr"]["params"].pop("modality") == "rna"
    assert_same(found, expected)


def test_a_result_is_replaced_and_promoted(multi, tmp_path):
    first = impute(multi, tmp_path / "first.h5mu", *OPTIONS, "--output-scale", "counts")
    second = impute(first, tmp_path / "second.h5mu", *OPTIONS, "--overwrite-keys")
    third = tmp_path / "third.h5mu"
    assert main(["promote", str(second), str(third), "--modality", "rna", "--quiet"]) == 0
    assert "sccr_size_factor" in mudata.read(first)["rna"].obs
    replaced, promoted = mudata.read(second)["rna"], mudata.read(third)["rna"]
    assert "sccr_size_factor" not in replaced.obs
    assert_same(promoted.X, replaced.layers["sccr"])
    assert_same(promoted.layers["unimputed"], replaced.X)


def test_the_only_modality_need_not_be_named(tmp_path):
    mudata.MuData({"gex": rna()}).write(tmp_path / "in.h5mu")
    target = impute(tmp_path / "in.h5mu", tmp_path / "out.h5mu", *OPTIONS[2:])
    assert "sccr" in mudata.read(target)["gex"].layers
    page = tmp_path / "page.html"
    assert main(["report", str(target), "-o", str(page), "--quiet"]) == 0
    assert page.exists()


def test_the_gathered_file_is_that_of_one_run(multi, tmp_path):
    parts, how = tmp_path / "parts", [*OPTIONS, "--batch-key", "batch"]
    assert main(["split", str(multi), "--outdir", str(parts), *how]) == 0
    imputed = []
    for part in sorted(parts.glob("*.h5ad")):
        assert anndata.read_h5ad(part).raw is not None
        depth = (parts / "target_sum.txt").read_text().strip()
        options = ["--genes", parts / "genes.txt", "--target-sum", depth, "--quiet"]
        imputed.append(str(impute(part, tmp_path / f"imputed_{part.name}", *options)))
    record = ["--provenance", str(tmp_path / "record.json"), "--quiet"]
    assert main(["gather", str(multi), str(tmp_path / "gathered.h5mu"), *imputed, *record]) == 0
    numbers = ["--modality", "rna", "--numbers", str(tmp_path / "numbers.tsv")]
    assert main(["report", str(tmp_path / "gathered.h5mu"), *numbers, *record]) == 0
    one = impute(multi, tmp_path / "one.h5mu", *how)
    assert (tmp_path / "gathered.h5mu").read_bytes() == one.read_bytes()


def test_other_commands_read_a_modality(multi, single, tmp_path, capsys):
    result = impute(multi, tmp_path / "out.h5mu", *OPTIONS, "--provenance", tmp_path / "record.json")
    record = json.loads((tmp_path / "record.json").read_text())
    assert (record["input"]["format"], record["result"]["format"]) == ("h5mu", "h5mu")
    page = ["-o", tmp_path / "page.html", "--provenance", tmp_path / "record.json", "--label-key", "cell_type"]
    tables = []
    for source, which in ((multi, ["--modality", "rna"]), (single, [])):
        words = ["evaluate", "relations", source, "--n-top-genes", 40, *which]
        assert main([*map(str, words), "--quiet"]) == 0
        tables.append(capsys.readouterr().out)
        masked = tmp_path / f"masked_{len(tables)}.h5ad"
        assert main([*map(str, ["evaluate", "mask", source, masked, "--quiet", *which])]) == 0
    assert tables[0] == tables[1]
    assert_same(anndata.read_h5ad(tmp_path / "masked_1.h5ad"), anndata.read_h5ad(tmp_path / "masked_2.h5ad"))
    assert main([*map(str, ["report", result, "--modality", "rna", *page]), "--quiet"]) == 0
    assert "multi.h5mu" in (tmp_path / "page.html").read_text()


def test_tuning_on_a_modality(multi, single, tmp_path):
    for number, (source, which) in enumerate(((multi, ["--modality", "rna"]), (single, []))):
        words = ["tune", source, "-o", tmp_path / f"{number}.yaml", "--n-top-genes", 40, "--quiet", *which]
        assert main([*map(str, words)]) == 0
    numbers = [[line for line in (tmp_path / f"{n}.yaml").read_text().splitlines() if line[:1] != "#"] for n in (0, 1)]
    assert numbers[0] == numbers[1]


def test_a_candidate_is_scored_in_a_modality(single, tmp_path, capsys):
    masked, candidate = tmp_path / "masked.h5ad", tmp_path / "candidate.h5mu"
    assert main(["evaluate", "mask", str(single), str(masked), "--quiet"]) == 0
    imputed = anndata.read_h5ad(impute(masked, tmp_path / "out.h5ad", "--layer", "counts", "--genes", "all", "--quiet"))
    mudata.MuData({"rna": imputed, "prot": with_proteins(imputed)}).write(candidate)
    rows = []
    for path, which in ((candidate, ["--modality", "rna"]), (tmp_path / "out.h5ad", [])):
        assert main(["evaluate", "score", str(masked), str(path), "--layer", "sccr", "--quiet", *which]) == 0
        rows.append(capsys.readouterr().out.splitlines()[1].split("\t")[1:])
    assert rows[0] == rows[1]


def test_a_finished_row_of_a_batch_is_left_alone(multi, tmp_path, sccr):
    manifest = tmp_path / "manifest.csv"
    for suffix in ("h5mu", "h5ad"):
        row = f"{multi},{tmp_path}/out.{suffix},{tmp_path}/{suffix}.json,rna"
        manifest.write_text(f"input,output,provenance,modality\n{row}\n")
        for said in ("wrote", "skipped"):
            code, _, err = sccr("batch", "--manifest", manifest, "--n-top-genes", "50")
            assert code == 0
            assert said in err


def test_bad_input_is_refused(multi, single, tmp_path, refused):
    out = tmp_path / "out.h5mu"
    refused(65, ["has several modalities: 'prot', 'rna'", "choose one with --modality"], "impute", multi, out)
    words = ["has no modality 'rnaa'; its modalities: 'prot', 'rna'", "did you mean 'rna'?"]
    refused(65, words, "impute", multi, out, "--modality", "rnaa")
    words = [f"{single} has no modality 'rna'", "not a MuData file", "leave out --modality"]
    refused(65, words, "impute", single, tmp_path / "out.h5ad", "--modality", "rna")
    words = [".h5mu requires an input in this format", ".h5ad or .zarr"]
    refused(2, words, "impute", single, out)
    refused(2, ["the format of", "ends in .h5mu"], "promote", multi, tmp_path / "out.h5ad", "--modality", "rna",
            "--layer", "complete_counts")  # fmt: skip
    refused(65, ["no layer 'spliced'"], "impute", multi, out, "--layer", "spliced", *OPTIONS)
    refused(65, ["has several modalities"], "report", multi, "-o", tmp_path / "page.html")
    refused(2, ["it is the input"], "impute", multi, multi, *OPTIONS, "--force")


@pytest.mark.parametrize(
    ("how", "words"),
    [
        (lambda file: file.pop("mod/prot") and file.pop("mod/rna"), ["without modalities"]),
        (lambda file: file.pop("mod/rna/obs"), ["modality 'rna'", "is not AnnData (no obs and var)"]),
        (lambda file: file.pop("mod/rna") and file.__setitem__("mod/rna", [1]), ["is not AnnData (no obs and var)"]),
        (lambda file: file.pop("mod/rna/X"), ["has no X: choose a layer with --layer"]),
        (lambda file: file["mod/rna"].pop("var/_index"), ["cannot read"]),
        (lambda file: file.__setitem__("mod/prot/elsewhere", h5py.ExternalLink("a.h5", "/x")), ["mod/prot/elsewhere"]),
    ],
)  # fmt: skip
def test_damaged_files_are_refused(multi, tmp_path, refused, how, words):
    path = tmp_path / "in.h5mu"
    path.write_bytes(multi.read_bytes())
    with h5py.File(path, "r+") as file:
        how(file)
    refused(65, words, "impute", path, tmp_path / "out.h5mu", *OPTIONS)


def test_mudata_in_zarr_is_refused(tmp_path, refused):
    cells = rna()
    mudata.MuData({"rna": cells, "prot": with_proteins(cells)}).write_zarr(tmp_path / "in.zarr")
    words = ["MuData in a zarr store", "write_h5mu"]
    refused(65, words, "impute", tmp_path / "in.zarr", tmp_path / "out.zarr", *OPTIONS[2:])
