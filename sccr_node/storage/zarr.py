"""AnnData in a zarr folder, version 2 or 3, ``.zarr``."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from sccr_node.errors import InputProblem
from sccr_node.storage.copying import copy_tree, tree
from sccr_node.storage.store import Appender, GrowingArray, StoreFormat, is_text, quiet, write_anndata
from sccr_node.storage.targets import METADATA, StoreTarget, Target, has_zarr_group

MOST_CHUNKS = 2**22
"""Of an array: 10 billion values in chunks of 10,000 are a million."""


class ZarrFormat(StoreFormat):
    """AnnData in a zarr folder."""

    name = "zarr"
    suffix = ".zarr"
    is_folder = True

    def matches(self, path: Path) -> bool:
        """Return whether this is a folder with a zarr group."""
        return has_zarr_group(path)

    def not_anndata(self, path: Path) -> str:
        """Return the error message for a zarr folder without obs and var."""
        return f"{path} is a zarr store, but not an AnnData one (no obs and var)"

    @contextmanager
    def opened(self, path: Path) -> Iterator[Any]:
        """Open the folder for reading."""
        import zarr

        for folder, folders, names in tree(path):  # refuses pipes, devices and links to nothing, which zarr would read
            _check_folder(Path(folder), folders, names)
        # The tree is authoritative: consolidated metadata may be older than the last key added.
        yield zarr.open_group(store=str(path), mode="r", use_consolidated=False)

    def appender(self, path: Path, compression: str, threads: int | None, *, new: bool = False) -> Appender:
        """Open the folder for appending."""
        return ZarrAppender(path, compression, threads, new=new)

    def copy(self, source: Path, target: Path, *, hashed: bool) -> str | None:
        """Copy the folder's files."""
        return copy_tree(source, target, hashed=hashed)

    def read(self, path: Path) -> Any:
        """Read the whole folder as AnnData."""
        import anndata

        with quiet():
            return anndata.read_zarr(path)

    def write(self, path: Path, adata: Any) -> None:
        """Write AnnData to the folder."""
        write_zarr(path, adata)

    def target(self, path: Path) -> Target:
        """Return a folder that can replace only zarr stores."""
        return StoreTarget(path)

    def check_slots(self, root: Any, slots: set[str], path: Path) -> None:
        """Refuse plain arrays."""
        for slot in sorted(slots & set(root)):
            if not hasattr(root[slot], "keys"):
                raise InputProblem(
                    f"cannot add to {slot} of {path}: it is a plain array; rewrite the store with anndata first"
                )


