"""Every format is read as what it contains; anything else is refused in one line."""

import os
import shutil
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import zarr
from scipy import sparse

from sccr_node.data.dataset import open_dataset, wrap_anndata
from sccr_node.data.features import choose_features
from sccr_node.data.matrix import CsrMatrix, turned_in_scratch
from sccr_node.data.summary import scan
from sccr_node.errors import InputMissing, InputProblem, SccrError
from tests.support.inputs import N_CELLS, N_GENES, counts, plain, rich, write_legacy_h5ad, write_ten_x_h5, write_zarr

pytestmark = pytest.mark.filterwarnings("ignore")  # the libraries' remarks on names and versions

FEATURES = [(f"ID{n}", f"gene{n}", "Gene Expression") for n in range(N_GENES)]


def dense(data, **options) -> np.ndarray:
    """The whole matrix from its blocks, whose form is checked on the way."""
    result, expected = [], 0
    for first, block in data.blocks(**options):
        assert first == expected
        expected += block.shape[0]
        assert isinstance(block, sparse.csr_matrix)
        fresh = sparse.csr_matrix((block.data, block.indices, block.indptr), shape=block.shape)
        assert fresh.has_canonical_format
        assert block.data.all()
        result.append(block.toarray())
    assert expected == data.n_cells
    return np.concatenate(result)


def write(adata: anndata.AnnData, path: Path) -> Path:
    if path.suffix == ".h5ad":
        adata.write_h5ad(path, convert_strings_to_categoricals=False)
    else:
        write_zarr(path, adata, 3 if "3" in path.stem else 2)
    return path


@pytest.mark.parametrize("name", ["in.h5ad", "in2.zarr", "in3.zarr"])
@pytest.mark.parametrize("layer", [None, "counts", "dense", "rows"])
def test_stored_anndata(tmp_path, name, layer):
    adata = rich()
    matrix = adata.X if layer is None else adata.layers[layer]
    with open_dataset(write(adata, tmp_path / name), layer) as data:
        assert data.format == name[-4:].strip(".")
        assert data.is_streamed == (layer != "counts")  # stored by columns
        assert (data.n_cells, data.n_genes) == adata.shape
        assert data.cell_names.tolist() == adata.obs_names.tolist()
        assert data.gene_names.tolist() == adata.var_names.tolist()
        assert data.cell_names.dtype.kind == "U"
        for column in adata.obs:
            pd.testing.assert_series_equal(data.obs_column(column), adata.obs[column], check_index_type=False)
        expected = np.asarray(matrix.todense() if sparse.issparse(matrix) else matrix)
        for size in (1, 500, 10**9):
            values = dense(data, max_bytes=size)
            assert values.dtype == expected.dtype
            np.testing.assert_array_equal(values, expected)
        rows = np.array([0, 3, 4, 20])
        np.testing.assert_array_equal(data.rows(rows).toarray(), expected[rows])
        assert data.rows(rows[:0]).shape == (0, N_GENES)
        for slot, key in [("layers", "rows"), ("obsm", "frame"), ("varp", "overlap"), ("uns", "nested")]:
            assert data.has_key(slot, key)
            assert not data.has_key(slot, "other")
        assert data.has_key("var", "gene_ids")
        assert data.has_key("obs", "level")
        assert not data.has_key("var", "level")
        with pytest.raises(InputProblem, match=r"obs of .* has no column 'batch'; it has .*'level', 'sample'"):
            data.obs_column("batch")
        assert choose_features(data).counted.all()
        assert data.notes == []


def test_file_of_an_old_anndata(tmp_path):
    expected = write_legacy_h5ad(tmp_path / "in.h5ad")
    with open_dataset(tmp_path / "in.h5ad") as data:
        np.testing.assert_array_equal(dense(data), expected)
        assert data.cell_names[3] == "cell3"
        assert data.gene_names[16] == "gene16"
        assert data.obs_column("louvain").tolist() == [["one", "two"][n % 2] for n in range(N_CELLS)]
        assert data.var_column("means").tolist() == list(range(N_GENES))
        assert data.has_key("var", "means")
        assert not data.has_key("layers", "sccr")


