"""Elements are copied in blocks, to any format, whole or by cells; what cannot be copied is named."""

import os
import socket

import h5py
import numpy as np
import pytest
import zarr
from anndata.io import read_elem
from scipy import sparse

from sccr_node.data.dataset import open_dataset
from sccr_node.data.elements import check_cells
from sccr_node.data.output import stage_output
from sccr_node.data.parts import write_part
from sccr_node.errors import InputProblem
from tests.support.inputs import N_CELLS, rich
from tests.support.inputs import write_zarr as write_zarr_store
from tests.support.variants import everything, written

pytestmark = pytest.mark.filterwarnings("ignore")

ROWS = np.array([1, 2, 7, 30, 44])


def converted(source, output):
    with open_dataset(source) as data, stage_output(data, output) as made:
        made.commit()


def content_of(element):
    if isinstance(element, h5py.Group) or element.shape is None:
        return sorted(element.attrs)
    return element.dtype, np.asarray(element[()]).tolist()


def refused(source, tmp_path, suffix, match):
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(InputProblem, match=match):
        converted(source, tmp_path / f"out.{suffix}")
    assert sorted(os.listdir(tmp_path)) == before


def test_blocks_do_not_show_in_parts(tmp_path, monkeypatch):
    written(tmp_path / "in.h5ad", everything())
    for name in ("whole", "blocks"):
        with open_dataset(tmp_path / "in.h5ad") as data:
            write_part(data, ROWS, tmp_path / f"{name}.h5ad", {})
        monkeypatch.setattr("sccr_node.data.elements.BLOCK_BYTES", 600)
    found = []
    for name in ("whole", "blocks"):
        with h5py.File(tmp_path / f"{name}.h5ad") as file:
            values = {}
            file.visititems(lambda key, element, values=values: values.update({key: repr(content_of(element))}))
            found.append(values)
    assert found[0] == found[1]
    assert "obsp/csc/indices" in found[0]
    with h5py.File(tmp_path / "in.h5ad") as whole, h5py.File(tmp_path / "blocks.h5ad") as part:
        for key in ("csr", "csc", "dense"):
            wanted, got = read_elem(whole["obsp"][key]), read_elem(part["obsp"][key])
            assert type(wanted) is type(got)
            taken = wanted[ROWS][:, ROWS]
            assert np.array_equal(*(value.toarray() if sparse.issparse(value) else value for value in (taken, got)))


def test_a_part_of_a_part_knows_the_part(tmp_path):
    written(tmp_path / "in.h5ad", everything())
    for source, target, rows in (("in", "part", ROWS), ("part", "again", ROWS[:2])):
        with open_dataset(tmp_path / f"{source}.h5ad") as data:
            write_part(data, rows, tmp_path / f"{target}.h5ad", {"batch": target})
    with h5py.File(tmp_path / "again.h5ad") as file:
        assert read_elem(file["uns/sccr_part"])["batch"] == "again"
        assert read_elem(file["uns/sccr_part"])["rows"].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda file: file.create_dataset("uns/r", data=file["X"].ref, dtype=h5py.ref_dtype), "uns/r .* references"),
        (
            lambda file: file.create_dataset("uns/v", shape=(2,), dtype=h5py.vlen_dtype("i4")),
            "uns/v .* varying length",
        ),
        (lambda file: file["uns"].create_group("a\\b"), r"uns/a\\b .* the name"),
        (lambda file: file["uns"].attrs.create("r", file["X"].ref, dtype=h5py.ref_dtype), "uns .* an attribute"),
        (lambda file: file.create_dataset("uns/x", data=b"\xff\xfe", dtype=h5py.string_dtype()), "uns/x .* decode"),
        (lambda file: file.__setitem__("uns/again", h5py.SoftLink("/uns")), "nested too deeply, or contains itself"),
        (lambda file: file.__setitem__("uns/gone", h5py.SoftLink("/nowhere")), "cannot read uns/gone of"),
    ],
    ids=["reference", "varying", "name", "attribute", "text", "loop", "dangling"],
)
def test_what_zarr_cannot_store_is_named(tmp_path, make, match):
    with h5py.File(written(tmp_path / "in.h5ad"), "r+") as file:
        make(file)
    refused(tmp_path / "in.h5ad", tmp_path, "zarr", match)
    converted(tmp_path / "in.h5ad", tmp_path / "out.h5ad")  # byte by byte


def test_rows_that_do_not_fit_are_named(tmp_path):
    with h5py.File(written(tmp_path / "in.h5ad", everything()), "r+") as file:
        del file["obsm/spatial"]
        file["obsm/spatial"] = np.zeros((7, 2))
    with open_dataset(tmp_path / "in.h5ad") as data, pytest.raises(InputProblem, match=r"obsm/spatial has the shape"):
        write_part(data, ROWS, tmp_path / "part.h5ad", {})
    assert os.listdir(tmp_path) == ["in.h5ad"]


