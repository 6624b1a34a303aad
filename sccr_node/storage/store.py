"""The interface of a store: recognised by its content, opened, copied, appended to without touching what is there."""

from __future__ import annotations

import re
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np

from sccr_node.errors import InputProblem
from sccr_node.runtime import signals
from sccr_node.runtime.resources import usable_cpus
from sccr_node.storage.targets import Target

# Entries per chunk: 256 KiB of float32, a few dozen cells, so that reading some cells does not decode the whole layer.
CHUNK_ENTRIES = 1 << 16
MOST_COUNTED = 2**31
"""From so many entries on, int32 cannot count them."""
SMALL_BYTES = 1 << 14
"""An array up to this size is written in one piece: threads and chunks cost more than they save."""
# Chunks compressed at a time: bounds what waits in memory.
_CHUNKS_A_WAVE = 16


class StoreFormat(ABC):
    """A storage format of AnnData; one file per format, with its declaration ``FORMAT`` at the end.

    Attributes
    ----------
    name
        Its name in records and messages.
    suffix
        The extension of outputs in this format.
    precedence
        A format that is also told by a more general one comes first: the higher number.
    is_folder
        Whether a store is a folder.
    only_from_itself
        Whether an output in this format requires an input in it, because it contains more than one data set.
    modality
        The one of several data sets in a store that is read and appended to; None if there is only one.
    """

    name: ClassVar[str]
    suffix: ClassVar[str]
    is_folder: ClassVar[bool]
    precedence: ClassVar[int] = 0
    only_from_itself: ClassVar[bool] = False
    modality: str | None = None

    @abstractmethod
    def matches(self, path: Path) -> bool:
        """Return whether a path has this format; its content decides, not its name."""

    @abstractmethod
    def not_anndata(self, path: Path) -> str:
        """Return the error message for a store of this format without obs and var."""

    @abstractmethod
    def opened(self, path: Path) -> AbstractContextManager[Any]:
        """Open a store for reading; the context is its root, an h5py or zarr group."""

    @abstractmethod
    def appender(self, path: Path, compression: str, threads: int | None, *, new: bool = False) -> Appender:
        """Open a store for appending; ``new``: make an empty one of an existing file or folder of ours first."""

    @abstractmethod
    def copy(self, source: Path, target: Path, *, hashed: bool) -> str | None:
        """Copy a store, byte by byte, to an existing file or folder; return the digest of the bytes if asked for."""

    @abstractmethod
    def read(self, path: Path) -> Any:
        """Read a whole store as AnnData."""

    @abstractmethod
    def write(self, path: Path, adata: Any) -> None:
        """Write AnnData as it is (strings stay strings) to an existing file or folder of ours."""

    @abstractmethod
    def target(self, path: Path) -> Target:
        """Return the target of an output in this format, which knows what it may replace."""

    def modalities(self, root: Any) -> list[str] | None:
        """Return the names of the data sets in a store; None if the format has only one."""
        return None

    def of_modality(self, name: str, root: Any) -> tuple[StoreFormat, Any]:
        """Return the format of one of several data sets in a store, and its group."""
        raise NotImplementedError

    def elsewhere(self, root: Any) -> tuple[str, str] | None:
        """Return the first element whose values are not in the store itself, and how it is stored; None if all are."""
        return None

    @abstractmethod
    def check_slots(self, root: Any, slots: set[str], path: Path) -> None:
        """Refuse slots that cannot be added to.

        Raises
        ------
        InputProblem
            There is such a slot.
        """