def test_blocks_follow_chunks_and_sizes_not_the_threads(tmp_path):
    path = write(plain(), tmp_path / "in.h5ad")
    with h5py.File(path, "r+") as file:
        del file["X"]
        made = file.create_dataset("X", data=counts().astype(np.float32), chunks=(4, 3))
        made.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
    with open_dataset(path) as data:
        firsts = [first for first, _ in data.blocks(max_bytes=10 * N_GENES * 4)]
        assert firsts == [0, 8, 16]


def test_blocks_are_streamed(tmp_path):
    matrix = sparse.random(400, 50, 0.3, "csr", np.float32, np.random.default_rng(0))
    with open_dataset(write(plain(matrix), tmp_path / "in.h5ad")) as data:
        sizes = [block.data.nbytes + block.indices.nbytes for _, block in data.blocks(max_bytes=4000)]
        assert len(sizes) > 5
        assert max(sizes) <= 4000
        assert data.in_memory_bytes < 5000


def test_disordered_sparse_rows_come_in_order(tmp_path):
    path = write(plain(sparse.csr_matrix(counts(3, 4), dtype=np.float32)), tmp_path / "in.h5ad")
    with h5py.File(path, "r+") as file:
        for name, values in {
            "data": np.array([5, 1, 2, 0, 7, -7, 3], np.float32),
            "indices": np.array([3, 0, 3, 1, 2, 2, 1], np.int64),
            "indptr": np.array([0, 4, 4, 7], np.int64),
        }.items():
            del file["X"][name]
            file["X"][name] = values
    with open_dataset(path) as data:
        np.testing.assert_array_equal(dense(data), [[1, 0, 0, 7], [0, 0, 0, 0], [0, 3, 0, 0]])


@pytest.mark.parametrize("kind", [sparse.csr_matrix, sparse.csc_matrix])
@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "uint16", "int32", "uint64"])
@pytest.mark.parametrize("name", ["in.h5ad", "in2.zarr", "in3.zarr", "in memory"])
def test_sums_of_duplicates_do_not_overflow(tmp_path, name, dtype, kind):
    largest = min(int(np.iinfo(dtype).max), 2**60)
    values = np.array([largest, 1, largest, largest - 1, 3], dtype)
    disordered = kind((5, 5), dtype=dtype)
    disordered.data, disordered.indices = values, np.array([4, 1, 4, 0, 2], np.int32)
    disordered.indptr = np.array([0, 3, 3, 4, 4, 5], np.int32)
    exact = np.zeros((5, 5))
    exact[0, [1, 4]], exact[2, 0], exact[4, 2] = [1, 2.0 * largest], largest - 1, 3
    exact = exact if kind is sparse.csr_matrix else exact.T
    if name == "in memory":
        data = wrap_anndata(plain(disordered))
        np.testing.assert_array_equal(dense(data), exact)
        assert (disordered.data is values) and (values[0], values[2]) == (largest, largest)
        return
    with open_dataset(write(plain(disordered), tmp_path / name)) as data:
        np.testing.assert_array_equal(dense(data), exact)
        np.testing.assert_array_equal(data.rows(np.array([0, 2, 4])).toarray(), exact[[0, 2, 4]])
        assert scan(data).maximum == 2.0 * largest


@pytest.mark.parametrize(
    ("stored", "given"), [("bool", "uint8"), ("float16", "float32"), (">f8", "float64"), ("uint16", "uint16")]
)
def test_odd_types(tmp_path, stored, given):
    path = write(plain(), tmp_path / "in.h5ad")
    values = (counts() > 1) if stored == "bool" else counts()
    with h5py.File(path, "r+") as file:
        del file["X"]
        made = file.create_dataset("X", data=values.astype(stored))
        made.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
    with open_dataset(path) as data:
        result = dense(data)
        assert result.dtype == np.dtype(given)
        np.testing.assert_array_equal(result, values)


def test_duplicate_names_are_kept_and_said(tmp_path):
    adata = plain()
    adata.var_names = ["same", "same", *[f"g{n}" for n in range(N_GENES - 4)], "twin", "twin"]
    with open_dataset(write(adata, tmp_path / "in.h5ad")) as data:
        assert data.gene_names[:2].tolist() == ["same", "same"]
        assert data.notes == ["2 gene names occur more than once (first: 'same'); they are kept"]


