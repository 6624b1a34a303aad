"""Logarithms and the scales of a result: each leads to the others, and back within the rounding of float32."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse

from sccr_node.data.logs import LogsOf, from_logs, prepare_block
from sccr_node.data.matrix import CsrMatrix

LARGEST = 60.0
"""Beyond every logarithm that is accepted, and below those whose values overflow float32."""

factors_of = hnp.arrays(np.float64, 4, elements=st.floats(1e-6, 1e6))
logs_of = hnp.arrays(
    np.float32, (4, 5), elements=st.one_of(st.just(0.0), st.floats(np.float32(1e-6), LARGEST, width=32))
)


def as_matrix(dense):
    rows = sparse.csr_matrix(dense)
    return CsrMatrix(rows.data, rows.indices, rows.indptr, rows.shape)


def within_rounding(found, wanted):
    """Two units in the last place: one of the values in between, and one of the logarithms themselves."""
    return bool((np.abs(found - wanted) <= 2 * np.spacing(wanted)).all())


@given(logs_of, factors_of, st.booleans())
def test_the_way_back_gives_the_logarithms(logs, factors, to_counts):
    written = from_logs(logs, factors[:, None] if to_counts else None)
    assert written.dtype == np.float32
    assert np.isfinite(written).all()
    assert ((written == 0) == (logs == 0)).all()
    matrix = LogsOf(as_matrix(written), factors if to_counts else np.ones(4))
    assert (matrix.shape, matrix.n_stored) == ((4, 5), np.count_nonzero(logs))
    blocks = [(first, block.toarray()) for first, block in matrix.blocks(1)]
    assert [first for first, _ in blocks] == list(range(4))
    assert within_rounding(np.concatenate([block for _, block in blocks]), logs)
    assert within_rounding(matrix.rows(np.array([1, 3])).toarray(), logs[[1, 3]])


@given(hnp.arrays(np.int64, (4, 5), elements=st.integers(0, 10**6)), factors_of)
def test_the_scales_of_counts(counts, factors):
    block = sparse.csr_matrix(counts)
    exact = counts * factors[:, None]
    for scale, wanted in (("log1p", np.log1p(exact)), ("normalized", exact), ("counts", counts)):
        found = prepare_block(block, factors, scale)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found.toarray(), wanted.astype(np.float32))
    np.testing.assert_array_equal(block.toarray(), counts)


def test_logarithms_become_normalised_values():
    logs = np.array([[0, 0.5, 3], [1e-7, 0, 12]])
    found = prepare_block(sparse.csr_matrix(logs), None, "normalized")
    np.testing.assert_allclose(found.toarray(), np.expm1(logs), rtol=1e-7)


@pytest.mark.parametrize(("log", "factor"), [(89.0, 1.0), (200.0, 1.0), (60.0, 1e-30)])
def test_what_float32_cannot_hold_becomes_its_largest_number(log, factor):
    found = from_logs(np.array([log], np.float32), np.array([factor]))
    assert found == [np.finfo(np.float32).max]


def test_nothing_vanishes_but_zero():
    smallest = np.finfo(np.float32).smallest_subnormal
    found = from_logs(np.array([0, smallest, 1e-20], np.float32), np.array([1e27]))
    np.testing.assert_array_equal(found, np.array([0, 1, 1], np.float32) * np.finfo(np.float32).tiny)
