"""10x output, an .h5 file or a folder, read into memory by scanpy's readers."""

from __future__ import annotations

import gzip
import shutil
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
from scipy import sparse

from sccr_node.data.guard import READ_FAILURES, one_line, reading
from sccr_node.data.matrix import canonical
from sccr_node.errors import UsageProblem
from sccr_node.runtime import signals

MATRIX_FILES = ("matrix.mtx", "matrix.mtx.gz")


def is_folder(path: Path) -> bool:
    """Return whether a folder is 10x output."""
    return any((path / name).exists() for name in MATRIX_FILES)


def is_hdf5(file: h5py.File) -> bool:
    """Return whether an HDF5 file is a 10x matrix."""
    parts = {"barcodes", "data", "indices", "indptr", "shape"}
    groups = [element for element in file.values() if isinstance(element, h5py.Group)]
    return any(parts <= set(group) and ("features" in group or "genes" in group) for group in groups)


def read(path: Path) -> Any:
    """Read 10x output as AnnData, with all names and features as they are and the matrix as canonical CSR.

    Raises
    ------
    UsageProblem
        scanpy is not installed.
    InputProblem
        It cannot be read.
    """
    try:
        import scanpy  # noqa: F401
    except ImportError as error:
        raise UsageProblem(
            f"cannot read {path}: reading 10x output requires scanpy; pip install 'sccr-node[full]'"
        ) from error
    reader: Callable[[Path], Any] = _read_folder if path.is_dir() else _read_hdf5
    with reading(path, "the 10x matrix"), warnings.catch_warnings():
        # Names that are not unique are reported by Dataset.notes instead.
        warnings.simplefilter("ignore")
        try:
            adata = reader(path)
        except (MemoryError, *READ_FAILURES):
            raise
        except Exception as error:
            raise ValueError(one_line(error)) from error
        adata.X = canonical(sparse.csr_matrix(adata.X))
        names = adata.var_names.to_series()
        if names.isna().any():  # a gene called "NA" or "nan" does have a name
            adata.var_names = names.where(names.notna().to_numpy(), adata.var["gene_ids"].to_numpy()).to_numpy()
        return adata


def _read_hdf5(path: Path) -> Any:
    import scanpy as sc

    return sc.read_10x_h5(path, gex_only=False)


def _read_folder(path: Path) -> Any:
    import scanpy as sc

    if (path / "features.tsv").exists() and not (path / "features.tsv.gz").exists():
        # STARsolo and kallisto use the file names of version 3 without compression, which scanpy's reader refuses.
        with tempfile.TemporaryDirectory(prefix="sccr-10x-") as folder, signals.temporary(Path(folder)):
            for name in ("matrix.mtx", "features.tsv", "barcodes.tsv"):
                with (path / name).open("rb") as plain, gzip.open(Path(folder, name + ".gz"), "wb", 1) as packed:
                    shutil.copyfileobj(plain, packed)
            return sc.read_10x_mtx(folder, make_unique=False, gex_only=False)
    return sc.read_10x_mtx(path, make_unique=False, gex_only=False)
