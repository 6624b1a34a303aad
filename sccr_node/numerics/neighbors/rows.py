"""What is searched and what is found: sparse rows, dense rows in a buffer, and the lists of neighbours."""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from sccr_node.numerics._kernels import PANEL


@dataclass(frozen=True)
class Neighbors:
    """The nearest rows of every row, best first: `indices` and `scores` (cosines), rows x kept; index -1 for none."""

    indices: NDArray[np.int32]
    scores: NDArray[np.float64]

    @classmethod
    def none(cls, n_rows: int, n_kept: int) -> "Neighbors":
        """Return empty lists, for a search to fill in."""
        return cls(np.full((n_rows, n_kept), -1, np.int32), np.zeros((n_rows, n_kept)))


@dataclass(frozen=True)
class SparseRows:
    """The rows of a CSR matrix without negative values, in the kernels' types."""

    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]
    data: NDArray[np.float32]
    n_columns: int

    @classmethod
    def of(cls, matrix: sp.csr_matrix) -> "SparseRows":
        """Return the rows of a matrix; its arrays are copied only if their types differ."""
        return cls(
            np.ascontiguousarray(matrix.indptr, np.int64),
            np.ascontiguousarray(matrix.indices, np.int32),
            np.ascontiguousarray(matrix.data, np.float32),
            matrix.shape[1],
        )

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.indptr) - 1


@dataclass(frozen=True)
class DenseRows:
    """Rows at the start of a buffer that is large enough for whole panels of them.

    Attributes
    ----------
    buffer
        At least `buffer_size` values. A search uses it as its workspace; afterwards it contains the same rows again.
    n_rows, n_columns
        The shape of the matrix.
    signed
        Whether rows are ranked by the magnitude of their cosine, so that opposite rows are also neighbours.
    packed
        Whether the rows are already packed in panels.
    """

    buffer: NDArray[np.float32]
    n_rows: int
    n_columns: int
    signed: bool = False
    packed: bool = False

    @property
    def matrix(self) -> NDArray[np.float32]:
        """The rows as a matrix: a view of the buffer."""
        return self.buffer[: self.n_rows * self.n_columns].reshape(self.n_rows, self.n_columns)


def buffer_size(n_rows: int, n_columns: int) -> int:
    """Return the number of values needed to store the matrix as whole panels of rows or of columns."""
    return max(-(-n_rows // PANEL) * PANEL * n_columns, -(-n_columns // PANEL) * PANEL * n_rows)
