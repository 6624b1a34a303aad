"""Chunks are what the formats' filters would make; errors of the disk are kept from HDF5, and not lost."""

import fcntl
import json
import os
import zlib

import anndata
import h5py
import numpy as np
import pytest
import zarr
from scipy import sparse

from sccr_node.errors import InputProblem
from sccr_node.storage import store
from sccr_node.storage.formats import FORMATS
from sccr_node.storage.hdf5 import FORMAT, CarefulFile, Hdf5Appender, deflated_by_plane, write_h5ad
from sccr_node.storage.store import storable
from sccr_node.storage.zarr import ZarrFormat, is_consolidated, write_zarr
from tests.support.inputs import counts, plain, rich
from tests.support.inputs import write_zarr as write_zarr_store
from tests.support.trees import assert_same

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("dtype", ["float32", "int32", "int64", "float64"])
def test_packed_chunks_are_read_by_hdf5_itself(tmp_path, dtype):
    path = tmp_path / "some.h5"
    values = np.random.default_rng(0).integers(0, 1000, size=(70_000, 2)).astype(dtype)
    h5py.File(path, "w").close()
    appender = Hdf5Appender(path, threads=2)
    appender.write_dense("obsm", "some", values.shape, [values[:1], values[1:40_000], values[40_000:]], values.dtype)
    appender.close()
    with h5py.File(path) as file:
        stored = file["obsm/some"]
        assert (stored.compression, stored.shuffle, stored.chunks) == ("gzip", True, (32768, 2))
        assert stored.id.get_num_chunks() == 3
        np.testing.assert_array_equal(stored[()], values)


class Refusing:
    """A disk that is full from some byte on, or from some moment on."""

    def __init__(self, raw, error):
        self.raw, self.error = raw, error

    def __getattr__(self, name):
        return getattr(self.raw, name)

    def write(self, data):
        raise self.error

    def truncate(self, size=None):
        raise self.error


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_refusal_is_kept_from_hdf5_and_raised_by_check(tmp_path, error):
    path = tmp_path / "some.h5"
    h5py.File(path, "w").close()
    appender = Hdf5Appender(path, compression="none")
    appender.write_dense("obsm", "first", (3, 2), [np.ones((3, 2))], np.float32)
    appender._file._raw = Refusing(appender._file._raw, error)
    with pytest.raises(type(error)):
        appender.write_dense("obsm", "second", (300_000, 2), [np.ones((300_000, 2))], np.float32)
    with pytest.raises(type(error)):
        appender.check()
    with pytest.raises(type(error)):
        appender.close()
    appender.abandon()


def test_no_file_is_locked(tmp_path):
    """As if the file system refused the lock: somebody else has it."""
    plain().write_h5ad(tmp_path / "in.h5ad")
    with (tmp_path / "in.h5ad").open("rb") as locked:
        fcntl.flock(locked, fcntl.LOCK_EX)
        with pytest.raises(BlockingIOError):
            h5py.File(tmp_path / "in.h5ad", "r")
        assert_same(FORMAT.read(tmp_path / "in.h5ad"), plain())
        with FORMAT.opened(tmp_path / "in.h5ad") as root:
            assert root["X/data"].shape == (plain().X.nnz,)


def test_careful_file_is_a_file(tmp_path):
    path = tmp_path / "some"
    path.write_bytes(b"0123456789")
    file = CarefulFile(path)
    assert (file.readable(), file.writable(), file.seekable()) == (True, True, True)
    file.seek(-3, os.SEEK_END)
    assert file.read(2) == b"78"
    file.seek(8)
    file.write(b"abcd")
    assert file.tell() == 12
    buffer = bytearray(b"x" * 6)
    file.seek(9)
    assert file.readinto(buffer) == 6
    assert bytes(buffer) == b"bcd\0\0\0"
    file.truncate(5)
    assert file.seek(0, os.SEEK_END) == 5
    file.give_up()
    file.seek(0)
    file.write(b"lost")
    file.close()
    assert path.read_bytes() == b"01234"


