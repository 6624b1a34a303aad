"""One half of the molecules of a matrix, read like the matrix itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sccr_node.data.matrix import Matrix, canonical

Half = Literal["training", "held out"]


class HalfOf:
    """One half of the molecules of a matrix of counts: every molecule is drawn by itself (binomial thinning).

    Both halves of a matrix, a share and a seed add up to the matrix, however they are read.

    Parameters
    ----------
    matrix
        Cells x genes, integers, or what ``convert`` makes integers.
    share
        Probability that a molecule is in the training half.
    seed
        The same seed draws the same molecules.
    half
        Which half this is.
    convert
        Applied to every block first (``Scaling.convert``).
    """

    def __init__(
        self, matrix: Matrix, share: float, seed: int, half: Half, convert: Callable[[Any], Any] | None = None
    ) -> None:
        self.shape = matrix.shape
        self.n_stored = matrix.n_stored
        self.in_memory_bytes, self.streamed = matrix.in_memory_bytes, matrix.streamed
        self._matrix, self._share, self._seed, self._half, self._convert = matrix, share, seed, half, convert

    def blocks(self, max_bytes: int) -> Iterator[tuple[int, Any]]:
        """Yield runs of whole rows: the first row and the canonical CSR block."""
        drawing = Drawing(self._share, self._seed)
        for first, block in self._matrix.blocks(max_bytes):
            counts = block if self._convert is None else self._convert(block)
            drawn = drawing.drawn(counts.data)
            half = counts.copy()
            half.data = drawn if self._half == "training" else np.rint(counts.data).astype(np.int64) - drawn
            yield first, canonical(half)

    def rows(self, rows: np.ndarray) -> Any:
        """Return some rows (sorted indices) as one canonical CSR matrix."""
        raise NotImplementedError("the molecules are drawn in the order of the cells: read blocks")


class Drawing:
    """Draws, from counts one after another, how many of their molecules are in the training half.

    However many counts are passed at a time, the draws are the same. Most counts are 1, and draws for these are cheap.
    """

    def __init__(self, share: float, seed: int) -> None:
        self._share = share
        self._of_one, self._of_more = (np.random.default_rng([seed, stream]) for stream in (0, 1))

    def drawn(self, counts: NDArray[Any]) -> NDArray[np.int64]:
        """Return how many molecules of each count (a positive integer, in any type) are in the training half."""
        whole = np.rint(counts).astype(np.int64)
        drawn = np.empty(len(whole), np.int64)
        ones = whole == 1
        drawn[ones] = self._of_one.random(int(ones.sum())) < self._share
        drawn[~ones] = self._of_more.binomial(whole[~ones], self._share)
        return drawn
