"""Genes, factors and logarithms agree with a dense transcription of the paper's preparation."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse

from sccr_node.data.dataset import open_dataset, wrap_anndata
from sccr_node.data.preparation import (
    GeneChoice,
    choose_genes,
    decide_preparation,
    gene_list_lines,
    normalization,
    prepare_block,
    read_gene_list,
    selected_values,
    variance_ranking,
    with_imputed,
)
from sccr_node.data.summary import scan
from sccr_node.errors import InputMissing, InputProblem, UsageProblem
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


def exact_variances(values: np.ndarray) -> list[int]:
    """n² times the variance of each gene over the cells that are not empty, in exact integers."""
    kept = values[values.sum(axis=1) > 0]
    return [len(kept) * int((column**2).sum()) - int(column.sum()) ** 2 for column in kept.T]


@settings(deadline=None, max_examples=80)
@given(small_counts, st.integers(1, 10))
def test_top_variance_is_the_exact_ranking(values, n_top):
    data = wrapped(values)
    summary = scan(data)
    variances = exact_variances(values)
    expected = sorted(range(values.shape[1]), key=lambda column: (-variances[column], column))
    assert variance_ranking(summary).tolist() == expected
    choice = choose_genes(data, summary, n_top_genes=n_top)
    assert choice.columns.tolist() == sorted(expected[:n_top])
    assert bool(choice.messages) == (n_top > values.shape[1])


def test_variance_of_the_real_counts(shared_data):
    with open_dataset(shared_data / "mouse_bladder_2746_hvg2003.h5ad") as data:
        summary = scan(data)
        choice = choose_genes(data, summary, n_top_genes=500)
        dense = sparse.vstack([block for _, block in data.blocks()]).toarray().astype(np.float64)
    variances = dense[dense.sum(axis=1) > 0].var(axis=0)
    assert set(choice.columns) == set(np.argsort(-variances, kind="stable")[:500])


def test_logs_are_said_to_be_ranked_as_they_are():
    data = wrapped(np.array([[0.5, 1, 2], [0, 1, 0]]))
    choice = choose_genes(data, scan(data), n_top_genes=1, scale="log1p")
    assert choice.columns.tolist() == [2]
    assert "log1p values" in choice.messages[0]


def test_only_counted_features_are_eligible():
    values = np.array([[1, 0, 50, 3], [0, 2, 0, 3]])
    data = wrapped(values, feature_types=["Gene Expression", "Gene Expression", "Antibody Capture", "Gene Expression"])
    summary = scan(data)
    assert choose_genes(data, summary, genes="all").columns.tolist() == [0, 1, 3]
    assert choose_genes(data, summary, n_top_genes=1).columns.tolist() == [1]
    choice = choose_genes(data, summary, n_top_genes=4)
    assert choice.columns.tolist() == [0, 1, 3]
    assert "4 genes were requested, but there are only 3" in choice.messages[0]


@pytest.mark.parametrize(
    "column",
    [
        np.array([True, False, True]),
        np.array([1, 0, 1]),
        pd.array([True, False, True], dtype="boolean"),
        pd.Categorical([True, False, True]),
        np.array([1.0, 0.0, 1.0]),
    ],
)
def test_highly_variable(column):
    data = wrapped(np.eye(3), highly_variable=column)
    assert choose_genes(data, scan(data), genes="highly-variable").columns.tolist() == [0, 2]


@pytest.mark.parametrize(
    ("column", "says"),
    [
        (None, "has no column 'highly_variable'"),
        (pd.array([True, None, None], dtype="boolean"), "2 missing values \\(first: gene 'gene1'\\)"),
        (np.array([True, np.nan, False], dtype=object), "1 missing value "),
        (np.array(["True", "False", "True"]), "values other than true and false"),
        (np.array([0.0, 0.5, 1.0]), "values other than true and false"),
        (np.array([False, False, False]), "marks no genes"),
    ],
)
def test_highly_variable_that_cannot_be_used(column, says):
    data = wrapped(np.eye(3), **({} if column is None else {"highly_variable": column}))
    with pytest.raises(InputProblem, match=says):
        choose_genes(data, scan(data), genes="highly-variable")


def test_highly_variable_antibodies_are_left_out():
    data = wrapped(
        np.eye(3), highly_variable=[True, True, False], feature_types=["Gene Expression", "Antibody", "Gene Expression"]
    )
    choice = choose_genes(data, scan(data), genes="highly-variable")
    assert choice.columns.tolist() == [0]
    assert "1 highly variable feature is excluded by feature type" in choice.messages[0]


def choose_from(tmp_path, text, data=None, **options):
    path = tmp_path / "genes.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    data = data or wrapped(np.eye(4), names=["a", "b", "b", "c d"])
    return choose_genes(data, scan(data), genes=str(path), **options)


@pytest.mark.parametrize("text", ["c d\na\n", "\ufeffa\r\nc d\r\n\r\n", "  a \n\nc d", "a\t1\nc d\t1\n"])
def test_gene_file(tmp_path, text):
    choice = choose_from(tmp_path, text)
    assert choice.columns.tolist() == [0, 3]
    assert choice.messages == []


def test_gene_file_with_repeats_and_ambiguous_names(tmp_path):
    choice = choose_from(tmp_path, "b\na\na\na\n")
    assert choice.columns.tolist() == [0, 1, 2]
    assert any("the gene list contains 2 repeated names;" in message for message in choice.messages)
    assert any("1 name in the gene list matches more than one gene;" in message for message in choice.messages)
    assert choose_from(tmp_path, "b\t2\n").columns.tolist() == [2]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a\nx1\nx2\nx3\nx4\nx5\nx6\n", "6 of the 7 genes in .* are not in .*'x1', 'x2', 'x3', 'x4', 'x5' and 1 more"),
        ("A\n", "1 of the 1 gene in .* is not in .*'A'$"),
        ("b\t3\n", "is not in the AnnData object"),
        ("", "contains no gene names"),
        ("\n \n", "contains no gene names"),
        (b"\xff\xfe\x00", "is not a text file"),
    ],
)
def test_gene_file_that_cannot_be_used(tmp_path, text, says):
    with pytest.raises(InputProblem, match=says):
        choose_from(tmp_path, text)


def test_gene_file_that_names_antibodies(tmp_path):
    data = wrapped(np.eye(2), names=["a", "cd4"], feature_types=["Gene Expression", "Antibody Capture"])
    with pytest.raises(InputProblem, match="1 name in .* is excluded by feature type: 'cd4'"):
        choose_from(tmp_path, "a\ncd4\n", data)


def test_gene_file_that_does_not_exist(tmp_path):
    data = wrapped(np.eye(2))
    with pytest.raises(UsageProblem, match="neither one of top-variance, highly-variable, all nor an existing file"):
        choose_genes(data, scan(data), genes="top-varience")
    with pytest.raises(InputMissing, match="named in the config file"):
        choose_genes(data, scan(data), genes=str(tmp_path / "none.txt"), from_config=True)
    with pytest.raises(InputProblem, match="is not a text file"):
        choose_genes(data, scan(data), genes=str(tmp_path))


@settings(deadline=None, max_examples=50)
@given(st.lists(st.sampled_from(["a", "b", "c d", "é"]), min_size=1, max_size=8), st.data())
def test_written_gene_list_chooses_the_same_columns(tmp_path_factory, names, draw):
    columns = sorted(draw.draw(st.sets(st.integers(0, len(names) - 1), min_size=1)))
    lines = gene_list_lines(np.array(names), np.array(columns))
    data = wrapped(np.eye(len(names)), names=names)
    choice = choose_from(tmp_path_factory.mktemp("genes"), "\n".join(lines) + "\n", data)
    assert choice.columns.tolist() == columns
    assert choice.messages == []


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


@pytest.mark.parametrize("name", ["", " lead", "trail ", "a\tb", "c\nd", "e\rf"])
def test_names_that_no_line_can_hold_are_refused(name):
    with pytest.raises(InputProblem, match="cannot write the gene name"):
        gene_list_lines(np.array(["plain", name]), np.array([1]))
    assert gene_list_lines(np.array(["plain", name]), np.array([0])) == ["plain"]


def test_other_line_breaks_belong_to_a_name(tmp_path):
    names = np.array(["a\x85b", "c\u2028d", "e\x0bf"])
    (tmp_path / "genes.txt").write_text("\n".join(gene_list_lines(names, np.arange(3))), encoding="utf-8")
    assert [name for name, _ in read_gene_list(tmp_path / "genes.txt")] == names.tolist()
