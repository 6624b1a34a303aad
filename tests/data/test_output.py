"""The output contains everything in the input, unchanged down to the storage, and what was added."""

import hashlib
import os
import shutil
import time
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from sccr_node.data.dataset import open_dataset
from sccr_node.data.output import check_keys, stage_output
from sccr_node.errors import InputProblem, NotEnoughResources, OutputProblem, UsageProblem
from sccr_node.storage.copying import copy_tree, sha256_of, size_on_disk
from sccr_node.storage.formats import format_of_output
from sccr_node.storage.targets import check_targets
from tests.support.inputs import (
    N_CELLS,
    N_GENES,
    counts,
    plain,
    rich,
    write_legacy_h5ad,
    write_odd_h5ad,
    write_ten_x_h5,
    write_zarr,
)
from tests.support.trees import assert_hdf5_kept, assert_same, assert_zarr_kept, folder_bytes

pytestmark = pytest.mark.filterwarnings("ignore")  # the libraries' remarks on old and new encodings


def check_output(data, path, *, force):
    check_targets([format_of_output(path).target(path)], [data.path], force=force)


ADDED_KEYS = [
    ("layers", "sccr"),
    ("layers", "sccr_recovered"),
    ("obsm", "X_sccr"),
    ("varp", "sccr_relations"),
    ("var", "sccr_imputed"),
    ("uns", "sccr"),
]
ADDED = {f"{slot}/{key}" for slot, key in ADDED_KEYS}
RECORD = {
    "version": "0.1.0",
    "params": {"k_cell": 15, "alpha": 0.05, "symmetrize": True, "nothing": None, "names": ["b", "a"], "none": []},
    "messages": [],
}


def additions(seed: int = 0, n_cells: int = N_CELLS, n_genes: int = N_GENES) -> dict:
    rng = np.random.default_rng(seed)
    layer = rng.random((n_cells, n_genes), dtype=np.float32)
    layer[layer < 0.6] = 0
    relations = sparse.random(n_genes, n_genes, 0.2, "csr", np.float32, rng)
    return {
        "layer": layer,
        "embedding": rng.random((n_cells, 3), dtype=np.float32),
        "relations": relations,
        "imputed": np.arange(n_genes) % 2 == 0,
    }


def write(source: Path, target: Path, made: dict | None = None, **options) -> dict:
    """Append one of each kind of thing to a copy of an input."""
    with open_dataset(source) as data:
        made = made or additions(0, data.n_cells, data.n_genes)
        with stage_output(data, target, **options) as output:
            layer = made["layer"]
            pieces = [layer[:5], layer[5:5], layer[5:20], layer[20:]]
            output.write_layer("sccr", layer.shape, [sparse.csr_matrix(piece) for piece in pieces])
            output.write_layer("sccr_recovered", layer.shape, pieces, sparse=False)
            output.write_obsm("X_sccr", made["embedding"])
            output.write_varp("sccr_relations", made["relations"])
            output.write_var_column("sccr_imputed", made["imputed"])
            output.write_uns("sccr", RECORD)
            output.commit()
    return made


def assert_holds(result: anndata.AnnData, made: dict) -> None:
    assert isinstance(result.layers["sccr"], sparse.csr_matrix)
    assert result.layers["sccr"].dtype == np.float32
    assert result.layers["sccr"].indptr.dtype == np.int32
    np.testing.assert_array_equal(result.layers["sccr"].toarray(), made["layer"])
    assert result.layers["sccr_recovered"].dtype == np.float32
    np.testing.assert_array_equal(result.layers["sccr_recovered"], made["layer"])
    np.testing.assert_array_equal(result.obsm["X_sccr"], made["embedding"])
    np.testing.assert_array_equal(result.varp["sccr_relations"].toarray(), made["relations"].toarray())
    assert result.var["sccr_imputed"].dtype == bool
    np.testing.assert_array_equal(result.var["sccr_imputed"], made["imputed"])
    assert list(result.var.columns)[-1] == "sccr_imputed"
    record = result.uns["sccr"]
    assert record["version"] == "0.1.0"
    assert record["params"]["k_cell"] == 15
    assert bool(record["params"]["symmetrize"]) is True
    assert list(record["params"]["names"]) == ["b", "a"]
    assert list(record["params"]["none"]) == []
    assert "nothing" not in record["params"]