@pytest.mark.parametrize("kind", ["h5ad", "zarr"])
def test_whole_objects_are_written_as_they_are(tmp_path, kind):

    adata = rich()
    path = tmp_path / "out"
    if kind == "h5ad":
        path.touch()
        write_h5ad(path, adata)
        result = anndata.read_h5ad(path)
    else:
        write_zarr(path, adata)
        result = anndata.read_zarr(path)
        assert is_consolidated(path)
        for each in (adata, result):  # their strings come back in another type from zarr
            assert [score for _, score in each.uns.pop("ranks").tolist()] == [1.5, 2.5]
    assert_same(result, adata)


@pytest.mark.parametrize("kind", ["h5ad", "zarr"])
def test_what_an_object_lacks_is_not_stored(tmp_path, kind):
    """Some versions of anndata store null in its place, which older ones cannot read."""
    adata = plain(counts=counts())
    del adata.X
    path = tmp_path / f"out.{kind}"
    if kind == "h5ad":
        path.touch()
    write_h5ad(path, adata) if kind == "h5ad" else write_zarr(path, adata)
    with (FORMAT if kind == "h5ad" else ZarrFormat()).opened(path) as root:
        assert not {"X", "raw"} & set(root) and set(root["layers"]) == {"counts"}
    if kind == "zarr":
        assert not {"X/.zarray", "raw/.zarray"} & json.loads((path / ".zmetadata").read_text())["metadata"].keys()


def test_consolidated_stores_are_recognised(tmp_path):
    for number, (version, consolidated) in enumerate([(2, True), (2, False), (3, True), (3, False)]):
        write_zarr_store(tmp_path / f"{number}.zarr", plain(), version, consolidated)
        assert is_consolidated(tmp_path / f"{number}.zarr") == consolidated


def test_records_become_what_anndata_writes():
    result = storable({"a": None, "b": {"c": ["x", "y"], "d": None, 3: (1, 2)}, "e": [], "f": True})
    assert set(result) == {"b", "e", "f"}
    assert result["b"]["c"].dtype == object
    assert result["b"]["3"].tolist() == [1, 2]
    assert result["e"].shape == (0,)


def test_old_zarr_tables_are_refused(tmp_path):
    import zarr

    from sccr_node.storage.zarr import ZarrAppender

    root = zarr.open_group(tmp_path / "old.zarr", mode="w", zarr_format=2)
    root.create_array("var", data=np.zeros(3, dtype=[("index", "i4"), ("means", "f8")]))
    with pytest.raises(InputProblem, match="rewrite the input with anndata"):
        ZarrAppender(tmp_path / "old.zarr").write_column("var", "sccr_imputed", np.ones(3, dtype=bool))


def appended(path, kind):
    """An appender to a new store of a kind."""
    if kind == "h5ad":
        path.touch()
    else:
        path.mkdir()
    return next(store for store in FORMATS if store.name == kind).appender(path, "auto", 1, new=True)


@pytest.mark.parametrize("kind", ["h5ad", "zarr"])
@pytest.mark.parametrize(
    "values",
    [
        np.arange(12, dtype=">f8").reshape(3, 4),
        np.array([1.5, np.nan, np.inf], dtype=np.float16),
        np.array([True, False]),
        np.array([1 + 2j]),
        np.array([b"a", b"bc"]),
        np.array(["a", "", "é" * 300], dtype=object),
        np.array([["a", "b"], ["c", "é"]], dtype=object),
        np.zeros((0, 3), dtype=np.int8),
        np.array([], dtype=object),
        np.array([("é", 1), ("", 2)], dtype=[("a", "U3"), ("b", ">i2")]),
    ],
    ids=lambda values: f"{values.dtype.str}{values.shape}",
)
def test_arrays_of_every_type_come_back(tmp_path, kind, values):
    appender = appended(tmp_path / "some", kind)
    appender.write_array(appender.root, "x", values.dtype, values.shape[1:], [values[:1], values[1:]], {"note": "é"})
    if values.size:
        appender.write_scalar(appender.root, "first", values.ravel()[0], values.dtype, {})
    appender.close()
    root = h5py.File(tmp_path / "some") if kind == "h5ad" else zarr.open_group(tmp_path / "some", mode="r")
    assert root["x"].attrs["note"] == "é"
    assert text_of(root["x"][()]) == text_of(values)
    if values.dtype.kind in "biufcS":
        assert root["x"].dtype == values.dtype
    if values.size:
        assert text_of(root["first"][()]) == text_of(values.ravel()[0])


