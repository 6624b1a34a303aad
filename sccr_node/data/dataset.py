"""Open what users have (h5ad, AnnData zarr, 10x h5, 10x folder) and hand its matrix out in blocks of whole cells."""

from __future__ import annotations

import errno
import gzip
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol

import h5py
import numpy as np
import pandas as pd
from scipy import sparse

from sccr_node.errors import InputMissing, InputProblem, NotEnoughResources, UsageProblem

Format = Literal["h5ad", "zarr", "10x_h5", "10x_mtx", "anndata"]
Storage = Literal["csr", "csc", "dense"]

BLOCK_BYTES = 64 * 2**20
GENE_EXPRESSION = "Gene Expression"
TEN_X_MATRIX_FILES = ("matrix.mtx", "matrix.mtx.gz")
ACCEPTED = "an .h5ad file, an AnnData .zarr folder, a 10x .h5 file or a 10x folder with matrix.mtx"
_READ_FAILURES = (OSError, RuntimeError, ValueError, KeyError, IndexError, TypeError, AttributeError, EOFError)


@contextmanager
def reading(path: Path, what: str) -> Iterator[None]:
    """Turn whatever the storage libraries raise on damaged data into one line that names the file.

    Raises
    ------
    InputProblem
        Where the data cannot be decoded.
    InputMissing
        Where the system refuses to read them.
    """
    try:
        yield
    except PermissionError as error:
        raise InputMissing(f"{path} may not be read: permission denied") from error
    except _READ_FAILURES as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOMEM, errno.EMFILE, errno.ENFILE):
            raise NotEnoughResources(f"{what} of {path} cannot be read now: {os.strerror(error.errno)}") from error
        raise InputProblem(
            f"{what} of {path} cannot be read: damaged or incomplete ({one_line(error)}); copy or make it again"
        ) from error


def one_line(error: BaseException) -> str:
    """First line of a library's message, short enough for an error line of ours."""
    text = str(error).strip().strip("'\"")
    first = text.splitlines()[0] if text else type(error).__name__
    return first if len(first) <= 160 else first[:157] + "..."


def pieces(block: Any, n_entries: int = 1 << 18) -> Iterator[tuple[int, Any]]:
    """Cut a CSR block into runs of rows whose temporaries stay in the cache; yields first rows and runs."""
    first = 0
    while first < block.shape[0]:
        last = int(np.searchsorted(block.indptr, block.indptr[first] + n_entries, side="right")) - 1
        last = min(max(last, first + 1), block.shape[0])
        yield first, block[first:last]
        first = last


class _Matrix(Protocol):
    shape: tuple[int, int]
    storage: Storage
    n_stored: int
    in_memory_bytes: int
    streamed: bool

    def blocks(self, max_bytes: int) -> Iterator[tuple[int, Any]]: ...

    def rows(self, rows: np.ndarray) -> Any: ...