def without_added(result: anndata.AnnData) -> anndata.AnnData:
    for slot, key in ADDED_KEYS:
        del getattr(result, slot)[key]
    return result


def hidden(folder: Path) -> list[str]:
    return [name for name in os.listdir(folder) if name.startswith(".")]


@pytest.mark.parametrize("compression", ["auto", "gzip", "none"])
def test_h5ad_is_untouched_but_for_what_is_added(tmp_path, compression):
    source, target = tmp_path / "in.h5ad", tmp_path / "out.h5ad"
    write_odd_h5ad(source)
    before = source.read_bytes()
    made = write(source, target, compression=compression)
    assert source.read_bytes() == before
    assert_hdf5_kept(source, target, {f"/{name}" for name in ADDED}, {("/var", "column-order")})
    for path in (source, target):
        with h5py.File(path, "r+") as file:  # anndata refuses files with groups that it does not know
            del file["lab"], file["ours"]
    result = anndata.read_h5ad(target)
    assert_holds(result, made)
    assert_same(without_added(result), anndata.read_h5ad(source))
    assert hidden(tmp_path) == []


@pytest.mark.parametrize(
    ("zarr_format", "consolidated", "compression"),
    [(2, True, "auto"), (2, False, "gzip"), (3, True, "auto"), (3, False, "gzip"), (3, True, "none")],
)
def test_zarr_is_untouched_but_for_what_is_added(tmp_path, zarr_format, consolidated, compression):
    source, target = tmp_path / "in.zarr", tmp_path / "out.zarr"
    write_zarr(source, rich(), zarr_format, consolidated)
    before = folder_bytes(source)
    made = write(source, target, compression=compression)
    assert folder_bytes(source) == before
    assert_zarr_kept(source, target, ADDED, "sccr_imputed")
    result = anndata.read_zarr(target)
    assert_holds(result, made)
    assert_same(without_added(result), anndata.read_zarr(source))
    assert hidden(tmp_path) == []


def test_file_of_an_old_anndata_gets_a_wider_table_and_keeps_the_rest(tmp_path):
    source, target = tmp_path / "in.h5ad", tmp_path / "out.h5ad"
    values = write_legacy_h5ad(source)
    made = write(source, target)
    assert_hdf5_kept_but_var(source, target)
    with h5py.File(source) as first, h5py.File(target) as second:
        assert second["var"].dtype.names == ("index", "means", "sccr_imputed")
        for name in first["var"].dtype.names:
            assert second["var"].dtype[name] == first["var"].dtype[name]
            np.testing.assert_array_equal(second["var"][name], first["var"][name])
        assert dict(second["layers"].attrs) == {"encoding-type": "dict", "encoding-version": "0.1.0"}
    result = anndata.read_h5ad(target)
    assert_holds(result, made)
    np.testing.assert_array_equal(result.X.toarray(), values)
    np.testing.assert_array_equal(result.obs["louvain"], np.array(["one", "two"])[np.arange(N_CELLS) % 2])


def assert_hdf5_kept_but_var(source, target):
    with h5py.File(source) as first, h5py.File(target) as second:
        for name in ("X/data", "X/indices", "X/indptr", "obs", "uns/louvain_categories"):
            assert first[name].dtype == second[name].dtype
            assert first[name].compression == second[name].compression
            np.testing.assert_array_equal(first[name][()], second[name][()])


@pytest.mark.parametrize(("first", "second"), [("h5ad", "zarr"), ("zarr", "h5ad")])
def test_other_format_holds_the_same(tmp_path, first, second):
    source, target = tmp_path / f"in.{first}", tmp_path / f"out.{second}"
    original = rich()
    if first == "h5ad":
        original.write_h5ad(source, convert_strings_to_categoricals=False)
    else:
        write_zarr(source, original, 3)
    made = write(source, target)
    result = anndata.read_h5ad(target) if second == "h5ad" else anndata.read_zarr(target)
    assert_holds(result, made)
    expected = anndata.read_h5ad(source) if first == "h5ad" else anndata.read_zarr(source)
    result = without_added(result)
    assert result.obs["note"].tolist() == original.obs["note"].tolist()
    assert not isinstance(result.obs["note"].dtype, pd.CategoricalDtype)
    # Records of mixed types come back with other string types from zarr: compared by value.
    for adata in (result, expected):
        ranks = adata.uns.pop("ranks")
        assert [(str(name), score) for name, score in ranks.tolist()] == [("a", 1.5), ("b", 2.5)]
    assert_same(result, expected)


