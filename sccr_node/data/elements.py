"""Copy stored elements into another store, of any format: whole, or what belongs to some cells."""

from __future__ import annotations

import posixpath
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from sccr_node.data.dataset import Dataset
from sccr_node.data.guard import reading
from sccr_node.data.matrix import BLOCK_BYTES, check_pointers, sides_of, text_of, whole_numbers
from sccr_node.errors import InputProblem
from sccr_node.storage.store import Appender, column_order, is_text

PER_CELL = ("obs", "obsm", "layers", "X")
"""The slots whose elements have one row per cell; those of ``obsp`` have rows and columns."""

_TEXT_BYTES = 256
"""What a text may take in memory: how many are read at a time."""
_ENTRY_BYTES = 48
"""What an entry of a sparse matrix takes while it is decided whether it is wanted."""
_DEEPEST = 100
"""A group that contains itself by a link would be copied for ever."""


def copy_store(data: Dataset, appender: Appender, target: Path) -> None:
    """Copy a whole store, element by element, into an empty one of another format.

    Raises
    ------
    InputProblem
        An element is damaged, or the other format cannot store it.
    """
    instead = f", or write an output that ends in {data.store.suffix}" if data.store else ""
    copier = _Copier(data, appender, f"write {target}", instead)
    for name in sorted(data.root):
        element = copier.member(data.root, name)
        if name != "raw" or hasattr(element, "keys"):  # readers of older versions refuse a raw of None
            copier.copy(element, appender.root, name)
    copier.attributes(data.root, appender.root)


def copy_cells(data: Dataset, appender: Appender, rows: np.ndarray) -> None:
    """Copy what belongs to some cells (sorted row indices), and all that belongs to no cell, into an empty store.

    Raises
    ------
    InputProblem
        An element is damaged.
    """
    copier = _Copier(data, appender, f"split {data.path}", "")
    for name in sorted(data.root):
        element = copier.member(data.root, name)
        if name in PER_CELL:
            copier.copy(element, appender.root, name, Cells(rows, data.n_cells))
        elif name == "obsp":
            copier.copy(element, appender.root, name, Cells(rows, data.n_cells, pairs=True))
        elif name == "raw" and hasattr(element, "keys"):
            copier.copy(element, appender.root, name, Cells(rows, data.n_cells), over={"X"} & set(element))
        elif name != "raw":
            copier.copy(element, appender.root, name)
    copier.attributes(data.root, appender.root)


def check_cells(data: Dataset) -> None:
    """Refuse data of which some cells cannot be taken, before any work.

    Raises
    ------
    InputProblem
        An element over cells is stored in a way that is not known here.
    """
    for slot in (*PER_CELL, "obsp"):
        if data.has_tables and slot in data.root:
            with reading(data.path, slot):
                _check_element(data, data.root[slot])
    if data.has_tables and "raw/X" in data.root:
        with reading(data.path, "raw/X"):
            _check_element(data, data.root["raw/X"])


def _check_element(data: Dataset, element: Any) -> None:
    if not hasattr(element, "keys") or encoding_of(element).startswith(("csr", "csc")):
        return
    over = _over_cells(data, element)
    for path in sorted(over):
        _check_element(data, element[path])


def encoding_of(element: Any) -> str:
    """Return the name of an element's encoding; empty if it has none."""
    attributes = element.attrs
    return text_of(attributes.get("encoding-type", attributes.get("h5sparse_format", "")))


def _over_cells(data: Dataset, group: Any) -> set[str]:
    """Return the members of a group over cells, as paths, that have a row per cell."""
    encoding = encoding_of(group)
    if "_index" in group.attrs:  # a table, with or without an encoding
        return {*column_order(group), text_of(group.attrs["_index"])}
    if encoding == "categorical":
        return {"codes"}
    if encoding.startswith("nullable-"):
        return {"values", "mask"}
    if encoding in ("", "dict"):
        return set(group)
    place = group.name.removeprefix(data.root.name).strip("/")
    slot, _, key = place.partition("/")
    raise InputProblem(
        f"cannot split {data.path}: {place} is stored as {encoding}, of which single cells cannot be taken; remove it "
        f"first (del adata.{slot if slot == 'raw' else f'{slot}[{key!r}]'}), or use sccr impute --batch-key"
    )


