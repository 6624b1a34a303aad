"""Cells × genes matrices in any storage, read in CSR blocks of whole cells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from scipy import sparse

from sccr_node.runtime.scratch import ScratchArray

BLOCK_BYTES = 64 * 2**20

IN_MEMORY_BYTES = 256 * 2**20
"""Up to here a CSC matrix is converted in memory, which works where there is no place for scratch, too."""

TURNED_ENTRIES = 1 << 21
"""Entries that are converted at a time: about 100 MB with all that belongs to them."""


def pieces(block: Any, n_entries: int = 1 << 18) -> Iterator[tuple[int, Any]]:
    """Cut a CSR block into runs of rows whose temporaries fit in the cache; yield each first row and run."""
    first = 0
    while first < block.shape[0]:
        last = int(np.searchsorted(block.indptr, block.indptr[first] + n_entries, side="right")) - 1
        last = min(max(last, first + 1), block.shape[0])
        yield first, block[first:last]
        first = last


class Matrix(Protocol):
    """A cells × genes matrix, in a file or in memory."""

    shape: tuple[int, int]
    n_stored: int
    in_memory_bytes: int
    streamed: bool

    def blocks(self, max_bytes: int) -> Iterator[tuple[int, Any]]:
        """Yield runs of whole rows: the first row and the canonical CSR block."""

    def rows(self, rows: np.ndarray) -> Any:
        """Return some rows (sorted indices) as one canonical CSR matrix."""


def _supported(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the type in which stored values are read: their own, except for the two that scipy does not support."""
    if dtype.kind == "b":
        return np.dtype(np.uint8)
    if dtype == np.float16:
        return np.dtype(np.float32)
    if dtype.kind not in "iuf":
        raise ValueError(f"its values are not numbers but {dtype}")
    return dtype.newbyteorder("=")


def canonical(matrix: Any) -> Any:
    """Sort the indices, sum duplicates and drop stored zeros, all in place; return the matrix."""
    if matrix.dtype.kind in "iu":
        matrix.sort_indices()
        # Another object: scipy remembers what this one was before it was sorted.
        sorted_ = sparse.csr_matrix((matrix.data, matrix.indices, matrix.indptr), shape=matrix.shape)
        if not sorted_.has_canonical_format:  # as bytes, 200 + 100 would be 44
            matrix.data = matrix.data.astype(np.float64)
    matrix.sum_duplicates()
    if matrix.nnz and not matrix.data.all():
        matrix.eliminate_zeros()
    return matrix


class _Rows:
    """Base of matrices stored row by row: a subclass says where blocks end, and reads a range of rows."""

    shape: tuple[int, int]
    streamed = True
    _dtype: np.dtype[Any]

    def _bounds(self, max_bytes: int) -> Iterator[tuple[int, int]]:
        raise NotImplementedError

    def _slice(self, first: int, last: int) -> Any:
        raise NotImplementedError

    def blocks(self, max_bytes: int) -> Iterator[tuple[int, Any]]:
        """Yield runs of whole rows: the first row and the canonical CSR block."""
        for first, last in self._bounds(max_bytes):
            yield first, self._slice(first, last)

    def rows(self, rows: np.ndarray) -> Any:
        """Return some rows (sorted indices) as one canonical CSR matrix."""
        # Scattered rows are picked from the stretch that contains them: reading them one by one would decode each chunk
        # several times.
        pieces = [sparse.csr_matrix((0, self.shape[1]), dtype=self._dtype)]
        for first, last in self._bounds(BLOCK_BYTES):
            wanted = rows[np.searchsorted(rows, first) : np.searchsorted(rows, last)]
            if len(wanted):
                pieces.append(self._slice(int(wanted[0]), int(wanted[-1]) + 1)[wanted - wanted[0]])
        return sparse.vstack(pieces, format="csr")  # in a wider type if one has sums of duplicates


def whole_numbers(values: np.ndarray, name: str) -> np.ndarray:
    """Return an array of a sparse matrix that must contain whole numbers, in whatever type; 1.5 would become 1.

    Raises
    ------
    ValueError
        It contains something else.
    """
    if values.dtype.kind not in "iu" and (values.dtype.kind != "f" or not (np.rint(values) == values).all()):
        raise ValueError(f"the {name} of the sparse matrix is not stored as expected: it is not whole numbers")
    return values


def sides_of(attributes: Mapping[str, Any]) -> tuple[int, int]:
    """Return the shape of a sparse matrix from its attributes.

    Raises
    ------
    ValueError
        It is not two whole numbers.
    """
    # Files of AnnData before 0.7 use h5sparse_format and h5sparse_shape.
    sides = np.asarray(attributes.get("shape", attributes.get("h5sparse_shape", ())))
    if sides.shape != (2,):
        raise ValueError("the shape of the sparse matrix is not stored as expected: it is not two numbers")
    n_rows, n_columns = whole_numbers(sides, "shape").tolist()
    return int(n_rows), int(n_columns)


