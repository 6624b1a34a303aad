"""AnnData in an HDF5 file, ``.h5ad``."""

from __future__ import annotations

import io
import json
import os
import zlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from sccr_node.errors import InputProblem
from sccr_node.runtime import signals
from sccr_node.runtime.standins import read_through
from sccr_node.storage.copying import copy_file
from sccr_node.storage.store import Appender, GrowingArray, StoreFormat, is_text, quiet, write_anndata
from sccr_node.storage.targets import Target

FILTERS = {
    4: "szip", 305: "lzo", 307: "bzip2", 32000: "lzf", 32001: "blosc", 32004: "lz4", 32008: "bitshuffle", 32013: "zfp",
    32015: "zstd", 32017: "sz", 32024: "sz3", 32026: "blosc2", 32028: "sperr",
}  # fmt: skip
"""The usual filters by their registered numbers: what a file says about them is often a sentence."""
NOISY_BITS = 7.5
SAMPLED_BYTE = 16
"""Bytes of imputed values that need more bits than this are stored as they are; one in so many is looked at."""

_HEADER_BYTES = 60_000
_REFERENCE_BYTES = 16
"""What a text takes in an array of texts."""


class H5adFormat(StoreFormat):
    """AnnData in an HDF5 file."""

    name = "h5ad"
    suffix = ".h5ad"
    is_folder = False

    def matches(self, path: Path) -> bool:
        """Return whether this is an HDF5 file."""
        return path.is_file() and h5py.is_hdf5(path)

    def not_anndata(self, path: Path) -> str:
        """Return the error message for an HDF5 file without obs and var."""
        return (
            f"{path} is an HDF5 file, but neither AnnData (no obs and var) nor a 10x matrix: give an .h5ad file, an "
            "AnnData .zarr folder, a 10x .h5 file or a 10x folder with matrix.mtx"
        )

    def opened(self, path: Path) -> AbstractContextManager[Any]:
        """Open the file for reading."""
        # Shared file systems often have no locks, or refuse them with their own error; a copy that is still staged is
        # locked by this very process. Reading requires no lock.
        file: AbstractContextManager[Any]
        found = read_through(path)
        try:
            file = h5py.File(found, "r", locking="best-effort")
        except OSError:
            file = h5py.File(found, "r", locking=False)
        with ExitStack() as failing:
            failing.enter_context(file)
            if find_spec("hdf5plugin") is not None and missing_filters(file):
                import hdf5plugin  # noqa: F401  (which registers its filters)
            failing.pop_all()
        return file

    def appender(self, path: Path, compression: str, threads: int | None, *, new: bool = False) -> Appender:
        """Open the file for appending."""
        return Hdf5Appender(path, compression, threads, new=new)

    def copy(self, source: Path, target: Path, *, hashed: bool) -> str | None:
        """Copy the file."""
        return copy_file(source, target, hashed=hashed)

    def read(self, path: Path) -> Any:
        """Read the whole file as AnnData."""
        import anndata

        with self.opened(path), quiet():  # which registers filters, if there are others than HDF5's own
            try:
                return anndata.read_h5ad(path)
            except (
                OSError
            ):  # anndata opens files with a lock, which some file systems refuse; HDF5 locks no file object
                with path.open("rb") as file:
                    return anndata.read_h5ad(file)

    def write(self, path: Path, adata: Any) -> None:
        """Write AnnData to the file."""
        write_h5ad(path, adata)

    def target(self, path: Path) -> Target:
        """Return a file."""
        return Target(path)

    def elsewhere(self, root: Any) -> tuple[str, str] | None:
        """Find a link to another file, a virtual data set (fill values if its source is missing), or external data."""
        found: list[tuple[str, str]] = []

        def look_at_link(name: bytes, info: Any) -> tuple[str, str] | None:
            if info.type == h5py.h5l.TYPE_EXTERNAL:
                found.append((os.fsdecode(name), "a link to another file"))
            return found[0] if found else None

        def look(name: bytes, info: Any) -> tuple[str, str] | None:
            if info.type == h5py.h5o.TYPE_DATASET:
                options = h5py.h5d.open(root.id, name).get_create_plist()
                if options.get_layout() == h5py.h5d.VIRTUAL:
                    found.append((os.fsdecode(name), "a virtual data set"))
                elif options.get_external_count():
                    found.append((os.fsdecode(name), "a data set with its values in another file"))
            return found[0] if found else None

        try:
            root.id.links.visit(look_at_link, info=True)
            if not found:
                h5py.h5o.visit(root.id, look, info=True)
        except (OSError, RuntimeError, KeyError, ValueError):
            pass  # damage is told of what is read, and by name
        return found[0] if found else None

    def check_slots(self, root: Any, slots: set[str], path: Path) -> None:
        """Refuse plain arrays."""
        for slot in sorted(slots & set(root)):
            element = root[slot]
            if not hasattr(element, "keys") and not (slot in ("obsm", "obs", "var") and element.dtype.names):
                raise InputProblem(
                    f"cannot add to {slot} of {path}: it is a plain array; rewrite the file with anndata first"
                )