@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
def test_ten_x_becomes_anndata(tmp_path, suffix):
    source, target = tmp_path / "in.h5", tmp_path / f"out.{suffix}"
    features = [(f"ID{n}", f"gene{n // 2}", "Gene Expression" if n else "Antibody Capture") for n in range(N_GENES)]
    write_ten_x_h5(source, counts(), features)
    made = write(source, target)
    result = anndata.read_h5ad(target) if suffix == "h5ad" else anndata.read_zarr(target)
    assert_holds(result, made)
    np.testing.assert_array_equal(result.X.toarray(), counts())
    assert result.var_names.tolist() == [name for _, name, _ in features]
    assert result.var["gene_ids"].tolist() == [identifier for identifier, _, _ in features]
    assert result.var["feature_types"].tolist() == [kind for _, _, kind in features]


@pytest.mark.parametrize("kind", ["h5ad", "zarr2", "zarr3", "ten_x", "converted"])
def test_same_input_and_additions_give_the_same_bytes(tmp_path, kind):
    source = tmp_path / {"h5ad": "in.h5ad", "ten_x": "in.h5"}.get(kind, "in.zarr")
    if kind == "h5ad":
        write_odd_h5ad(source)
    elif kind == "ten_x":
        write_ten_x_h5(source, counts(), [(f"ID{n}", f"gene{n}", "Gene Expression") for n in range(N_GENES)])
    else:
        write_zarr(source, rich(), 3 if kind == "zarr3" else 2)
    digests = set()
    for number, threads in enumerate([1, 2, 4]):
        target = tmp_path / f"out{number}.{'zarr' if kind.startswith('zarr') else 'h5ad'}"
        write(source, target, threads=threads)
        digests.add(sha256_of(target))
        time.sleep(1.1 if number == 0 else 0)  # time stamps in whole seconds would show
    assert len(digests) == 1


@pytest.mark.parametrize("sparse_layer", [True, False])
@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
def test_layer_of_many_chunks_and_its_bytes_do_not_hang_on_the_pieces(tmp_path, sparse_layer, suffix, monkeypatch):
    monkeypatch.setattr("sccr_node.storage.store.CHUNK_ENTRIES", 64)
    monkeypatch.setattr("sccr_node.storage.store._CHUNKS_A_WAVE", 3)
    n_cells, n_genes = 203, 31
    adata = plain(sparse.csr_matrix(counts(n_cells, n_genes), dtype=np.float32))
    source = tmp_path / f"in.{suffix}"
    if suffix == "h5ad":
        adata.write_h5ad(source)
    else:
        write_zarr(source, adata, 3)
    layer = additions(3, n_cells, n_genes)["layer"]
    digests = set()
    for number, step in enumerate([1, 7, 64, 500]):
        target = tmp_path / f"out{number}.{suffix}"
        buffer = np.empty((step, n_genes), dtype=np.float32)

        def pieces(buffer=buffer, step=step):
            for first in range(0, n_cells, step):
                part = buffer[: len(layer[first : first + step])]
                part[:] = layer[first : first + step]  # one buffer for all pieces, as the step has
                yield sparse.csr_matrix(part) if sparse_layer else part

        with open_dataset(source) as data, stage_output(data, target) as output:
            output.write_layer("sccr", layer.shape, pieces(), sparse=sparse_layer)
            output.commit()
        result = anndata.read_h5ad(target) if suffix == "h5ad" else anndata.read_zarr(target)
        written = result.layers["sccr"]
        np.testing.assert_array_equal(written.toarray() if sparse_layer else written, layer)
        digests.add(sha256_of(target))
    assert len(digests) == 1


@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
def test_all_zero_layer_and_no_relations(tmp_path, suffix):
    source, target = tmp_path / f"in.{suffix}", tmp_path / f"out.{suffix}"
    plain().write_h5ad(source) if suffix == "h5ad" else write_zarr(source, plain(), 2)
    made = additions() | {
        "layer": np.zeros((N_CELLS, N_GENES), np.float32),
        "relations": sparse.csr_matrix((N_GENES, N_GENES), dtype=np.float32),
    }
    write(source, target, made)
    assert_holds(anndata.read_h5ad(target) if suffix == "h5ad" else anndata.read_zarr(target), made)