def _supported(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Type in which stored values are handed out: their own, but for the two that scipy cannot hold."""
    if dtype.kind == "b":
        return np.dtype(np.uint8)
    if dtype == np.float16:
        return np.dtype(np.float32)
    if dtype.kind not in "iuf":
        raise ValueError(f"its values are of type {dtype}, not numbers")
    return dtype.newbyteorder("=")


def canonical(matrix: Any) -> Any:
    """Sort the indices, add duplicates up and drop stored zeros, in place; returns the matrix."""
    matrix.sum_duplicates()
    if matrix.nnz and not matrix.data.all():
        matrix.eliminate_zeros()
    return matrix


class _Rows:
    """What matrices stored row by row have in common: they say where blocks end, and read rows from one to another."""

    shape: tuple[int, int]
    streamed = True
    _dtype: np.dtype[Any]

    def _bounds(self, max_bytes: int) -> Iterator[tuple[int, int]]:
        raise NotImplementedError

    def _slice(self, first: int, last: int) -> Any:
        raise NotImplementedError

    def blocks(self, max_bytes: int) -> Iterator[tuple[int, Any]]:
        for first, last in self._bounds(max_bytes):
            yield first, self._slice(first, last)

    def rows(self, rows: np.ndarray) -> Any:
        # Scattered rows are picked from the stretch that holds them: a read for each would decode its chunk each time.
        pieces = [sparse.csr_matrix((0, self.shape[1]), dtype=self._dtype)]
        for first, last in self._bounds(BLOCK_BYTES):
            wanted = rows[np.searchsorted(rows, first) : np.searchsorted(rows, last)]
            if len(wanted):
                pieces.append(self._slice(int(wanted[0]), int(wanted[-1]) + 1)[wanted - wanted[0]])
        return sparse.vstack(pieces, format="csr", dtype=self._dtype)


class _CompressedRows(_Rows):
    """CSR by its three arrays: HDF5 datasets, zarr arrays or numpy arrays alike."""

    storage: Storage = "csr"

    def __init__(self, data: Any, indices: Any, indptr: Any, shape: tuple[int, int]) -> None:
        self.shape = shape
        self._data, self._indices = data, indices
        self._dtype = _supported(np.dtype(data.dtype))
        self._indptr = np.asarray(indptr[:], dtype=np.int64)
        self.n_stored = int(data.shape[0])
        if (
            self._indptr.shape != (shape[0] + 1,)
            or self._indptr[0] != 0
            or self._indptr[-1] != self.n_stored
            or indices.shape[0] != self.n_stored
            or (np.diff(self._indptr) < 0).any()
        ):
            raise ValueError("the row pointers of the sparse matrix do not fit its values")
        self.in_memory_bytes = self._indptr.nbytes

    def _slice(self, first: int, last: int) -> Any:
        start, stop = int(self._indptr[first]), int(self._indptr[last])
        values = np.asarray(self._data[start:stop])
        genes = np.asarray(self._indices[start:stop])
        # What was read is ours to put in order; what lies in memory is somebody's.
        is_view = isinstance(self._data, np.ndarray)
        if genes.size and (int(genes.min()) < 0 or int(genes.max()) >= self.shape[1]):
            raise ValueError("a column number of the sparse matrix lies outside of it")
        pointers = self._indptr[first : last + 1] - start
        index_type = np.int32 if max(stop - start, self.shape[1]) < 2**31 else np.int64
        return canonical(
            sparse.csr_matrix(
                (
                    values.astype(self._dtype, copy=is_view),
                    genes.astype(index_type, copy=is_view),
                    pointers.astype(index_type),
                ),
                shape=(last - first, self.shape[1]),
            )
        )

    def _bounds(self, max_bytes: int) -> Iterator[tuple[int, int]]:
        entry = self._dtype.itemsize + 4
        first = 0
        while first < self.shape[0]:
            limit = self._indptr[first] + max_bytes // entry
            last = max(first + 1, int(np.searchsorted(self._indptr, limit, side="right")) - 1)
            # A run of empty cells has no bytes: without a bound one block could be all of them.
            last = min(last, self.shape[0], first + max(1, max_bytes // 64))
            yield first, last
            first = last


class _DenseRows(_Rows):
    """A two-dimensional array, read by blocks of whole rows that follow its chunks where it has any."""

    storage: Storage = "dense"

    def __init__(self, array: Any) -> None:
        self.shape = (int(array.shape[0]), int(array.shape[1]))
        self._array = array
        self._dtype = _supported(np.dtype(array.dtype))
        self.n_stored = self.shape[0] * self.shape[1]
        self.in_memory_bytes = 0

    def _bounds(self, max_bytes: int) -> Iterator[tuple[int, int]]:
        n_rows = max(1, max_bytes // max(1, self.shape[1] * self._dtype.itemsize))
        chunks = getattr(self._array, "chunks", None)
        if chunks and chunks[0] < n_rows:
            n_rows -= n_rows % chunks[0]
        for first in range(0, self.shape[0], n_rows):
            yield first, min(first + n_rows, self.shape[0])

    def _slice(self, first: int, last: int) -> Any:
        return sparse.csr_matrix(np.asarray(self._array[first:last]).astype(self._dtype, copy=False))


class _CompressedColumns:
    """CSC storage: its cells lie scattered over the file, so it is read whole and turned around once, at first use.

    ``in_memory_bytes`` is what that takes while both forms exist.
    """

    storage: Storage = "csc"
    streamed = False

    def __init__(self, data: Any, indices: Any, indptr: Any, shape: tuple[int, int]) -> None:
        self.shape = shape
        self._columns = _CompressedRows(data, indices, indptr, (shape[1], shape[0]))
        self.n_stored = self._columns.n_stored
        self.in_memory_bytes = 2 * self.n_stored * (np.dtype(data.dtype).itemsize + 4)

    @cached_property
    def _rows(self) -> _CompressedRows:
        turned = canonical(self._columns._slice(0, self.shape[1]).T.tocsr())
        return _CompressedRows(turned.data, turned.indices, turned.indptr, self.shape)

    def blocks(self, max_bytes: int) -> Iterator[tuple[int, Any]]:
        yield from self._rows.blocks(max_bytes)

    def rows(self, rows: np.ndarray) -> Any:
        return self._rows.rows(rows)


def open_matrix(element: Any, name: str) -> _Matrix:
    """Matrix of an element of a store: a CSR or CSC group in any of AnnData's encodings, or a 2-D array.

    Raises
    ------
    ValueError
        Where it is nothing of the kind.
    """
    attributes = element.attrs
    if not hasattr(element, "keys"):
        if len(element.shape or ()) != 2:
            raise ValueError(f"{name} is no matrix of cells by genes")
        return _DenseRows(element)
    # Files of AnnData before 0.7 say h5sparse_format and h5sparse_shape.
    encoding = _text(attributes.get("encoding-type", attributes.get("h5sparse_format", "")))
    kind = encoding.removesuffix("_matrix")
    if kind not in ("csr", "csc"):
        raise ValueError(f"{name} is stored as {encoding or 'something unknown'}, not as a matrix of cells by genes")
    sides = [int(n) for n in attributes.get("shape", attributes.get("h5sparse_shape", ()))]
    make = _CompressedRows if kind == "csr" else _CompressedColumns
    return make(element["data"], element["indices"], element["indptr"], (sides[0], sides[1]))


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _strings(values: Any) -> np.ndarray:
    """Strings in whatever array a reader gives, as a plain numpy array of them."""
    return np.array([_text(value) for value in values], dtype=str)


class _Frame(Protocol):
    n_rows: int

    def names(self) -> np.ndarray: ...

    def columns(self) -> list[str]: ...

    def column(self, name: str) -> Any: ...


class _TableFrame:
    """Names and columns of a pandas frame in memory (10x, and tables of AnnData before 0.7)."""

    def __init__(self, table: pd.DataFrame) -> None:
        self._table = table
        self.n_rows = len(table)

    def names(self) -> np.ndarray:
        return _strings(self._table.index)

    def columns(self) -> list[str]:
        return [str(name) for name in self._table.columns]

    def column(self, name: str) -> Any:
        return self._table[name].array


class _StoredFrame:
    """Names and columns of an AnnData table in a store, each read when it is asked for."""

    def __init__(self, group: Any) -> None:
        self._group = group
        self._index = group[_text(group.attrs["_index"])]
        # Strings that may be missing are a group of values and a mask.
        self.n_rows = int((self._index["values"] if hasattr(self._index, "keys") else self._index).shape[0])

    def names(self) -> np.ndarray:
        from anndata.io import read_elem

        return _strings(read_elem(self._index))

    def columns(self) -> list[str]:
        return [_text(name) for name in self._group.attrs.get("column-order", ())]

    def column(self, name: str) -> Any:
        from anndata.io import read_elem

        if "categories" in self._group[name].attrs:  # tables of encoding 0.1.0 keep them aside, by reference
            return read_elem(self._group)[name].array
        return read_elem(self._group[name])


def _legacy_frame(dataset: Any, uns: Any) -> _TableFrame:
    """Table of AnnData before 0.7: one compound dataset, its categories in ``uns`` as ``<column>_categories``."""
    records = dataset[()]
    columns: dict[str, Any] = {}
    for name in records.dtype.names:
        values = records[name]
        if values.dtype.kind in "SO":
            values = np.array([_text(value) for value in values], dtype=object)
        key = f"{name}_categories"
        if uns is not None and key in uns and values.dtype.kind in "iu":
            labels = np.atleast_1d(uns[key][()])
            values = pd.Categorical.from_codes(values, pd.Index([_text(label) for label in labels]))
        columns[name] = values
    table = pd.DataFrame(columns)
    return _TableFrame(table.set_index(table.columns[0]))


def _stamp(path: Path) -> tuple[int, ...] | None:
    """Return what tells a version of a file from another; None for folders and for objects in memory."""
    try:
        state = path.stat()
    except OSError:
        return None
    return None if stat.S_ISDIR(state.st_mode) else (state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns)


class InputData:
    """One opened input: its names, its tables, and its matrix in blocks.

    Parameters
    ----------
    path
        What the user gave.
    format
        What its content turned out to be.
    layer
        Which matrix ``blocks`` hands out; nothing means X.
    root
        The open HDF5 or zarr group, or the AnnData object that a 10x reader made.
    matrix, obs, var
        Its parts.
    """

    def __init__(
        self, path: Path, format: Format, layer: str | None, root: Any, matrix: _Matrix, obs: _Frame, var: _Frame
    ) -> None:
        self.path, self.format, self.layer, self.root = path, format, layer, root
        self._matrix, self._obs, self._var = matrix, obs, var
        self.n_cells, self.n_genes = matrix.shape
        self.n_stored, self.storage = matrix.n_stored, matrix.storage
        self.in_memory_bytes = matrix.in_memory_bytes
        self._stamp = _stamp(path)

    def check_unchanged(self) -> None:
        """Raise InputProblem where the file was written to, or replaced, since it was opened."""
        if _stamp(self.path) != self._stamp:
            raise InputProblem(f"{self.path} was changed or replaced while it was read: run again when it is complete")

    @property
    def source(self) -> str:
        """Which matrix this is, for messages."""
        return f"layer {self.layer!r} of {self.path}" if self.layer is not None else f"X of {self.path}"

    @cached_property
    def cell_names(self) -> np.ndarray:
        """Names of the cells (n_cells strings)."""
        with reading(self.path, "the cell names"):
            return self._obs.names()

    @cached_property
    def gene_names(self) -> np.ndarray:
        """Names of the genes (n_genes strings), duplicates and all."""
        with reading(self.path, "the gene names"):
            return self._var.names()

    def obs_column(self, name: str) -> pd.Series[Any]:
        """One column of ``obs``, indexed by cell names; InputProblem that lists the columns where it is absent."""
        return self._column("obs", self._obs, name, self.cell_names)

    def var_column(self, name: str) -> pd.Series[Any]:
        """One column of ``var``, indexed by gene names; InputProblem that lists the columns where it is absent."""
        return self._column("var", self._var, name, self.gene_names)

    def _column(self, slot: str, frame: _Frame, name: str, names: np.ndarray) -> pd.Series[Any]:
        if name not in frame.columns():
            raise InputProblem(f"{slot} of {self.path} has no column {name!r}; it has {listing(frame.columns())}")
        with reading(self.path, f"{slot}[{name!r}]"):
            return pd.Series(frame.column(name), index=names, name=name)

    @cached_property
    def counted_features(self) -> np.ndarray:
        """Which columns are genes (n_genes booleans): the "Gene Expression" ones where var tells features apart."""
        everything = np.ones(self.n_genes, dtype=bool)
        if "feature_types" not in self._var.columns():
            return everything
        genes = np.asarray(self.var_column("feature_types").astype(str) == GENE_EXPRESSION, dtype=bool)
        return genes if genes.any() else everything

    @cached_property
    def notes(self) -> list[str]:
        """What is unusual, though accepted, about the names and features: one sentence each."""
        found = []
        for what, names in (("gene", self.gene_names), ("cell", self.cell_names)):
            distinct, how_often = np.unique(names, return_counts=True)
            repeated = distinct[how_often > 1]
            if len(repeated):
                found.append(
                    f"{len(repeated)} {what} name{'s' if len(repeated) > 1 else ''} occur more than once "
                    f"(first: {str(repeated[0])!r}); they are kept as they are"
                )
        others = int(self.n_genes - self.counted_features.sum())
        if others:
            found.append(f"{others} features are not Gene Expression: they stay, and are neither counted nor imputed")
        return found

    def keys(self, slot: str) -> list[str]:
        """Names in a slot ("layers", "obsm", "varp", "uns", ...), or columns of "obs" or "var"."""
        if slot == "var":
            return self._var.columns()
        if slot == "obs":
            return self._obs.columns()
        if self.format not in ("h5ad", "zarr"):
            return [str(key) for key in getattr(self.root, slot)]
        if slot not in self.root:
            return []
        element = self.root[slot]
        # AnnData before 0.7 kept arrays of cells as one compound dataset.
        return sorted(str(key) for key in (element if hasattr(element, "keys") else element.dtype.names or ()))

    def has_key(self, slot: str, key: str) -> bool:
        """Whether a slot has a key."""
        return key in self.keys(slot)

    @property
    def is_stored(self) -> bool:
        """Whether this is a file of AnnData, not an object in memory."""
        return self.format in ("h5ad", "zarr")

    @property
    def is_streamed(self) -> bool:
        """Whether the matrix is read from its file block by block, not held in memory."""
        return self._matrix.streamed

    def element(self, slot: str, key: str) -> Any:
        """Read one element whole; InputProblem if it cannot be decoded."""
        from anndata.io import read_elem

        with reading(self.path, f"{slot}[{key!r}]"):
            return read_elem(self.root[slot][key])

    def blocks(self, max_bytes: int = BLOCK_BYTES) -> Iterator[tuple[int, Any]]:
        """Hand the matrix out as CSR blocks of whole cells, in the order of the cells.

        Each block has sorted indices, no duplicates and no stored zeros, in the stored type (booleans as uint8, halves
        as float32). Where blocks end depends on the data alone. CSC storage is read whole first
        (``in_memory_bytes``).

        Yields
        ------
        tuple
            The number of the first cell, and the block (cells x all genes).
        """
        blocks = self._matrix.blocks(max_bytes)
        while True:
            with reading(self.path, "the matrix"):
                item = next(blocks, None)
            if item is None:
                return
            yield item

    def rows(self, rows: np.ndarray) -> Any:
        """Read some cells (sorted row numbers) as one canonical CSR matrix over all genes."""
        with reading(self.path, "the matrix"):
            return self._matrix.rows(rows)


def listing(names: Sequence[str], most: int = 10) -> str:
    """Names for a message: the first few, and how many more there are."""
    if not len(names):
        return "none"
    shown = ", ".join(repr(str(name)) for name in names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")


@contextmanager
def open_input(path: str | os.PathLike[str], layer: str | None = None) -> Iterator[InputData]:
    """Open an input and check that it is what it claims to be; content decides, not the name.

    Parameters
    ----------
    path
        An .h5ad file, an AnnData zarr folder, a 10x .h5 file, or a 10x folder with matrix.mtx(.gz).
    layer
        Matrix to read; nothing means X.

    Raises
    ------
    InputMissing
        Where there is nothing at the path, or it may not be read.
    InputProblem
        Where it is none of the formats, damaged, empty, or lacks the matrix.
    """
    path = Path(path)
    with ExitStack() as opened:
        data = _open(path, layer, opened)
        if not data.n_cells or not data.n_genes:
            raise InputProblem(f"{data.source} has {data.n_cells} cells and {data.n_genes} genes: nothing to work on")
        yield data


def _open(path: Path, layer: str | None, opened: ExitStack) -> InputData:
    try:
        mode = path.stat().st_mode
        is_folder = stat.S_ISDIR(mode)
        if not is_folder and not stat.S_ISREG(mode):  # opening a pipe that nobody writes to would wait for ever
            raise InputProblem(f"{path} is a pipe or a device, which cannot be read from any place: give a file")
        if is_folder:
            os.listdir(path)
        else:
            path.open("rb").close()
    except PermissionError as error:
        raise InputMissing(f"{path} may not be read: permission denied") from error
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputMissing(f"{path} does not exist") from error
    except OSError as error:
        raise InputMissing(f"{path} cannot be opened: {error.strerror}") from error
    if is_folder:
        if any((path / name).exists() for name in (".zgroup", "zarr.json")):
            return _open_zarr(path, layer, opened)
        if any((path / name).exists() for name in TEN_X_MATRIX_FILES):
            return _ten_x("10x_mtx", path, layer, _read_ten_x_folder)
        raise InputProblem(f"{path} is a folder that is neither an AnnData zarr store nor 10x output with matrix.mtx")
    return _open_hdf5(path, layer, opened)


def _open_hdf5(path: Path, layer: str | None, opened: ExitStack) -> InputData:
    if not h5py.is_hdf5(path):
        size = path.stat().st_size
        raise InputProblem(
            f"{path} is {'empty' if not size else 'not an HDF5 file'}: give {ACCEPTED}"
            + (" (unpack it first)" if path.suffix in (".zip", ".gz", ".tar") else "")
        )
    with reading(path, "the contents"):
        file = opened.enter_context(_open_for_reading(path))
        keys = set(file)
        if "obs" in keys and "var" in keys:
            return _stored(path, "h5ad", layer, file)
    if _is_ten_x_hdf5(file):
        file.close()
        return _ten_x("10x_h5", path, layer, _read_ten_x_hdf5)
    if "mod" in keys:
        raise InputProblem(f"{path} is a MuData file: write the RNA modality to an .h5ad file of its own first")
    raise InputProblem(f"{path} is HDF5, but neither AnnData (no obs and var) nor a 10x matrix: give {ACCEPTED}")


def _open_for_reading(path: Path) -> h5py.File:
    # Shared file systems often have no locks: reading must not depend on them.
    try:
        return h5py.File(path, "r", locking="best-effort")
    except BlockingIOError:
        # A finished output that is still staged is locked, by this very process.
        return h5py.File(path, "r", locking=False)


def _is_ten_x_hdf5(file: h5py.File) -> bool:
    parts = {"barcodes", "data", "indices", "indptr", "shape"}
    groups = [element for element in file.values() if isinstance(element, h5py.Group)]
    return any(parts <= set(group) and ("features" in group or "genes" in group) for group in groups)


def _open_zarr(path: Path, layer: str | None, opened: ExitStack) -> InputData:
    import zarr

    with reading(path, "the contents"):
        # The tree is the truth: consolidated metadata may be older than the last key that was added.
        root = zarr.open_group(store=str(path), mode="r", use_consolidated=False)
        if "obs" in root and "var" in root:
            return _stored(path, "zarr", layer, root)
    raise InputProblem(f"{path} is a zarr store, but not of AnnData (no obs and var)")


def _stored(path: Path, format: Format, layer: str | None, root: Any) -> InputData:
    layers = sorted(str(key) for key in root["layers"]) if "layers" in root else []
    if layer is None:
        element = root.get("X")
        # AnnData without X has no such key, or (zarr and older files) an empty one.
        encoding = "null" if element is None else _text(element.attrs.get("encoding-type", ""))
        if encoding == "null" or getattr(element, "shape", ()) is None:
            raise InputProblem(f"{path} has no X: choose a matrix with --layer; its layers: {listing(layers)}")
    elif layer in layers:
        element = root["layers"][layer]
    else:
        raise InputProblem(f"{path} has no layer {layer!r}; its layers: {listing(layers)}")
    name = "X" if layer is None else f"layer {layer!r}"
    try:
        matrix = open_matrix(element, name)
    except ValueError as error:
        raise InputProblem(f"{name} of {path} cannot be used: {one_line(error)}") from error
    uns = root.get("uns")
    frames: list[_Frame] = [
        _StoredFrame(root[slot]) if hasattr(root[slot], "keys") else _legacy_frame(root[slot], uns)
        for slot in ("obs", "var")
    ]
    if (frames[0].n_rows, frames[1].n_rows) != matrix.shape:
        raise InputProblem(
            f"{path} contradicts itself: {name} is {matrix.shape[0]} x {matrix.shape[1]}, but obs has "
            f"{frames[0].n_rows} rows and var {frames[1].n_rows}"
        )
    return InputData(path, format, layer, root, matrix, frames[0], frames[1])


def _ten_x(format: Format, path: Path, layer: str | None, read: Callable[[Path], Any]) -> InputData:
    if layer is not None:
        raise InputProblem(f"{path} is 10x output, which has no layers: leave --layer {layer} out")
    try:
        import scanpy  # noqa: F401
    except ImportError as error:
        raise UsageProblem(
            f"reading 10x output such as {path} takes scanpy: install it with pip install 'sccr-node[full]'"
        ) from error
    import warnings

    with reading(path, "the 10x matrix"), warnings.catch_warnings():
        # That names are not unique is said in our own words (InputData.notes).
        warnings.simplefilter("ignore")
        try:
            adata = read(path)
        except (MemoryError, *_READ_FAILURES):
            raise
        except Exception as error:
            raise ValueError(one_line(error)) from error
        matrix = canonical(sparse.csr_matrix(adata.X))
        adata.X = matrix
        names = adata.var_names.to_series()
        if names.isna().any():  # a gene called "NA" or "nan" is no missing name
            adata.var_names = names.where(names.notna().to_numpy(), adata.var["gene_ids"].to_numpy()).to_numpy()
        rows = _CompressedRows(matrix.data, matrix.indices, matrix.indptr, matrix.shape)
        rows.in_memory_bytes = matrix.data.nbytes + matrix.indices.nbytes + matrix.indptr.nbytes
        return InputData(path, format, None, adata, rows, _TableFrame(adata.obs), _TableFrame(adata.var))


def _read_ten_x_hdf5(path: Path) -> Any:
    import scanpy as sc

    return sc.read_10x_h5(path, gex_only=False)


def _read_ten_x_folder(path: Path) -> Any:
    import scanpy as sc

    if (path / "features.tsv").exists() and not (path / "features.tsv.gz").exists():
        # STARsolo and kallisto write version 3 names without compression, which scanpy's reader does not take.
        with tempfile.TemporaryDirectory(prefix="sccr-10x-") as folder:
            for name in ("matrix.mtx", "features.tsv", "barcodes.tsv"):
                with (path / name).open("rb") as plain, gzip.open(Path(folder, name + ".gz"), "wb", 1) as packed:
                    shutil.copyfileobj(plain, packed)
            return sc.read_10x_mtx(folder, make_unique=False, gex_only=False)
    return sc.read_10x_mtx(path, make_unique=False, gex_only=False)


def wrap_anndata(adata: Any, layer: str | None = None) -> InputData:
    """Treat an AnnData object in memory as an opened input; it is not changed.

    Parameters
    ----------
    adata
        An ``anndata.AnnData``.
    layer
        Matrix to read; nothing means X.

    Raises
    ------
    InputProblem
        Where there is no such matrix, or it has no cells or no genes.
    """
    path = Path("the AnnData object")
    values: Any
    if layer is None:
        values = adata.X
        if values is None:
            raise InputProblem(f"{path} has no X: choose one with layer=; its layers: {listing(list(adata.layers))}")
    elif layer in adata.layers:
        values = adata.layers[layer]
    else:
        raise InputProblem(f"{path} has no layer {layer!r}; its layers: {listing(list(adata.layers))}")
    matrix: _Matrix
    if sparse.issparse(values):
        made: Any = values
        rows = made.tocsr()  # not made canonical: blocks are copies, and those are
        matrix = _CompressedRows(rows.data, rows.indices, rows.indptr, rows.shape)
    else:
        matrix = _DenseRows(np.asarray(values))
    if not all(matrix.shape):
        raise InputProblem(f"{path} has {matrix.shape[0]} cells and {matrix.shape[1]} genes: nothing to work on")
    return InputData(path, "anndata", layer, adata, matrix, _TableFrame(adata.obs), _TableFrame(adata.var))