def test_tables_without_an_encoding_and_raw_of_an_unknown_one(tmp_path):
    with h5py.File(written(tmp_path / "in.h5ad", everything()), "r+") as file:
        for name in ("encoding-type", "encoding-version"):
            del file["obs"].attrs[name]
        file["obs/other"] = np.arange(3)  # in no column: of no cell
    with open_dataset(tmp_path / "in.h5ad") as data:
        check_cells(data)
        write_part(data, ROWS, tmp_path / "part.h5ad", {})
    with h5py.File(tmp_path / "in.h5ad", "r+") as whole, h5py.File(tmp_path / "part.h5ad") as part:
        for name in ("int", "level", "note", "_index"):
            assert list(read_elem(part["obs"][name])) == list(read_elem(whole["obs"][name])[ROWS]), name
        assert part["obs/other"][()].tolist() == [0, 1, 2]
        whole["raw/X"].attrs["encoding-type"] = "of-tomorrow"
    with (
        open_dataset(tmp_path / "in.h5ad") as data,
        pytest.raises(InputProblem, match="raw/X is stored as of-tomorrow"),
    ):
        check_cells(data)


def test_names_and_links_of_the_other_format(tmp_path):
    """Old zarr factors name their labels, a link leads to its values, and dimension scales stay behind."""
    with h5py.File(written(tmp_path / "in.h5ad"), "r+") as file:
        file["uns/scale"] = np.arange(3)
        file["uns/values"] = np.arange(3)
        file["uns/scale"].make_scale("s")
        file["uns/values"].dims[0].attach_scale(file["uns/scale"])
        file["uns/link"] = h5py.SoftLink("/uns/values")
    converted(tmp_path / "in.h5ad", tmp_path / "out.zarr")
    root = zarr.open_group(tmp_path / "out.zarr", mode="r+")
    assert root["uns/link"][:].tolist() == [0, 1, 2]
    codes, labels = root["obs/sample/codes"][:], root["obs/sample/categories"][:]
    del root["obs/sample"]
    root.create_array("obs/__categories/sample", shape=labels.shape, dtype=str)[:] = labels
    root.create_array("obs/sample", data=codes).attrs["categories"] = "__categories/sample"
    root["obs"].attrs["encoding-version"] = "0.1.0"
    converted(tmp_path / "out.zarr", tmp_path / "back.h5ad")
    with h5py.File(tmp_path / "in.h5ad") as before, h5py.File(tmp_path / "back.h5ad") as after:
        assert read_elem(before["obs"]).equals(read_elem(after["obs"]))
        assert sorted(after["obs"]) == ["_index", "sample"]


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("kind", ["pipe", "socket", "dangling", "endless"])
@pytest.mark.parametrize("suffix", ["zarr", "h5ad"])
def test_what_is_no_file_in_a_zarr_store_is_named(tmp_path, monkeypatch, version, kind, suffix):
    write_zarr_store(tmp_path / "in.zarr", rich(), version)
    chunk = tmp_path / "in.zarr" / "obs" / "depth" / ("0" if version == 2 else "c/0")
    for place in (chunk, tmp_path / "in.zarr" / ("uns/.zattrs" if version == 2 else "uns/zarr.json")):
        content = place.read_bytes()
        place.unlink()
        if kind == "pipe":
            os.mkfifo(place)
        elif kind == "socket":
            monkeypatch.chdir(place.parent)  # a socket's path is short
            server = socket.socket(socket.AF_UNIX)
            server.bind(place.name)
            server.close()
        else:
            place.symlink_to("/dev/zero" if kind == "endless" else "nowhere")
        refused(tmp_path / "in.zarr", tmp_path, suffix, f"cannot read {place}: it is a .*, not a file")
        place.unlink()
        place.write_bytes(content)
    converted(tmp_path / "in.zarr", tmp_path / f"out.{suffix}")
    assert N_CELLS == read_elem(zarr.open_group(tmp_path / "in.zarr", mode="r")["obs"]).shape[0]


def test_attributes_that_are_no_text_are_named(tmp_path):
    """HDF5 says that they are UTF-8, and h5py reads them all the same."""
    rich().write_h5ad(tmp_path / "in.h5ad")
    with h5py.File(tmp_path / "in.h5ad", "r+") as file:
        text = h5py.h5t.C_S1.copy()
        text.set_size(2)
        text.set_cset(h5py.h5t.CSET_UTF8)
        made = h5py.h5a.create(file["obs"].id, b"note", text, h5py.h5s.create(h5py.h5s.SCALAR))
        made.write(np.array(b"\xff\xfe", dtype="S2"), mtype=text)
    with pytest.raises(InputProblem, match="the attributes of /obs"):
        converted(tmp_path / "in.h5ad", tmp_path / "out.zarr")
    assert [path.name for path in tmp_path.iterdir()] == ["in.h5ad"]