def check_pointers(pointers: np.ndarray, n: int, data: Any, indices: Any) -> None:
    """Raise ValueError if the pointers of n rows or columns do not match the values of a sparse matrix."""
    if (
        pointers.shape != (n + 1,)
        or pointers[0] != 0
        or tuple(data.shape) != (int(pointers[-1]),)
        or tuple(indices.shape) != tuple(data.shape)
        or (np.diff(pointers) < 0).any()
    ):
        raise ValueError("the indptr of the sparse matrix does not match its values")


class CsrMatrix(_Rows):
    """A CSR matrix given by its three arrays: HDF5 datasets, zarr arrays or numpy arrays."""

    def __init__(self, data: Any, indices: Any, indptr: Any, shape: tuple[int, int]) -> None:
        self.shape = shape
        self._data, self._indices = data, indices
        self._dtype = _supported(np.dtype(data.dtype))
        self._indptr = whole_numbers(np.asarray(indptr[:]), "indptr").astype(np.int64, copy=False)
        check_pointers(self._indptr, shape[0], data, indices)
        self.n_stored = int(self._indptr[-1])
        self.in_memory_bytes = self._indptr.nbytes

    def _slice(self, first: int, last: int) -> Any:
        start, stop = int(self._indptr[first]), int(self._indptr[last])
        values = np.asarray(self._data[start:stop])
        genes = self._stored_columns(start, stop)
        # Arrays that were read are ours to sort in place; arrays in memory belong to the caller.
        is_view = isinstance(self._data, np.ndarray)
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

    def _stored_columns(self, start: int, stop: int) -> np.ndarray:
        """Return the columns of some entries, as they are stored; raise ValueError if there is no such column."""
        columns = whole_numbers(np.asarray(self._indices[start:stop]), "indices")
        if columns.size and (int(columns.min()) < 0 or int(columns.max()) >= self.shape[1]):
            raise ValueError("the sparse matrix has a column index out of range")
        return columns

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type in which values are read."""
        return self._dtype

    def entries(self, most: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Yield all stored entries in order, at most so many at a time: their rows, columns and values."""
        for start in range(0, int(self._indptr[-1]), most):
            stop = min(start + most, int(self._indptr[-1]))
            columns = self._stored_columns(start, stop).astype(np.int64)
            values = np.asarray(self._data[start:stop]).astype(self._dtype, copy=False)
            rows = np.searchsorted(self._indptr, np.arange(start, stop), side="right") - 1
            yield rows, columns, values

    def _bounds(self, max_bytes: int) -> Iterator[tuple[int, int]]:
        entry = self._dtype.itemsize + 4
        first = 0
        while first < self.shape[0]:
            limit = self._indptr[first] + max_bytes // entry
            last = max(first + 1, int(np.searchsorted(self._indptr, limit, side="right")) - 1)
            # Empty cells take no bytes: without this bound, a long run of them would become one block.
            last = min(last, self.shape[0], first + max(1, max_bytes // 64))
            yield first, last
            first = last


class DenseMatrix(_Rows):
    """A two-dimensional array, read in blocks of whole rows that follow its chunks, if it has any."""

    def __init__(self, array: Any) -> None:
        self.shape = (int(array.shape[0]), int(array.shape[1]))
        self.n_stored = self.shape[0] * self.shape[1]
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


class CscMatrix:
    """A CSC matrix: its cells are scattered over the file, so it is read whole and converted to CSR at first use.

    A large one is converted in scratch, in two passes over the file; ``in_memory_bytes`` is the most kept in memory.
    """

    streamed = False

    def __init__(self, data: Any, indices: Any, indptr: Any, shape: tuple[int, int]) -> None:
        self.shape = shape
        self._columns = CsrMatrix(data, indices, indptr, (shape[1], shape[0]))
        self.n_stored = self._columns.n_stored
        whole = 2 * int(data.shape[0]) * (np.dtype(data.dtype).itemsize + 4)
        self._fits = whole <= IN_MEMORY_BYTES
        self.in_memory_bytes = whole if self._fits else IN_MEMORY_BYTES + 24 * shape[0]

    @cached_property
    def _rows(self) -> CsrMatrix:
        if not self._fits:
            return turned_in_scratch(self._columns, TURNED_ENTRIES)
        turned = canonical(self._columns._slice(0, self.shape[1]).T.tocsr())
        return CsrMatrix(turned.data, turned.indices, turned.indptr, self.shape)

    def blocks(self, max_bytes: int) -> Iterator[tuple[int, Any]]:
        """Yield runs of whole rows: the first row and the canonical CSR block."""
        yield from self._rows.blocks(max_bytes)

    def rows(self, rows: np.ndarray) -> Any:
        """Return some rows (sorted indices) as one canonical CSR matrix."""
        return self._rows.rows(rows)


def turned_in_scratch(columns: CsrMatrix, n_entries: int) -> CsrMatrix:
    """Return the transpose of a matrix, with its entries in scratch.

    Entries are first put where runs of rows of the transpose begin, and then sorted by row within each run: both in
    pieces, so that memory is bounded.

    Parameters
    ----------
    columns
        The matrix whose rows are the columns of the transpose.
    n_entries
        Entries in memory at a time.
    """
    n_columns, n_rows = columns.shape
    ends = np.zeros(n_rows + 1, np.int64)
    for _, row, _ in columns.entries(n_entries):
        ends[1:] += np.bincount(row, minlength=n_rows)
    np.cumsum(ends, out=ends)
    # A run ends before the row with which it would become too long.
    runs = [0]
    while runs[-1] < n_rows:
        last = int(np.searchsorted(ends, ends[runs[-1]] + n_entries, side="right")) - 1
        runs.append(min(max(last, runs[-1] + 1), n_rows))
    firsts = np.array(runs)
    n_stored = int(ends[-1])
    rows = ScratchArray(n_stored, np.dtype(np.int64))
    genes = ScratchArray(n_stored, np.dtype(np.int32 if n_columns < 2**31 else np.int64))
    values = ScratchArray(n_stored, columns.dtype)
    filled = ends[firsts[:-1]]
    for column, row, value in columns.entries(n_entries):
        run = np.searchsorted(firsts, row, side="right") - 1
        order = np.argsort(run, kind="stable")
        row, column, value = row[order], column[order], value[order]
        cuts = np.concatenate([[0], np.cumsum(np.bincount(run, minlength=len(filled)))])
        for number in np.flatnonzero(np.diff(cuts)).tolist():
            own = slice(cuts[number], cuts[number + 1])
            for array, part in ((rows, row), (genes, column), (values, value)):
                array.put(int(filled[number]), part[own])
            filled[number] += own.stop - own.start
    for first, last in zip(ends[firsts[:-1]].tolist(), ends[firsts[1:]].tolist(), strict=True):
        order = np.argsort(rows[first:last], kind="stable")  # stable: the columns of a row stay in order
        for array in (genes, values):
            array.put(first, array[first:last][order])
    return CsrMatrix(values, genes, ends, (n_rows, n_columns))


class ColumnsOf:
    """Some columns of a matrix, in any order."""

    def __init__(self, matrix: Matrix, columns: np.ndarray) -> None:
        self.shape = (matrix.shape[0], len(columns))
        self.n_stored = matrix.n_stored
        self.in_memory_bytes, self.streamed = matrix.in_memory_bytes, matrix.streamed
        self._matrix, self._columns = matrix, columns

    def blocks(self, max_bytes: int) -> Iterator[tuple[int, Any]]:
        """Yield runs of whole rows: the first row and the canonical CSR block."""
        for first, block in self._matrix.blocks(max_bytes):
            yield first, canonical(block[:, self._columns])

    def rows(self, rows: np.ndarray) -> Any:
        """Return some rows (sorted indices) as one canonical CSR matrix."""
        return canonical(self._matrix.rows(rows)[:, self._columns])


def open_matrix(element: Any, name: str) -> Matrix:
    """Open a matrix in a store: a CSR or CSC group in any of AnnData's encodings, or a 2-D array.

    Raises
    ------
    ValueError
        The element is neither.
    """
    attributes = element.attrs
    if not hasattr(element, "keys"):
        if len(element.shape or ()) != 2:
            raise ValueError(f"{name} is not a cells × genes matrix")
        return DenseMatrix(element)
    # Files of AnnData before 0.7 use h5sparse_format and h5sparse_shape.
    encoding = text_of(attributes.get("encoding-type", attributes.get("h5sparse_format", "")))
    kind = encoding.removesuffix("_matrix")
    if kind not in ("csr", "csc"):
        raise ValueError(f"{name} is not a cells × genes matrix: it is stored as {encoding or 'an unknown type'}")
    make = CsrMatrix if kind == "csr" else CscMatrix
    return make(element["data"], element["indices"], element["indptr"], sides_of(attributes))


def text_of(value: Any) -> str:
    """Return an attribute, which may be bytes, as text."""
    return value.decode() if isinstance(value, bytes) else str(value)
