"""Inputs of other programs that are recognised, but not read: what they are, and how to go on."""

from __future__ import annotations

from collections.abc import Collection
from itertools import islice
from pathlib import Path

from sccr_node.data.guard import listing

ACCEPTED = "an .h5ad file, an AnnData .zarr folder, a 10x .h5 file or a 10x folder with matrix.mtx"

FILTERED = "give filtered_feature_bc_matrix.h5 of the same run"
WRITERS_IN_R = "anndataR::write_h5ad or zellkonverter::writeH5AD"
IN_R = f"save it in R with {WRITERS_IN_R}"
WRITTEN = "and write it with write_h5ad in Python"
TABLE = f"a text table: read it with scanpy.read_csv or scanpy.read_text (transposed if its rows are genes) {WRITTEN}"

FILES = {
    ".rds": f"an R object: {IN_R}",
    ".rda": f"an R workspace: {IN_R}",
    ".rdata": f"an R workspace: {IN_R}",
    ".h5seurat": f"a Seurat object: {IN_R}",
    ".loom": f"a loom file: read it with anndata.io.read_loom {WRITTEN}",
    ".csv": TABLE,
    ".tsv": TABLE,
    ".txt": TABLE,
    ".xlsx": f"a spreadsheet: read it with scanpy.read_excel {WRITTEN}",
    ".mtx": "a matrix without names: give its folder, with the lists of features and barcodes",
    ".cloupe": f"a Loupe file: {FILTERED}",
    ".tar": "an archive: unpack it first, and give the file or the 10x folder in it",
    ".tgz": "an archive: unpack it first, and give the file or the 10x folder in it",
    ".zip": "an archive: unpack it first, and give the file or the folder in it",
    ".7z": "an archive: unpack it first, and give the file or the folder in it",
}
"""What a file is, by the end of its name, if its content is none of what is read."""

PACKED = {
    b"\x1f\x8b": ("gzip", "gunzip"),
    b"BZh": ("bzip2", "bunzip2"),
    b"\xfd7zXZ": ("xz", "unxz"),
    b"(\xb5/\xfd": ("zstd", "unzstd"),
}

HDF5 = (
    ({"mod"}, "MuData in a zarr store, which is read only as .h5mu: write it with mudata.write_h5mu first"),
    ({"matrix", "row_attrs", "col_attrs"}, FILES[".loom"]),
    (
        {"gem_group", "umi"},
        f"Cell Ranger's list of molecules (molecule_info.h5), not a matrix: {FILTERED}",
    ),
    ({"assays", "cell.names"}, FILES[".h5seurat"]),
    ({"tables"}, "a SpatialData store: give one of the tables in its folder tables"),
)
"""What an HDF5 file or a zarr store is, by the names at its root."""


def stored(keys: Collection[str]) -> str | None:
    """Return what an HDF5 file or a zarr store is that is neither AnnData nor 10x; None if it is not known."""
    return next((what for told, what in HDF5 if told <= set(keys)), None)


def file(path: Path) -> str:
    """Return what a file is that is not HDF5, as the end of a sentence."""
    with path.open("rb") as opened:
        start = opened.read(8)
    if not start:
        return f"empty: give {ACCEPTED}"
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() not in (".gz", ".bz2", ".xz", ".zst")]
    if suffixes and suffixes[-1] in FILES:
        return FILES[suffixes[-1]]
    for magic, (packer, unpacker) in PACKED.items():
        if start.startswith(magic):
            return f"packed by {packer}: unpack it first, with {unpacker}; then give {ACCEPTED}"
    if start.startswith(b"PK\x03\x04"):
        return FILES[".zip"]
    return f"not an HDF5 file: give {ACCEPTED}"


def folder(path: Path) -> str:
    """Return what a folder is that is neither an AnnData zarr store nor 10x output, as the end of a sentence."""
    what = "a folder that is neither an AnnData zarr store nor 10x output with matrix.mtx"
    if (path / "quants_mat.gz").exists():
        return f"alevin's own format: load it in R with tximport, and save it with {WRITERS_IN_R}"
    inside = [*path.glob("*.h5ad"), *path.glob("*.h5"), *path.glob("*.zarr")]
    for pattern in ("*/*.mtx*", "*/*/*.mtx*"):
        inside += [matrix.parent for matrix in islice(path.glob(pattern), 100)]
    if inside:
        names = sorted({str(found.relative_to(path)) for found in inside})
        return f"{what}: give what is in it ({listing(names)})"
    return f"{what}: give {ACCEPTED}"
