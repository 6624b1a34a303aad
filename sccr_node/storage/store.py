"""Append matrices, columns and records to an AnnData store, HDF5 or zarr, without touching what is there."""

from __future__ import annotations

import io
import json
import os
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import h5py
import numpy as np

from sccr_node.errors import InputProblem
from sccr_node.runtime.resources import usable_cpus

# Entries a chunk: 256 KiB of float32, a few dozen cells, so that reading some cells does not decode the whole layer.
CHUNK_ENTRIES = 1 << 16
# Handed to the threads at once: bounds what waits in memory.
_CHUNKS_A_WAVE = 16

COMPRESSIONS = ("auto", "gzip", "none")


class Appender:
    """Adds elements to one store; what is common to both formats.

    Parameters
    ----------
    path
        The store.
    compression
        "auto" (gzip in HDF5, which every reader has; zstd in zarr), "gzip" or "none".
    threads
        How many chunks are compressed at a time. The bytes written do not depend on it.
    """

    root: Any

    def __init__(self, path: Path, compression: str = "auto", threads: int | None = None) -> None:
        self._path = path
        self._compression = compression
        self._threads = threads or usable_cpus()

    def close(self) -> None:
        """Finish the store; nothing can be appended after."""
        raise NotImplementedError

    def abandon(self) -> None:
        """Let go of a store that will be removed."""
        raise NotImplementedError

    def check(self) -> None:
        """Raise what the disk refused so far."""

    def delete(self, slot: str, key: str) -> None:
        """Remove an element, if it is there; a column of ``var`` keeps its place in the order."""
        if slot not in self.root:
            return
        if not hasattr(self.root[slot], "keys"):
            self._write_legacy_column(slot, key, None)
        elif key in self.root[slot]:
            del self.root[slot][key]

    def write_csr(
        self, slot: str, key: str, shape: tuple[int, int], blocks: Iterable[Any], dtype: Any = np.float32
    ) -> int:
        """Write a CSR matrix from blocks of whole rows; returns the number of its entries.

        ``indices`` are int32; ``indptr`` is int64 only where the entries are more than int32 counts.
        """
        group = self._slot(slot).create_group(key)
        self._mark(group, "csr_matrix", "0.1.0")
        group.attrs["shape"] = [int(side) for side in shape]  # a list: zarr keeps attributes as JSON
        row_ends = np.zeros(shape[0] + 1, dtype=np.int64)
        first = 0
        with ThreadPoolExecutor(self._threads) as pool:
            data = self._growing(group, "data", dtype, (), pool, noisy=True)
            indices = self._growing(group, "indices", np.int32, (), pool)
            for block in blocks:
                last = first + block.shape[0]
                row_ends[first + 1 : last + 1] = row_ends[first] + block.indptr[1:]
                # In steps of a chunk: waves of both come in turns, and the file's bytes do not hang on the blocks.
                for start in range(0, block.nnz, CHUNK_ENTRIES):
                    data.append(block.data[start : start + CHUNK_ENTRIES])
                    indices.append(block.indices[start : start + CHUNK_ENTRIES])
                first = last
            data.finish()
            indices.finish()
            n_entries = int(row_ends[-1])
            indptr = self._growing(group, "indptr", np.int32 if n_entries < 2**31 else np.int64, (), pool)
            indptr.append(row_ends)
            indptr.finish()
        if first != shape[0]:
            raise ValueError(f"{first} rows were given for {slot}/{key}, which has {shape[0]}")
        self.check()
        return n_entries

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
            raise ValueError(f"{n_rows} rows were given for {slot}/{key}, which has {shape[0]}")
        self._mark(parent[key], "array", "0.2.0")
        self.check()

    def write_record(self, slot: str, key: str, record: dict[str, Any]) -> None:
        """Write a nested mapping of numbers, strings, booleans and lists of them; nothing (None) is left out."""
        from anndata.io import write_elem

        with quiet():
            write_elem(self._slot(slot), key, storable(record))
        self.check()

    def write_var_column(self, key: str, values: np.ndarray) -> None:
        """Append a column to ``var``, last in its order; where it exists it keeps its place."""
        from anndata.io import write_elem

        var = self.root["var"]
        if not hasattr(var, "keys"):
            self._write_legacy_column("var", key, values)
            return
        order = [name.decode() if isinstance(name, bytes) else str(name) for name in var.attrs.get("column-order", ())]
        with quiet():
            write_elem(var, key, values)
        if key not in order:
            self._set_names(var, "column-order", [*order, key])
        self.check()

    def _slot(self, slot: str) -> Any:
        if slot not in self.root:
            self._mark(self.root.create_group(slot), "dict", "0.1.0")
        return self.root[slot]

    @staticmethod
    def _mark(element: Any, encoding: str, version: str) -> None:
        element.attrs["encoding-type"] = encoding
        element.attrs["encoding-version"] = version

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
        """Make the array, empty, in chunks of this shape."""

    def pack(self, chunk: np.ndarray) -> bytes:
        """Bytes of a chunk as they are stored."""

    def put(self, number: int, stream: bytes) -> None:
        """Store the bytes of a chunk, by its number along the first axis."""

    def resize(self, n_rows: int) -> None:
        """Set the length of the first axis."""


