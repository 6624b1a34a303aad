"""Append matrices, columns and records to an open AnnData store, HDF5 or zarr, without touching what is there."""

from __future__ import annotations

import os
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import h5py
import numpy as np

from sccr_node.errors import InputProblem

# Entries a chunk: 256 KiB of float32, a few dozen cells, so that reading some cells does not decode the whole layer.
CHUNK_ENTRIES = 1 << 16
# Handed to the threads at once: bounds what waits in memory.
_CHUNKS_A_WAVE = 64

COMPRESSIONS = ("auto", "gzip", "none")


class Appender:
    """Adds elements to one store; what is common to both formats.

    Parameters
    ----------
    root
        The open group of the store.
    compression
        "auto" (gzip in HDF5, which every reader has; zstd in zarr), "gzip" or "none".
    threads
        How many chunks are compressed at a time. The bytes written do not depend on it.
    """

    def __init__(self, root: Any, compression: str = "auto", threads: int | None = None) -> None:
        self.root = root
        self._compression = compression
        self._threads = threads or len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else threads or 1

    def delete(self, slot: str, key: str) -> None:
        """Remove an element, if it is there; a column of ``var`` keeps its place in the order."""
        if slot in self.root and hasattr(self.root[slot], "keys") and key in self.root[slot]:
            del self.root[slot][key]

    def write_csr(
        self, slot: str, key: str, shape: tuple[int, int], blocks: Iterable[Any], dtype: Any = np.float32
    ) -> int:
        """Write a CSR matrix from blocks of whole rows; returns the number of its entries.

        ``indices`` are int32; ``indptr`` is int64 only where the entries are more than int32 counts.
        """
        group = self._new_group(slot, key, "csr_matrix", "0.1.0")
        group.attrs["shape"] = [int(side) for side in shape]  # a list: zarr keeps attributes as JSON
        row_ends = np.zeros(shape[0] + 1, dtype=np.int64)
        first = 0
        with ThreadPoolExecutor(self._threads) as pool:
            data = self._growing(group, "data", dtype, (), pool, noisy=True)
            indices = self._growing(group, "indices", np.int32, (), pool)
            for block in blocks:
                last = first + block.shape[0]
                row_ends[first + 1 : last + 1] = row_ends[first] + block.indptr[1:]
                data.append(block.data)
                indices.append(block.indices)
                first = last
            data.finish()
            indices.finish()
            n_entries = int(row_ends[-1])
            indptr = self._growing(group, "indptr", np.int32 if n_entries < 2**31 else np.int64, (), pool)
            indptr.append(row_ends)
            indptr.finish()
        if first != shape[0]:
            raise ValueError(f"{first} rows were given for {slot}/{key}, which has {shape[0]}")
        return n_entries

    def write_dense(
        self, slot: str, key: str, shape: tuple[int, int], blocks: Iterable[Any], dtype: Any = np.float32
    ) -> None:
        """Write a dense matrix from blocks of whole rows, chunked by rows."""
        parent = self._slot(slot)
        n_rows = 0
        with ThreadPoolExecutor(self._threads) as pool:
            array = self._growing(parent, key, dtype, (shape[1],), pool, noisy=True)
            for block in blocks:
                array.append(block.toarray() if hasattr(block, "toarray") else block)
                n_rows += block.shape[0]
            array.finish()
        if n_rows != shape[0]:
            raise ValueError(f"{n_rows} rows were given for {slot}/{key}, which has {shape[0]}")
        self._mark(parent[key], "array", "0.2.0")

    def write_record(self, slot: str, key: str, record: dict[str, Any]) -> None:
        """Write a nested mapping of numbers, strings, booleans and lists of them; nothing (None) is left out."""
        from anndata.io import write_elem

        with _quiet():
            write_elem(self._slot(slot), key, storable(record))

    def write_var_column(self, key: str, values: np.ndarray) -> None:
        """Append a column to ``var``, last in its order; where it exists it keeps its place."""
        from anndata.io import write_elem

        var = self.root["var"]
        if not hasattr(var, "keys"):
            self._write_legacy_column(var, key, values)
            return
        order = [name.decode() if isinstance(name, bytes) else str(name) for name in var.attrs.get("column-order", ())]
        with _quiet():
            write_elem(var, key, values)
        if key not in order:
            self._set_names(var, "column-order", [*order, key])

    def _slot(self, slot: str) -> Any:
        if slot not in self.root:
            self._mark(self.root.create_group(slot), "dict", "0.1.0")
        return self.root[slot]

    def _new_group(self, slot: str, key: str, encoding: str, version: str) -> Any:
        group = self._slot(slot).create_group(key)
        self._mark(group, encoding, version)
        return group

    @staticmethod
    def _mark(element: Any, encoding: str, version: str) -> None:
        element.attrs["encoding-type"] = encoding
        element.attrs["encoding-version"] = version

    def _set_names(self, group: Any, attribute: str, names: list[str]) -> None:
        raise NotImplementedError

    def _write_legacy_column(self, var: Any, key: str, values: np.ndarray) -> None:
        raise NotImplementedError

    def _growing(
        self, group: Any, name: str, dtype: Any, row: tuple[int, ...], pool: ThreadPoolExecutor, noisy: bool = False
    ) -> GrowingArray:
        raise NotImplementedError