class Appender:
    """Adds elements to a store; what all formats have in common.

    Attributes
    ----------
    root
        The store's root.
    noun
        What the store is, for messages.

    Parameters
    ----------
    path
        The store.
    compression
        "auto" (gzip in HDF5, which every reader supports; zstd in zarr), "gzip" or "none".
    threads
        Number of threads for compression; does not affect the bytes written.
    """

    root: Any
    noun: ClassVar[str]

    def __init__(self, path: Path, compression: str = "auto", threads: int | None = None) -> None:
        self._path = path
        self._compression = compression
        self._threads = threads or usable_cpus()

    def close(self) -> None:
        """Finish the store; nothing more can be appended."""
        raise NotImplementedError

    def abandon(self) -> None:
        """Release a store that will be removed."""
        raise NotImplementedError

    def check(self) -> None:
        """Raise the first error of the disk, if there was one."""

    def delete(self, slot: str, key: str) -> None:
        """Remove an element, if it exists."""
        if slot not in self.root:
            return
        element = self.root[slot]
        if not hasattr(element, "keys"):
            self._write_legacy_column(slot, key, None)
        elif key in element:
            del element[key]
            if slot in ("obs", "var"):
                self._set_names(element, "column-order", [name for name in column_order(element) if name != key])

    def move(self, old: str, new: str) -> None:
        """Rename an element, without a copy; the group of the new name exists."""
        raise NotImplementedError

    def write_csr(
        self,
        slot: str,
        key: str,
        shape: tuple[int, int],
        blocks: Iterable[Any],
        dtype: Any = np.float32,
        *,
        noisy: bool = True,
    ) -> int:
        """Write a CSR matrix from blocks of whole rows; return the number of its entries.

        ``noisy`` says whether the values are imputed ones, as in :meth:`write_compressed`. ``indices`` are int32;
        ``indptr`` is int64 only if int32 cannot count the entries.
        """
        group = self._slot(slot).create_group(key)
        self._mark(group, "csr_matrix", "0.1.0")
        group.attrs["shape"] = [int(side) for side in shape]  # a list: zarr keeps attributes as JSON
        types = (np.dtype(dtype), np.dtype(np.int32), np.dtype(np.int32))
        return self.write_compressed(group, shape[0], types, blocks, noisy=noisy)

    def write_dense(
        self, slot: str, key: str, shape: tuple[int, int], blocks: Iterable[Any], dtype: Any = np.float32
    ) -> None:
        """Write a dense matrix from blocks of whole rows, chunked by rows."""
        parent = self._slot(slot)
        if not hasattr(parent, "keys"):
            self._write_legacy_column(slot, key, np.concatenate(list(blocks)).astype(dtype, copy=False))
            return
        n_rows = 0
        with ThreadPoolExecutor(self._threads) as pool:
            array = self._growing(parent, key, dtype, (shape[1],), pool, noisy=True)
            for block in blocks:
                array.append(block.toarray() if hasattr(block, "toarray") else block)
                n_rows += block.shape[0]
            array.finish()
        if n_rows != shape[0]:
            raise ValueError(f"{n_rows} rows given for {slot}/{key}, which has {shape[0]}")
        self._mark(parent[key], "array", "0.2.0")
        self.check()

    def write_record(self, slot: str, key: str, record: dict[str, Any]) -> None:
        """Write a nested mapping of numbers, strings, booleans and lists of them; None is left out."""
        self.write_element(self._slot(slot), key, storable(record))

    def write_column(self, slot: str, key: str, values: np.ndarray) -> None:
        """Append a column to ``obs`` or ``var``, last in the order, in place of one with its name."""
        if hasattr(self.root[slot], "keys"):
            self.delete(slot, key)
            self.write_element(self.root[slot], key, values)
            table = self.root[slot]
            self._set_names(table, "column-order", [*column_order(table), key])
            self.check()
        else:
            self._write_legacy_column(slot, key, values)

    def write_element(self, parent: Any, name: str, value: Any) -> None:
        """Write a mapping, an array, a text, a number or a truth value in AnnData's encoding.

        As anndata.io.write_elem does, but without the second that a process takes to load anndata.
        """
        if isinstance(value, Mapping):
            group = self.create_group(parent, name, encoded_as("dict", "0.1.0"))
            for key, item in value.items():
                self.write_element(group, key, item)
            return
        values = np.asarray(value)
        text = is_text(values.dtype)
        if values.ndim:
            attributes = encoded_as("string-array" if text else "array", "0.2.0")
            self.write_array(parent, name, values.dtype, values.shape[1:], [values], attributes)
        else:
            attributes = encoded_as("string" if text else "numeric-scalar", "0.2.0")
            self.write_scalar(parent, name, value, values.dtype, attributes)

    def create_group(self, parent: Any, name: str, attributes: Mapping[str, Any]) -> Any:
        """Create a group with attributes, given as a reader of any format returns them.

        Raises
        ------
        ValueError
            This format cannot store the name or an attribute.
        """
        raise NotImplementedError

    def write_array(
        self,
        parent: Any,
        name: str,
        dtype: np.dtype[Any],
        row: tuple[int, ...],
        blocks: Iterable[np.ndarray],
        attributes: Mapping[str, Any],
    ) -> None:
        """Write an array from blocks of rows of one type; texts are objects (str or UTF-8 bytes) or numpy strings.

        Raises
        ------
        ValueError
            This format cannot store the name, the type or an attribute.
        """
        self.check_name(name)
        if dtype.names:
            records = self._records(np.concatenate([np.empty((0, *row), dtype), *blocks]))
            stored, blocks = records.dtype, [records]
        else:
            stored = self._stored_type(dtype)
        waiting = iter(blocks)
        read = list(islice(waiting, 2))
        if len(read) == 1 and 0 < read[0].nbytes <= SMALL_BYTES:
            self._write_small(parent, name, read[0].astype(stored), attributes)
        else:
            with ThreadPoolExecutor(self._threads) as pool:
                array = self._growing(parent, name, stored, row, pool)
                for block in chain(read, waiting):
                    array.append(block)
                array.finish()
            self.set_attributes(parent[name], attributes)
        self.check()

    def write_scalar(
        self, parent: Any, name: str, value: Any, dtype: np.dtype[Any], attributes: Mapping[str, Any]
    ) -> None:
        """Write a single value; text as in ``write_array``."""
        self.check_name(name)
        if dtype.names:
            records = self._records(np.array([value], dtype=dtype))
            stored, value = records.dtype, records[0]
        else:
            stored = self._stored_type(dtype)
        self._create_scalar(parent, name, value, stored)
        self.set_attributes(parent[name], attributes)
        self.check()

    def write_null(self, parent: Any, name: str, attributes: Mapping[str, Any]) -> None:
        """Write what AnnData writes for None."""
        from anndata.io import write_elem

        self.check_name(name)
        with quiet():
            write_elem(parent, name, None)
        self.set_attributes(parent[name], attributes)
        self.check()

    def write_compressed(
        self,
        group: Any,
        n_major: int,
        types: tuple[np.dtype[Any], np.dtype[Any], np.dtype[Any]],
        blocks: Iterable[Any],
        *,
        noisy: bool = False,
    ) -> int:
        """Write the three arrays of a CSR or CSC matrix from blocks of whole rows or columns; return their entries.

        Parameters
        ----------
        group
            The group that they are written to.
        n_major
            The number of rows (CSR) or columns (CSC).
        types
            Of ``data``, ``indices`` and ``indptr``.
        blocks
            With ``data``, ``indices`` and ``indptr`` as in a matrix of scipy.
        noisy
            Whether the values are imputed ones, whose low bytes are noise.
        """
        ends = np.zeros(n_major + 1, dtype=np.int64)
        first = 0
        with ThreadPoolExecutor(self._threads) as pool:
            data = self._growing(group, "data", types[0], (), pool, noisy=noisy)
            indices = self._growing(group, "indices", types[1], (), pool)
            for block in blocks:
                last = first + len(block.indptr) - 1
                ends[first + 1 : last + 1] = ends[first] + block.indptr[1:]
                # In steps of one chunk: data and indices alternate, and the file's bytes do not depend on the blocks.
                for start in range(0, len(block.data), CHUNK_ENTRIES):
                    data.append(block.data[start : start + CHUNK_ENTRIES])
                    indices.append(block.indices[start : start + CHUNK_ENTRIES])
                first = last
            data.finish()
            indices.finish()
            n_entries = int(ends[-1])
            indptr = self._growing(group, "indptr", types[2] if n_entries < MOST_COUNTED else np.int64, (), pool)
            indptr.append(ends)
            indptr.finish()
        if first != n_major:
            raise ValueError(f"{first} rows given for {group.name}, which has {n_major}")
        self.check()
        return n_entries

    def set_attributes(self, element: Any, attributes: Mapping[str, Any]) -> None:
        """Set attributes, given as a reader of any format returns them.

        Raises
        ------
        ValueError
            This format cannot store one of them.
        """
        raise NotImplementedError

    def check_name(self, name: str) -> None:
        """Raise ValueError if this format cannot store an element under a name."""

    def _stored_type(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        """Return the type in which values of a type are stored; raise ValueError if they cannot be."""
        raise NotImplementedError

    def _records(self, values: np.ndarray) -> np.ndarray:
        """Return records with fields of types that this format can store."""
        columns = {name: self._field(values[name]) for name in values.dtype.names or ()}
        # Fields of several values keep their shape; the first axes are those of the records.
        fields: list[Any] = [(name, column.dtype, column.shape[values.ndim :]) for name, column in columns.items()]
        stored = np.empty(values.shape, dtype=fields)
        for name, column in columns.items():
            stored[name] = column
        return stored

    def _field(self, column: np.ndarray) -> np.ndarray:
        return self._records(column) if column.dtype.names else column.astype(self._stored_type(column.dtype))

    def _write_small(self, parent: Any, name: str, values: np.ndarray, attributes: Mapping[str, Any]) -> None:
        """Write an array that is not worth threads and chunks, with its attributes: tables have thousands of them."""
        raise NotImplementedError

    def _create_scalar(self, parent: Any, name: str, value: Any, dtype: np.dtype[Any]) -> None:
        raise NotImplementedError

    def _slot(self, slot: str) -> Any:
        if slot not in self.root:
            self._mark(self.root.create_group(slot), "dict", "0.1.0")
        return self.root[slot]

    @staticmethod
    def _mark(element: Any, encoding: str, version: str) -> None:
        element.attrs.update(encoded_as(encoding, version))

    def _set_names(self, group: Any, attribute: str, names: list[str]) -> None:
        raise NotImplementedError

    def _write_legacy_column(self, slot: str, key: str, values: np.ndarray | None) -> None:
        raise NotImplementedError

    def _growing(
        self, group: Any, name: str, dtype: Any, row: tuple[int, ...], pool: ThreadPoolExecutor, noisy: bool = False
    ) -> GrowingArray:
        raise NotImplementedError


class ChunkStore(Protocol):
    """Where a growing array puts its chunks."""

    def create(self, chunks: tuple[int, ...]) -> None:
        """Create an empty array with chunks of this shape."""

    def pack(self, chunk: np.ndarray) -> Any:
        """Return a chunk as it is stored: its bytes, or what the library makes bytes of."""

    def put(self, number: int, stream: Any) -> None:
        """Store what ``pack`` returned, given the chunk's number along the first axis."""

    def resize(self, n_rows: int) -> None:
        """Set the length of the first axis."""


class GrowingArray:
    """An array that grows along its first axis, compressed in threads and stored in whole chunks, in order.

    The libraries compress under a single lock (HDF5) or leave unfinished tasks when the disk is full (zarr). So chunks
    are compressed here, exactly as they would do it, and handed over ready to be stored.

    Parameters
    ----------
    store
        The destination of the chunks.
    dtype
        The stored type.
    row
        The shape of one row.
    pool
        The threads that compress.
    """

    def __init__(self, store: ChunkStore, dtype: Any, row: tuple[int, ...], pool: ThreadPoolExecutor) -> None:
        self._store, self._pool = store, pool
        self._dtype = np.dtype(dtype)
        self._row = row
        self._chunk_rows = max(1, CHUNK_ENTRIES // max(1, int(np.prod(row, dtype=np.int64))))
        self._waiting: list[np.ndarray] = []
        self._n_waiting = 0
        self._n_chunks = 0
        self._n_rows = 0
        self._created = False

    def append(self, rows: np.ndarray) -> None:
        """Add rows; they are stored once there are enough for a batch of chunks."""
        signals.check()
        # A copy, because callers reuse their buffers before these rows are stored.
        self._waiting.append(np.array(rows, dtype=self._dtype))
        self._n_waiting += len(rows)
        self._n_rows += len(rows)
        if self._n_waiting >= self._chunk_rows * _CHUNKS_A_WAVE:
            self._flush(self._n_waiting // self._chunk_rows)

    def finish(self) -> None:
        """Store the remaining rows; an array smaller than one chunk gets a chunk of its own size."""
        if not self._created:
            self._chunk_rows = max(1, min(self._chunk_rows, self._n_waiting))
        self._flush(-(-self._n_waiting // self._chunk_rows))
        self._store.resize(self._n_rows)

    def _flush(self, n_chunks: int) -> None:
        chunks = (self._chunk_rows, *[max(1, side) for side in self._row])
        if not self._created:
            self._store.create(chunks)
            self._created = True
        rows = np.concatenate([*self._waiting, np.empty((0, *self._row), self._dtype)])
        rows = rows.astype(self._dtype, copy=False)  # numpy turns other byte orders into the machine's
        n_rows = min(n_chunks * self._chunk_rows, len(rows))
        self._waiting = [rows[n_rows:].copy()]
        self._n_waiting -= n_rows
        if not rows.size:
            return
        parts = [rows[first : first + self._chunk_rows] for first in range(0, n_rows, self._chunk_rows)]
        self._store.resize(self._n_rows - self._n_waiting)
        for stream in self._pool.map(lambda part: self._store.pack(_whole(part, chunks)), parts):
            self._store.put(self._n_chunks, stream)
            self._n_chunks += 1


def _whole(rows: np.ndarray, chunks: tuple[int, ...]) -> np.ndarray:
    """Pad the last chunk of an array with zeros, or empty texts: chunks are stored whole."""
    if rows.shape == chunks:
        return np.ascontiguousarray(rows)
    chunk = np.full(chunks, "", dtype=rows.dtype) if is_text(rows.dtype) else np.zeros(chunks, dtype=rows.dtype)
    chunk[: len(rows)] = rows
    return chunk


def is_text(dtype: np.dtype[Any]) -> bool:
    """Return whether a type, of h5py, zarr or numpy, is text of variable length or of numpy's fixed length."""
    notes: dict[str, Any] = dict(dtype.metadata or {})  # h5py's
    return dtype.kind in "UT" or (dtype.kind == "O" and "ref" not in notes and notes.get("vlen", str) in (str, bytes))


def column_order(group: Any) -> list[str]:
    """Return the names of the columns of a stored table, in order.

    Raises
    ------
    ValueError
        They are not stored as a list: iterating over a text would give its letters.
    """
    stored = group.attrs.get("column-order", ())
    if not isinstance(stored, list | tuple | np.ndarray) or np.ndim(stored) != 1:
        raise ValueError("column-order is not a list of names")
    return [name.decode() if isinstance(name, bytes) else str(name) for name in stored]


def encoded_as(encoding: str, version: str) -> dict[str, str]:
    """Return the attributes by which AnnData knows how an element is stored."""
    return {"encoding-type": encoding, "encoding-version": version}


def storable(value: Any) -> Any:
    """Convert a nested mapping of plain Python values to one of values and arrays; None is left out."""
    if isinstance(value, dict):
        return {str(key): storable(item) for key, item in value.items() if item is not None}
    if isinstance(value, (list, tuple)):
        return np.asarray(value, dtype=object if not value or isinstance(value[0], str) else None)
    return value


def write_anndata(root: Any, adata: Any, **options: Any) -> None:
    """Write an AnnData object as it is (strings stay strings) to the root of an empty store.

    Parameters
    ----------
    root
        The root, as h5py or zarr opens it.
    adata
        The object.
    options
        How datasets are written.

    Raises
    ------
    InputProblem
        An element of the data cannot be stored; the line names it.
    """
    import anndata
    from anndata.io import write_elem

    try:
        with quiet(), anndata.settings.override(allow_write_nullable_strings=True):
            write_elem(root, "/", adata, dataset_kwargs=options)
    except (TypeError, ValueError, NotImplementedError) as error:
        told = "\n".join([str(error), *getattr(error, "__notes__", ())])
        key = re.search(r"writing key '([^']+)' of .* to (\S+)", told)
        what = f"{key[2].strip('/')}/{key[1]}".strip("/") if key else "an element of the data"
        raise InputProblem(f"cannot write the data: {what} cannot be stored ({told.splitlines()[0]})") from error
    # What is not there is stored as "null": raw, which anndata before 0.12 cannot read, and by anndata 0.12.0 X too.
    for name in ("X", "raw"):
        if getattr(adata, name) is None and name in root:
            del root[name]


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress the libraries' warnings about names, encodings and versions."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
