"""Matrices of cells by genes, in any storage, handed out in CSR blocks of whole cells."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from scipy import sparse

BLOCK_BYTES = 64 * 2**20


def pieces(block: Any, n_entries: int = 1 << 18) -> Iterator[tuple[int, Any]]:
    """Cut a CSR block into runs of rows whose temporaries stay in the cache; yields first rows and runs."""
    first = 0
    while first < block.shape[0]:
        last = int(np.searchsorted(block.indptr, block.indptr[first] + n_entries, side="right")) - 1
        last = min(max(last, first + 1), block.shape[0])
        yield first, block[first:last]
        first = last


class Matrix(Protocol):
    """A matrix of cells by genes, wherever it lies."""

    shape: tuple[int, int]
    in_memory_bytes: int
    streamed: bool

    def blocks(self, max_bytes: int) -> Iterator[tuple[int, Any]]:
        """Yield the first row and the canonical CSR block of runs of whole rows."""

    def rows(self, rows: np.ndarray) -> Any:
        """Return some rows (sorted numbers) as one canonical CSR matrix."""


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
        """Yield the first row and the canonical CSR block of runs of whole rows."""
        for first, last in self._bounds(max_bytes):
            yield first, self._slice(first, last)

    def rows(self, rows: np.ndarray) -> Any:
        """Return some rows (sorted numbers) as one canonical CSR matrix."""
        # Scattered rows are picked from the stretch that holds them: a read for each would decode its chunk each time.
        pieces = [sparse.csr_matrix((0, self.shape[1]), dtype=self._dtype)]
        for first, last in self._bounds(BLOCK_BYTES):
            wanted = rows[np.searchsorted(rows, first) : np.searchsorted(rows, last)]
            if len(wanted):
                pieces.append(self._slice(int(wanted[0]), int(wanted[-1]) + 1)[wanted - wanted[0]])
        return sparse.vstack(pieces, format="csr", dtype=self._dtype)


class CompressedRows(_Rows):
    """CSR by its three arrays: HDF5 datasets, zarr arrays or numpy arrays alike."""

    def __init__(self, data: Any, indices: Any, indptr: Any, shape: tuple[int, int]) -> None:
        self.shape = shape
        self._data, self._indices = data, indices
        self._dtype = _supported(np.dtype(data.dtype))
        self._indptr = np.asarray(indptr[:], dtype=np.int64)
        n_stored = int(data.shape[0])
        if (
            self._indptr.shape != (shape[0] + 1,)
            or self._indptr[0] != 0
            or self._indptr[-1] != n_stored
            or indices.shape[0] != n_stored
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


class DenseRows(_Rows):
    """A two-dimensional array, read by blocks of whole rows that follow its chunks where it has any."""

    def __init__(self, array: Any) -> None:
        self.shape = (int(array.shape[0]), int(array.shape[1]))
        self._array = array
        self._dtype = _supported(np.dtype(array.dtype))
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


class CompressedColumns:
    """CSC storage: its cells lie scattered over the file, so it is read whole and turned around once, at first use.

    ``in_memory_bytes`` is what that takes while both forms exist.
    """

    streamed = False

    def __init__(self, data: Any, indices: Any, indptr: Any, shape: tuple[int, int]) -> None:
        self.shape = shape
        self._columns = CompressedRows(data, indices, indptr, (shape[1], shape[0]))
        self.in_memory_bytes = 2 * int(data.shape[0]) * (np.dtype(data.dtype).itemsize + 4)

    @cached_property
    def _rows(self) -> CompressedRows:
        turned = canonical(self._columns._slice(0, self.shape[1]).T.tocsr())
        return CompressedRows(turned.data, turned.indices, turned.indptr, self.shape)

    def blocks(self, max_bytes: int) -> Iterator[tuple[int, Any]]:
        """Yield the first row and the canonical CSR block of runs of whole rows."""
        yield from self._rows.blocks(max_bytes)

    def rows(self, rows: np.ndarray) -> Any:
        """Return some rows (sorted numbers) as one canonical CSR matrix."""
        return self._rows.rows(rows)


def open_matrix(element: Any, name: str) -> Matrix:
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
        return DenseRows(element)
    # Files of AnnData before 0.7 say h5sparse_format and h5sparse_shape.
    encoding = text_of(attributes.get("encoding-type", attributes.get("h5sparse_format", "")))
    kind = encoding.removesuffix("_matrix")
    if kind not in ("csr", "csc"):
        raise ValueError(f"{name} is stored as {encoding or 'something unknown'}, not as a matrix of cells by genes")
    sides = [int(n) for n in attributes.get("shape", attributes.get("h5sparse_shape", ()))]
    make = CompressedRows if kind == "csr" else CompressedColumns
    return make(element["data"], element["indices"], element["indptr"], (sides[0], sides[1]))


def text_of(value: Any) -> str:
    """Return an attribute that may be bytes as text."""
    return value.decode() if isinstance(value, bytes) else str(value)