def test_content_decides_where_the_name_is_ambiguous(tmp_path):
    write(plain(), tmp_path / "in.h5ad").rename(tmp_path / "anndata.h5")
    write_ten_x_h5(tmp_path / "ten_x.h5ad", counts(), FEATURES)
    write(plain(), tmp_path / "in.zarr").rename(tmp_path / "folder.h5ad")
    for name, expected in {"anndata.h5": "h5ad", "ten_x.h5ad": "10x_h5", "folder.h5ad": "zarr"}.items():
        with open_dataset(tmp_path / name) as data:
            assert data.format == expected


def truncate(path: Path, share: float) -> None:
    os.truncate(path, int(path.stat().st_size * share))


def make_bad(folder: Path, what: str) -> tuple[Path, str | None]:
    """A bad input and the layer to ask for."""
    path, layer = folder / "in.h5ad", None
    if what == "text":
        path.write_text("gene\tcell1\ng1\t5\n")
    elif what == "empty file":
        path.touch()
    elif what == "empty folder":
        path = folder / "in"
        path.mkdir()
    elif what == "folder of papers":
        path = folder / "in.zarr"
        path.mkdir()
        (path / "thesis.txt").write_text("x")
    elif what.startswith("truncated"):
        write(rich(), path)
        truncate(path, float(what.split()[1]))
    elif what == "other hdf5":
        with h5py.File(path, "w") as file:
            file["numbers"] = [1, 2]
    elif what == "mudata":
        with h5py.File(path, "w") as file:
            file.create_group("mod/rna")
    elif what == "other zarr":
        import zarr

        path = folder / "in.zarr"
        zarr.open_group(path, mode="w").create_array("numbers", shape=(3,), dtype="i4")
    elif what == "no X":
        write(anndata.AnnData(obs=plain().obs, var=plain().var, layers={"counts": counts()}), path)
    elif what == "no X zarr":
        path = folder / "in.zarr"
        write(anndata.AnnData(obs=plain().obs, var=plain().var, layers={"counts": counts()}), path)
    elif what == "missing layer":
        write(rich(), path)
        layer = "spliced"
    elif what == "zero cells":
        write(plain()[:0].copy(), path)
    elif what == "zero genes":
        write(plain()[:, :0].copy(), path)
    else:
        write(plain(), path)
        with h5py.File(path, "r+") as file:
            if what == "column out of range":
                file["X/indices"][3] = N_GENES
            elif what == "negative column":
                file["X/indices"][3] = -1
            elif what == "pointers fall":
                file["X/indptr"][2] = 1000
            elif what == "values missing":
                values = file["X/data"][:-1]
                del file["X/data"]
                file["X/data"] = values
            elif what == "no indptr":
                del file["X/indptr"]
            elif what == "shorter obs":
                # With pandas 3, anndata writes text as values and a mask.
                is_plain = isinstance(file["obs/_index"], h5py.Dataset)
                for key in ["obs/_index"] if is_plain else ["obs/_index/values", "obs/_index/mask"]:
                    shorter, attributes = file[key][:-1], dict(file[key].attrs)
                    del file[key]
                    file[key] = shorter
                    file[key].attrs.update(attributes)
            elif what == "strings":
                del file["X"]
                file["X"] = np.full((N_CELLS, N_GENES), b"a")
            elif what == "one dimension":
                del file["X"]
                file["X"] = np.ones(N_CELLS)
            elif what == "unknown encoding":
                file["X"].attrs["encoding-type"] = "coo_matrix"
    return path, layer


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("text", "not an HDF5 file"),
        ("empty file", "is empty"),
        ("empty folder", "neither an AnnData zarr store nor 10x"),
        ("folder of papers", "neither an AnnData zarr store nor 10x"),
        ("truncated 0.9", "damaged or incomplete"),
        ("truncated 0.5", "damaged or incomplete"),
        ("truncated 0.01", "damaged or incomplete"),
        ("other hdf5", "neither AnnData .* nor a 10x"),
        ("mudata", "the modality 'rna' of .* is not AnnData"),
        ("other zarr", "not an AnnData one"),
        ("no X", "has no X: choose a layer with --layer; its layers: 'counts'"),
        ("no X zarr", "has no X: choose a layer with --layer; its layers: 'counts'"),
        ("missing layer", "has no layer 'spliced'; its layers: 'counts', 'dense', 'rows'"),
        ("zero cells", "0 cells"),
        ("zero genes", "0 genes"),
        ("column out of range", "column index out of range"),
        ("negative column", "column index out of range"),
        ("pointers fall", "does not match"),
        ("values missing", "does not match"),
        ("no indptr", "not stored as expected .*indptr"),
        ("shorter obs", "is inconsistent"),
        ("strings", "not numbers"),
        ("one dimension", "is not a cells × genes matrix"),
        ("unknown encoding", "coo_matrix"),
    ],
)
def test_bad_input_is_one_line_and_65(tmp_path, what, says):
    path, layer = make_bad(tmp_path, what)
    with pytest.raises(InputProblem, match=says) as caught, open_dataset(path, layer) as data:
        dense(data)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    assert len(message) < 400


