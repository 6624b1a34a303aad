"""Every stored value is read; sums are exact; invalid values are named."""

import warnings

import anndata
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse

from sccr_node.data.dataset import wrap_anndata
from sccr_node.data.scale import decide_scale
from sccr_node.data.summary import scan
from sccr_node.errors import InputProblem
from tests.support.inputs import plain

pytestmark = pytest.mark.filterwarnings("ignore")


def wrapped(values, as_sparse: bool = True, types=None):
    matrix = sparse.csr_matrix(values) if as_sparse else np.asarray(values)
    adata = plain(matrix)
    if types is not None:
        adata.var["feature_types"] = types
    return wrap_anndata(adata)


matrices = hnp.arrays(
    st.sampled_from([np.int32, np.int64, np.uint8, np.float32, np.float64]),
    st.tuples(st.integers(1, 9), st.integers(1, 7)),
    elements=st.integers(0, 6),
)


@settings(deadline=None, max_examples=60)
@given(matrices, st.booleans(), st.data())
def test_sums_are_those_of_the_dense_matrix(values, as_sparse, draw):
    types = draw.draw(
        st.lists(st.sampled_from(["Gene Expression", "Antibody"]), min_size=values.shape[1], max_size=values.shape[1])
    )
    types[0] = "Gene Expression"  # only antibodies are refused
    data = wrapped(values, as_sparse, types)
    counted = np.array(types) == "Gene Expression"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(data._matrix), "blocks", small_blocks(type(data._matrix).blocks))
        summary = scan(data)
    exact = values.astype(np.float64)
    np.testing.assert_array_equal(summary.gene_sums, exact.sum(axis=0))
    np.testing.assert_array_equal(summary.gene_sums_of_squares, (exact**2).sum(axis=0))
    np.testing.assert_array_equal(summary.gene_nonzeros, (values != 0).sum(axis=0))
    np.testing.assert_array_equal(summary.cell_totals, exact[:, counted].sum(axis=1))
    assert summary.n_nonzeros == (values != 0).sum()
    assert summary.maximum == values.max(initial=0)
    assert summary.all_integers
    assert summary.n_empty_cells == (exact[:, counted].sum(axis=1) == 0).sum()


def small_blocks(original):
    return lambda self, max_bytes: original(self, 40)


@pytest.mark.parametrize("as_sparse", [True, False])
def test_offenders_are_counted_and_the_first_is_named(as_sparse):
    values = np.ones((6, 5), dtype=np.float32)
    values[4, 1] = values[2, 3] = np.nan
    values[5, 0] = np.inf
    values[3, 2] = values[3, 4] = values[1, 4] = -2
    data = wrapped(values, as_sparse)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        summary = scan(data)
    assert (summary.nan.n, summary.nan.cell, summary.nan.gene) == (2, "cell2", "gene3")
    assert (summary.infinite.n, summary.infinite.cell, summary.infinite.gene) == (1, "cell5", "gene0")
    assert (summary.negative.n, summary.negative.cell, summary.negative.gene) == (3, "cell1", "gene4")
    with pytest.raises(InputProblem) as caught:
        decide_scale(summary, "counts")
    message = str(caught.value)
    assert "2 NaN values (first: cell 'cell2', gene 'gene3')" in message
    assert "1 infinite value (first: cell 'cell5', gene 'gene0')" in message
    assert "3 negative values (first: cell 'cell1', gene 'gene4')" in message


def test_minus_infinity_is_infinite_not_negative():
    summary = scan(wrapped(np.array([[-np.inf, 1.0]])))
    assert (summary.infinite.n, summary.negative.n) == (1, 0)


def test_progress_is_told_and_may_stop_the_scan():
    told = []
    scan(wrapped(np.eye(4)), lambda stage, share: told.append((stage, share)))
    assert told[0] == ("scan", 0.0)
    assert told[-1] == ("scan", 1.0)

    def stop(stage, share):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scan(wrapped(np.eye(4)), stop)


def test_real_counts(shared_data):
    adata = anndata.read_h5ad(shared_data / "worm_neuron.h5ad")
    summary = scan(wrap_anndata(adata))
    assert decide_scale(summary, "auto").scale == "counts"
    np.testing.assert_array_equal(summary.gene_sums, np.asarray(adata.X.sum(axis=0)).ravel())
    np.testing.assert_array_equal(summary.cell_totals, np.asarray(adata.X.sum(axis=1)).ravel())