def test_wrong_number_of_rows_is_an_internal_failure(tmp_path):
    source, target = tmp_path / "in.h5ad", tmp_path / "out.h5ad"
    plain().write_h5ad(source)
    with open_dataset(source) as data, pytest.raises(ValueError, match="3 rows given"):
        with stage_output(data, target) as output:
            output.write_layer("sccr", (N_CELLS, N_GENES), [sparse.csr_matrix((3, N_GENES), dtype=np.float32)])
    assert not target.exists()
    assert hidden(tmp_path) == []


@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
def test_keys_that_exist_are_refused_or_replaced(tmp_path, suffix):
    source, middle, target = (tmp_path / f"{name}.{suffix}" for name in ("in", "middle", "out"))
    plain().write_h5ad(source) if suffix == "h5ad" else write_zarr(source, plain(), 2)
    write(source, middle)
    with open_dataset(middle) as data:
        with pytest.raises(InputProblem, match=r"layers\['sccr'\].*--overwrite-keys.*--key-added"):
            check_keys(data, ADDED_KEYS, overwrite=False)
        check_keys(data, ADDED_KEYS, overwrite=True)
        check_keys(data, [("layers", "other"), ("varp", "other")], overwrite=False)
    made = write(middle, target, additions(5), replaced_keys=ADDED_KEYS)
    result = anndata.read_h5ad(target) if suffix == "h5ad" else anndata.read_zarr(target)
    assert_holds(result, made)
    assert list(result.var.columns) == ["sccr_imputed"]
    # What was removed leaves its room to what is added: a file does not grow with every replacement.
    assert size_on_disk(target) < 1.2 * size_on_disk(middle)


def test_output_that_exists_takes_force(tmp_path):
    source, target = tmp_path / "in.h5ad", tmp_path / "out.h5ad"
    plain().write_h5ad(source)
    target.write_text("precious")
    with open_dataset(source) as data:
        with pytest.raises(OutputProblem, match="already exists.*--force"):
            check_output(data, target, force=False)
        with pytest.raises(OutputProblem), stage_output(data, target):
            pass
    assert target.read_text() == "precious"
    write(source, target, force=True)
    assert anndata.read_h5ad(target).n_obs == N_CELLS


def test_replacing_a_link_leaves_what_it_points_to(tmp_path):
    source, other, target = tmp_path / "in.h5ad", tmp_path / "other.h5ad", tmp_path / "out.h5ad"
    plain().write_h5ad(source)
    other.write_text("someone else's")
    target.symlink_to(other)
    write(source, target, force=True)
    assert other.read_text() == "someone else's"
    assert not target.is_symlink()


@pytest.mark.parametrize("way", ["same", "relative", "symlink", "hard link", "link in the folder's path"])
def test_output_equal_to_input_is_refused(tmp_path, way, monkeypatch):
    source = tmp_path / "in.h5ad"
    plain().write_h5ad(source)
    before = source.read_bytes()
    target = tmp_path / "out.h5ad"
    if way == "same":
        target = source
    elif way == "relative":
        monkeypatch.chdir(tmp_path)
        target = Path("in.h5ad")
    elif way == "symlink":
        target.symlink_to(source)
    elif way == "hard link":
        target.hardlink_to(source)
    else:
        (tmp_path / "link").symlink_to(tmp_path)
        target = tmp_path / "link" / "in.h5ad"
    with open_dataset(source) as data, pytest.raises(UsageProblem, match="it is the input"):
        check_output(data, target, force=True)
    assert source.read_bytes() == before


@pytest.mark.parametrize("place", ["in.zarr/out.zarr", "in.zarr/layers/out.h5ad", "in.zarr"])
def test_output_in_or_around_a_zarr_input_is_refused(tmp_path, place):
    write_zarr(tmp_path / "in.zarr", plain(), 2)
    with open_dataset(tmp_path / "in.zarr") as data, pytest.raises(UsageProblem):
        check_output(data, tmp_path / place, force=True)
    # The input inside the store that would be replaced:
    inner = tmp_path / "outer.zarr" / "in.h5ad"
    inner.parent.mkdir()
    plain().write_h5ad(inner)
    with open_dataset(inner) as data, pytest.raises(UsageProblem):
        check_output(data, tmp_path / "outer.zarr", force=True)