@pytest.mark.parametrize("name", ["missing.h5ad", "in.h5ad/inside.h5ad", "broken link.h5ad"])
def test_missing_input_is_66(tmp_path, name):
    (tmp_path / "in.h5ad").touch()
    (tmp_path / "broken link.h5ad").symlink_to(tmp_path / "gone")
    with pytest.raises(InputMissing, match="does not exist"), open_dataset(tmp_path / name):
        pass


def test_damaged_zarr_chunk(tmp_path):
    path = write(plain(), tmp_path / "in.zarr")
    chunk = path / "X" / "data" / "0"
    chunk.write_bytes(chunk.read_bytes()[:10])
    with pytest.raises(InputProblem, match="damaged or incomplete"), open_dataset(path) as data:
        dense(data)


def test_consumers_failures_are_their_own(tmp_path):
    with pytest.raises(ValueError, match="mine"), open_dataset(write(plain(), tmp_path / "in.h5ad")) as data:
        for _ in data.blocks():
            raise ValueError("mine")


def test_input_is_closed_and_never_locked(tmp_path):
    path = write(plain(), tmp_path / "in.h5ad")
    with open_dataset(path), open_dataset(path) as data:
        pass
    assert not data.root
    with h5py.File(path, "r+"):
        pass


def test_anndata_in_memory_is_read_and_not_changed():
    adata = rich()
    adata.layers["disordered"] = sparse.csr_matrix(
        (np.array([1.0, 2.0, 3.0]), np.array([5, 1, 5]), np.array([0, 3] + [3] * (N_CELLS - 1))), shape=adata.shape
    )
    for layer in [None, "counts", "dense"]:
        data = wrap_anndata(adata, layer)
        matrix = adata.X if layer is None else adata.layers[layer]
        np.testing.assert_array_equal(dense(data), matrix.toarray() if sparse.issparse(matrix) else matrix)
    assert dense(wrap_anndata(adata, "disordered"))[0, [1, 5]].tolist() == [2, 4]
    assert adata.layers["disordered"].indices.tolist() == [5, 1, 5]
    with pytest.raises(SccrError, match="no layer 'other'"):
        wrap_anndata(adata, "other")


def test_real_data(shared_data):
    with open_dataset(shared_data / "mouse_bladder_2100.h5ad") as data:
        assert (data.n_cells, data.n_genes, data.is_streamed) == (2100, 20670, True)
        expected = anndata.read_h5ad(shared_data / "mouse_bladder_2100.h5ad").X
        blocks = [block for _, block in data.blocks(max_bytes=3 << 20)]
        assert len(blocks) > 3
        assert (sparse.vstack(blocks) != expected).nnz == 0


def test_a_pipe_is_refused_without_waiting_for_its_writer(tmp_path):
    os.mkfifo(tmp_path / "pipe.h5ad")
    with pytest.raises(InputProblem, match="is a pipe or a device"), open_dataset(tmp_path / "pipe.h5ad"):
        raise AssertionError("a pipe was opened")


@pytest.mark.parametrize("slot", ["obs", "var"])
def test_a_name_of_megabytes_is_refused_before_it_takes_gigabytes(tmp_path, slot):
    adata = plain()
    names = list(getattr(adata, f"{slot}_names"))
    names[2] = "x" * 3_000_000
    setattr(adata, f"{slot}_names", names)
    adata.write_h5ad(tmp_path / "in.h5ad")
    with (
        pytest.raises(InputProblem, match="a name has 3,000,000 characters"),
        open_dataset(tmp_path / "in.h5ad") as data,
    ):
        _ = data.cell_names, data.gene_names