class GrowingArray:
    """An array that grows along its first axis and is stored in whole chunks, whatever pieces it is given in.

    Parameters
    ----------
    create
        Makes the stored array for a number of rows a chunk.
    store
        Stores rows at a position of it; the rows are whole chunks, but for the last ones.
    dtype
        Type stored.
    row
        Shape of one row.
    """

    def __init__(
        self,
        create: Callable[[int], Any],
        store: Callable[[Any, int, np.ndarray], None],
        dtype: Any,
        row: tuple[int, ...],
    ) -> None:
        self._create, self._store = create, store
        self._dtype = np.dtype(dtype)
        self._row = row
        self._chunk_rows = max(1, CHUNK_ENTRIES // max(1, int(np.prod(row, dtype=np.int64))))
        self._waiting: list[np.ndarray] = []
        self._n_waiting = 0
        self._n_stored = 0
        self._array: Any = None

    def append(self, rows: np.ndarray) -> None:
        """Add rows; they are stored when there are enough of them for a wave of chunks."""
        # A copy, because callers reuse their buffers before these rows are stored.
        self._waiting.append(np.array(rows, dtype=self._dtype))
        self._n_waiting += len(rows)
        wave = self._chunk_rows * _CHUNKS_A_WAVE
        if self._n_waiting >= wave:
            self._flush(self._n_waiting - self._n_waiting % self._chunk_rows)

    def finish(self) -> None:
        """Store what waits; a small array gets one chunk of its own size."""
        if self._array is None:
            self._chunk_rows = max(1, min(self._chunk_rows, self._n_waiting))
        self._flush(self._n_waiting)

    def _flush(self, n_rows: int) -> None:
        if self._array is None:
            self._array = self._create(self._chunk_rows)
        if not n_rows:
            return
        rows = self._waiting[0] if len(self._waiting) == 1 else np.concatenate(self._waiting)
        self._waiting = [rows[n_rows:].copy()]
        self._n_waiting -= n_rows
        self._array.resize((self._n_stored + n_rows, *self._row))
        self._store(self._array, self._n_stored, rows[:n_rows])
        self._n_stored += n_rows


class Hdf5Appender(Appender):
    """Appends to an HDF5 file."""

    def _set_names(self, group: Any, attribute: str, names: list[str]) -> None:
        # h5py replaces an attribute by way of a randomly named one; deleting it first keeps the file's bytes the same.
        del group.attrs[attribute]
        group.attrs.create(attribute, np.array(names, dtype=object), dtype=h5py.string_dtype())

    def _write_legacy_column(self, var: Any, key: str, values: np.ndarray) -> None:
        """Tables of AnnData before 0.7 are one compound dataset: it is written again with one field more."""
        records = var[()]
        fields = [(name, var.dtype[name]) for name in records.dtype.names if name != key]
        wider = np.empty(records.shape, dtype=[*fields, (key, np.asarray(values).dtype)])
        for name, _ in fields:
            wider[name] = records[name]
        wider[key] = values
        attributes = dict(var.attrs)
        options = {
            "chunks": var.chunks,
            "compression": var.compression,
            "compression_opts": var.compression_opts,
            "shuffle": var.shuffle,
        }
        del self.root["var"]
        made = self.root.create_dataset("var", data=wider, dtype=wider.dtype, **options)
        made.attrs.update(attributes)

    def _growing(
        self, group: Any, name: str, dtype: Any, row: tuple[int, ...], pool: ThreadPoolExecutor, noisy: bool = False
    ) -> GrowingArray:
        packed = self._compression != "none"
        options = {"compression": "gzip", "compression_opts": 1, "shuffle": True} if packed else {}

        def create(chunk_rows: int) -> Any:
            return group.create_dataset(
                name,
                shape=(0, *row),
                maxshape=(None, *row),
                chunks=(chunk_rows, *[max(1, n) for n in row]),
                dtype=dtype,
                **options,
            )

        def store(array: Any, start: int, rows: np.ndarray) -> None:
            if not packed:
                array[start : start + len(rows)] = rows
                return
            # HDF5 compresses on one core, under its lock: the chunks are packed here, as its filters would, in threads.
            n = array.chunks[0]
            parts = [rows[first : first + n] for first in range(0, len(rows), n)]
            tail = (0,) * len(row)
            for number, stream in enumerate(pool.map(lambda part: pack_chunk(part, array.chunks, noisy), parts)):
                array.id.write_direct_chunk((start + number * n, *tail), stream)

        return GrowingArray(create, store, dtype, row)


def pack_chunk(rows: np.ndarray, chunks: tuple[int, ...], noisy: bool) -> bytes:
    """Bytes of one HDF5 chunk behind the shuffle and deflate filters.

    The low bytes of imputed values are noise, in which deflate searches repetitions in vain: coding them by frequency
    alone takes half the time and comes out smaller.
    """
    if rows.shape != chunks:
        whole = np.zeros(chunks, dtype=rows.dtype)
        whole[: len(rows)] = rows
        rows = whole
    size = rows.dtype.itemsize
    planes = np.ascontiguousarray(np.ascontiguousarray(rows).view(np.uint8).reshape(-1, size).T)
    strategy = zlib.Z_HUFFMAN_ONLY if noisy else zlib.Z_DEFAULT_STRATEGY
    packer = zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS, 9, strategy)
    return packer.compress(planes.data) + packer.flush()


