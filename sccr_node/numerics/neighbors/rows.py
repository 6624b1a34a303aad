"""What is searched and what is found: sparse rows, dense rows in a buffer, and the lists of neighbours."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from sccr_node.numerics._kernels import PANEL, WIDTHS, kernels

if TYPE_CHECKING:
    from sccr_node.numerics.workspace import Workspace

REORDERED_COLUMNS = 256  # a kilobyte of each row at a time, so that several threads can reorder one matrix


@dataclass(frozen=True)
class SearchSummary:
    """What a search that left out some comparisons did.

    Attributes
    ----------
    n_groups
        Number of groups of rows.
    n_searched
        Number of groups that a row was compared with, on average.
    recall
        Share of the true neighbours that are found, in a sample of rows.
    proved
        Share of the rows for which it is proved that nothing nearer was left out.
    """

    n_groups: int
    n_searched: float
    recall: float
    proved: float


@dataclass(frozen=True)
class Neighbors:
    """The nearest rows of every row.

    Attributes
    ----------
    indices, scores
        The neighbours and their cosines, best first: rows x kept; index -1 for none.
    summary
        What was left out; None if nothing was.
    order
        An order of the rows in which similar ones are near each other (``order[new] = old``); None if the search
        made none.
    """

    indices: NDArray[np.int32]
    scores: NDArray[np.float64]
    summary: SearchSummary | None = None
    order: NDArray[np.int64] | None = None

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

    @property
    def matrix(self) -> sp.csr_matrix:
        """The rows as a matrix, which shares their arrays."""
        return sp.csr_matrix((self.data, self.indices, self.indptr), shape=(self.n_rows, self.n_columns), copy=False)

    def norms(self) -> NDArray[np.float64]:
        """Return the length of every row."""
        of_row = np.repeat(np.arange(self.n_rows), np.diff(self.indptr))
        squares = np.bincount(of_row, weights=self.data.astype(np.float64) ** 2, minlength=self.n_rows)
        return np.asarray(np.sqrt(squares), np.float64)

    def dense(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return some rows, dense."""
        return np.asarray(self.matrix[rows].toarray(), np.float32)

    def times(self, first: int, last: int, matrix: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return rows [first, last) times a matrix (columns of the rows x anything)."""
        wanted = matrix.shape[1]
        matrix = np.pad(matrix, ((0, 0), (0, -wanted % WIDTHS[-1])))
        product = np.empty((last - first, matrix.shape[1]), np.float32)
        at = 0
        for width in WIDTHS:
            while at + width <= matrix.shape[1]:
                kernels().sparse_times(
                    self.indptr, self.indices, self.data, first, last, matrix, matrix.shape[1], at, width, product
                )
                at += width
        return product[:, :wanted]

    @contextlib.contextmanager
    def reordered(self, order: NDArray[np.int64], work: "Workspace") -> Iterator["SparseRows"]:
        """Give a copy of the rows in another order: the first is what row ``order[0]`` was."""
        yield SparseRows.of(self.matrix[order])


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

    def norms(self) -> NDArray[np.float64]:
        """Return the length of every row."""
        return np.asarray(np.sqrt(np.einsum("ij,ij->i", self.matrix, self.matrix, dtype=np.float64)))

    def dense(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return some rows."""
        return self.matrix[rows]

    def times(self, first: int, last: int, matrix: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return rows [first, last) times a matrix (columns of the rows x anything)."""
        return np.asarray(self.matrix[first:last] @ matrix)

    @contextlib.contextmanager
    def reordered(self, order: NDArray[np.int64], work: "Workspace") -> Iterator["DenseRows"]:
        """Put the rows into another order, in their buffer, for a while: the first is what row ``order[0]`` was."""
        self._reorder(order, work)
        yield self
        self._reorder(np.argsort(order), work)

    def _reorder(self, order: NDArray[np.int64], work: "Workspace") -> None:
        lines = [np.empty(REORDERED_COLUMNS, np.float32) for _ in range(work.threads)]
        moved = [np.empty(self.n_rows, np.int8) for _ in range(work.threads)]

        def strip(worker: int, first: int) -> None:
            used = min(REORDERED_COLUMNS, self.n_columns - first)
            kernels().reorder_rows(
                self.buffer, self.n_rows, self.n_columns, order, first, used, lines[worker], moved[worker]
            )

        work.run(strip, range(0, self.n_columns, REORDERED_COLUMNS))


def buffer_size(n_rows: int, n_columns: int) -> int:
    """Return the number of values needed to store the matrix as whole panels of rows or of columns."""
    return max(-(-n_rows // PANEL) * PANEL * n_columns, -(-n_columns // PANEL) * PANEL * n_rows)
