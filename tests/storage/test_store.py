"""Chunks are what the formats' filters would make; errors of the disk are kept from HDF5, and not lost."""

import fcntl
import os
import subprocess
import sys

import anndata
import h5py
import numpy as np
import pytest

from sccr_node.errors import InputProblem
from sccr_node.storage.hdf5 import FORMAT, CarefulFile, Hdf5Appender, write_h5ad
from sccr_node.storage.store import storable
from sccr_node.storage.zarr import is_consolidated, write_zarr
from tests.conftest import REPOSITORY
from tests.support.inputs import plain, rich
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


def test_nextflow_template_locks_no_file(tmp_path):
    adata = plain(None, sccr=plain().X * 2)
    adata.write_h5ad(tmp_path / "in.h5ad")
    template = REPOSITORY / "nextflow/modules/local/workingmatrix/templates/workingmatrix.py"
    script = template.read_text().replace("${anndata}", "in.h5ad").replace("${output}", "out.h5ad")
    with (tmp_path / "out.h5ad").open("wb") as locked:
        fcntl.flock(locked, fcntl.LOCK_EX)
        subprocess.run([sys.executable, "-c", script.replace("${layer}", "sccr")], cwd=tmp_path, check=True)
    result = anndata.read_h5ad(tmp_path / "out.h5ad")
    assert (result.X != plain().X * 2).nnz == 0
    assert (result.layers["unimputed"] != plain().X).nnz == 0


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
    import anndata

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
        ZarrAppender(tmp_path / "old.zarr").write_var_column("sccr_imputed", np.ones(3, dtype=bool))