class ZarrAppender(Appender):
    """Appends to a zarr group, version 2 or 3."""

    def _set_names(self, group: Any, attribute: str, names: list[str]) -> None:
        group.attrs[attribute] = names

    def _write_legacy_column(self, var: Any, key: str, values: np.ndarray) -> None:
        raise InputProblem("var of the zarr input is no table of AnnData 0.7 or later: rewrite it with anndata first")

    def _growing(
        self, group: Any, name: str, dtype: Any, row: tuple[int, ...], pool: ThreadPoolExecutor, noisy: bool = False
    ) -> GrowingArray:
        def create(chunk_rows: int) -> Any:
            return group.create_array(
                name,
                shape=(0, *row),
                chunks=(chunk_rows, *[max(1, n) for n in row]),
                dtype=np.dtype(dtype),
                compressors=self._codec(group.metadata.zarr_format),
            )

        def store(array: Any, start: int, rows: np.ndarray) -> None:
            array[start : start + len(rows)] = rows

        return GrowingArray(create, store, dtype, row)

    def _codec(self, zarr_format: int) -> Any:
        if self._compression == "none":
            return None
        if zarr_format == 2:
            import numcodecs

            return numcodecs.GZip(1) if self._compression == "gzip" else numcodecs.Zstd(1)
        from zarr.codecs import GzipCodec, ZstdCodec

        return GzipCodec(level=1) if self._compression == "gzip" else ZstdCodec(level=1)


def storable(value: Any) -> Any:
    """Turn a nested mapping of plain Python values into one that anndata writes; None is left out."""
    if isinstance(value, dict):
        return {str(key): storable(item) for key, item in value.items() if item is not None}
    if isinstance(value, (list, tuple)):
        return np.asarray(value, dtype=object if not value or isinstance(value[0], str) else None)
    return value


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the libraries' remarks on encodings off the user's screen."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