@pytest.mark.parametrize(
    "values",
    [
        np.array([("é", [1.0, 2.0])], dtype=[("a", "U3"), ("c", "f4", (2,))]),
        np.array([("é", (1, 2.0))], dtype=[("a", "U3"), ("c", [("d", "i2"), ("e", "f8")])]),
    ],
    ids=["array", "record"],
)
def test_records_with_several_values_in_a_field(tmp_path, values):
    appender = appended(tmp_path / "some.h5ad", "h5ad")
    appender.write_array(appender.root, "x", values.dtype, (), [values], {})
    appender.close()
    with h5py.File(tmp_path / "some.h5ad") as file:
        assert text_of(file["x"]["c"]) == text_of(values["c"])
        assert file["x"]["a"].tolist() == ["é".encode()]
    appender = appended(tmp_path / "some.zarr", "zarr")
    with pytest.raises(ValueError, match="several values in a field"):
        appender.write_array(appender.root, "x", values.dtype, (), [values], {})


def text_of(value):
    """Values as lists, and text as text, whatever the type."""
    value = value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value
    if isinstance(value, (list, tuple)):
        return [text_of(item) for item in value]
    return repr(value.decode() if isinstance(value, bytes) else value)


def test_attributes_larger_than_a_header_are_kept(tmp_path):
    """HDF5 keeps 64 KiB of attributes in an object's header, room for 4,095 names of columns."""
    names = [f"score_{n}" for n in range(4090)]
    appender = appended(tmp_path / "some.h5ad", "h5ad")
    appender.create_group(appender.root, "wide", {"column-order": [*names, *names]})
    var = appender.root.create_group("var")
    var.attrs.update({"encoding-type": "dataframe", "encoding-version": "0.2.0"})
    var.attrs["column-order"] = np.array(names, dtype=object)
    var["score_1"] = np.arange(3)
    var["link"] = h5py.SoftLink("/var/score_1")
    for number in range(10):
        appender.write_column("var", f"new_{number}", np.arange(3) + number)
    appender.close()
    with h5py.File(tmp_path / "some.h5ad") as file:
        assert list(file["wide"].attrs["column-order"]) == names * 2
        assert list(file["var"].attrs["column-order"]) == [*names, *(f"new_{number}" for number in range(10))]
        assert file["var"].attrs["encoding-type"] == "dataframe"
        assert file["var/link"][()].tolist() == [0, 1, 2]
        assert file["var/new_9"][()].tolist() == [9, 10, 11]


def test_attributes_of_one_format_become_those_of_the_other(tmp_path):
    of_json = {"list": ["a", "é"], "none": None, "deep": {"a": [1, "b"]}, "ragged": [[1], [2, 3]], "empty": [], "n": 1}
    appender = appended(tmp_path / "some.h5ad", "h5ad")
    appender.create_group(appender.root, "x", of_json)
    appender.close()
    with h5py.File(tmp_path / "some.h5ad") as file:
        attributes = dict(file["x"].attrs)
    assert list(attributes["list"]) == ["a", "é"]
    assert isinstance(attributes["none"], h5py.Empty)
    assert (json.loads(attributes["deep"]), json.loads(attributes["ragged"])) == ({"a": [1, "b"]}, [[1], [2, 3]])
    assert (attributes["empty"].shape, attributes["n"]) == ((0,), 1)
    appender = appended(tmp_path / "some.zarr", "zarr")
    of_hdf5 = {
        "array": np.arange(2),
        "flag": np.True_,
        "bytes": np.bytes_(b"x"),
        "none": h5py.Empty("f"),
        "nan": np.nan,
    }
    appender.create_group(appender.root, "x", of_hdf5)
    for name in ("a\\b", "..", ".zattrs", "x" * 256):
        with pytest.raises(ValueError, match="the name"):
            appender.create_group(appender.root, name, {})
    appender.close()
    attributes = dict(zarr.open_group(tmp_path / "some.zarr", mode="r")["x"].attrs)
    assert np.isnan(float(attributes.pop("nan")))
    assert attributes == {"array": [0, 1], "flag": True, "bytes": "x", "none": None}


