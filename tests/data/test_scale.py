"""Counts, logarithms to any base, roots, fractions: the scale is recognised by its evidence, or refused with it."""

import warnings

import numpy as np
import pytest
from scipy import sparse

from sccr_node.data.dataset import wrap_anndata
from sccr_node.data.scale import LogMark, decide_scale, log_mark, recorded_scaling
from sccr_node.data.summary import scan
from sccr_node.errors import InputProblem
from tests.support.inputs import plain

pytestmark = pytest.mark.filterwarnings("ignore")


def wrapped(values, types=None, dtype=None):
    adata = plain(sparse.csr_matrix(values, dtype=dtype))
    if types is not None:
        adata.var["feature_types"] = types
    return wrap_anndata(adata)


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


@pytest.mark.parametrize("types", [None, ["Gene Expression", "Antibody Capture"]])
def test_nothing_but_zeros(types):
    values = np.zeros((3, 2)) if types is None else np.array([[0, 1], [0, 2]])
    with pytest.raises(InputProblem, match="contains only zeros"):
        decide_scale(scan(wrapped(values, types)), "auto")


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
    found = decide_scale(summary, input_scale)
    assert found.scale == expected
    assert f"{max(values):g}" in found.reason
    if max(values) == 18.0:
        assert "although" in found.reason


