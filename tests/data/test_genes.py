"""The genes to impute: ranked exactly, marked in the data, or listed; names that are not there are explained."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse

from sccr_node.data.dataset import open_dataset, wrap_anndata
from sccr_node.data.genes import choose_genes, gene_list_lines, read_gene_list, variance_ranking
from sccr_node.data.summary import scan
from sccr_node.errors import InputMissing, InputProblem
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
    assert bool(choice.findings) == (n_top > values.shape[1])


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
    assert "log1p values" in choice.findings[0].text


def test_only_counted_features_are_eligible():
    values = np.array([[1, 0, 50, 3], [0, 2, 0, 3]])
    data = wrapped(values, feature_types=["Gene Expression", "Gene Expression", "Antibody Capture", "Gene Expression"])
    summary = scan(data)
    assert choose_genes(data, summary, genes="all").columns.tolist() == [0, 1, 3]
    assert choose_genes(data, summary, n_top_genes=1).columns.tolist() == [1]
    choice = choose_genes(data, summary, n_top_genes=4)
    assert choice.columns.tolist() == [0, 1, 3]
    assert "4 genes were requested, but there are only 3" in choice.findings[0].text


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
    assert "1 highly variable feature is excluded by feature type" in choice.findings[0].text


def choose_from(tmp_path, text, data=None, **options):
    path = tmp_path / "genes.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    data = data or wrapped(np.eye(4), names=["a", "b", "b", "c d"])
    listed = read_gene_list(path)
    return choose_genes(data, scan(data), genes=str(path), listed=listed, **options)


@pytest.mark.parametrize("text", ["c d\na\n", "\ufeffa\r\nc d\r\n\r\n", "  a \n\nc d", "a\t1\nc d\t1\n"])
def test_gene_file(tmp_path, text):
    choice = choose_from(tmp_path, text)
    assert choice.columns.tolist() == [0, 3]
    assert choice.findings == []


def test_gene_file_with_repeats_and_ambiguous_names(tmp_path):
    choice = choose_from(tmp_path, "b\na\na\na\n")
    assert choice.columns.tolist() == [0, 1, 2]
    assert any("the gene list contains 2 repeated names;" in found.text for found in choice.findings)
    assert any("1 name in the gene list matches more than one gene;" in found.text for found in choice.findings)
    assert choose_from(tmp_path, "b\t2\n").columns.tolist() == [2]


@pytest.mark.parametrize("missing", ["error", "skip"])
@pytest.mark.parametrize(
    "second", [["7", "2", "0"], ["1", "1", "1"], ["9" * 5000, "1", "2"], ["0.05", "x", "²"], ["1\tfoo", "2\tfoo", ""]]
)
def test_a_table_is_a_list_of_its_first_column(tmp_path, second, missing):
    text = "\n".join(f"{name}\t{field}" for name, field in zip(["a", "b", "c d"], second, strict=True))
    choice = choose_from(tmp_path, text, missing=missing)
    assert choice.columns.tolist() == [0, 1, 2, 3]
    assert [finding.text for finding in choice.findings] == [
        "1 name in the gene list matches more than one gene; all matching genes are imputed"
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a\nx1\nx2\nx3\nx4\nx5\nx6\n", "6 of the 7 genes in .* are not in .*'x1', 'x2', 'x3', 'x4', 'x5' and 1 more"),
        ("a\n" + "".join(f"x{n}\n" for n in range(2005)), "'x4' and 2,000 more"),
        (
            "A\n",
            "1 of the 1 gene in .* is not in .*'A'; the data have 1 of them in another case \\('A' is 'a' there\\)$",
        ),
        ("b\t3\n", r"is not in the AnnData object: 'b \(number 3\)'; 'b' is there only 2 times$"),
        ("a,b\n", "write one name per line$"),
        ("a b c d\n", "write one name per line$"),
        ('["a", "b"]\n', "write one name per line$"),
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
    with pytest.raises(InputMissing, match="neither one of top-variance, highly-variable, all nor an existing file"):
        read_gene_list(Path("top-varience"))
    with pytest.raises(InputMissing, match="named in the config file"):
        read_gene_list(tmp_path / "none.txt", from_config=True)
    with pytest.raises(InputProblem, match="is not a text file"):
        read_gene_list(tmp_path)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.sampled_from(["a", "b", "c d", "é"]), min_size=1, max_size=8), st.data())
def test_written_gene_list_chooses_the_same_columns(tmp_path_factory, names, draw):
    columns = sorted(draw.draw(st.sets(st.integers(0, len(names) - 1), min_size=1)))
    lines = gene_list_lines(np.array(names), np.array(columns))
    data = wrapped(np.eye(len(names)), names=names)
    choice = choose_from(tmp_path_factory.mktemp("genes"), "\n".join(lines) + "\n", data)
    assert choice.columns.tolist() == columns
    assert choice.findings == []


@pytest.mark.parametrize("name", ["", " lead", "trail ", "a\tb", "c\nd", "e\rf"])
def test_names_that_no_line_can_hold_are_refused(name):
    with pytest.raises(InputProblem, match="cannot write the gene name"):
        gene_list_lines(np.array(["plain", name]), np.array([1]))
    assert gene_list_lines(np.array(["plain", name]), np.array([0])) == ["plain"]


def test_other_line_breaks_belong_to_a_name(tmp_path):
    names = np.array(["a\x85b", "c\u2028d", "e\x0bf"])
    (tmp_path / "genes.txt").write_text("\n".join(gene_list_lines(names, np.arange(3))), encoding="utf-8")
    assert [name for name, _ in read_gene_list(tmp_path / "genes.txt")] == names.tolist()


# --- names that are not there


@pytest.mark.parametrize(
    ("stored", "listed", "why"),
    [
        (
            ["GAPDH", "ACTB", "CD4"],
            ["Gapdh", "Actb", "no"],
            "the data have 2 of them in another case ('Gapdh' is 'GAPDH'",
        ),
        (["ENSG00000111640.15", "b"], ["ENSG00000111640"], "1 of them with or without a version"),
        (["ENSG00000111640", "b"], ["ENSG00000111640.3"], "1 of them with or without a version"),
        (["GAPDH", "b"], ['"GAPDH"'], "1 of them without the quotes"),
        (
            ["GAPDH", "b"],
            ["ENSG00000111640", "ENSMUSG00000057666"],
            "the list has Ensembl identifiers, and the data other",
        ),
        (
            ["ENSG00000111640", "ENSG00000075624"],
            ["GAPDH", "ACTB"],
            "the data have Ensembl identifiers, and the list other",
        ),
    ],
)
def test_why_names_are_unknown(tmp_path, stored, listed, why):
    data = wrapped(np.eye(len(stored)), names=stored)
    with pytest.raises(InputProblem) as caught:
        choose_from(tmp_path, "\n".join([*listed, stored[1]]), data)
    assert why in str(caught.value)
    assert f"{len(listed)} of the {len(listed) + 1} genes" in str(caught.value)
    assert str(caught.value).endswith("; give --genes-missing skip to use the others")


def test_names_in_a_column_of_var_are_found(tmp_path):
    data = wrapped(np.eye(2), names=["ENSG00000111640", "ENSG00000075624"], symbol=["GAPDH", "ACTB"])
    with pytest.raises(InputProblem, match=r"var\['symbol'\] has 2 of them, but genes are known by the index of var"):
        choose_from(tmp_path, "GAPDH\nACTB\n", data)


def test_missing_names_are_skipped_on_request(tmp_path):
    choice = choose_from(tmp_path, "a\nx1\nx2\n", missing="skip")
    assert choice.columns.tolist() == [0]
    assert choice.findings[0].warning
    assert choice.findings[0].text == "2 of the 3 genes in the gene list are not in the data and skipped: 'x1', 'x2'"


def test_none_left_is_an_error(tmp_path):
    with pytest.raises(InputProblem, match=r"2 of the 2 genes in .* are not in the AnnData object: 'x1', 'x2'$"):
        choose_from(tmp_path, "x1\nx2\n", missing="skip")