@pytest.mark.parametrize(
    ("version", "file"),
    [(2, ".zmetadata"), (2, "uns/.zgroup"), (2, "obs/.zattrs"), (2, "obs/_index/0"), (3, "uns/zarr.json")],
)
def test_a_folder_in_the_place_of_a_file_of_zarr(tmp_path, version, file):
    """Zarr takes it for something missing, and a chunk for zeros."""
    path = tmp_path / "data.zarr"
    write_zarr_store(path, plain(), version)
    if (path / "obs/_index/values").is_dir():  # with pandas 3, anndata writes text as values and a mask
        file = file.replace("_index/0", "_index/values/0")
    (path / file).unlink()
    (path / file).mkdir()
    with pytest.raises(InputProblem, match="it is a folder"), ZarrFormat().opened(path):
        pass


def test_chunks_in_folders_are_read(tmp_path):
    path = tmp_path / "data.zarr"
    group = zarr.create_group(path, zarr_format=2)
    separated = {"name": "v2", "separator": "/"}
    array = group.create_array("x", shape=(4, 4), chunks=(2, 2), dtype="f4", chunk_key_encoding=separated)
    array[...] = np.arange(16).reshape(4, 4)
    assert (path / "x" / "1" / "1").exists()
    with ZarrFormat().opened(path) as root:
        np.testing.assert_array_equal(root["x"][...], np.arange(16).reshape(4, 4))


@pytest.mark.parametrize(("version", "file"), [(2, "X/data/.zarray"), (3, "X/data/zarr.json")])
@pytest.mark.parametrize("shape", [[10**12], 10**12])
def test_an_array_of_more_chunks_than_can_be_right(tmp_path, version, file, shape):
    """Zarr would fill in what is missing, for hours."""
    path = tmp_path / "data.zarr"
    write_zarr_store(path, plain(), version)
    about = json.loads((path / file).read_text())
    (path / file).write_text(json.dumps({**about, "shape": shape}))
    with pytest.raises(InputProblem, match="X/data: its metadata say that it has .* chunks"):
        with ZarrFormat().opened(path):
            pass


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16, np.uint8])
@pytest.mark.parametrize("kind", ["noise", "zeros", "few values", "one value", "half zero"])
def test_planes_are_deflated_as_any_reader_expects(dtype, kind):
    random = np.random.default_rng(0)
    values = {
        "noise": lambda: random.lognormal(0, 2, 5000) * 100,
        "zeros": lambda: np.zeros(70_000),
        "few values": lambda: random.integers(0, 5, 5000),
        "one value": lambda: np.array([7]),
        "half zero": lambda: random.lognormal(0, 2, 5000) * random.integers(0, 2, 5000),
    }[kind]().astype(dtype)
    planes = np.ascontiguousarray(values.view(np.uint8).reshape(-1, values.itemsize).T)
    stream = deflated_by_plane(planes)
    assert zlib.decompress(stream) == planes.tobytes()
    assert len(stream) <= planes.nbytes + 100


def test_imputed_values_are_packed_and_read_back(tmp_path):
    values = np.random.default_rng(0).lognormal(0, 1, (3000, 50)).astype(np.float32)
    values[::2] = 0
    path = tmp_path / "a.h5ad"
    path.touch()
    appender = Hdf5Appender(path, threads=2, new=True)
    appender.write_dense("layers", "sccr", values.shape, [values[:7], values[7:]])
    appender.close()
    with h5py.File(path) as file:
        assert np.array_equal(file["layers/sccr"][:], values)
        assert file["layers/sccr"].id.get_storage_size() < 0.6 * values.nbytes


@pytest.mark.parametrize(("most", "counted_in"), [(101, np.int32), (100, np.int64)])
def test_pointers_are_wide_only_where_int32_cannot_count(tmp_path, monkeypatch, most, counted_in):
    monkeypatch.setattr(store, "MOST_COUNTED", most)
    matrix = sparse.csr_matrix(np.arange(1, 101, dtype=np.float32).reshape(10, 10))
    path = tmp_path / "a.h5ad"
    path.touch()
    appender = Hdf5Appender(path, threads=1, new=True)
    assert appender.write_csr("layers", "sccr", matrix.shape, [matrix[:3], matrix[3:]]) == 100
    appender.close()
    with h5py.File(path) as file:
        assert file["layers/sccr/indptr"].dtype == counted_in
        assert np.array_equal(file["layers/sccr/indptr"][:], matrix.indptr)