@pytest.mark.parametrize("input_scale", ["auto", "counts"])
def test_values_whose_sums_would_overflow(input_scale):
    """They gave NaN, and no error, before they were refused."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        summary = scan(wrapped(np.array([[1.7e308, 1.0], [1.0, 1.7e308]])))
    with pytest.raises(InputProblem, match=r"1\.7e\+308, too large for counts"):
        decide_scale(summary, input_scale)


# --- the evidence


def counts(n_cells=60, n_genes=90, seed=3):
    rng = np.random.default_rng(seed)
    values = rng.poisson(rng.gamma(0.6, 2.0, n_genes) * rng.lognormal(0, 0.5, n_cells)[:, None])
    values[np.arange(n_cells), np.arange(n_cells) % n_genes] += 1
    return values.astype(np.float64)


COUNTS = counts()
SCALED = COUNTS / COUNTS.sum(axis=1, keepdims=True) * 1000
PANEL = SCALED[:, ::2]  # genes chosen after normalisation: the totals differ from cell to cell
CORRECTED = COUNTS * np.random.default_rng(0).uniform(0.7, 1.0, COUNTS.shape)


def decided(values, input_scale="auto", dtype=np.float32, **others):
    return decide_scale(scan(wrapped(values, dtype=dtype)), input_scale, **others)


@pytest.mark.parametrize("values", [np.log1p(SCALED), np.log1p(PANEL)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_logarithms_are_confirmed_by_totals_or_by_multiples(values, dtype):
    found = decided(values, dtype=dtype)
    assert (found.scale, found.base, found.rounded, found.warnings) == ("log1p", None, False, ())
    assert "with the logarithm undone, " in found.reason
    assert "all cells examined" in found.reason


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("factor", [1, 1000])
def test_counts_off_by_float_rounding_are_rounded(dtype, factor):
    exact = COUNTS * factor
    values = np.expm1(np.log1p(exact.astype(dtype))).astype(dtype)
    assert (values != exact).any()
    found = decided(values, dtype=dtype)
    assert (found.scale, found.rounded) == ("counts", True)
    assert "rounded" in found.reason
    np.testing.assert_array_equal(found.convert(sparse.csr_matrix(values)).toarray(), exact)


@pytest.mark.parametrize(
    ("values", "words", "way_out"),
    [
        (SCALED / 1000, "without a logarithm (as they are, all cells examined have the same", "--input-scale counts"),
        (PANEL / 100, "without a logarithm (as they are, the values of a cell are 1, 2, 3", "--input-scale counts"),
        (np.sqrt(COUNTS), "square roots (squared, the values of a cell are 1, 2, 3 …", "--input-scale log1p"),
        (np.sqrt(SCALED / 10), "square roots (squared, all cells examined have", "--input-scale log1p"),
        (np.log1p(np.log1p(SCALED)), "taken twice (with both undone, all cells", "--input-scale log1p"),
        (np.log1p(np.log1p(PANEL)), "taken twice (with both undone, the values", "--input-scale log1p"),
        (np.log2(1 + SCALED), "logarithms to base 2 (with the logarithm undone, all cells", "--log-base 2"),
        (np.log2(1 + PANEL), "logarithms to base 2 (with the logarithm undone, the values", "--log-base 2"),
        (np.log10(1 + SCALED), "logarithms to base 10 (with the logarithm undone, all cells", "--log-base 10"),
        (SCALED, "without a logarithm (as they are, all cells", "--input-scale counts"),
    ],
)
def test_evidence_against_logarithms_is_refused_with_the_flag_that_settles_it(values, words, way_out):
    with pytest.raises(InputProblem) as caught:
        decided(values)
    assert words in str(caught.value)
    assert way_out in str(caught.value)


@pytest.mark.parametrize("values", [SCALED / 1000, np.sqrt(COUNTS), np.log1p(np.log1p(SCALED)), np.log2(1 + PANEL)])
def test_an_explicit_scale_wins_with_a_warning(values):
    found = decided(values, "log1p")
    assert (found.scale, found.base) == ("log1p", None)
    assert "log1p values were requested, but the values look like" in found.warnings[0]


@pytest.mark.parametrize("values", [np.log1p(SCALED), np.log2(1 + PANEL), np.sqrt(COUNTS)])
def test_counts_requested_of_what_is_none(values):
    found = decided(values, "counts")
    assert found.scale == "counts"
    assert "counts were requested, but the values look like" in found.warnings[0]


@pytest.mark.parametrize("values", [SCALED / 1000, CORRECTED, SCALED])
def test_fractional_counts_requested(values):
    found = decided(values, "counts")
    assert (found.scale, found.rounded, found.warnings) == ("counts", False, ())


def test_counts_requested_of_a_matrix_with_the_mark_of_a_logarithm():
    found = decided(CORRECTED, "counts", mark=LogMark(True))
    assert found.warnings == ("uns['log1p'] says that X is log-transformed, but counts were requested",)


@pytest.mark.parametrize("values", [np.minimum(CORRECTED, 6), np.log1p(CORRECTED), np.log1p(CORRECTED)[:9]])
def test_evidence_that_is_merely_missing_is_a_warning(values):
    found = decided(values)
    assert found.scale == "log1p"
    assert "nothing confirms it: if they are counts, give --input-scale counts" in found.warnings[0]
    assert decided(values, mark=LogMark(True)).warnings == ()


@pytest.mark.parametrize("values", [SCALED, PANEL, CORRECTED])
@pytest.mark.parametrize("base", [2.0, 10.0, 3.0])
def test_a_base_in_uns_or_given_is_honoured(values, base):
    logs = np.log1p(values) / np.log(base)
    for how in ({"mark": LogMark(True, base)}, {"log_base": base}):
        found = decided(logs, **how)
        assert (found.scale, found.base) == ("log1p", base)
        assert f"to base {base:g}" in found.reason
        natural = found.convert(sparse.csr_matrix(logs.astype(np.float32))).toarray()
        np.testing.assert_allclose(natural, np.log1p(values), rtol=1e-6)
        assert recorded_scaling(found.noted()).base == base
        assert decided(logs, "log1p", **how).base == base


def test_large_logarithms_to_base_2_are_possible_if_the_base_is_known():
    logs = np.log2(1 + SCALED * 1000)
    assert logs.max() > 15
    with pytest.raises(InputProblem, match="base 2"):
        decided(logs)
    assert decided(logs, mark=LogMark(True, 2.0)).base == 2.0


def test_a_base_in_uns_that_the_values_contradict_is_refused():
    with pytest.raises(InputProblem, match=r"look like natural logarithms .*correct uns\['log1p'\]\['base'\]"):
        decided(np.log1p(SCALED), mark=LogMark(True, 2.0))
    assert decided(np.log1p(SCALED), mark=LogMark(True, 2.0), log_base=np.e).base is None
    assert decided(np.log1p(SCALED), mark=LogMark(True, 2.0), log_base="e").base is None


def test_e_is_no_other_base():
    adata = plain(sparse.csr_matrix(np.log1p(SCALED)))
    for base, expected in ((None, LogMark(True)), (float(np.e), LogMark(True)), (np.float64(2), LogMark(True, 2.0))):
        adata.uns["log1p"] = {"base": base}
        assert log_mark(wrap_anndata(adata)) == expected
    for base in ("e", np.str_("e")):
        adata.uns["log1p"] = {"base": base}
        assert log_mark(wrap_anndata(adata)) == LogMark(True)
    adata.uns["log1p"] = {}
    assert log_mark(wrap_anndata(adata)) == LogMark(True)


@pytest.mark.parametrize("base", ["two", 1.0, -3, float("nan"), float("inf")])
def test_a_base_that_is_none_is_refused(base):
    adata = plain(sparse.csr_matrix(np.log1p(SCALED)))
    adata.uns["log1p"] = {"base": base}
    with pytest.raises(InputProblem, match="not the base of a logarithm"):
        log_mark(wrap_anndata(adata))


def test_identical_cells_prove_nothing_against_logarithms():
    assert decided(np.repeat(np.log1p(SCALED[:1]), 40, axis=0)).scale == "log1p"


def test_what_other_tools_make_is_used_as_it_is():
    found = decided(np.sqrt(SCALED / 10), any_scale=True)
    assert found.scale == "log1p"
    assert "look like square roots" in found.warnings[0]


# --- counts with fractions


def with_fractions(share, seed=1):
    rng = np.random.default_rng(seed)
    return np.where(rng.random(COUNTS.shape) < share, COUNTS * rng.uniform(0.9, 1.1, COUNTS.shape), COUNTS)


ONE_FRACTION = COUNTS.copy()
ONE_FRACTION[7, np.flatnonzero(COUNTS[7])[0]] = 1.5


@pytest.mark.parametrize("most", [14, np.inf])
@pytest.mark.parametrize("values", [ONE_FRACTION, with_fractions(0.03), with_fractions(0.3)])
@pytest.mark.parametrize("mark", [LogMark(), LogMark(True), LogMark(True, 2.0)])
def test_counts_with_some_fractions_are_not_logarithms(values, most, mark):
    """Integers k become integers 2^k - 1: that they are multiples of 1 does not make them logarithms to base 2."""
    with pytest.raises(InputProblem, match="many integers.* and also fractions .*--input-scale counts if") as caught:
        decided(np.minimum(values, most), mark=mark)
    assert "base 2" not in str(caught.value)
    found = decided(np.minimum(values, most), "counts")
    assert (found.scale, found.warnings) == ("counts", ())
    if most == 14:
        (warning,) = decided(np.minimum(values, most), "log1p").warnings
        assert "the values look like counts with some fractions" in warning


def test_the_first_fraction_is_named():
    gene = np.flatnonzero(COUNTS[7])[0]
    with pytest.raises(InputProblem, match=f"first: cell 'cell7', gene 'gene{gene}'"):
        decided(ONE_FRACTION)


def test_logarithms_to_base_2_of_counts_contain_integers():
    logs = np.log2(1 + COUNTS)
    assert np.mean(logs[logs > 0] == np.rint(logs[logs > 0])) > 0.2
    with pytest.raises(InputProblem, match="logarithms to base 2"):
        decided(logs)
    assert decided(logs, log_base=2).warnings == ()


def test_values_too_small_for_counts_are_not_rounded_to_zeros():
    found = decided(np.full((20, 5), 1e-7), "log1p")
    assert (found.scale, found.rounded) == ("log1p", False)


@pytest.mark.parametrize("factor", [1e-6, 1e-20, 1e-30])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_values_too_small_for_logarithms_are_refused_with_the_flags_that_settle_it(factor, dtype):
    values = COUNTS * factor
    with pytest.raises(InputProblem) as caught:
        decided(values, dtype=dtype)
    words = f"at most {values.max():g}, are too small for logarithms of counts (as they are, the values of a cell are 1"
    assert words in str(caught.value)
    assert "give --input-scale counts" in str(caught.value) and "--input-scale log1p" in str(caught.value)
    found = decided(values, "log1p", dtype)
    assert found.scale == "log1p" and len(found.warnings) == 1 and "too small for logarithms" in found.warnings[0]
    found = decided(values, "counts", dtype)
    assert (found.scale, found.warnings) == ("counts", ())
    found = decided(values, dtype=dtype, any_scale=True)
    assert found.scale == "log1p" and "too small for logarithms" in found.warnings[0]


@pytest.mark.parametrize("input_scale", ["auto", "counts", "log1p"])
@pytest.mark.parametrize("factor", [1e-300, 1e-45])
def test_values_that_vanish_in_results_are_refused(factor, input_scale):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(InputProblem, match=r"values of at most .*, which vanish in results \(float32\): multiply"):
            decided(COUNTS * factor, input_scale, np.float64)


# --- integers and what is said of them


@pytest.mark.parametrize("values", [COUNTS, np.expm1(np.log1p(COUNTS.astype(np.float32)))])
@pytest.mark.parametrize(
    ("how", "flag"),
    [({"log_base": 2.0}, "--log-base"), ({"log_base": "e"}, "--log-base"), ({"input_scale": "log1p"}, "--input-scale")],
)
def test_integers_are_not_logarithms(values, how, flag):
    with pytest.raises(InputProblem, match=f"contains only integers .* are counts, not logarithms; leave out {flag}"):
        decided(values, **how)


def test_integers_with_the_mark_of_a_logarithm():
    found = decided(COUNTS, mark=LogMark(True))
    assert found.scale == "counts"
    assert "uns['log1p'] says that X is log-transformed, but X contains only integers" in found.warnings[0]
    assert decided(COUNTS, "counts", mark=LogMark(True)).warnings == ()
    layer = scan(wrapped(COUNTS))
    layer.is_x = False
    assert decide_scale(layer, "auto", mark=LogMark(True)).warnings == ()


# --- cells on different scales


def replaced(values, others, n):
    made = values.copy()
    made[:n] = others[:n]
    return made


LOGS, OTHER_LOGS = np.log1p(SCALED * 10), np.log1p(COUNTS)


@pytest.mark.parametrize("storage", [sparse.csr_matrix, sparse.csc_matrix, np.asarray])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("mark", [LogMark(), LogMark(True)])
@pytest.mark.parametrize("n", [1, 5, 30, 55])
def test_counts_of_some_cells_among_logarithms_are_refused(n, mark, dtype, storage):
    summary = scan(wrap_anndata(plain(storage(replaced(LOGS, COUNTS, n).astype(dtype)))))
    with pytest.raises(InputProblem, match=f"only integers in {n} of 60 cells .first: cell 'cell0'.*cannot be mixed"):
        decide_scale(summary, "auto", mark=mark)


def test_a_single_cell_of_counts_is_found_in_a_large_file():
    """The sample does not contain it, but every cell's total is computed."""
    values = np.tile(LOGS, (25, 1))
    values[1001] = COUNTS[1]
    with pytest.raises(InputProblem, match=r"only integers in 1 of 1,500 cells \(first: cell 'cell1001'\)"):
        decided(values)