class Hdf5Appender(Appender):
    """Appends to an HDF5 file, or to a group in it (``within``)."""

    noun = "an HDF5 file"

    def __init__(
        self, path: Path, compression: str = "auto", threads: int | None = None, *, new: bool = False, within: str = "/"
    ) -> None:
        super().__init__(path, compression, threads)
        self._file = CarefulFile(path)
        self._opened = h5py.File(self._file, "w" if new else "r+")
        self.root = self._opened[within]

    def close(self) -> None:
        """Write what HDF5 still buffers, and raise if the disk refused any of it."""
        self._opened.close()
        self._file.close()
        self.check()

    def abandon(self) -> None:
        """Close the file without writing anything more."""
        self._file.give_up()
        if self._opened:
            self._opened.close()
        self._file.close()

    def check(self) -> None:
        """Raise the first error of the disk, if there was one."""
        if self._file.failure is not None:
            raise self._file.failure

    def move(self, old: str, new: str) -> None:
        """Rename an element, and leave the file's other bytes as they are."""
        self.root.move(old, new)
        self.check()

    def create_group(self, parent: Any, name: str, attributes: Mapping[str, Any]) -> Any:
        """Create a group with attributes."""
        stored = {key: _attribute(value) for key, value in attributes.items()}
        # More than HDF5 keeps in an object's header (64 KiB) goes elsewhere only if their order is tracked.
        size = sum(value.size * _REFERENCE_BYTES for value in stored.values() if isinstance(value, np.ndarray))
        group = parent.create_group(name, track_order=size > _HEADER_BYTES or None)
        self._set(group, stored)
        return group

    def set_attributes(self, element: Any, attributes: Mapping[str, Any]) -> None:
        """Set attributes; what is not a value or an array of one type (JSON of zarr) is stored as JSON text."""
        self._set(element, {key: _attribute(value) for key, value in attributes.items()})

    @staticmethod
    def _set(element: Any, stored: Mapping[str, Any]) -> None:
        for key, value in stored.items():
            text = isinstance(value, np.ndarray) and value.dtype.kind == "O"
            element.attrs.create(key, value, dtype=h5py.string_dtype() if text else None)

    def _stored_type(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        if dtype.kind == "O" and not is_text(dtype):
            raise ValueError("values of varying length, or references to other elements")
        text, times = is_text(dtype), dtype.kind in "mM"
        stored: np.dtype[Any] = h5py.string_dtype() if text else h5py.opaque_dtype(dtype) if times else dtype
        return stored

    def _write_small(self, parent: Any, name: str, values: np.ndarray, attributes: Mapping[str, Any]) -> None:
        parent.create_dataset(name, data=values, dtype=self._stored_type(values.dtype))
        self.set_attributes(parent[name], attributes)

    def _create_scalar(self, parent: Any, name: str, value: Any, dtype: np.dtype[Any]) -> None:
        parent.create_dataset(name, data=np.array(value, dtype=dtype), dtype=dtype)

    def _set_names(self, group: Any, attribute: str, names: list[str]) -> None:
        if len(names) * _REFERENCE_BYTES > _HEADER_BYTES:
            group = self._with_room(group)
        # h5py replaces an attribute via a randomly named one; deleting it first keeps the file's bytes reproducible.
        if attribute in group.attrs:
            del group.attrs[attribute]
        group.attrs.create(attribute, np.array(names, dtype=object), dtype=h5py.string_dtype())

    def _with_room(self, group: Any) -> Any:
        """Return a group, replaced if need be by the same one with room for attributes above 64 KiB."""
        if group.id.get_create_plist().get_attr_creation_order():
            return group
        roomy = self.root.create_group(None, track_order=True)
        for key in group:
            link = group.get(key, getlink=True)
            roomy[key] = group[key] if isinstance(link, h5py.HardLink) else link
        self._set(roomy, dict(group.attrs))
        name = group.name
        del self.root[name]
        self.root[name] = roomy
        return roomy

    def _write_legacy_column(self, slot: str, key: str, values: np.ndarray | None) -> None:
        """Rewrite a table of AnnData before 0.7, which is one compound dataset, with one field more or less."""
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
        if np.dtype(dtype).hasobject:
            return GrowingArray(_Hdf5Objects(self, group, name, np.dtype(dtype), row), dtype, row, pool)
        packed = self._compression != "none"
        return GrowingArray(_Hdf5Chunks(self, group, name, np.dtype(dtype), row, packed, noisy), dtype, row, pool)


class _Hdf5Chunks:
    """Chunks of an HDF5 dataset, with shuffle and deflate filters or uncompressed."""

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
        self._packed, self._noisy = packed, noisy
        self._dataset: Any = None

    def create(self, chunks: tuple[int, ...]) -> None:
        filters = {"compression": "gzip", "compression_opts": 1, "shuffle": True} if self._packed else {}
        # Sides of length 0 are unlimited, because HDF5 refuses chunks of 1 on them (a single cell has no components).
        limits = (None, *[side or None for side in self._row])
        self._dataset = self._group.create_dataset(
            self._name, shape=(0, *self._row), maxshape=limits, chunks=chunks, dtype=self._dtype, **filters
        )

    def pack(self, chunk: np.ndarray) -> bytes:
        if not self._packed:
            return chunk.tobytes()
        planes = np.ascontiguousarray(chunk.view(np.uint8).reshape(-1, self._dtype.itemsize).T)
        if self._noisy:
            return deflated_by_plane(planes)
        packer = zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS, 9)
        return packer.compress(planes.data) + packer.flush()

    def put(self, number: int, stream: bytes) -> None:
        origin = (number * self._dataset.chunks[0], *[0] * len(self._row))
        self._dataset.id.write_direct_chunk(origin, stream)
        self._appender.check()

    def resize(self, n_rows: int) -> None:
        self._dataset.resize((n_rows, *self._row))


