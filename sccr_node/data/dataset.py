"""An opened data set in any supported format: its names, its tables, and its matrix in blocks of whole cells."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
from scipy import sparse

from sccr_node.data import tenx
from sccr_node.data.frames import MemoryTable, StoredTable, Table, legacy_table
from sccr_node.data.guard import listing, one_line, reading
from sccr_node.data.matrix import BLOCK_BYTES, CsrMatrix, DenseMatrix, Matrix, open_matrix, text_of
from sccr_node.errors import InputMissing, InputProblem, reason_of
from sccr_node.runtime import signals
from sccr_node.runtime.words import plural, quantity
from sccr_node.storage.formats import FORMATS
from sccr_node.storage.store import StoreFormat

ACCEPTED = "an .h5ad file, an AnnData .zarr folder, a 10x .h5 file or a 10x folder with matrix.mtx"


def _stamp(path: Path) -> tuple[int, ...] | None:
    """Return what identifies a version of a file; None for folders and for objects in memory."""
    try:
        state = path.stat()
    except OSError:
        return None
    return None if stat.S_ISDIR(state.st_mode) else (state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns)


class Dataset:
    """An opened input: its names, its tables, and its matrix in blocks.

    Parameters
    ----------
    path
        The path given by the user.
    format
        The format found: the name of a store's format, or "10x_h5", "10x_mtx", "anndata".
    layer
        The layer to read; None for X.
    root
        The open HDF5 or zarr group, or the AnnData object that a 10x reader returned.
    matrix, obs, var
        Its parts.
    store
        The format of its store; None for an object in memory.
    """

    def __init__(
        self,
        path: Path,
        format: str,
        layer: str | None,
        root: Any,
        matrix: Matrix,
        obs: Table,
        var: Table,
        store: StoreFormat | None = None,
    ) -> None:
        self.path, self.format, self.layer, self.root = path, format, layer, root
        self.store = store
        self._matrix, self._obs, self._var = matrix, obs, var
        self.n_cells, self.n_genes = matrix.shape
        self.in_memory_bytes = matrix.in_memory_bytes
        self._stamp = _stamp(path)

    def check_unchanged(self) -> None:
        """Raise InputProblem if the file was changed or replaced since it was opened."""
        if _stamp(self.path) != self._stamp:
            raise InputProblem(f"{self.path} was changed or replaced while it was read: run again once it is complete")

    @property
    def source(self) -> str:
        """The name of the matrix, for messages."""
        return f"layer {self.layer!r} of {self.path}" if self.layer is not None else f"X of {self.path}"

    @cached_property
    def cell_names(self) -> np.ndarray:
        """Names of the cells (n_cells strings)."""
        with reading(self.path, "the cell names"):
            return self._obs.names()

    @cached_property
    def gene_names(self) -> np.ndarray:
        """Names of the genes (n_genes strings), including duplicates."""
        with reading(self.path, "the gene names"):
            return self._var.names()

    def obs_column(self, name: str) -> pd.Series[Any]:
        """Read a column of ``obs``, indexed by cell names; raise InputProblem, listing its columns, if missing."""
        return self._column("obs", self._obs, name, self.cell_names)

    def var_column(self, name: str) -> pd.Series[Any]:
        """Read a column of ``var``, indexed by gene names; raise InputProblem, listing its columns, if missing."""
        return self._column("var", self._var, name, self.gene_names)

    def _column(self, slot: str, frame: Table, name: str, names: np.ndarray) -> pd.Series[Any]:
        if name not in frame.columns():
            raise InputProblem(f"{slot} of {self.path} has no column {name!r}; it has {listing(frame.columns())}")
        with reading(self.path, f"{slot}[{name!r}]"):
            return pd.Series(frame.column(name), index=names, name=name)

    @cached_property
    def notes(self) -> list[str]:
        """What is unusual, but accepted, about the names: one sentence each."""
        found = []
        for what, names in (("gene", self.gene_names), ("cell", self.cell_names)):
            distinct, how_often = np.unique(names, return_counts=True)
            repeated = distinct[how_often > 1]
            if len(repeated):
                n = len(repeated)
                found.append(
                    f"{quantity(n, f'{what} name')} {plural(n, 'occurs', 'occur')} more than once "
                    f"(first: {str(repeated[0])!r}); {plural(n, 'it is', 'they are')} kept"
                )
        return found

    def keys(self, slot: str) -> list[str]:
        """Return the keys of a slot ("layers", "obsm", "varp", "uns", ...), or the columns of "obs" or "var"."""
        if slot == "var":
            return self._var.columns()
        if slot == "obs":
            return self._obs.columns()
        if not self.is_stored:
            return [str(key) for key in getattr(self.root, slot)]
        if slot not in self.root:
            return []
        element = self.root[slot]
        # AnnData before 0.7 stored arrays over cells as one compound dataset.
        return sorted(str(key) for key in (element if hasattr(element, "keys") else element.dtype.names or ()))

    def has_key(self, slot: str, key: str) -> bool:
        """Return whether a slot has a key."""
        return key in self.keys(slot)

    @property
    def is_stored(self) -> bool:
        """Whether this is an AnnData store on disk, not an object in memory."""
        return self.store is not None

    @property
    def has_tables(self) -> bool:
        """Whether this is a store whose tables are groups of columns, as AnnData writes them since version 0.7."""
        return self.is_stored and all(hasattr(self.root[slot], "keys") for slot in ("obs", "var"))

    @property
    def is_streamed(self) -> bool:
        """Whether the matrix is read from its file block by block, instead of being kept in memory."""
        return self._matrix.streamed

    def element(self, slot: str, key: str) -> Any:
        """Read one element; raise InputProblem if it cannot be decoded."""
        from anndata.io import read_elem

        with reading(self.path, f"{slot}[{key!r}]"):
            return read_elem(self.root[slot][key])

    def blocks(self, max_bytes: int = BLOCK_BYTES) -> Iterator[tuple[int, Any]]:
        """Read the matrix as CSR blocks of whole cells, in the order of the cells.

        Each block has sorted indices, no duplicates and no stored zeros, in the stored type (booleans as uint8, float16
        as float32). Block boundaries depend only on the data. CSC storage is read whole first (``in_memory_bytes``).

        Yields
        ------
        tuple
            The index of the first cell, and the block (cells x all genes).
        """
        blocks = self._matrix.blocks(max_bytes)
        while True:
            signals.check()
            with reading(self.path, "the matrix"):
                item = next(blocks, None)
            if item is None:
                return
            yield item

    def rows(self, rows: np.ndarray) -> Any:
        """Read some cells (sorted row indices) as one canonical CSR matrix over all genes."""
        with reading(self.path, "the matrix"):
            return self._matrix.rows(rows)


@contextmanager
def open_dataset(path: str | os.PathLike[str], layer: str | None = None) -> Iterator[Dataset]:
    """Open an input and check that it is what it claims to be; its content decides, not its name.

    Parameters
    ----------
    path
        An .h5ad file, an AnnData zarr folder, a 10x .h5 file, or a 10x folder with matrix.mtx(.gz).
    layer
        Layer to read (default: X).

    Raises
    ------
    InputMissing
        The path does not exist or cannot be read.
    InputProblem
        The input has none of these formats, is damaged or empty, or does not have the matrix.
    """
    path = Path(path)
    with ExitStack() as opened:
        data = _open(path, layer, opened)
        if not data.n_cells or not data.n_genes:
            raise InputProblem(f"{data.source} is empty: it has {_size(data.n_cells, data.n_genes)}")
        yield data


def _size(n_cells: int, n_genes: int) -> str:
    return f"{quantity(n_cells, 'cell')} and {quantity(n_genes, 'gene')}"


def _open(path: Path, layer: str | None, opened: ExitStack) -> Dataset:
    try:
        mode = path.stat().st_mode
        is_folder = stat.S_ISDIR(mode)
        if not is_folder and not stat.S_ISREG(mode):  # opening a pipe that nobody writes to would block forever
            raise InputProblem(f"cannot read {path}: it is a pipe or a device; give a regular file")
        if is_folder:
            os.listdir(path)
        else:
            path.open("rb").close()
    except PermissionError as error:
        raise InputMissing(f"cannot read {path}: permission denied") from error
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputMissing(f"{path} does not exist") from error
    except OSError as error:
        raise InputMissing(f"cannot open {path}: {reason_of(error)}") from error
    for store in FORMATS:
        if store.matches(path):
            return _open_store(path, store, layer, opened)
    if is_folder:
        if tenx.is_folder(path):
            return _in_memory(path, "10x_mtx", layer)
        raise InputProblem(f"{path} is a folder that is neither an AnnData zarr store nor 10x output with matrix.mtx")
    if not h5py.is_hdf5(path):
        size = path.stat().st_size
        raise InputProblem(
            f"{path} is {'empty' if not size else 'not an HDF5 file'}: give {ACCEPTED}"
            + (" (unpack it first)" if path.suffix in (".zip", ".gz", ".tar") else "")
        )
    raise InputProblem(f"{path} has an unknown format: give {ACCEPTED}")


def _open_store(path: Path, store: StoreFormat, layer: str | None, opened: ExitStack) -> Dataset:
    with reading(path, "the contents"):
        root = opened.enter_context(store.opened(path))
        keys = set(root)
        if "obs" in keys and "var" in keys:
            return _stored(path, store, layer, root)
        is_tenx = isinstance(root, h5py.File) and tenx.is_hdf5(root)
    if is_tenx:
        root.close()
        return _in_memory(path, "10x_h5", layer)
    if "mod" in keys:
        raise InputProblem(f"{path} is a MuData file: write its RNA modality to a separate .h5ad file first")
    raise InputProblem(store.not_anndata(path))


def _stored(path: Path, store: StoreFormat, layer: str | None, root: Any) -> Dataset:
    layers = sorted(str(key) for key in root["layers"]) if "layers" in root else []
    if layer is None:
        element = root.get("X")
        # AnnData without X has no such key or (zarr and older files) an empty one.
        encoding = "null" if element is None else text_of(element.attrs.get("encoding-type", ""))
        if encoding == "null" or getattr(element, "shape", ()) is None:
            raise InputProblem(f"{path} has no X: choose a layer with --layer; its layers: {listing(layers)}")
    elif layer in layers:
        element = root["layers"][layer]
    else:
        raise InputProblem(f"{path} has no layer {layer!r}; its layers: {listing(layers)}")
    name = "X" if layer is None else f"layer {layer!r}"
    try:
        matrix = open_matrix(element, name)
    except ValueError as error:
        raise InputProblem(f"cannot use {name} of {path}: {one_line(error)}") from error
    uns = root.get("uns")
    frames: list[Table] = [
        StoredTable(root[slot]) if hasattr(root[slot], "keys") else legacy_table(root[slot], uns)
        for slot in ("obs", "var")
    ]
    if (frames[0].n_rows, frames[1].n_rows) != matrix.shape:
        raise InputProblem(
            f"{path} is inconsistent: {name} is {matrix.shape[0]} × {matrix.shape[1]}, but obs has "
            f"{quantity(frames[0].n_rows, 'row')} and var has {quantity(frames[1].n_rows, 'row')}"
        )
    return Dataset(path, store.name, layer, root, matrix, frames[0], frames[1], store)


def _in_memory(path: Path, format: str, layer: str | None) -> Dataset:
    if layer is not None:
        raise InputProblem(f"{path} is 10x output, which has no layers: leave out --layer {layer}")
    adata = tenx.read(path)
    rows = CsrMatrix(adata.X.data, adata.X.indices, adata.X.indptr, adata.X.shape)
    rows.in_memory_bytes = adata.X.data.nbytes + adata.X.indices.nbytes + adata.X.indptr.nbytes
    return Dataset(path, format, None, adata, rows, MemoryTable(adata.obs), MemoryTable(adata.var))


def wrap_anndata(adata: Any, layer: str | None = None) -> Dataset:
    """Treat an AnnData object in memory as an opened input, without changing it.

    Parameters
    ----------
    adata
        An ``anndata.AnnData``.
    layer
        Layer to read (default: X).

    Raises
    ------
    InputProblem
        The matrix does not exist, or has no cells or no genes.
    """
    path = Path("the AnnData object")
    values: Any
    if layer is None:
        values = adata.X
        if values is None:
            raise InputProblem(
                f"{path} has no X: choose a layer with layer=; its layers: {listing(list(adata.layers))}"
            )
    elif layer in adata.layers:
        values = adata.layers[layer]
    else:
        raise InputProblem(f"{path} has no layer {layer!r}; its layers: {listing(list(adata.layers))}")
    matrix: Matrix
    if sparse.issparse(values):
        made: Any = values
        rows = made.tocsr()  # left as it is: blocks are copies, and those are made canonical
        matrix = CsrMatrix(rows.data, rows.indices, rows.indptr, rows.shape)
    else:
        matrix = DenseMatrix(np.asarray(values))
    if not all(matrix.shape):
        raise InputProblem(f"{path} is empty: it has {_size(*matrix.shape)}")
    return Dataset(path, "anndata", layer, adata, matrix, MemoryTable(adata.obs), MemoryTable(adata.var))