def test_counts_of_some_cells_are_found_beside_other_features():
    """Integers of antibodies are no evidence, and fractions of them none against it."""
    values = replaced(LOGS, COUNTS, 3)
    types = ["Gene Expression"] * 80 + ["Antibody Capture"] * 10
    for antibodies in (2.5, 7.0):
        values[:, 80:] = antibodies
        with pytest.raises(InputProblem, match="only integers in 3 of 60 cells"):
            decide_scale(scan(wrapped(values, types)), "auto")


def test_ones_are_logarithms_to_base_2():
    values = np.log2(1 + PANEL)
    values[:5] = np.minimum(COUNTS[:5, ::2], 1)
    assert decided(values, log_base=2).warnings == ()
    values[:3] = COUNTS[:3, ::2]
    assert "only integers in 3 of 60 cells" in decided(values, log_base=2).warnings[0]


@pytest.mark.parametrize(
    ("logs", "most"), [(LOGS, 5), (LOGS, 6), (LOGS[:, ::3], 5), (np.log1p(CORRECTED), 1), (np.log1p(CORRECTED), 2)]
)
def test_logarithms_clipped_at_an_integer_are_no_counts(logs, most):
    values = np.minimum(logs, most)
    values[3, values[3] < most] = 0
    assert decided(values, mark=LogMark(True)).scale == "log1p"