def deflated_by_plane(planes: np.ndarray) -> bytes:
    """Return a zlib stream of the bytes of imputed values: all first bytes, all second ones, and so on.

    Their low bytes are noise, in which deflate looks for repetitions in vain. So bytes are coded by frequency alone,
    which gives smaller files, and planes in which all bytes are as frequent are stored.
    """
    stream = [b"\x78\x01"]  # zlib's header: a window of 32 KiB, the fastest level
    for number, plane in enumerate(planes, 1):
        level = 0 if _bits(plane[::SAMPLED_BYTE]) > NOISY_BITS else 1
        packer = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS, 9, zlib.Z_HUFFMAN_ONLY)
        end = zlib.Z_FINISH if number == len(planes) else zlib.Z_FULL_FLUSH
        stream += [packer.compress(plane), packer.flush(end)]
    return b"".join([*stream, zlib.adler32(planes.data.cast("B")).to_bytes(4, "big")])


def _bits(values: np.ndarray) -> float:
    """Return the bits per byte that a code by frequency needs (the entropy)."""
    counts = np.bincount(values, minlength=256)
    shares = counts[counts > 0] / max(1, len(values))
    return float(-(shares * np.log2(shares)).sum())


class _Hdf5Objects:
    """Chunks of text or records with text, whose values lie outside the chunks: HDF5 itself has to write them."""

    def __init__(self, appender: Appender, group: Any, name: str, dtype: np.dtype[Any], row: tuple[int, ...]) -> None:
        self._appender, self._group, self._name = appender, group, name
        self._dtype, self._row = dtype, row
        self._dataset: Any = None

    def create(self, chunks: tuple[int, ...]) -> None:
        limits = (None, *[side or None for side in self._row])
        self._dataset = self._group.create_dataset(
            self._name, shape=(0, *self._row), maxshape=limits, chunks=chunks, dtype=self._dtype
        )

    def pack(self, chunk: np.ndarray) -> np.ndarray:
        return chunk

    def put(self, number: int, stream: np.ndarray) -> None:
        first = number * self._dataset.chunks[0]
        last = min(first + len(stream), self._dataset.shape[0])
        self._dataset[first:last] = stream[: last - first].astype(self._dtype)
        self._appender.check()

    def resize(self, n_rows: int) -> None:
        self._dataset.resize((n_rows, *self._row))


