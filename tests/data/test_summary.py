"""Every stored value is checked; invalid values are named; the scale is detected as designed."""

import warnings

import anndata
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse

from sccr_node.data.dataset import wrap_anndata
from sccr_node.data.summary import decide_scale, scan
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


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -1.0])
@pytest.mark.parametrize("input_scale", ["auto", "counts", "log1p"])
def test_one_bad_value_at_the_very_end_is_found(value, input_scale):
    values = np.ones((50, 40))
    values[-1, -1] = value
    with pytest.raises(InputProblem, match="cell 'cell49', gene 'gene39'"):
        decide_scale(scan(wrapped(values)), input_scale)


def test_negative_values_are_called_scaled():
    with pytest.raises(InputProblem, match="z-scored.*--layer"):
        decide_scale(scan(wrapped(np.array([[0.5, -0.5], [1.0, 2.0]]))), "auto")


def test_minus_infinity_is_infinite_not_negative():
    summary = scan(wrapped(np.array([[-np.inf, 1.0]])))
    assert (summary.infinite.n, summary.negative.n) == (1, 0)


@pytest.mark.parametrize("types", [None, ["Gene Expression", "Antibody Capture"]])
def test_nothing_but_zeros(types):
    values = np.zeros((3, 2)) if types is None else np.array([[0, 1], [0, 2]])
    with pytest.raises(InputProblem, match="contains only zeros"):
        decide_scale(scan(wrapped(values, types=types)), "auto")


@pytest.mark.parametrize(
    ("values", "input_scale", "expected"),
    [
        ([1, 2, 3000], "auto", "counts"),
        ([1.0, 2.0, 3000.0], "auto", "counts"),
        ([0, 1, 1], "auto", "counts"),
        ([0.5, 2.0, 15.0], "auto", "log1p"),
        ([0.5, 2.0, 15.001], "auto", None),
        ([0.5, 2.0, 300.0], "auto", None),
        ([0.5, 2.0, 300.0], "counts", "counts"),
        ([0.5, 2.0, 3.0], "counts", "counts"),
        ([1, 2, 3], "counts", "counts"),
        ([0.5, 2.0, 3.0], "log1p", "log1p"),
        ([0.5, 2.0, 18.0], "log1p", "log1p"),
        ([0.5, 2.0, 300.0], "log1p", None),
        ([1, 2, 3], "log1p", None),
    ],
)
def test_scale(values, input_scale, expected):
    summary = scan(wrapped(np.array([values])))
    if expected is None:
        with pytest.raises(InputProblem, match="--input-scale .*--layer"):
            decide_scale(summary, input_scale)
        return
    scale, reason = decide_scale(summary, input_scale)
    assert scale == expected
    assert f"{max(values):g}" in reason
    if max(values) == 18.0:
        assert "although" in reason


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
    assert decide_scale(summary, "auto")[0] == "counts"
    np.testing.assert_array_equal(summary.gene_sums, np.asarray(adata.X.sum(axis=0)).ravel())
    np.testing.assert_array_equal(summary.cell_totals, np.asarray(adata.X.sum(axis=1)).ravel())


@pytest.mark.parametrize("input_scale", ["auto", "counts"])
def test_values_whose_sums_would_overflow(input_scale):
    """They gave NaN, and no error, before they were refused."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        summary = scan(wrapped(np.array([[1.7e308, 1.0], [1.0, 1.7e308]])))
    with pytest.raises(InputProblem, match=r"1\.7e\+308, too large for counts"):
        decide_scale(summary, input_scale)