@pytest.mark.parametrize("name", ["out.loom", "out", "out.h5", "out.h5ad.gz", "out.H5AD"])
def test_unknown_ending_is_bad_usage(tmp_path, name):
    plain().write_h5ad(tmp_path / "in.h5ad")
    with open_dataset(tmp_path / "in.h5ad") as data, pytest.raises(UsageProblem, match="use the extension .*\\.h5ad"):
        check_output(data, tmp_path / name, force=False)


def test_folder_that_is_missing_or_of_another_kind(tmp_path):
    plain().write_h5ad(tmp_path / "in.h5ad")
    (tmp_path / "papers.zarr").mkdir()
    (tmp_path / "papers.zarr" / "thesis.txt").write_text("years of work")
    (tmp_path / "folder.h5ad").mkdir()
    with open_dataset(tmp_path / "in.h5ad") as data:
        with pytest.raises(OutputProblem, match="folder .* does not exist"):
            check_output(data, tmp_path / "nowhere" / "out.h5ad", force=False)
        with pytest.raises(OutputProblem, match="not a zarr store"):
            check_output(data, tmp_path / "papers.zarr", force=True)
        with pytest.raises(OutputProblem, match="is a folder"):
            check_output(data, tmp_path / "folder.h5ad", force=True)
    assert (tmp_path / "papers.zarr" / "thesis.txt").exists()


@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
def test_without_commit_nothing_is_left(tmp_path, suffix):
    source, target = tmp_path / f"in.{suffix}", tmp_path / f"out.{suffix}"
    plain().write_h5ad(source) if suffix == "h5ad" else write_zarr(source, plain(), 3)
    with open_dataset(source) as data, pytest.raises(KeyboardInterrupt), stage_output(data, target) as output:
        output.write_obsm("X_sccr", additions()["embedding"])
        assert len(hidden(tmp_path)) == 1
        raise KeyboardInterrupt
    assert sorted(os.listdir(tmp_path)) == [source.name]