@pytest.mark.parametrize("name", ["in.h5ad", "in2.zarr", "in3.zarr"])
@pytest.mark.parametrize("order", ["sample", 3, None])
@pytest.mark.parametrize("slot", ["obs", "var"])
def test_names_of_columns_that_are_not_a_list_are_refused(tmp_path, refused, name, order, slot):
    path = write(rich(), tmp_path / name)
    stored = h5py.File(path, "r+") if name == "in.h5ad" else None
    root = zarr.open_group(path, mode="r+", use_consolidated=False) if stored is None else stored
    root[slot].attrs["column-order"] = h5py.Empty("f") if stored is not None and order is None else order
    if stored is not None:
        stored.close()
    elif name == "in2.zarr":
        zarr.consolidate_metadata(str(path))
    words = [f"cannot read the columns of {slot} of {path}: it is not stored as expected", "not a list of names"]
    refused(65, words, "impute", path, tmp_path / "out.h5ad", "--batch-key", "sample")
    if (order, slot) == (3, "obs"):
        refused(65, words, "tune", path, "-o", tmp_path / "out.yaml", "--batch-key", "sample")
        refused(65, words, "evaluate", "cluster", path, "--label-key", "level", "-o", tmp_path / "out.tsv")


def virtual(file, name, source):
    stored = file[name]
    layout = h5py.VirtualLayout(stored.shape, stored.dtype)
    layout[...] = h5py.VirtualSource(source, name, stored.shape)
    attributes = dict(stored.attrs)
    del file[name]
    file.create_virtual_dataset(name, layout, fillvalue=0).attrs.update(attributes)


@pytest.mark.parametrize("source", ["other.h5", "missing.h5"])
@pytest.mark.parametrize("kind", ["link", "virtual"])
@pytest.mark.parametrize(
    "name", ["X", "X/data", "layers/dense", "obs/depth", "raw/X/indices", "obsm/X_pca", "uns/nested"]
)
def test_what_is_in_another_file_is_refused_before_any_work(tmp_path, refused, name, kind, source):
    path = write(rich(), tmp_path / "in.h5ad")
    shutil.copy(path, tmp_path / "other.h5")
    with h5py.File(path, "r+") as file:
        if kind == "virtual" and name in ("X", "uns/nested"):
            name += "/indices" if name == "X" else "/deeper/flags"
        if kind == "virtual":
            virtual(file, name, source)
        else:
            del file[name]
            file[name] = h5py.ExternalLink(source, f"/{name}")
    what = "a link to another file" if kind == "link" else "a virtual data set"
    words = [f"{name} of {path} is {what}, which sccr does not follow: save the data in one file, e.g. with anndata"]
    refused(65, words, "impute", path, tmp_path / "out.h5ad")


def test_a_virtual_matrix_in_backed_mode_is_refused(tmp_path):
    path = write(plain(counts().astype(np.float32)), tmp_path / "in.h5ad")
    with h5py.File(path, "r+") as file:
        virtual(file, "X", "missing.h5")
    adata = anndata.read_h5ad(path, backed="r")
    with pytest.raises(InputProblem, match="X is a virtual data set, which sccr does not follow"):
        wrap_anndata(adata)
    adata.file.close()


@pytest.mark.parametrize("name", ["in.h5ad", "in2.zarr", "in3.zarr"])
@pytest.mark.parametrize("what", ["indices", "indptr", "shape"])
@pytest.mark.parametrize("how", ["fractions", "booleans", "more"])
def test_parts_of_a_sparse_matrix_that_are_not_whole_numbers_are_refused(tmp_path, refused, name, what, how):
    path = write(plain(), tmp_path / name)
    stored = h5py.File(path, "r+") if name == "in.h5ad" else None
    root = zarr.open_group(path, mode="r+", use_consolidated=False) if stored is None else stored
    group = root["X"]
    if what == "shape":
        shape = {"fractions": [23.5, 17.0], "booleans": [True, True], "more": [23, 17, 1]}[how]
        group.attrs["shape"] = shape
    else:
        values = np.asarray(group[what][:])
        changed = {"fractions": values + 0.5, "booleans": values > 0, "more": np.append(values, 0)}[how]
        del group[what]
        if stored is None:
            group.create_array(what, data=changed)
        else:
            group[what] = changed
    if stored is not None:
        stored.close()
    elif name == "in2.zarr":
        zarr.consolidate_metadata(str(path))
    of_wrong_length = "is not two numbers" if what == "shape" else "does not match"
    found = of_wrong_length if how == "more" else f"the {what} of the sparse matrix is not stored as expected"
    refused(65, [str(path), found], "impute", path, tmp_path / "out.h5ad")


