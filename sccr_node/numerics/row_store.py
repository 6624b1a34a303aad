"""Imputed rows between imputation and writing: in memory, or in an unnamed file if batches are imputed one by one."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class ImputedRows(Protocol):
    """A cells x imputed genes matrix, float32, filled batch by batch and read in blocks of cells."""

    def put(self, cells: NDArray[np.intp], values: NDArray[np.float32]) -> None:
        """Fill in the rows of some cells (sorted row indices)."""

    def rows(self, first: int, last: int) -> NDArray[np.float32]:
        """Return the rows from ``first`` to before ``last``."""


class RowsInMemory:
    """Rows in one array.

    Parameters
    ----------
    values
        Cells x genes; can already be filled in.
    """

    def __init__(self, values: NDArray[np.float32]) -> None:
        self._values = values

    def put(self, cells: NDArray[np.intp], values: NDArray[np.float32]) -> None:
        """Fill in the rows of some cells (sorted row indices)."""
        self._values[cells] = values

    def rows(self, first: int, last: int) -> NDArray[np.float32]:
        """Return the rows from ``first`` to before ``last``."""
        return self._values[first:last]


class RowsOnDisk:
    """Rows in a file without a name, which not even a killed process leaves behind.

    Parameters
    ----------
    folder
        Folder on the disk to use.
    n_cells, n_genes
        The shape.
    """

    def __init__(self, folder: Path, n_cells: int, n_genes: int) -> None:
        self._file = tempfile.TemporaryFile(dir=folder, buffering=0)
        self._row_bytes = n_genes * np.dtype(np.float32).itemsize
        self._n_genes = n_genes
        self._file.truncate(n_cells * self._row_bytes)

    def put(self, cells: NDArray[np.intp], values: NDArray[np.float32]) -> None:
        """Fill in the rows of some cells (sorted row indices)."""
        breaks = np.flatnonzero(np.diff(cells) != 1) + 1
        starts, stops = np.r_[0, breaks], np.r_[breaks, len(cells)]
        for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
            left = np.ascontiguousarray(values[start:stop], dtype=np.float32).data.cast("B")
            offset = int(cells[start]) * self._row_bytes
            while left:
                written = os.pwrite(self._file.fileno(), left, offset)
                left, offset = left[written:], offset + written

    def rows(self, first: int, last: int) -> NDArray[np.float32]:
        """Return the rows from ``first`` to before ``last``."""
        values = np.empty((last - first, self._n_genes), dtype=np.float32)
        left, offset = values.data.cast("B"), first * self._row_bytes
        while left:
            read = os.preadv(self._file.fileno(), [left], offset)
            left, offset = left[read:], offset + read
        return values
