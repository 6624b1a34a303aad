"""Index arithmetic beyond 2**31 values, in files that are mostly holes: only the far ends are ever touched.

A whole run of that size is a campaign of its own (tests/campaigns/large.py).
"""

import numpy as np
import pytest
import scipy.sparse as sp

from sccr_node.numerics._kernels import PANEL, forced_level, kernels, usable_levels

N_GENES = 4000
N_CELLS = 2**31 // N_GENES + 100
LAST = np.arange(N_CELLS - 20, N_CELLS)
WIDTH = 16
FIRST = N_GENES - WIDTH
USED = WIDTH - 2


@pytest.fixture
def large(tmp_path):
    """Return a matrix of zeros with more than 2**31 values, which takes no room."""
    return np.memmap(tmp_path / "holes", np.float32, mode="w+", shape=(N_CELLS, N_GENES))


@pytest.fixture(params=usable_levels(), autouse=True)
def level(request):
    with forced_level(request.param):
        yield


def test_blocks_of_genes(large):
    block = np.random.default_rng(0).random((len(LAST), WIDTH), np.float32)
    kernels().block_to_dense(block, LAST, len(LAST), FIRST, WIDTH, USED, 1.0, None, large, N_GENES)
    assert np.array_equal(large[-20:, FIRST : FIRST + USED], block[:, :USED])
    assert not large[-20:, FIRST + USED :].any() and not large[-21].any() and not large[:20].any()
    back = np.empty_like(block)
    kernels().dense_to_block(large, N_GENES, LAST, len(LAST), FIRST, USED, WIDTH, back)
    assert np.array_equal(back[:, :USED], block[:, :USED])
    kernels().block_to_dense(block, LAST, len(LAST), FIRST, WIDTH, USED, 0.25, large, large, N_GENES)
    np.testing.assert_allclose(large[-20:, FIRST : FIRST + USED], block[:, :USED], rtol=1e-6)


def test_blocks_of_cells(large):
    first, used = N_CELLS - 10, 10
    values = np.random.default_rng(0).random((N_GENES, WIDTH), np.float32)
    means, scales = np.full(N_GENES, 0.5), np.full(N_GENES, 2.0)
    kernels().block_to_cells(values, N_GENES, first, used, WIDTH, means, scales, large)
    np.testing.assert_allclose(large[first:], 2 * values[:, :used].T + 0.5, rtol=1e-6)
    assert not large[first - 1].any()
    starts = np.zeros(N_CELLS + 1, np.int64)
    starts[-1] = 1
    columns, observed = np.array([7], np.int32), np.ones(1, np.float32)
    block, held = np.empty_like(values), np.empty_like(values)
    kernels().cells_to_block(
        large, starts, columns, observed, N_GENES, first, used, WIDTH, means, 1 / scales, block, held
    )
    np.testing.assert_allclose(block[:, :used], values[:, :used], atol=1e-6)
    assert np.argwhere(~np.isnan(held)).tolist() == [[7, 9]]


def test_searched_and_ranked_rows(tmp_path):
    # Panels of 32 cells x 4,000 genes; among the last 64 cells, each is most like the one 32 further.
    n_cells = -(-N_CELLS // PANEL) * PANEL
    panels = np.memmap(tmp_path / "holes", np.float32, mode="w+", shape=(n_cells // PANEL, N_GENES, PANEL))
    rows = np.random.default_rng(0).random((PANEL, N_GENES), np.float32)
    panels[-2], panels[-1] = rows.T, rows.T
    kept, start = 2, n_cells - 2 * PANEL
    scores = np.memmap(tmp_path / "scores", np.float32, mode="w+", shape=(n_cells, kept))
    indices = np.memmap(tmp_path / "indices", np.int32, mode="w+", shape=(n_cells, kept))
    scores[start:], indices[start:] = -np.inf, -1
    inverses = np.memmap(tmp_path / "inverses", np.float32, mode="w+", shape=(n_cells,))
    inverses[start:] = 1 / np.linalg.norm(np.r_[rows, rows], axis=1)
    products = np.empty(512 * 512, np.float32)
    kernels().search_dense(
        panels, N_GENES, start, n_cells, start, n_cells, inverses, 0, scores, indices, kept, products,
        np.zeros(1, np.int32),
    )  # fmt: skip
    own = np.arange(start, n_cells)
    twins = start + (own - start + PANEL) % (2 * PANEL)
    assert np.array_equal(np.sort(indices[start:], axis=1), np.sort(np.c_[own, twins], axis=1))


def test_sparse_rows_whose_entries_are_beyond(tmp_path):
    # Two cells: one has all entries but the last three, in a hole; the kernels look at the other one.
    n_entries = 2**31 + 3
    columns = np.memmap(tmp_path / "columns", np.int32, mode="w+", shape=(n_entries,))
    values = np.memmap(tmp_path / "values", np.float32, mode="w+", shape=(n_entries,))
    columns[-3:], values[-3:] = (1, 5, 9), (1, 2, 3)
    starts, order = np.array([0, 2**31, n_entries]), np.array([1])
    block = np.empty((1, WIDTH), np.float32)
    kernels().sparse_to_block(starts, columns, values, order, 1, 0, WIDTH, 0.0, block)
    assert np.array_equal(block, sp.csr_matrix(([1, 2, 3], [1, 5, 9], [0, 3]), shape=(1, WIDTH)).toarray())
    matrix, out = np.eye(WIDTH, dtype=np.float32), np.zeros((1, WIDTH), np.float32)
    kernels().sparse_times(starts, columns, values, 1, 2, matrix, WIDTH, 0, WIDTH, out)
    assert np.array_equal(out, block)