class ZarrAppender(Appender):
    """Appends to a zarr group, version 2 or 3."""

    noun = "a zarr store"

    def __init__(self, path: Path, compression: str = "auto", threads: int | None = None, *, new: bool = False) -> None:
        import zarr

        super().__init__(path, compression, threads)
        if new:  # version 2: every version of AnnData reads it
            zarr.create_group(store=str(path), zarr_format=2)
            with quiet():
                zarr.consolidate_metadata(str(path))
        self.root = zarr.open_group(store=str(path), mode="r+", use_consolidated=False)

    def close(self) -> None:
        """Update consolidated metadata, or readers that rely on it would not see what was appended."""
        import zarr

        if is_consolidated(self._path):
            with quiet():
                zarr.consolidate_metadata(str(self._path))

    def abandon(self) -> None:
        """Do nothing: there is nothing to release."""

    def move(self, old: str, new: str) -> None:
        """Rename an element's folder."""
        (self._path / old).rename(self._path / new)

    def create_group(self, parent: Any, name: str, attributes: Mapping[str, Any]) -> Any:
        """Create a group with attributes."""
        self.check_name(name)
        return parent.create_group(name, attributes={key: _json(value) for key, value in attributes.items()})

    def set_attributes(self, element: Any, attributes: Mapping[str, Any]) -> None:
        """Set attributes, as JSON."""
        element.attrs.update({key: _json(value) for key, value in attributes.items()})

    def check_name(self, name: str) -> None:
        """Raise ValueError for names that are not those of a file, or that zarr itself uses."""
        if name in (".", "..") or name in METADATA or "\\" in name or len(os.fsencode(name)) > 255:
            raise ValueError(f"an element with the name {name!r}")

    def _stored_type(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        if is_text(dtype):
            return np.dtype(object)
        widest = {"f": 8, "c": 16}.get(dtype.kind, dtype.itemsize)
        if dtype.kind not in "biufcSVmM" or dtype.itemsize > widest:
            raise ValueError(f"values of the type {dtype}, or of varying length, or references to other elements")
        return np.dtype(dtype.str) if dtype.itemsize else np.dtype("S1")  # without what h5py notes in a type

    def _records(self, values: np.ndarray) -> np.ndarray:
        # zarr writes them, but does not read them.
        if any(field[0].subdtype or field[0].names for field in (values.dtype.fields or {}).values()):
            raise ValueError("records with several values in a field")
        return super()._records(values)

    def _field(self, column: np.ndarray) -> np.ndarray:
        if not is_text(column.dtype):
            return super()._field(column)
        # Records of zarr have no text of variable length.
        return np.array([_str(value) for value in column.ravel()], dtype=str).reshape(column.shape)

    def _write_small(self, parent: Any, name: str, values: np.ndarray, attributes: Mapping[str, Any]) -> None:
        place = self._path / parent.path / name
        store = _ZarrChunks(parent, name, values.dtype, values.shape[1:], place, self._compression)
        store.create(values.shape, values.shape, {key: _json(value) for key, value in attributes.items()})
        store.put(0, store.pack(values))

    def _create_scalar(self, parent: Any, name: str, value: Any, dtype: np.dtype[Any]) -> None:
        text = dtype.hasobject
        array = parent.create_array(name, shape=(), dtype=str if text else dtype)
        array[...] = np.array(_str(value) if text else value, dtype=None if text else dtype)

    def _set_names(self, group: Any, attribute: str, names: list[str]) -> None:
        group.attrs[attribute] = names

    def _write_legacy_column(self, slot: str, key: str, values: np.ndarray | None) -> None:
        raise InputProblem(
            f"cannot add to {slot} of the zarr input: it is not a table of AnnData 0.7 or later; rewrite the input "
            "with anndata first"
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

    def create(
        self, chunks: tuple[int, ...], shape: tuple[int, ...] = (), attributes: Mapping[str, Any] | None = None
    ) -> None:
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
        dtype = str if self._dtype.hasobject else self._dtype
        self._array = self._group.create_array(
            self._name,
            shape=shape or (0, *self._row),
            chunks=chunks,
            dtype=dtype,
            compressors=codec,
            attributes=dict(attributes or {}),
        )

    def pack(self, chunk: np.ndarray) -> bytes:
        if not self._dtype.hasobject:
            return bytes(self._pack(chunk.tobytes()))
        import numcodecs

        texts = np.array([_str(value) for value in chunk.ravel()], dtype=object)
        return bytes(self._pack(numcodecs.VLenUTF8().encode(texts)))

    def put(self, number: int, stream: bytes) -> None:
        file = self._place / self._array.metadata.encode_chunk_key((number, *[0] * len(self._row)))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(stream)

    def resize(self, n_rows: int) -> None:
        self._array.resize((n_rows, *self._row))


def _str(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _json(value: Any) -> Any:
    """Return an attribute of HDF5 as JSON; raise ValueError if it is none."""
    if isinstance(value, (np.ndarray, np.generic)):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [_json(item) for item in value]
    if value is None or getattr(value, "shape", ()) is None:
        return None
    if isinstance(value, bytes):
        return value.decode()
    if not isinstance(value, (str, bool, int, float)):
        raise ValueError(f"an attribute of the type {type(value).__name__}")
    return value


def _check_folder(path: Path, folders: list[str], names: list[str]) -> None:
    """Refuse what zarr would take for missing and fill in: folders in the place of files, more chunks than can be."""
    misplaced = sorted(METADATA.intersection(folders))
    metadata = next((name for name in (".zarray", "zarr.json") if name in names), None)
    if metadata is not None and not misplaced:
        # Whatever else is wrong with an array is found when it is read.
        with suppress(ValueError, AttributeError, KeyError, TypeError, ZeroDivisionError):
            about = json.loads((path / metadata).read_bytes())
            if metadata == ".zarray" and about.get("dimension_separator") != "/":
                misplaced = sorted(folders)  # in version 3, and with this separator, chunks lie in folders
            _check_size(path, about)
    if misplaced:
        raise InputProblem(
            f"cannot read {path / misplaced[0]}: it is a folder, and zarr has a file there; copy the store again"
        )


def _check_size(path: Path, about: Mapping[str, Any]) -> None:
    """Refuse an array with more chunks than anybody writes: those missing would be read as zeros, for hours."""
    if "shape" not in about:
        return  # a group
    chunks = about["chunks"] if "chunks" in about else about["chunk_grid"]["configuration"]["chunk_shape"]
    sides = [np.atleast_1d(np.array(side, dtype=object)) for side in (about["shape"], chunks)]
    n_chunks = math.prod(-(-int(size) // int(chunk)) for size, chunk in zip(*sides, strict=True))
    if n_chunks > MOST_CHUNKS:
        raise InputProblem(
            f"cannot read {path}: its metadata say that it has {n_chunks:,} chunks, more than can be right; copy the "
            "store again, or make it again with larger chunks"
        )


def is_consolidated(path: Path) -> bool:
    """Return whether a zarr store has consolidated metadata at its root."""
    if (path / ".zmetadata").exists():
        return True
    root = path / "zarr.json"
    return root.exists() and bool(json.loads(root.read_text()).get("consolidated_metadata"))


def write_zarr(path: Path, adata: Any) -> None:
    """Write an AnnData object as it is (strings stay strings) to an empty folder, as zarr version 2.

    The store is made in memory first: zarr writes to disk from many tasks, which a full disk leaves unfinished and
    noisy. Every version of AnnData reads version 2.
    """
    import zarr
    from zarr.storage import MemoryStore

    files: dict[str, Any] = {}
    store = MemoryStore(files)
    # A group of ours: the version of those that anndata makes is a setting, which anndata 0.14 is to drop.
    write_anndata(zarr.open_group(store, mode="w", zarr_format=2), adata)
    with quiet():
        zarr.consolidate_metadata(store)
    for name, content in files.items():
        file = path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.to_bytes())


FORMAT = ZarrFormat()
