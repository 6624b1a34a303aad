"""The comparison that all searches share: the nearest rows among those that are compared, exactly.

It proposes candidates in float32 (half of the products: similarity is symmetric), scores those exactly in float64,
breaks ties by the lower index, and proves for every row, from the bound on float32's error, that no other row that it
was compared with belongs in its list; rows for which that fails are scanned in full. So neither block sizes nor threads
affect the neighbours.
"""

import numpy as np
from numpy.typing import NDArray

from sccr_node.numerics._kernels import DEPTH, LISTED_ROWS, PANEL, TILE, kernels
from sccr_node.numerics.neighbors.blocks import Blocks
from sccr_node.numerics.neighbors.candidates import Candidates, inverses, padded
from sccr_node.numerics.neighbors.rows import DenseRows, Neighbors, SparseRows
from sccr_node.numerics.workspace import Workspace

SCORED_ROWS = 256  # rows per block of exact scores: a few milliseconds
FLOAT32_ROUNDING = 2.0**-24


def nearest_compared(
    rows: SparseRows | DenseRows, n_kept: int, blocks: Blocks, work: Workspace, names: NDArray[np.int32] | None = None
) -> Neighbors:
    """Return the `n_kept` nearest of the rows that each row is compared with.

    Parameters
    ----------
    rows
        The rows.
    n_kept
        Number of rows listed per row, at most the number of rows.
    blocks
        Which rows are compared.
    work
        Threads and progress.
    names
        What the rows are called in the lists, and ordered by where scores tie (default: their numbers).
    """
    if isinstance(rows, SparseRows):
        return _compare_sparse(rows, n_kept, blocks, work, names)
    return _compare_dense(rows, n_kept, blocks, work, names)


def _compare_sparse(
    rows: SparseRows, n_kept: int, blocks: Blocks, work: Workspace, names: NDArray[np.int32] | None
) -> Neighbors:
    n, n_columns = rows.n_rows, rows.n_columns
    csr = rows.indptr, rows.indices, rows.data
    inverse_norms = inverses(rows.norms())
    single = padded(inverse_norms)
    candidates = Candidates(n, n_kept, work.threads)
    width = 64 if n_columns <= 8192 else 32 if n_columns <= 16384 else 16
    spread = [np.empty(n_columns * width, np.float32) for _ in range(work.threads)]
    products = [np.empty(TILE * width, np.float32) for _ in range(work.threads)]

    def propose(worker: int, j: int) -> None:
        block = j // blocks.size
        ranges = blocks.ranges(block)
        kernels().search_sparse(
            *csr, n_columns, ranges, len(ranges), j, min(j + width, blocks.rows(block)[1]), width, single,
            candidates.scores[worker], candidates.indices[worker], candidates.n_kept, spread[worker], products[worker],
            work.cancelled,
        )  # fmt: skip

    work.run(propose, range(0, n, width)[::-1])

    found = Neighbors.none(n, n_kept)
    contested = np.zeros(n, np.int8)
    lines = [np.zeros(n_columns, np.float32) for _ in range(work.threads)]

    def decide(worker: int, first: int) -> None:
        last = min(first + SCORED_ROWS, n)
        candidates.merge(first, last)
        kernels().rank_sparse(
            *csr, first, last, inverse_norms, names, candidates.scores[0], candidates.indices[0],
            candidates.n_kept, n_kept, found.scores, found.indices, contested, lines[worker],
        )  # fmt: skip

    work.run(decide, range(0, n, SCORED_ROWS))

    def scan(worker: int, item: tuple[NDArray[np.int32], NDArray[np.int64]]) -> None:
        row, ranges = item
        kernels().scan_sparse(
            *csr, ranges, len(ranges), int(row[0]), inverse_norms, names, n_kept, found.scores, found.indices,
            lines[worker],
        )  # fmt: skip

    work.run(scan, list(blocks.together(np.flatnonzero(contested).astype(np.int32), 1)))
    return found


def _compare_dense(
    rows: DenseRows, n_kept: int, blocks: Blocks, work: Workspace, names: NDArray[np.int32] | None
) -> Neighbors:
    buffer, n, n_columns, signed = rows.buffer, rows.n_rows, rows.n_columns, int(rows.signed)
    panels = range(0, n, PANEL)
    norms = np.zeros(len(panels) * PANEL)
    scratch = [np.empty(PANEL * n_columns, np.float32) for _ in range(work.threads)]

    def pack(worker: int, i: int) -> None:
        panel = buffer[i * n_columns : (i + PANEL) * n_columns]
        if not rows.packed:
            kernels().rows_to_panel(panel, min(PANEL, n - i), n_columns, scratch[worker])
        kernels().panel_norms(panel, n_columns, norms[i : i + PANEL])

    work.run(pack, panels)
    inverse_norms = inverses(norms)
    single = padded(inverse_norms)
    candidates = Candidates(n, n_kept, work.threads)
    products = [np.empty(TILE * TILE, np.float32) for _ in range(work.threads)]

    def propose(worker: int, pair: tuple[int, int]) -> None:
        kernels().search_dense(
            buffer, n_columns, *blocks.rows(pair[0]), *blocks.rows(pair[1]), single, signed,
            candidates.scores[worker], candidates.indices[worker], candidates.n_kept, products[worker], work.cancelled,
        )  # fmt: skip

    work.run(propose, blocks.pairs())

    def unpack(worker: int, i: int) -> None:
        panel = buffer[i * n_columns : (i + PANEL) * n_columns]
        kernels().panel_to_rows(panel, min(PANEL, n - i), n_columns, scratch[worker])

    work.run(unpack, panels)

    found = Neighbors.none(n, n_kept)
    contested = np.zeros(n, np.int8)
    # One rounding per dimension of a chunk and per chunk, and a few for the scaling.
    error = (min(n_columns, DEPTH) + n_columns / DEPTH + 9) * FLOAT32_ROUNDING * 1.01

    def decide(worker: int, first: int) -> None:
        last = min(first + SCORED_ROWS, n)
        candidates.merge(first, last)
        kernels().rank_dense(
            buffer, n_columns, first, last, inverse_norms, names, signed, candidates.scores[0], candidates.indices[0],
            candidates.n_kept, error, n_kept, found.scores, found.indices, contested,
        )  # fmt: skip

    work.run(decide, range(0, n, SCORED_ROWS))

    def scan(worker: int, item: tuple[NDArray[np.int32], NDArray[np.int64]]) -> None:
        which, ranges = item
        kernels().scan_dense(
            buffer, ranges, len(ranges), n_columns, which, len(which), inverse_norms, names, signed, n_kept,
            found.scores, found.indices, work.cancelled,
        )  # fmt: skip

    work.run(scan, list(blocks.together(np.flatnonzero(contested).astype(np.int32), LISTED_ROWS)))
    return found
