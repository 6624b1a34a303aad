"""Imputed rows between imputation and writing: in memory, or in scratch if batches are imputed one by one."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sccr_node.runtime.scratch import ScratchFile


class ImputedRows(Protocol):
    """A cells x imputed genes matrix, float32, read in blocks of cells."""

    def rows(self, first: int, last: int) -> NDArray[np.float32]:
        """Return the rows from ``first`` to before ``last``."""


class RowsInMemory:
    """Rows in one array, cells x genes."""

    def __init__(self, values: NDArray[np.float32]) -> None:
        self._values = values

    def rows(self, first: int, last: int) -> NDArray[np.float32]:
        """Return the rows from ``first`` to before ``last``."""
        return self._values[first:last]


class RowsOnDisk:
    """Rows in scratch, filled in batch by batch.

    Parameters
    ----------
    n_cells, n_genes
        The shape.
    """

    def __init__(self, n_cells: int, n_genes: int) -> None:
        self._row_bytes = n_genes * np.dtype(np.float32).itemsize
        self._n_genes = n_genes
        self._file = ScratchFile(n_cells * self._row_bytes)

    def put(self, cells: NDArray[np.intp], values: NDArray[np.float32]) -> None:
        """Fill in the rows of some cells (sorted row indices)."""
        breaks = np.flatnonzero(np.diff(cells) != 1) + 1
        starts, stops = np.r_[0, breaks], np.r_[breaks, len(cells)]
        for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
            self._file.write(int(cells[start]) * self._row_bytes, values[start:stop].astype(np.float32, copy=False))

    def rows(self, first: int, last: int) -> NDArray[np.float32]:
        """Return the rows from ``first`` to before ``last``."""
        values = self._file.read(first * self._row_bytes, (last - first) * self._n_genes, np.dtype(np.float32))
        return values.reshape(last - first, self._n_genes)
