"""Logarithms of normalised values, and the other scales of a result: normalised values, and counts.

With a factor per cell, which scales its counts to the target depth, a count x is x * factor when normalised, and
ln(x * factor + 1) as a logarithm. Everything is computed in float64 and rounded to float32 once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from sccr_node.contract.keys import OutputScale
from sccr_node.data.matrix import Matrix

# Values processed at a time, so that the float64 temporaries fit in the cache.
_CHUNK = 1 << 16

_LEAST, _MOST = (float(limit) for limit in (np.finfo(np.float32).tiny, np.finfo(np.float32).max))


def prepare_block(block: Any, factors: np.ndarray | None, scale: OutputScale = "log1p") -> Any:
    """Bring the rows of a CSR block to a scale, in float64, rounded to float32 once.

    Parameters
    ----------
    block
        Some cells x any genes, in the stored type; not changed.
    factors
        One per row; None for values that are already log-normalised.
    scale
        The scale.

    Returns
    -------
    scipy.sparse.csr_matrix
        The same entries in float32. Logarithms that round to zero stay stored.
    """
    result = np.empty(block.nnz, dtype=np.float32)
    if factors is None and scale == "log1p":
        result[:] = block.data
        return _same_entries(block, result)
    rows = None if factors is None else np.repeat(factors, np.diff(block.indptr))
    for start in range(0, block.nnz, _CHUNK):
        part = slice(start, start + _CHUNK)
        values = block.data[part]
        if rows is None:
            result[part] = from_logs(values)
        elif scale == "log1p":
            result[part] = np.log1p(values * rows[part])
        else:
            # Counts as they are, not by way of their logarithms: they stay whole numbers.
            result[part] = _rounded(values * (rows[part] if scale == "normalized" else 1.0))
    return _same_entries(block, result)


def from_logs(logs: NDArray[Any], factors: NDArray[np.float64] | None = None) -> NDArray[np.float32]:
    """Return the values behind logarithms: normalised ones, or, with factors that broadcast to them, counts.

    What is 0 stays 0, and nothing else becomes 0 or infinite.
    """
    values = np.expm1(logs.astype(np.float64))
    return _rounded(values if factors is None else values / factors)


def _rounded(values: NDArray[Any]) -> NDArray[np.float32]:
    bounded: NDArray[np.float32] = np.where(values > 0, np.clip(values, _LEAST, _MOST), values).astype(np.float32)
    return bounded


def _same_entries(block: Any, values: np.ndarray) -> Any:
    """Return a CSR matrix with different values at the same positions; the index arrays are shared."""
    made = sparse.csr_matrix(block.shape, dtype=values.dtype)
    made.data, made.indices, made.indptr = values, block.indices, block.indptr
    made.has_canonical_format = True
    return made


class LogsOf:
    """The logarithms of a layer that was written on another scale, read like the layer itself.

    Parameters
    ----------
    matrix
        The layer.
    factors
        The factor by which each cell is normalised: 1 if it is already.
    """

    def __init__(self, matrix: Matrix, factors: NDArray[np.float64]) -> None:
        self.shape = matrix.shape
        self.n_stored = matrix.n_stored
        self.in_memory_bytes, self.streamed = matrix.in_memory_bytes, matrix.streamed
        self._matrix, self._factors = matrix, factors

    def blocks(self, max_bytes: int) -> Iterator[tuple[int, Any]]:
        """Yield runs of whole rows: the first row and the canonical CSR block."""
        for first, block in self._matrix.blocks(max_bytes):
            yield first, prepare_block(block, self._factors[first : first + block.shape[0]])

    def rows(self, rows: np.ndarray) -> Any:
        """Return some rows (sorted indices) as one canonical CSR matrix."""
        return prepare_block(self._matrix.rows(rows), self._factors[rows])