@pytest.mark.parametrize("what", ["data", "indices", "indptr"])
@pytest.mark.parametrize("shape", [(-1, 1), (1, -1), ()])
@pytest.mark.parametrize("place", ["X", "layers/counts"])
def test_parts_of_a_sparse_matrix_that_are_not_flat_are_refused(tmp_path, refused, what, shape, place):
    """A column of the same length would pass as an array of that length."""
    adata = rich()
    adata.layers["counts"] = sparse.csr_matrix(adata.X)
    adata.obs["batch"] = np.where(np.arange(adata.n_obs) % 2, "a", "b")
    path = write(adata, tmp_path / "in.h5ad")
    with h5py.File(path, "r+") as file:
        values = file[place][what][:]
        del file[place][what]
        file[place][what] = values.reshape(shape) if shape else values[0]
    refused(65, [str(path)], "split", path, "--batch-key", "batch", "--outdir", tmp_path / "out")
    refused(65, [str(path)], "impute", path, tmp_path / "out.h5ad", "--layer", place.removeprefix("layers/"))


def test_whole_numbers_in_another_type_are_read(tmp_path):
    path = write(plain(), tmp_path / "in.h5ad")
    with h5py.File(path, "r+") as file:
        for name in ("indices", "indptr"):
            values = file["X"][name][:].astype(np.float64)
            del file["X"][name]
            file["X"][name] = values
    with open_dataset(path) as data:
        np.testing.assert_array_equal(dense(data), counts())


def test_the_main_matrix_is_not_a_layer(tmp_path, refused):
    path = write(rich(), tmp_path / "in.h5ad")
    words = ["has no layer 'X'", "X is not a layer but the main matrix, which is used if no layer is named"]
    refused(65, words, "promote", path, tmp_path / "out.h5ad", "--layer", "X")
    refused(65, words, "benchmark", path, "--candidate", f"A={path}", "--candidate-layer", "A=X")


@pytest.mark.parametrize("shape", [(1000, 50), (3, 7), (0, 5), (5, 0), (200, 3000)])
@pytest.mark.parametrize("dtype", [np.float32, np.int16, np.uint8])
def test_the_transpose_in_scratch_is_scipys(shape, dtype):
    stored = sparse.random(*shape, 0.1, "csc", None, np.random.default_rng(1))
    stored.data = np.ceil(stored.data * 100).astype(dtype)
    columns = CsrMatrix(stored.data, stored.indices, stored.indptr, shape[::-1])
    for n_entries in (7, 100, 10**6):
        blocks = [block for _, block in turned_in_scratch(columns, n_entries).blocks(1000)]
        assert all(block.has_canonical_format and block.dtype == dtype for block in blocks)
        whole = sparse.vstack(blocks).toarray() if blocks else np.zeros(shape)
        assert np.array_equal(whole, stored.toarray())


@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
def test_names_stored_as_categories_are_read(tmp_path, suffix):
    adata = plain()
    names = [f"c{number % 7}" for number in range(adata.n_obs)]
    adata.obs.index = pd.CategoricalIndex(names)
    path = tmp_path / f"a.{suffix}"
    (adata.write_h5ad if suffix == "h5ad" else adata.write_zarr)(path)
    with open_dataset(path) as data:
        assert data.n_cells == len(names) and data.cell_names.tolist() == names


def test_the_layers_of_an_object_are_those_with_names():
    """Since anndata 0.13, X is among them as None."""
    assert wrap_anndata(plain(counts=counts())).keys("layers") == ["counts"]
    assert wrap_anndata(plain(counts=counts()), "counts").keys("layers") == ["counts"]
    with pytest.raises(InputProblem, match="its layers: 'counts'$"):
        wrap_anndata(plain(counts=counts()), "other")
