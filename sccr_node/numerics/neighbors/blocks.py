"""Which rows are compared: rows in blocks, and which blocks with which."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from sccr_node.numerics._kernels import TILE


@dataclass(frozen=True)
class Blocks:
    """Consecutive rows in blocks, and the blocks that are compared with each other.

    Attributes
    ----------
    n_rows
        Number of rows.
    size
        Rows per block, a multiple of the kernels' panels; the last block can have fewer.
    near
        Blocks x blocks, boolean, symmetric, each block near itself; None if every block is compared with every other.
    """

    n_rows: int
    size: int = TILE
    near: sp.csr_matrix | None = None

    @property
    def firsts(self) -> NDArray[np.int64]:
        """The first row of every block."""
        return np.arange(0, self.n_rows, self.size)

    @property
    def sizes(self) -> NDArray[np.int64]:
        """The number of rows of every block."""
        return np.diff(np.append(self.firsts, self.n_rows))

    def pairs(self) -> list[tuple[int, int]]:
        """Return the pairs of blocks to compare, each once, as their numbers: the first is never the higher."""
        if self.near is None:
            n_blocks = len(self.firsts)
            return [(a, b) for a in range(n_blocks) for b in range(a, n_blocks)]
        upper = sp.triu(self.near, format="coo")
        return list(zip(upper.row.tolist(), upper.col.tolist(), strict=True))

    def rows(self, block: int) -> tuple[int, int]:
        """Return the first row of a block, and the first after it."""
        return block * self.size, min((block + 1) * self.size, self.n_rows)

    def share_compared(self) -> float:
        """Return the share of all pairs of rows that are compared."""
        if self.near is None:
            return 1.0
        counts = self.sizes.astype(np.float64)
        return float(counts @ (self.near @ counts)) / self.n_rows**2

    def ranges(self, block: int) -> NDArray[np.int64]:
        """Return the rows that a block is compared with: ranges [first, last) x 2, by rising rows."""
        if self.near is None:
            return np.array([[0, self.n_rows]], np.int64)
        blocks = self.near.indices[self.near.indptr[block] : self.near.indptr[block + 1]].astype(np.int64)
        begins = np.flatnonzero(np.diff(blocks, prepend=-2) != 1)
        ends = np.append(begins[1:], len(blocks)) - 1
        return np.stack([blocks[begins] * self.size, np.minimum((blocks[ends] + 1) * self.size, self.n_rows)], axis=1)

    def together(self, rows: NDArray[np.int32], most: int) -> Iterator[tuple[NDArray[np.int32], NDArray[np.int64]]]:
        """Yield sorted rows, at most so many at a time, that are compared with the same ranges, and these."""
        of_block = np.zeros(len(rows), np.int64) if self.near is None else rows // self.size
        for block in np.unique(of_block).tolist():
            own, ranges = rows[of_block == block], self.ranges(block)
            for first in range(0, len(own), most):
                yield own[first : first + most], ranges
