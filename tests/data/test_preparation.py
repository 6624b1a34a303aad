"""Factors and logarithms agree with a dense transcription of the paper's preparation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse

from sccr_node.data.dataset import wrap_anndata
from sccr_node.data.genes import GeneChoice
from sccr_node.data.logs import prepare_block
from sccr_node.data.preparation import (
    decide_preparation,
    normalization,
    selected_values,
    with_imputed,
)
from sccr_node.data.summary import scan
from sccr_node.errors import InputProblem
from tests.support.inputs import plain

pytestmark = pytest.mark.filterwarnings("ignore")

small_counts = hnp.arrays(np.int64, st.tuples(st.integers(1, 8), st.integers(1, 8)), elements=st.integers(0, 4)).filter(
    lambda values: values.any()
)


def wrapped(values, names=None, **columns):
    adata = plain(sparse.csr_matrix(values))
    if names is not None:
        adata.var_names = names
    for name, column in columns.items():
        adata.var[name] = column
    return wrap_anndata(adata)


def decided(data, columns, **options):
    return decide_preparation(data, choice=GeneChoice(columns, []), **options)


@settings(deadline=None, max_examples=80)
@given(small_counts, st.data(), st.sampled_from(["selected", "all"]), st.one_of(st.just("median"), st.floats(0.5, 1e5)))
def test_prepared_values_are_those_of_the_paper(values, draw, normalize_by, target_sum):
    n_genes = values.shape[1]
    columns = np.array(sorted(draw.draw(st.sets(st.integers(0, n_genes - 1), min_size=1))))
    data = wrapped(values)
    if not values.any():
        return  # refused before
    if not values[:, columns].any():
        with pytest.raises(InputProblem, match="zero in every cell"):
            decided(data, columns).read(data)
        return
    made = decided(data, columns, normalize_by=normalize_by, target_sum=target_sum).read(data)
    prepared, found = made.expression, made.normalization
    selected, everything = values[:, columns].sum(axis=1), values.sum(axis=1)
    by = selected if normalize_by == "selected" else everything
    target = np.median(by[by > 0]) if target_sum == "median" else target_sum
    expected = np.zeros(values.shape)
    for cell in range(len(values)):
        total = by[cell] or everything[cell]
        if total:
            expected[cell] = np.log1p(values[cell] * (target / total))
    assert found.target_sum == target
    assert prepared.dtype == np.float32
    np.testing.assert_allclose(prepared.toarray(), expected[:, columns], rtol=1e-6)
    # The other genes of a cell get the same factor, and the chosen ones come out the same to the bit there.
    block = sparse.csr_matrix(values)
    whole = prepare_block(block, found.factors).toarray()
    np.testing.assert_allclose(whole, expected, rtol=1e-6)
    np.testing.assert_array_equal(whole[:, columns], prepared.toarray())
    np.testing.assert_array_equal(block.toarray(), values)


def test_cell_without_chosen_genes_is_scaled_by_all_and_an_empty_one_not_at_all():
    values = np.array([[4, 0, 6], [0, 5, 0], [0, 0, 0], [2, 0, 2]])
    summary = scan(wrapped(values))
    found = normalization(summary, values[:, [0, 2]].sum(axis=1).astype(float))
    assert found.target_sum == 7  # of the totals 10 and 4
    np.testing.assert_array_equal(found.factors, [7 / 10, 7 / 5, 1, 7 / 4])


def test_logarithms_stay_as_they_are():
    values = np.array([[0.1, 0, 2.7], [0, 1.5, 0]])
    data = wrapped(values)
    made = decided(data, np.array([0, 2])).read(data)
    prepared = made.expression
    assert made.normalization == (None, None)
    np.testing.assert_array_equal(prepared.toarray(), values[:, [0, 2]].astype(np.float32))


def test_large_counts_are_scaled_before_they_are_rounded():
    values = np.array([[2**24 + 1, 2**24]])
    prepared = prepare_block(sparse.csr_matrix(values), np.array([0.25]))
    np.testing.assert_array_equal(prepared.data, np.log1p(values[0] * 0.25).astype(np.float32))


def test_selected_values_keep_their_type_and_tell_progress():
    told = []
    selected = selected_values(wrapped(np.eye(5, dtype=np.int16)), np.array([1, 3]), lambda *step: told.append(step))
    assert selected.dtype == np.int16
    np.testing.assert_array_equal(selected.toarray(), np.eye(5)[:, [1, 3]])
    assert told[-1] == ("select", 1.0)


@settings(deadline=None, max_examples=80)
@given(
    hnp.arrays(np.float32, st.tuples(st.integers(0, 5), st.integers(1, 7)), elements=st.sampled_from([0, 0.5, 2])),
    st.data(),
)
def test_imputed_columns_take_the_place_of_the_chosen_ones(values, draw):
    columns = np.array(sorted(draw.draw(st.sets(st.integers(0, values.shape[1] - 1), min_size=1))))
    imputed = draw.draw(hnp.arrays(np.float32, (len(values), len(columns)), elements=st.sampled_from([0, 0.25, 3])))
    result = with_imputed(sparse.csr_matrix(values), columns, imputed)
    expected = values.copy()
    expected[:, columns] = imputed
    np.testing.assert_array_equal(result.toarray(), expected)
    assert result.dtype == np.float32
    fresh = sparse.csr_matrix((result.data, result.indices, result.indptr), shape=result.shape)
    assert fresh.has_canonical_format
    assert result.nnz == (expected != 0).sum()
