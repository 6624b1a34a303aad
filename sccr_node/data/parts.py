"""Extract one batch of cells with everything that belongs to them, and read what a part records about the whole."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from sccr_node.data.dataset import Dataset
from sccr_node.data.guard import reading
from sccr_node.data.matrix import BLOCK_BYTES, canonical, open_matrix
from sccr_node.errors import InputProblem
from sccr_node.runtime.words import quantity
from sccr_node.storage.atomic import staged, writing
from sccr_node.storage.hdf5 import write_h5ad
from sccr_node.storage.store import quiet

PART_KEY = "sccr_part"
"""The key in ``uns`` where a part records its rows in the whole: cell names can repeat, row indices cannot."""


def write_part(data: Dataset, rows: np.ndarray, path: Path, record: Mapping[str, Any]) -> None:
    """Write some cells of an input to an h5ad file.

    Parameters
    ----------
    data
        The opened input; if it is a file, only the rows of these cells are read.
    rows
        Sorted row indices.
    path
        The file, written whole or not at all.
    record
        What else the part records about the whole; stored in ``uns`` with the row indices.

    Raises
    ------
    InputProblem, OutputProblem, NotEnoughResources
        The input is damaged, the folder cannot be written to, or the disk is full.
    """
    with reading(data.path, "the batch"), quiet():
        part = _part(data, np.asarray(rows, dtype=np.int64))
    part.uns[PART_KEY] = {"rows": np.asarray(rows, dtype=np.int64), "n_cells": data.n_cells, **record}
    with staged(path, replace=False) as temporary, writing(path):
        write_h5ad(temporary.path, part)
        temporary.commit()


def _part(data: Dataset, rows: np.ndarray) -> Any:
    import anndata

    root = data.root
    if data.store is None:
        return root[rows].copy()
    if not hasattr(root["obs"], "keys"):  # tables of AnnData before 0.7: anndata itself converts such files
        return data.store.read(data.path)[rows].copy()
    from anndata.io import read_elem

    def whole(slot: str) -> Any:
        return ordered(read_elem(root[slot])) if slot in root else None

    def by_rows(slot: str) -> dict[str, Any]:
        return {key: take_rows(root[slot][key], rows) for key in data.keys(slot)}

    raw = None
    if "raw" in root and hasattr(root["raw"], "keys"):  # zarr stores a missing raw as an empty array
        raw = {"X": take_rows(root["raw/X"], rows), "var": read_elem(root["raw/var"])}
        if "varm" in root["raw"]:
            raw["varm"] = ordered(read_elem(root["raw/varm"]))
    pairs = {key: sparse.csr_matrix(take_rows(root["obsp"][key], rows)) for key in data.keys("obsp")}
    return anndata.AnnData(
        X=take_rows(root["X"], rows) if "X" in root else None,
        obs=read_elem(root["obs"]).iloc[rows],
        var=whole("var"),
        uns=whole("uns"),
        obsm=by_rows("obsm"),
        varm=whole("varm"),
        layers=by_rows("layers"),
        obsp={key: canonical(matrix[:, rows]) for key, matrix in pairs.items()},
        varp=whole("varp"),
        raw=raw,
    )


def ordered(value: Any) -> Any:
    """Return a mapping, and all mappings in it, sorted by key: zarr lists a group in another order in every run."""
    return {key: ordered(value[key]) for key in sorted(value)} if isinstance(value, dict) else value


def take_rows(element: Any, rows: np.ndarray) -> Any:
    """Read some rows of a stored element: a sparse or dense matrix, a table, or anything else with rows.

    Parameters
    ----------
    element
        An HDF5 or zarr group or array in one of AnnData's encodings.
    rows
        Sorted row indices.
    """
    from anndata.io import read_elem

    encoding = element.attrs.get("encoding-type", element.attrs.get("h5sparse_format", ""))
    if hasattr(element, "keys"):
        if str(encoding).startswith(("csr", "csc")):
            return open_matrix(element, element.name).rows(rows)
        values = read_elem(element)
        return values.iloc[rows] if hasattr(values, "iloc") else values[rows]
    if element.shape is None:
        return None
    if element.dtype.kind in "biuf":
        # Read whole stretches that contain the rows, rather than row by row.
        n = max(1, BLOCK_BYTES // max(1, element.dtype.itemsize * int(np.prod(element.shape[1:], dtype=np.int64))))
        pieces = [np.empty((0, *element.shape[1:]), dtype=element.dtype)]
        for first in range(0, element.shape[0], n):
            wanted = rows[np.searchsorted(rows, first) : np.searchsorted(rows, first + n)]
            if len(wanted):
                pieces.append(np.asarray(element[int(wanted[0]) : int(wanted[-1]) + 1])[wanted - wanted[0]])
        return np.concatenate(pieces)
    return read_elem(element)[rows]


def part_record(data: Dataset) -> dict[str, Any]:
    """Return what a part, imputed or not, records about the whole: ``rows``, ``n_cells``, and the choices made for it.

    Raises
    ------
    InputProblem
        The file is not a part.
    """
    if not data.is_stored or not data.has_key("uns", PART_KEY):
        raise InputProblem(
            f"{data.path} is not a part written by sccr split, nor imputed from one: no uns[{PART_KEY!r}]"
        )
    from anndata.io import read_elem

    with reading(data.path, f"uns[{PART_KEY!r}]"):
        record = dict(read_elem(data.root["uns"][PART_KEY]))
        record["rows"] = np.asarray(record["rows"], dtype=np.int64)
    if len(record["rows"]) != data.n_cells:
        raise InputProblem(
            f"{data.path} has {quantity(data.n_cells, 'cell')}, but sccr split wrote {len(record['rows'])}: split again"
        )
    return record