def test_cells_on_another_scale_are_a_warning_if_the_scale_is_given():
    assert "only integers in 5 of 60 cells" in decided(replaced(LOGS, COUNTS, 5), "log1p").warnings[0]
    found = decided(replaced(COUNTS, LOGS, 5), "counts")
    assert "5 of 60 cells examined look like natural logarithms" in found.warnings[0]
    found = decided(np.vstack([replaced(COUNTS, LOGS, 2), COUNTS]), "counts")
    assert "2 of 120 cells examined look like natural logarithms" in found.warnings[0]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (replaced(LOGS, OTHER_LOGS, 2), "the totals of 2 of 60 cells examined differ from that of the others"),
        (replaced(LOGS, OTHER_LOGS, 30), "30 of 60 cells examined look like logarithms of counts as they were"),
        (replaced(LOGS, np.log2(1 + SCALED), 30), "30 of 60 cells examined look like logarithms to base 2"),
        (replaced(LOGS, SCALED / 100, 20), "20 of 60 cells examined look like depth-normalised values without a log"),
    ],
)
@pytest.mark.parametrize("mark", [LogMark(), LogMark(True)])
def test_cells_that_were_made_in_different_ways_are_a_warning(values, words, mark):
    said = " ".join(decided(values, mark=mark).warnings)
    assert "do not seem to be on one scale" in said
    assert words in said


