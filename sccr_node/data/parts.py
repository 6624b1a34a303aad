"""Take one batch of cells out of an input, with all that belongs to them, and read what a part knows of the whole."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from sccr_node.data.dataset import InputData
from sccr_node.data.guard import reading
from sccr_node.data.matrix import BLOCK_BYTES, canonical, open_matrix
from sccr_node.errors import InputProblem
from sccr_node.storage.atomic import staged, writing
from sccr_node.storage.hdf5 import write_h5ad
from sccr_node.storage.store import quiet

PART_KEY = "sccr_part"
"""Where a part says, in ``uns``, which rows of the whole it holds: names may repeat, row numbers do not."""


def write_part(data: InputData, rows: np.ndarray, path: Path, record: Mapping[str, Any]) -> None:
    """Write some cells of an input as an h5ad file of their own.

    Parameters
    ----------
    data
        The opened input; of stored ones only these cells' rows are read.
    rows
        Sorted row numbers.
    path
        The file, written whole or not at all.
    record
        What else the part should know of the whole; kept beside the row numbers in ``uns``.

    Raises
    ------
    InputProblem, OutputProblem, NotEnoughResources
        Where the input is damaged, the folder does not permit writing, or the disk is full.
    """
    with reading(data.path, "the batch"), quiet():
        part = _part(data, np.asarray(rows, dtype=np.int64))
    part.uns[PART_KEY] = {"rows": np.asarray(rows, dtype=np.int64), "n_cells": data.n_cells, **record}
    with staged(path, replace=False) as temporary, writing(path):
        write_h5ad(temporary.path, part)
        temporary.commit()


def _part(data: InputData, rows: np.ndarray) -> Any:
    import anndata

    root = data.root
    if data.store is None:
        return root[rows].copy()
    if not hasattr(root["obs"], "keys"):  # tables of AnnData before 0.7: anndata itself brings such files up to date
        return data.store.read(data.path)[rows].copy()
    from anndata.io import read_elem

    def whole(slot: str) -> Any:
        return read_elem(root[slot]) if slot in root else None

    def by_rows(slot: str) -> dict[str, Any]:
        return {key: take_rows(root[slot][key], rows) for key in data.keys(slot)}

    raw = None
    if "raw" in root and hasattr(root["raw"], "keys"):  # zarr notes the lack of raw as an empty array
        raw = {"X": take_rows(root["raw/X"], rows), "var": read_elem(root["raw/var"])}
        if "varm" in root["raw"]:
            raw["varm"] = read_elem(root["raw/varm"])
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


def take_rows(element: Any, rows: np.ndarray) -> Any:
    """Read some rows of a stored element: a matrix, sparse or dense, a table, or anything else that has rows.

    Parameters
    ----------
    element
        An HDF5 or zarr group or array in one of AnnData's encodings.
    rows
        Sorted row numbers.
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
        # Stretches that hold the rows, rather than one read for each of them.
        n = max(1, BLOCK_BYTES // max(1, element.dtype.itemsize * int(np.prod(element.shape[1:], dtype=np.int64))))
        pieces = [np.empty((0, *element.shape[1:]), dtype=element.dtype)]
        for first in range(0, element.shape[0], n):
            wanted = rows[np.searchsorted(rows, first) : np.searchsorted(rows, first + n)]
            if len(wanted):
                pieces.append(np.asarray(element[int(wanted[0]) : int(wanted[-1]) + 1])[wanted - wanted[0]])
        return np.concatenate(pieces)
    return read_elem(element)[rows]


def part_record(data: InputData) -> dict[str, Any]:
    """Return what a part (or the imputed part) knows of the whole: its ``rows``, ``n_cells``, and what was recorded.

    Raises
    ------
    InputProblem
        Where the file is no part.
    """
    if not data.is_stored or not data.has_key("uns", PART_KEY):
        raise InputProblem(f"{data.path} was not made from a part that sccr split wrote: uns has no {PART_KEY!r}")
    from anndata.io import read_elem

    with reading(data.path, f"uns[{PART_KEY!r}]"):
        record = dict(read_elem(data.root["uns"][PART_KEY]))
        record["rows"] = np.asarray(record["rows"], dtype=np.int64)
    if len(record["rows"]) != data.n_cells:
        raise InputProblem(
            f"{data.path} has {data.n_cells} cells, but was split off with {len(record['rows'])}: split again"
        )
    return record