class GrowingArray:
    """An array that grows along its first axis, packed in threads and stored in whole chunks, in order.

    The libraries compress under one lock (HDF5) or leave work behind when the disk is full (zarr): the chunks are
    packed here, as they would, and handed over ready.

    Parameters
    ----------
    store
        Where the chunks go.
    dtype
        Type stored.
    row
        Shape of one row.
    pool
        Threads that pack.
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
        """Add rows; they are stored when there are enough of them for a wave of chunks."""
        # A copy, because callers reuse their buffers before these rows are stored.
        self._waiting.append(np.array(rows, dtype=self._dtype))
        self._n_waiting += len(rows)
        self._n_rows += len(rows)
        if self._n_waiting >= self._chunk_rows * _CHUNKS_A_WAVE:
            self._flush(self._n_waiting // self._chunk_rows)

    def finish(self) -> None:
        """Store what waits; an array of less than a chunk gets one of its own size."""
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
    """Fill the last chunk of an array up with zeros: chunks are stored whole."""
    if rows.shape == chunks:
        return np.ascontiguousarray(rows)
    chunk = np.zeros(chunks, dtype=rows.dtype)
    chunk[: len(rows)] = rows
    return chunk


class Hdf5Appender(Appender):
    """Appends to an HDF5 file."""

    def __init__(self, path: Path, compression: str = "auto", threads: int | None = None) -> None:
        super().__init__(path, compression, threads)
        self._file = CarefulFile(path)
        self.root = h5py.File(self._file, "r+")

    def close(self) -> None:
        """Write what HDF5 still holds, and raise where the disk refused any of it."""
        self.root.close()
        self._file.close()
        self.check()

    def abandon(self) -> None:
        """Close the file without writing any more."""
        self._file.give_up()
        if self.root:
            self.root.close()
        self._file.close()

    def check(self) -> None:
        """Raise what the disk refused so far."""
        if self._file.failure is not None:
            raise self._file.failure

    def _set_names(self, group: Any, attribute: str, names: list[str]) -> None:
        # h5py replaces an attribute by way of a randomly named one; deleting it first keeps the file's bytes the same.
        if attribute in group.attrs:
            del group.attrs[attribute]
        group.attrs.create(attribute, np.array(names, dtype=object), dtype=h5py.string_dtype())

    def _write_legacy_column(self, slot: str, key: str, values: np.ndarray | None) -> None:
        """Tables of AnnData before 0.7 are one compound dataset: it is written again with one field more, or less."""
        table = self.root[slot]
        records = table[()]
        if values is None and (key not in records.dtype.names or len(records.dtype.names) == 1):
            return
        fields: list[Any] = [(name, table.dtype[name]) for name in records.dtype.names if name != key]
        added = [] if values is None else [(key, values.dtype, values.shape[1:])]
        wider = np.empty(records.shape, dtype=[*fields, *added])
        for name, _ in fields:
            wider[name] = records[name]
        if values is not None:
            wider[key] = values
        attributes = dict(table.attrs)
        options = {
            "chunks": table.chunks,
            "compression": table.compression,
            "compression_opts": table.compression_opts,
            "shuffle": table.shuffle,
        }
        del self.root[slot]
        made = self.root.create_dataset(slot, data=wider, dtype=wider.dtype, **options)
        made.attrs.update(attributes)

    def _growing(
        self, group: Any, name: str, dtype: Any, row: tuple[int, ...], pool: ThreadPoolExecutor, noisy: bool = False
    ) -> GrowingArray:
        packed = self._compression != "none"
        return GrowingArray(_Hdf5Chunks(self, group, name, np.dtype(dtype), row, packed, noisy), dtype, row, pool)


class _Hdf5Chunks:
    """Chunks of an HDF5 dataset behind the shuffle and deflate filters, or none."""

    def __init__(
        self,
        appender: Appender,
        group: Any,
        name: str,
        dtype: np.dtype[Any],
        row: tuple[int, ...],
        packed: bool,
        noisy: bool,
    ) -> None:
        self._appender, self._group, self._name = appender, group, name
        self._dtype, self._row = dtype, row
        self._packed = packed
        # The low bytes of imputed values are noise, in which deflate searches repetitions in vain: coding them by
        # frequency alone takes half the time and comes out smaller.
        self._strategy = zlib.Z_HUFFMAN_ONLY if noisy else zlib.Z_DEFAULT_STRATEGY
        self._dataset: Any = None

    def create(self, chunks: tuple[int, ...]) -> None:
        filters = {"compression": "gzip", "compression_opts": 1, "shuffle": True} if self._packed else {}
        # A side without end, or HDF5 would have a chunk of one not fit a side of none (one cell has no components).
        limits = (None, *[side or None for side in self._row])
        self._dataset = self._group.create_dataset(
            self._name, shape=(0, *self._row), maxshape=limits, chunks=chunks, dtype=self._dtype, **filters
        )

    def pack(self, chunk: np.ndarray) -> bytes:
        if not self._packed:
            return chunk.tobytes()
        planes = np.ascontiguousarray(chunk.view(np.uint8).reshape(-1, self._dtype.itemsize).T)
        packer = zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS, 9, self._strategy)
        return packer.compress(planes.data) + packer.flush()

    def put(self, number: int, stream: bytes) -> None:
        origin = (number * self._dataset.chunks[0], *[0] * len(self._row))
        self._dataset.id.write_direct_chunk(origin, stream)
        self._appender.check()

    def resize(self, n_rows: int) -> None:
        self._dataset.resize((n_rows, *self._row))


class CarefulFile(io.RawIOBase):
    """The file that HDF5 writes through: remembers the first refusal of the disk, and accepts everything after it.

    HDF5 loses some failures of the disk (at the closing of a dataset), and crashes at the exit of the process after
    others (of a file's metadata). So it sees none: ``failure`` keeps the first, for whoever appends to look at.
    """

    def __init__(self, path: Path) -> None:
        self._raw = path.open("r+b", buffering=0)
        self._end = self._raw.seek(0, os.SEEK_END)
        self._position = 0
        self.failure: BaseException | None = None

    def readable(self) -> bool:
        """Whether it can be read: yes."""
        return True

    def writable(self) -> bool:
        """Whether it can be written: yes."""
        return True

    def seekable(self) -> bool:
        """Whether it has a position: yes."""
        return True

    def give_up(self) -> None:
        """Write nothing any more."""
        if self.failure is None:
            self.failure = OSError("the output was abandoned")

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Set the position."""
        self._position = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._end}[whence] + offset
        return self._position

    def tell(self) -> int:
        """Tell the position."""
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer; beyond what the disk took there are zeros."""
        view = memoryview(buffer).cast("B")
        self._raw.seek(self._position)
        n = 0
        while n < len(view) and (got := self._raw.readinto(view[n:])):
            n += got
        view[n:] = bytes(len(view) - n)
        self._position += len(view)
        return len(view)

    def write(self, buffer: Any) -> int:
        """Write all of a buffer, or remember why not."""
        view = memoryview(buffer).cast("B")
        if self.failure is None:
            try:
                self._raw.seek(self._position)
                n = 0
                while n < len(view):
                    n += self._raw.write(view[n:])
            except BaseException as error:  # noqa: BLE001 an interrupt must not reach HDF5 either; check() raises it
                self.failure = error
        self._position += len(view)
        self._end = max(self._end, self._position)
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        """Set the length, or remember why not."""
        size = self._position if size is None else size
        if self.failure is None:
            try:
                self._raw.truncate(size)
            except BaseException as error:  # noqa: BLE001 as in write
                self.failure = error
        self._end = size
        return size

    def close(self) -> None:
        """Close the file."""
        if not self.closed:
            self._raw.close()
        super().close()


class ZarrAppender(Appender):
    """Appends to a zarr group, version 2 or 3."""

    def __init__(self, path: Path, compression: str = "auto", threads: int | None = None) -> None:
        import zarr

        super().__init__(path, compression, threads)
        self.root = zarr.open_group(store=str(path), mode="r+", use_consolidated=False)

    def close(self) -> None:
        """Bring consolidated metadata up to date, or readers that trust it would not see what was appended."""
        import zarr

        if is_consolidated(self._path):
            with quiet():
                zarr.consolidate_metadata(str(self._path))

    def abandon(self) -> None:
        """There is nothing to let go of."""

    def _set_names(self, group: Any, attribute: str, names: list[str]) -> None:
        group.attrs[attribute] = names

    def _write_legacy_column(self, slot: str, key: str, values: np.ndarray | None) -> None:
        raise InputProblem(
            f"{slot} of the zarr input is no table of AnnData 0.7 or later: rewrite it with anndata first"
        )

    def _growing(
        self, group: Any, name: str, dtype: Any, row: tuple[int, ...], pool: ThreadPoolExecutor, noisy: bool = False
    ) -> GrowingArray:
        place = self._path / group.path / name
        return GrowingArray(_ZarrChunks(group, name, np.dtype(dtype), row, place, self._compression), dtype, row, pool)


class _ZarrChunks:
    """Chunks of a zarr array, one file each."""

    def __init__(
        self, group: Any, name: str, dtype: np.dtype[Any], row: tuple[int, ...], place: Path, compression: str
    ) -> None:
        self._group, self._name, self._place = group, name, place
        self._dtype, self._row = dtype, row
        self._compression = compression
        self._array: Any = None
        self._pack: Callable[[bytes], Any] = bytes

    def create(self, chunks: tuple[int, ...]) -> None:
        import numcodecs
        from zarr.codecs import GzipCodec, ZstdCodec

        is_v2 = self._group.metadata.zarr_format == 2
        codec: Any = None
        if self._compression == "gzip":
            codec = numcodecs.GZip(1) if is_v2 else GzipCodec(level=1)
            self._pack = numcodecs.GZip(1).encode
        elif self._compression == "auto":
            codec = numcodecs.Zstd(1) if is_v2 else ZstdCodec(level=1)
            self._pack = numcodecs.Zstd(1).encode
        self._array = self._group.create_array(
            self._name, shape=(0, *self._row), chunks=chunks, dtype=self._dtype, compressors=codec
        )

    def pack(self, chunk: np.ndarray) -> bytes:
        return bytes(self._pack(chunk.tobytes()))

    def put(self, number: int, stream: bytes) -> None:
        file = self._place / self._array.metadata.encode_chunk_key((number, *[0] * len(self._row)))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(stream)

    def resize(self, n_rows: int) -> None:
        self._array.resize((n_rows, *self._row))


def is_consolidated(path: Path) -> bool:
    """Whether a zarr store has its metadata gathered at the root."""
    if (path / ".zmetadata").exists():
        return True
    root = path / "zarr.json"
    return root.exists() and bool(json.loads(root.read_text()).get("consolidated_metadata"))


def storable(value: Any) -> Any:
    """Turn a nested mapping of plain Python values into one that anndata writes; None is left out."""
    if isinstance(value, dict):
        return {str(key): storable(item) for key, item in value.items() if item is not None}
    if isinstance(value, (list, tuple)):
        return np.asarray(value, dtype=object if not value or isinstance(value[0], str) else None)
    return value


def write_h5ad(path: Path, adata: Any) -> None:
    """Write an AnnData object as it is (no strings made categorical) to an HDF5 file that exists and is ours."""
    from anndata.io import write_elem

    # Not AnnData.write_h5ad: it locks the file, which the staging has locked already, and may crash on a full disk.
    file = CarefulFile(path)
    try:
        with quiet(), h5py.File(file, "w") as root:
            write_elem(root, "/", adata, dataset_kwargs={"compression": "gzip", "compression_opts": 1})
            if adata.raw is None:
                root.pop("raw", None)  # "null", which no anndata before 0.12 can read
    finally:
        file.close()
    if file.failure is not None:
        raise file.failure


def write_zarr(path: Path, adata: Any) -> None:
    """Write an AnnData object as it is (no strings made categorical) to an empty folder, as zarr version 2.

    The store is made in memory first: zarr writes to a disk from many tasks, which a full one leaves undone and loud.
    Version 2 is what every AnnData reads.
    """
    import anndata
    from zarr.storage import MemoryStore

    files: dict[str, Any] = {}
    with quiet(), anndata.settings.override(zarr_write_format=2):
        anndata.io.write_zarr(MemoryStore(files), adata, convert_strings_to_categoricals=False)
    for name, content in files.items():
        file = path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.to_bytes())


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the libraries' remarks on names, encodings and versions off the user's screen."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