@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
def test_the_copy_is_read_while_it_is_appended_to(tmp_path, suffix):
    source = tmp_path / f"in.{suffix}"
    adata = plain()
    adata.obs["batch"] = ["a", "b"] * (adata.n_obs // 2) + ["a"] * (adata.n_obs % 2)
    adata.write_h5ad(source) if suffix == "h5ad" else write_zarr(source, adata, 2)
    with open_dataset(source) as data, stage_output(data, tmp_path / f"out.{suffix}", hashed=True) as output:
        digest = sha256_of(source)
        shutil.rmtree(source) if source.is_dir() else source.unlink()
        made = additions()
        output.write_obsm("X_sccr", made["embedding"])
        output.write_varp("sccr_relations", made["relations"])
        output.write_var_column("sccr_imputed", made["imputed"])
        blocks = [block.toarray() for _, block in output.data.blocks(2000)]
        np.testing.assert_array_equal(np.concatenate(blocks), adata.X.toarray())
        output.finish()
        assert output.data.obs_column("batch").tolist() == adata.obs["batch"].tolist()
        assert output.data.path == source
        assert output.sha256 == digest
        output.commit()
    read = anndata.read_h5ad if suffix == "h5ad" else anndata.read_zarr
    assert "X_sccr" in read(tmp_path / f"out.{suffix}").obsm


def test_room_is_checked_before_copying(tmp_path):
    plain().write_h5ad(tmp_path / "in.h5ad")
    with open_dataset(tmp_path / "in.h5ad") as data, pytest.raises(NotEnoughResources, match="not enough disk"):
        with stage_output(data, tmp_path / "out.h5ad", added_bytes=2**60):
            pass
    assert os.listdir(tmp_path) == ["in.h5ad"]


def test_read_only_input_gives_a_writable_output(tmp_path):
    source, target = tmp_path / "in.zarr", tmp_path / "out.zarr"
    write_zarr(source, plain(), 2)
    for path in [*source.rglob("*"), source]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    write(source, target)
    modes = {path.stat().st_mode & 0o200 for path in [target, *target.rglob("*")]}
    assert modes == {0o200}


def test_sha256_is_that_of_the_bytes(tmp_path):
    file = tmp_path / "some"
    file.write_bytes(b"abc")
    assert sha256_of(file) == hashlib.sha256(b"abc").hexdigest()
    for name, parts in {"one": ["a/b", "c"], "two": ["c", "a/b"], "three": ["ab", "c"]}.items():
        for part in parts:
            target = tmp_path / name / part
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(b"same")
    assert sha256_of(tmp_path / "one") == sha256_of(tmp_path / "two") != sha256_of(tmp_path / "three")
    expected = hashlib.sha256(
        b"".join(name + b"\0" + hashlib.sha256(b"same").digest() for name in (b"a/b", b"c"))
    ).hexdigest()
    assert sha256_of(tmp_path / "one") == expected


def test_links_in_a_zarr_store_are_followed_but_not_around_a_circle(tmp_path):
    source, target = tmp_path / "source.zarr", tmp_path / "target.zarr"
    write_zarr(source, plain(), 2)
    whole = sha256_of(source)
    (source / "X").rename(tmp_path / "elsewhere")
    (source / "X").symlink_to(tmp_path / "elsewhere")
    assert sha256_of(source) == whole
    (source / "uns" / "circle").symlink_to(source)
    target.mkdir()
    copy_tree(source, target)
    assert not (target / "X").is_symlink()
    assert np.array_equal(anndata.read_zarr(target).X.toarray(), plain().X.toarray())


@pytest.mark.parametrize("slot", ["layers", "obsm", "uns", "varp"])
def test_slots_that_cannot_be_appended_to_are_refused(tmp_path, slot):
    plain().write_h5ad(tmp_path / "in.h5ad")
    with h5py.File(tmp_path / "in.h5ad", "r+") as file:
        del file[slot]
        file[slot] = np.ones(3)
    with (
        open_dataset(tmp_path / "in.h5ad") as data,
        pytest.raises(InputProblem, match=f"cannot add to {slot} of .*in.h5ad: it is a"),
    ):
        check_keys(data, [(slot, "sccr")], overwrite=True)


def test_embeddings_of_an_old_anndata_get_one_more(tmp_path):
    """AnnData before 0.7 kept obsm as one compound dataset, too."""
    write_legacy_h5ad(tmp_path / "old.h5ad")
    former = np.ones((N_CELLS, 3), dtype=np.float32)
    with h5py.File(tmp_path / "old.h5ad", "r+") as file:
        records = np.empty(N_CELLS, dtype=[("X_pca", "f4", (3,))])
        records["X_pca"] = former
        file["obsm"] = records
    added = np.arange(N_CELLS * 2, dtype=np.float32).reshape(-1, 2)
    for source, target in (("old", "new"), ("new", "newer")):
        with open_dataset(tmp_path / f"{source}.h5ad") as data:
            assert data.has_key("obsm", "X_sccr") == (source == "new")
            with stage_output(data, tmp_path / f"{target}.h5ad", replaced_keys=[("obsm", "X_sccr")]) as output:
                output.write_obsm("X_sccr", added)
                output.commit()
    with h5py.File(tmp_path / "newer.h5ad") as file:
        assert file["obsm"].dtype.names == ("X_pca", "X_sccr")
        assert np.array_equal(file["obsm"]["X_pca"], former)
        assert np.array_equal(file["obsm"]["X_sccr"], added)


@pytest.mark.parametrize("way", ["written to", "replaced"])
def test_an_input_that_changes_while_it_is_read_is_refused(tmp_path, way):
    plain().write_h5ad(tmp_path / "in.h5ad")
    with open_dataset(tmp_path / "in.h5ad") as data:
        if way == "replaced":
            shutil.copy2(tmp_path / "in.h5ad", tmp_path / "new.h5ad")
            (tmp_path / "new.h5ad").replace(tmp_path / "in.h5ad")
        else:
            with (tmp_path / "in.h5ad").open("ab") as file:
                file.write(b"more")
        with (
            pytest.raises(InputProblem, match="changed or replaced while it was read"),
            stage_output(data, tmp_path / "out.h5ad"),
        ):
            raise AssertionError("the copy was accepted")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.h5ad"]


@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
@pytest.mark.parametrize("overwrite", [True, False])
def test_names_are_never_replaced(tmp_path, suffix, overwrite):
    adata = plain()
    adata.var.index.name = "sccr_imputed"
    path = tmp_path / f"a.{suffix}"
    (adata.write_h5ad if suffix == "h5ad" else adata.write_zarr)(path)
    with open_dataset(path) as data, pytest.raises(InputProblem, match=r"has its names in var\['sccr_imputed'\]"):
        check_keys(data, ADDED_KEYS, overwrite=overwrite)
