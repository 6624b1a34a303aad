"""``sccr copy``: as it is, whole or not at all; remote files and folders are in tests/platforms/test_places.py."""

import os

import anndata
import pytest

from sccr_node.__main__ import main


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_file_is_copied_as_it_is(counts_file, tmp_path, sccr):
    code, out, err = sccr("copy", counts_file, tmp_path / "copy.h5ad")
    assert (code, out) == (0, "")
    assert (tmp_path / "copy.h5ad").read_bytes() == counts_file.read_bytes()
    assert f"wrote {tmp_path / 'copy.h5ad'}: {counts_file.stat().st_size:,} bytes" in err
    (tmp_path / "anything").write_text("of any kind")
    assert sccr("copy", tmp_path / "anything", tmp_path / "copy.h5ad", "--force", "--quiet") == (0, "", "")
    assert (tmp_path / "copy.h5ad").read_text() == "of any kind"


def test_folders_are_copied_with_what_is_in_them(few_cells, tmp_path, sccr):
    few_cells.write_zarr(tmp_path / "in.zarr")
    assert sccr("copy", tmp_path / "in.zarr", tmp_path / "out.zarr", "--quiet")[0] == 0
    assert files(tmp_path / "out.zarr") == files(tmp_path / "in.zarr")
    assert anndata.read_zarr(tmp_path / "out.zarr").shape == few_cells.shape
    (tmp_path / "tenx").mkdir()
    (tmp_path / "tenx" / "matrix.mtx").write_text("%%MatrixMarket")
    assert sccr("copy", tmp_path / "tenx", tmp_path / "tenx 2", "--quiet")[0] == 0
    assert files(tmp_path / "tenx 2") == {"matrix.mtx": b"%%MatrixMarket"}
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


REFUSALS = {
    "a missing input": (66, ("lost.h5ad", "out.h5ad"), "cannot read lost.h5ad: no such file or directory"),
    "a pipe": (65, ("pipe", "out.h5ad"), "cannot read pipe: it is neither a file nor a folder"),
    "a pipe in a folder": (65, ("folder", "out"), "pipe"),
    "an existing file": (73, ("in.h5ad", "there.h5ad"), "give --force"),
    "a folder for a file": (73, ("in.h5ad", "other", "--force"), "it is a folder"),
    "a folder that is no store": (73, ("store", "other", "--force"), "it is not a zarr store"),
    "the input": (2, ("in.h5ad", "in.h5ad", "--force"), "it is the input"),
    "inside the input": (2, ("store", "store/copy"), "it is inside the input"),
    "no such folder": (73, ("in.h5ad", "nowhere/out.h5ad"), "create it first"),
    "an address that is read only": (2, ("in.h5ad", "https://example.org/out.h5ad"), "can only be read"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_it_refuses_leaves_everything_as_it_was(case, refused, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.h5ad").write_text("in")
    (tmp_path / "there.h5ad").write_text("mine")
    for folder in ("folder", "store", "other"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "file").write_text(folder)
    os.mkfifo("pipe")
    os.mkfifo("folder/pipe")
    code, words, message = REFUSALS[case]
    refused(code, [message], "copy", *words)


def test_what_may_not_be_read_is_named(tmp_path, monkeypatch, capsys):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "file").write_text("of somebody else")

    def denied(self, *arguments, **options):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr("pathlib.Path.open", denied)
    assert main(["copy", str(tmp_path / "store"), str(tmp_path / "copy")]) == 66
    assert f"cannot read {tmp_path / 'store' / 'file'}: permission denied" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["store"]
