"""What searches share: float32 candidates, from which neighbours are selected, and the norms that scale them."""

import numpy as np
from numpy.typing import NDArray

from sccr_node.numerics._kernels import TILE, kernels

SPARE_CANDIDATES = 8  # candidates in addition to the list: enough that few rows need the full scan


class Candidates:
    """The candidates of every row, as one heap per worker, merged at the end."""

    def __init__(self, n_rows: int, n_kept: int, workers: int) -> None:
        self.n_kept = min(n_kept + SPARE_CANDIDATES, n_rows + 1)
        self.scores = [np.full((n_rows, self.n_kept), -np.inf, np.float32) for _ in range(workers)]
        self.indices = [np.full((n_rows, self.n_kept), -1, np.int32) for _ in range(workers)]

    def merge(self, first: int, last: int) -> None:
        """Merge the candidates of rows [first, last) into the first worker's heaps."""
        for scores, indices in zip(self.scores[1:], self.indices[1:], strict=True):
            kernels().merge_candidates(self.scores[0], self.indices[0], scores, indices, first, last, self.n_kept)


def inverses(norms: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return 1 / norm, and 0 for a zero row, so that its cosines are 0."""
    return np.divide(1.0, norms, out=np.zeros_like(norms), where=norms > 0)


def padded(inverse_norms: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return float32 inverse norms, padded for the last tile, and capped (a row of denormals would overflow)."""
    within = np.minimum(inverse_norms, np.finfo(np.float32).max)
    return np.concatenate([within, np.zeros(TILE)]).astype(np.float32)
