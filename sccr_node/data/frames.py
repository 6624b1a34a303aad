"""The tables of a data set, obs and var: row names, and columns read one at a time."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from sccr_node.data.matrix import text_of
from sccr_node.storage.store import column_order

if TYPE_CHECKING:
    import pandas as pd

LONGEST_COLUMN_NAME = 10_000
"""Characters; numpy keeps all names as long as the longest, which one of millions would make gigabytes."""


def strings(values: Any) -> np.ndarray:
    """Return strings, in whatever kind of array a reader gives, as a plain numpy array.

    Raises
    ------
    ValueError
        One is too long for a name.
    """
    texts = [text_of(value) for value in values]
    longest = max(map(len, texts), default=0)
    if longest > LONGEST_COLUMN_NAME:
        raise ValueError(f"a name has {longest:,} characters")
    return np.array(texts, dtype=str)


class Table(Protocol):
    """A table with row names and columns; the row names can have a name, too."""

    n_rows: int
    index_name: str | None

    def names(self) -> np.ndarray:
        """Return the names of the rows."""

    def columns(self) -> list[str]:
        """Return the names of the columns."""

    def column(self, name: str) -> Any:
        """Return one column."""


class MemoryTable:
    """A pandas data frame in memory (10x, and tables of AnnData before 0.7)."""

    def __init__(self, table: pd.DataFrame) -> None:
        self._table = table
        self.n_rows = len(table)
        self.index_name = None if table.index.name is None else str(table.index.name)

    def names(self) -> np.ndarray:
        """Return the names of the rows."""
        return strings(self._table.index)

    def columns(self) -> list[str]:
        """Return the names of the columns."""
        return [str(name) for name in self._table.columns]

    def column(self, name: str) -> Any:
        """Return one column."""
        return self._table[name].array


class StoredTable:
    """An AnnData table in a store, of which each column is read on demand."""

    def __init__(self, group: Any) -> None:
        self._group = group
        name = text_of(group.attrs["_index"])
        self.index_name: str | None = name
        self._index = group[name]
        lines = self._index
        if hasattr(lines, "keys"):  # categories have codes, nullable strings values and a mask
            lines = lines["codes" if "codes" in lines else "values"]
        self.n_rows = int(lines.shape[0])

    def names(self) -> np.ndarray:
        """Return the names of the rows."""
        if not hasattr(self._index, "keys"):
            return strings(self._index[:])
        from anndata.io import read_elem

        return strings(read_elem(self._index))

    def columns(self) -> list[str]:
        """Return the names of the columns."""
        return self._columns

    @cached_property
    def _columns(self) -> list[str]:
        return column_order(self._group)

    def column(self, name: str) -> Any:
        """Return one column."""
        from anndata.io import read_elem

        if "categories" in self._group[name].attrs:  # encoding 0.1.0 stores them apart, by reference
            return read_elem(self._group)[name].array
        return read_elem(self._group[name])


class RowsOfTable:
    """Some rows of a table (sorted indices)."""

    def __init__(self, table: Table, rows: np.ndarray) -> None:
        self._table, self._rows = table, rows
        self.n_rows, self.index_name = len(rows), table.index_name

    def names(self) -> np.ndarray:
        """Return the names of the rows."""
        return np.asarray(self._table.names()[self._rows])

    def columns(self) -> list[str]:
        """Return the names of the columns."""
        return self._table.columns()

    def column(self, name: str) -> Any:
        """Return one column."""
        return self._table.column(name)[self._rows]


def legacy_table(dataset: Any, uns: Any) -> MemoryTable:
    """Read a table of AnnData before 0.7: one compound dataset, with categories in ``uns[<column>_categories]``."""
    import pandas as pd

    records = dataset[()]
    columns: dict[str, Any] = {}
    for name in records.dtype.names:
        values = records[name]
        if values.dtype.kind in "SO":
            values = np.array([text_of(value) for value in values], dtype=object)
        key = f"{name}_categories"
        if uns is not None and key in uns and values.dtype.kind in "iu":
            labels = np.atleast_1d(uns[key][()])
            values = pd.Categorical.from_codes(values, pd.Index([text_of(label) for label in labels]))
        columns[name] = values
    table = pd.DataFrame(columns)
    return MemoryTable(table.set_index(table.columns[0]))