def _attribute(value: Any) -> Any:
    """Return an attribute as HDF5 can store it; JSON that is more than a value or an array becomes text."""
    if value is None:
        return h5py.Empty("f")
    if isinstance(value, (list, dict)):
        plain = isinstance(value, list) and all(isinstance(item, str) for item in value)
        try:
            array = np.array(value, dtype=object if plain else None)
        except ValueError:  # lists of different lengths
            return json.dumps(value)
        return array if plain or array.dtype.kind in "biuf" else json.dumps(value)
    dtype = getattr(value, "dtype", None)
    if isinstance(value, h5py.Reference) or (dtype is not None and dtype.kind == "O" and not is_text(dtype)):
        raise ValueError("an attribute with references, or with values of varying length")
    return value


class CarefulFile(io.RawIOBase):
    """The file that HDF5 writes through: remembers the first error of the disk, and ignores all writes after it.

    HDF5 loses some disk errors (when it closes a dataset), and crashes at the end of the process after others (in a
    file's metadata). So it is shown none: ``failure`` keeps the first one, for the appender to raise.
    """

    def __init__(self, path: Path) -> None:
        self._raw = path.open("r+b", buffering=0)
        self._end = self._raw.seek(0, os.SEEK_END)
        self._position = 0
        self.failure: BaseException | None = None

    def readable(self) -> bool:
        """Return True."""
        return True

    def writable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def give_up(self) -> None:
        """Ignore all further writes."""
        if self.failure is None:
            self.failure = OSError("the output was abandoned")

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Set the position."""
        self._position = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._end}[whence] + offset
        return self._position

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer, with zeros for what could not be written to the disk."""
        view = memoryview(buffer).cast("B")
        self._raw.seek(self._position)
        n = 0
        while n < len(view) and (got := self._raw.readinto(view[n:])):
            n += got
        view[n:] = bytes(len(view) - n)
        self._position += len(view)
        return len(view)

    def write(self, buffer: Any) -> int:
        """Write a whole buffer, or remember why that failed."""
        view = memoryview(buffer).cast("B")
        if self.failure is None:
            try:
                signals.check()
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
        """Set the length, or remember why that failed."""
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


def write_h5ad(path: Path, adata: Any) -> None:
    """Write an AnnData object as it is (strings stay strings) to an existing HDF5 file of ours."""
    # Not AnnData.write_h5ad: it locks the file, which is already locked for staging, and can crash on a full disk.
    file = CarefulFile(path)
    try:
        with h5py.File(file, "w") as root:
            write_anndata(root, adata, compression="gzip", compression_opts=1)
    finally:
        file.close()
    if file.failure is not None:
        raise file.failure


def missing_filters(file: h5py.File) -> list[str]:
    """Return the names of the filters, such as compressions, that a file uses and that are not installed."""
    found: dict[int, str] = {}

    def look(name: bytes, info: Any) -> None:
        if info.type == h5py.h5o.TYPE_DATASET:
            options = h5py.h5d.open(file.id, name).get_create_plist()
            for number in range(options.get_nfilters()):
                code, _, _, label = options.get_filter(number)
                if not h5py.h5z.filter_avail(code):
                    said = label.decode("utf-8", "replace").removeprefix("HDF5 ").partition(";")[0]
                    found[code] = FILTERS.get(code) or said or f"number {code}"

    h5py.h5o.visit(file.id, look, info=True)
    return list(dict.fromkeys(found.values()))


FORMAT = H5adFormat()
