"""Extract one batch of cells with everything that belongs to them, and read what a part records about the whole."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sccr_node.data.dataset import Dataset
from sccr_node.data.elements import copy_cells
from sccr_node.data.guard import reading
from sccr_node.errors import InputProblem, writing
from sccr_node.runtime.words import quantity
from sccr_node.storage.atomic import staged
from sccr_node.storage.hdf5 import FORMAT
from sccr_node.storage.store import quiet

PART_KEY = "sccr_part"
"""The key in ``uns`` where a part records its rows in the whole: cell names can repeat, row indices cannot."""


WHOLE_KEY = "whole"
"""What a part records the digest of the whole as, by which what ``sccr tune`` found for the whole is known."""


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
    place = {"rows": np.asarray(rows, dtype=np.int64), "n_cells": data.n_cells, **record}
    with staged(path, replace=False) as temporary, writing(path):
        if data.has_tables:
            _write_cells(data, place, temporary.path)
        else:
            with reading(data.path, "the batch"), quiet():
                # AnnData before 0.7 stored tables in another way: anndata itself converts such files.
                whole = data.root if data.store is None else data.store.read(data.path)
                part = whole[place["rows"]].copy()
            part.uns[PART_KEY] = place
            FORMAT.write(temporary.path, part)
        temporary.commit()


def _write_cells(data: Dataset, place: Mapping[str, Any], path: Path) -> None:
    appender = FORMAT.appender(path, "auto", None, new=True)
    try:
        copy_cells(data, appender, place["rows"])
        appender.delete("uns", PART_KEY)  # of an input that is itself a part
        appender.write_record("uns", PART_KEY, dict(place))
        appender.close()
    except BaseException:
        appender.abandon()
        raise


def digest_of_whole(data: Dataset) -> str | None:
    """Return the digest of the data set that a part was split from; None if the data are no part, or do not say."""
    if not data.has_key("uns", PART_KEY):
        return None
    record = data.element("uns", PART_KEY)
    if not isinstance(record, Mapping) or WHOLE_KEY not in record:
        return None
    # A part of which cells were removed later is no part any more, and what other programs keep of uns is.
    return str(record[WHOLE_KEY]) if np.size(record.get("rows", ())) == data.n_cells else None


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
        if record["rows"].ndim != 1:
            raise ValueError("its rows are no list")
        whole = int(record["n_cells"])
        if record["rows"].size and not 0 <= record["rows"].min() <= record["rows"].max() < whole:
            raise ValueError(f"its rows are not among {whole} cells")
    if len(record["rows"]) != data.n_cells:
        raise InputProblem(
            f"{data.path} has {quantity(data.n_cells, 'cell')}, but sccr split wrote {len(record['rows'])}: split again"
        )
    return record