@dataclass(frozen=True)
class Cells:
    """The cells that are copied.

    Attributes
    ----------
    rows
        Their row indices, sorted.
    n_all
        The number of all cells.
    pairs
        Whether the elements have a column per cell, too.
    """

    rows: np.ndarray
    n_all: int
    pairs: bool = False


class _Copier:
    def __init__(self, data: Dataset, appender: Appender, doing: str, instead: str) -> None:
        self._data, self._appender = data, appender
        self._doing, self._instead = doing, instead
        self._within = [_identity(data.root)]

    def copy(
        self, element: Any, parent: Any, name: str, cells: Cells | None = None, over: set[str] | None = None
    ) -> None:
        """Copy an element with everything in it.

        Parameters
        ----------
        element
            The element of the input.
        parent, name
            Where it goes.
        cells
            The cells to take of an element over cells; None for all rows.
        over
            The members of a group, as paths, that are over cells (default: as its encoding says).
        """
        place = element.name.strip("/")
        itself = _identity(element)
        if itself in self._within or place.count("/") > _DEEPEST:
            raise InputProblem(f"cannot {self._doing}: {place[:60]} is nested too deeply, or contains itself")
        self._within.append(itself)
        try:
            self._copy(element, place, parent, name, cells, over)
        finally:
            self._within.pop()

    def member(self, group: Any, key: str) -> Any:
        """Open a member of a group."""
        with reading(self._data.path, f"{group.name.strip('/')}/{key}".strip("/")):
            return group[key]

    def _copy(
        self, element: Any, place: str, parent: Any, name: str, cells: Cells | None, over: set[str] | None
    ) -> None:
        with reading(self._data.path, place):
            factor = None if hasattr(element, "keys") else self._labels(element)
            is_sparse = hasattr(element, "keys") and encoding_of(element).startswith(("csr", "csc"))
        try:
            if factor is not None:
                self._factor(element, factor, parent, name, cells)
            elif not hasattr(element, "keys"):
                self._array(element, parent, name, cells)
            elif is_sparse and cells is not None:
                self._sparse(element, parent, name, cells)
            else:
                self._group(element, parent, name, cells, over)
        except (ValueError, TypeError, NotImplementedError) as error:  # of the store that is written to
            raise InputProblem(
                f"cannot {self._doing}: {place} of {self._data.path} has {error}, which {self._appender.noun} cannot "
                f"store; remove it first{self._instead}"
            ) from error

    def attributes(self, element: Any, copy: Any) -> None:
        """Copy the attributes of an element."""
        self._appender.set_attributes(copy, self._attributes_of(element))

    def _attributes_of(self, element: Any) -> dict[str, Any]:
        with reading(self._data.path, f"the attributes of {element.name}"):
            # Which dimensions of which arrays belong together (netCDF) is told by references within one file.
            # A list: h5py holds its lock while it iterates, and a value that cannot be read would leave it held.
            names = [name for name in list(element.attrs) if name not in ("DIMENSION_LIST", "REFERENCE_LIST")]
            found = {name: element.attrs[name] for name in names}
            for value in found.values():
                _check_text(value)
            return found

    def _group(self, group: Any, parent: Any, name: str, cells: Cells | None, over: set[str] | None) -> None:
        attributes = self._attributes_of(group)
        with reading(self._data.path, group.name.strip("/")):
            keys = sorted(group)
            if cells is None:
                over = set()
            elif over is None:
                over = _over_cells(self._data, group)
            missing = sorted(path for path in over if path not in group)
            if missing:
                raise KeyError(f"no {missing[0]}")
        if "_index" in attributes and "__categories" in keys:
            keys.remove("__categories")  # its factors are copied as AnnData stores them today
            attributes.update({"encoding-type": "dataframe", "encoding-version": "0.2.0"})
        made = self._appender.create_group(parent, name, attributes)
        for key in keys:
            member = self.member(group, key)
            # A column called G1/S is a member S of a group G1.
            below = {path.removeprefix(f"{key}/") for path in over or () if path.startswith(f"{key}/")}
            self.copy(member, made, key, cells if below or key in (over or ()) else None, below or None)

    def _labels(self, array: Any) -> Any:
        """Return the labels of a factor in the first encoding of tables, which refers to them; None if it is none."""
        labels = array.attrs.get("categories")
        if labels is None:
            return None
        if isinstance(labels, h5py.Reference):
            return array.file[labels]
        return self._data.root[posixpath.join(posixpath.dirname(array.name), text_of(labels)).strip("/")]

    def _factor(self, codes: Any, labels: Any, parent: Any, name: str, cells: Cells | None) -> None:
        ordered = bool(labels.attrs.get("ordered", False))
        attributes = {"encoding-type": "categorical", "encoding-version": "0.2.0", "ordered": ordered}
        made = self._appender.create_group(parent, name, attributes)
        self._array(codes, made, "codes", cells, {"encoding-type": "array", "encoding-version": "0.2.0"})
        self._array(labels, made, "categories", None, {"encoding-type": "array", "encoding-version": "0.2.0"})

    def _array(
        self, array: Any, parent: Any, name: str, cells: Cells | None, attributes: Mapping[str, Any] | None = None
    ) -> None:
        appender = self._appender
        attributes = self._attributes_of(array) if attributes is None else attributes
        with reading(self._data.path, array.name.strip("/")):
            shape, dtype = array.shape, np.dtype(array.dtype)
        if shape is None or attributes.get("encoding-type") == "null":
            appender.write_null(parent, name, attributes)
            return
        if name == "categories" and dtype.kind == "S":
            dtype = np.dtype(object)
        if is_text(dtype) and text_of(attributes.get("encoding-type", "")) in ("", "array"):
            # Formats differ in what they return for text without an encoding.
            encoding = "string-array" if shape else "string"
            attributes = {**attributes, "encoding-type": encoding, "encoding-version": "0.2.0"}
        if not shape:
            with reading(self._data.path, array.name.strip("/")):
                value = array[()]
            appender.write_scalar(parent, name, value, dtype, attributes)
            return
        row = shape[1:]
        if cells is not None:
            if shape[0] != cells.n_all or (cells.pairs and row[:1] != (cells.n_all,)):
                raise InputProblem(
                    f"{self._data.path} is inconsistent: {array.name.strip('/')} has the shape {shape}, but obs has "
                    f"{cells.n_all} rows"
                )
            row = (len(cells.rows), *row[1:]) if cells.pairs else row
        appender.write_array(parent, name, dtype, row, self._blocks(array, cells), attributes)

    def _blocks(self, array: Any, cells: Cells | None) -> Iterator[np.ndarray]:
        """Read an array in blocks of rows, or in whole stretches that contain the wanted ones."""
        n_rows, *row = array.shape
        itemsize = _TEXT_BYTES if array.dtype.kind in "OT" else array.dtype.itemsize
        step = max(1, BLOCK_BYTES // max(1, itemsize * int(np.prod(row, dtype=np.int64))))
        for first in range(0, n_rows, step):
            last = min(first + step, n_rows)
            if cells is not None:
                wanted = cells.rows[slice(*np.searchsorted(cells.rows, (first, last)))]
                if not len(wanted):
                    continue
                first, last = int(wanted[0]), int(wanted[-1]) + 1
            with reading(self._data.path, array.name.strip("/")):
                block = np.asarray(array[first:last])
            if cells is not None:
                block = block[wanted - first]
                block = block[:, cells.rows] if cells.pairs else block
            yield block

    def _sparse(self, group: Any, parent: Any, name: str, cells: Cells) -> None:
        attributes = self._attributes_of(group)
        by_rows = encoding_of(group).startswith("csr")
        side = "shape" if "shape" in attributes else "h5sparse_shape"  # as before AnnData 0.7
        with reading(self._data.path, group.name.strip("/")):
            n_rows, n_columns = sides_of(attributes)
            data, indices = group["data"], group["indices"]
            pointers = whole_numbers(np.asarray(group["indptr"][:]), "indptr").astype(np.int64)
            check_pointers(pointers, n_rows if by_rows else n_columns, data, indices)
            types = np.dtype(data.dtype), np.dtype(indices.dtype), np.dtype(group["indptr"].dtype)
        if n_rows != cells.n_all or (cells.pairs and n_columns != cells.n_all):
            raise InputProblem(
                f"{self._data.path} is inconsistent: {group.name.strip('/')} is {n_rows} × {n_columns}, but obs has "
                f"{cells.n_all} rows"
            )
        attributes[side] = np.array([len(cells.rows), len(cells.rows) if cells.pairs else n_columns])
        made = self._appender.create_group(parent, name, attributes)
        major = cells.rows if by_rows or cells.pairs else None
        minor = cells.rows if not by_rows or cells.pairs else None
        blocks = self._compressed(group, pointers, major, minor, n_columns if by_rows else n_rows)
        n_major = len(pointers) - 1 if major is None else len(major)
        self._appender.write_compressed(made, n_major, types, blocks)

    def _compressed(
        self, group: Any, pointers: np.ndarray, major: np.ndarray | None, minor: np.ndarray | None, n_minor: int
    ) -> Iterator[_Compressed]:
        """Read blocks of a sparse matrix, by what it is compressed along, of the wanted rows and columns only."""
        place = np.full(n_minor, -1, dtype=np.int64)
        place[slice(None) if minor is None else minor] = np.arange(n_minor if minor is None else len(minor))
        for first, last in _stretches(pointers):
            wanted = np.arange(first, last)
            if major is not None:
                wanted = major[slice(*np.searchsorted(major, (first, last)))]
                if not len(wanted):
                    continue
            start, stop = int(pointers[wanted[0]]), int(pointers[wanted[-1] + 1])
            with reading(self._data.path, group.name.strip("/")):
                values = np.asarray(group["data"][start:stop])
                stored = np.asarray(group["indices"][start:stop])
                indices = whole_numbers(stored, "indices").astype(np.int64)
                if indices.size and (int(indices.min()) < 0 or int(indices.max()) >= n_minor):
                    raise ValueError("the sparse matrix has an index out of range")
            lengths = np.diff(pointers[wanted[0] : wanted[-1] + 2])
            is_wanted = np.zeros(len(lengths), dtype=bool)
            is_wanted[wanted - wanted[0]] = True
            of_entry = np.repeat(np.arange(len(lengths)), lengths)
            kept = is_wanted[of_entry] & (place[indices] >= 0)
            counts = np.bincount(of_entry[kept], minlength=len(lengths))[is_wanted]
            yield _Compressed(
                values[kept], place[indices[kept]].astype(stored.dtype), np.concatenate([[0], np.cumsum(counts)])
            )


@dataclass(frozen=True)
class _Compressed:
    data: np.ndarray
    indices: np.ndarray
    indptr: np.ndarray


def _check_text(value: Any) -> None:
    """Raise UnicodeError for text that can be read as it is stored, but not written."""
    for text in np.ravel(value) if isinstance(value, np.ndarray) and value.dtype.kind in "OSU" else [value]:
        if isinstance(text, bytes):
            text.decode()
        elif isinstance(text, str):
            text.encode()


def _identity(element: Any) -> Hashable:
    """Return what is the same for an element under all its names, links included."""
    if not isinstance(element, h5py.HLObject):
        return str(element.name)
    found = h5py.h5o.get_info(element.id)
    return int(found.fileno), int(found.addr)


def _stretches(pointers: np.ndarray) -> Iterator[tuple[int, int]]:
    """Cut the rows or columns of a sparse matrix into stretches of bounded size."""
    most = BLOCK_BYTES // _ENTRY_BYTES
    first, n = 0, len(pointers) - 1
    while first < n:
        last = int(np.searchsorted(pointers, pointers[first] + most, side="right")) - 1
        last = min(max(last, first + 1), first + most, n)
        yield first, last
        first = last