def test_totals_that_differ_are_not_called_equal():
    assert "58 of 60 cells examined have the same total" in decided(replaced(LOGS, OTHER_LOGS, 2)).reason


def test_empty_cells_and_cells_of_one_value_are_no_evidence():
    values = LOGS.copy()
    values[:5], values[5:8, 1:], values[5:8, 0] = 0, 0, np.log1p(1e4)
    found = decided(values)
    assert (found.scale, found.warnings) == ("log1p", ())


# --- normalised after the logarithm


def fitted(values):
    totals = values.sum(axis=1, keepdims=True)
    return values / totals * totals.mean()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_proportional_fitting_after_the_logarithm(dtype):
    values = fitted(np.log1p(fitted(COUNTS)))
    with pytest.raises(InputProblem, match="logarithms that were normalised once more.*give --input-scale log1p"):
        decided(values, dtype=dtype)
    assert decided(values, "log1p", dtype=dtype).warnings == ()
    assert "normalised once more" in decided(values, "counts", dtype=dtype).warnings[0]


@pytest.mark.parametrize("values", [fitted(CORRECTED) / 10, fitted(np.log1p(fitted(CORRECTED)))])
def test_equal_totals_of_what_nothing_else_is_known_of(values):
    with pytest.raises(InputProblem, match="--input-scale counts if no logarithm was taken, else --input-scale log1p"):
        decided(values)
    assert decided(values, "counts").warnings == ()


def test_equal_totals_of_values_too_large_for_logarithms():
    with pytest.raises(InputProblem, match="depth-normalised values without a logarithm .as they are"):
        decided(fitted(CORRECTED) * 100)


@pytest.mark.parametrize("name", ["worm_neuron", "mouse_bladder_2100", "pbmc"])
@pytest.mark.parametrize("genes", [slice(None), slice(0, None, 3)])
def test_real_data_normalised_in_every_way(shared_data, name, genes):
    """Logarithms of real data are confirmed, also of a part of the genes; nothing else is taken for logarithms."""
    import anndata

    raw = anndata.read_h5ad(next(shared_data.glob(f"{name}*.h5ad"))).X
    raw = sparse.csr_matrix(raw, dtype=np.float64)[:300]
    raw = raw[np.asarray(raw.sum(axis=1)).ravel() > 0]
    scaled = sparse.csr_matrix(raw.multiply(1e4 / raw.sum(axis=1)))
    scaled = scaled[:, genes]
    assert decided(scaled.log1p()).warnings == ()
    assert decided(raw[:, genes], mark=LogMark()).warnings == ()
    mixed = sparse.vstack([raw[:4, genes], scaled[4:].log1p()]).tocsr()
    with pytest.raises(InputProblem, match="only integers in 4 of"):
        decided(mixed)
    if genes == slice(None):
        rescaled = sparse.csr_matrix(raw.multiply(raw.sum() / len(raw.indptr) / raw.sum(axis=1))).log1p()
        rescaled = sparse.csr_matrix(rescaled.multiply(500 / rescaled.sum(axis=1)))
        with pytest.raises(InputProblem, match="normalised once more.*give --input-scale log1p"):
            decided(rescaled)
    for wrong in (
        scaled / 1e4,
        scaled.sqrt(),
        scaled.log1p().log1p(),
        scaled.log1p() / np.log(2),
        raw[:, genes].sqrt(),
    ):
        with pytest.raises(InputProblem, match="look like|neither"):
            decided(wrong)
