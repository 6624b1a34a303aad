"""The exact search: every row is compared with every other, with the same result for any number of threads.

It proposes candidates in float32 (half of the products: similarity is symmetric), scores those exactly in float64,
breaks ties by the lower index, and proves for every row, from the bound on float32's error, that no other row belongs
in its list; rows for which that fails are scanned in full. So neither block sizes nor threads affect the neighbours.
"""

import numpy as np

from sccr_node.numerics._kernels import DEPTH, LISTED_ROWS, PANEL, TILE, kernels
from sccr_node.numerics.neighbors.candidates import Candidates, inverses, padded
from sccr_node.numerics.neighbors.rows import DenseRows, Neighbors, SparseRows
from sccr_node.numerics.workspace import Workspace

SCORED_ROWS = 256  # rows per block of exact scores: a few milliseconds
FLOAT32_ROUNDING = 2.0**-24


def search(rows: SparseRows | DenseRows, n_kept: int, work: Workspace) -> Neighbors:
    """Return the `n_kept` nearest rows of every row."""
    n_kept = min(n_kept, rows.n_rows)
    return _search_sparse(rows, n_kept, work) if isinstance(rows, SparseRows) else _search_dense(rows, n_kept, work)


def _search_sparse(rows: SparseRows, n_kept: int, work: Workspace) -> Neighbors:
    n, n_columns = rows.n_rows, rows.n_columns
    csr = rows.indptr, rows.indices, rows.data
    squares = np.bincount(np.repeat(np.arange(n), np.diff(rows.indptr)), rows.data.astype(np.float64) ** 2, minlength=n)
    inverse_norms = inverses(np.sqrt(squares))
    single = padded(inverse_norms)
    candidates = Candidates(n, n_kept, work.threads)
    width = 64 if n_columns <= 8192 else 32 if n_columns <= 16384 else 16
    blocks = [np.empty(n_columns * width, np.float32) for _ in range(work.threads)]
    products = [np.empty(TILE * width, np.float32) for _ in range(work.threads)]

    def propose(worker: int, j: int) -> None:
        kernels().search_sparse(
            *csr, n_columns, j, min(j + width, n), width, single, candidates.scores[worker],
            candidates.indices[worker], candidates.n_kept, blocks[worker], products[worker], work.cancelled,
        )  # fmt: skip

    work.run(propose, range(0, n, width)[::-1])

    found = Neighbors.none(n, n_kept)
    contested = np.zeros(n, np.int8)
    lines = [np.zeros(n_columns, np.float32) for _ in range(work.threads)]

    def decide(worker: int, first: int) -> None:
        last = min(first + SCORED_ROWS, n)
        candidates.merge(first, last)
        kernels().rank_sparse(
            *csr, first, last, inverse_norms, candidates.scores[0], candidates.indices[0],
            candidates.n_kept, n_kept, found.scores, found.indices, contested, lines[worker],
        )  # fmt: skip

    work.run(decide, range(0, n, SCORED_ROWS))

    def scan(worker: int, row: int) -> None:
        kernels().scan_sparse(*csr, n, row, inverse_norms, n_kept, found.scores, found.indices, lines[worker])

    work.run(scan, np.flatnonzero(contested).tolist())
    return found


def _search_dense(rows: DenseRows, n_kept: int, work: Workspace) -> Neighbors:
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

    def propose(worker: int, tile: tuple[int, int]) -> None:
        i, j = tile
        kernels().search_dense(
            buffer, n_columns, i, min(i + TILE, n), j, min(j + TILE, n), single, signed,
            candidates.scores[worker], candidates.indices[worker], candidates.n_kept, products[worker], work.cancelled,
        )  # fmt: skip

    work.run(propose, [(i, j) for i in range(0, n, TILE) for j in range(i, n, TILE)])

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
            buffer, n_columns, first, last, inverse_norms, signed, candidates.scores[0], candidates.indices[0],
            candidates.n_kept, error, n_kept, found.scores, found.indices, contested,
        )  # fmt: skip

    work.run(decide, range(0, n, SCORED_ROWS))
    listed = np.flatnonzero(contested).astype(np.int32)

    def scan(worker: int, at: int) -> None:
        which = listed[at : at + LISTED_ROWS]
        kernels().scan_dense(
            buffer, n, n_columns, which, len(which), inverse_norms, signed, n_kept, found.scores, found.indices,
            work.cancelled,
        )  # fmt: skip

    work.run(scan, range(0, len(listed), LISTED_ROWS))
    return found
