"""The Python API gives the same as the command, and touches nothing else."""

import inspect
import pydoc
import re
import typing

import anndata
import numpy as np
import pytest
from scipy import sparse

import sccr_node
from sccr_node.__main__ import main
from sccr_node.contract.impute import ImputeParameters
from sccr_node.errors import InputProblem, UsageProblem
from tests.support.simulated import simulated


@pytest.fixture
def adata():
    return simulated(n_cells=60, n_genes=80, n_types=2, n_batches=2)


def same(first, second):
    if sparse.issparse(first):
        return first.format == second.format and (first != second).nnz == 0
    return np.array_equal(first, second)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"n_top_genes": 10, "write": "both"},
        {"batch_key": "batch", "key_added": "k"},
        {"method": "scbfp", "genes": "all"},
    ],
)
def test_the_same_as_the_command(adata, tmp_path, options):
    adata.write_h5ad(tmp_path / "in.h5ad")
    flags = [part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    assert main(["impute", str(tmp_path / "in.h5ad"), str(tmp_path / "out.h5ad"), "--quiet", *flags]) == 0
    written = anndata.read_h5ad(tmp_path / "out.h5ad")
    assert sccr_node.impute(adata, quiet=True, **options) is None
    for slot in ("layers", "obsm", "varp"):
        ours, theirs = getattr(adata, slot), getattr(written, slot)
        assert set(ours) == set(theirs)
        assert all(same(ours[key], theirs[key]) for key in ours)
    assert adata.var.equals(written.var)
    key = options.get("key_added", "sccr")
    assert adata.uns[key]["params"] == written.uns[key]["params"]
    assert adata.uns[key]["messages"] == list(written.uns[key]["messages"])


def test_a_copy_leaves_the_original(adata):
    before = adata.copy()
    result = sccr_node.impute(adata, copy=True, quiet=True)
    assert "sccr" in result.layers
    assert set(adata.layers) == set(before.layers)
    assert "sccr" not in adata.uns
    assert (adata.X != before.X).nnz == 0


def test_dense_and_column_stored_matrices(adata):
    expected = sccr_node.impute(adata, copy=True, quiet=True)
    for convert in (lambda x: x.toarray(), sparse.csc_matrix, sparse.csr_array):
        other = adata.copy()
        other.X = convert(adata.X)
        sccr_node.impute(other, quiet=True)
        assert same(other.layers["sccr"], expected.layers["sccr"])


def test_failures_leave_the_object_unchanged(adata):
    sccr_node.impute(adata, quiet=True)
    layer = adata.layers["sccr"].copy()
    with pytest.raises(InputProblem, match="overwrite"):
        sccr_node.impute(adata, quiet=True, n_top_genes=5)
    with pytest.raises(UsageProblem, match="alpha"):
        sccr_node.impute(adata, quiet=True, overwrite_keys=True, alpha=2)
    with pytest.raises(TypeError, match="n_genes"):
        sccr_node.impute(adata, n_genes=5)
    with pytest.raises(InputProblem, match="no layer 'spliced'"):
        sccr_node.impute(adata, layer="spliced", key_added="other", quiet=True)
    assert same(adata.layers["sccr"], layer)
    sccr_node.impute(adata, quiet=True, overwrite_keys=True, method="scfp")
    assert adata.uns["sccr"]["method"] == "scfp"
    assert "sccr_relations" not in adata.varp


OF_FILES = {"force", "compression", "provenance", "report", "multiqc", "label_key", "dry_run", "log_format", "debug"}
"""Parameters of the command that mean nothing without files."""


def test_the_keywords_are_those_of_the_contract():
    parameters = inspect.signature(sccr_node.impute).parameters
    fields = ImputeParameters.model_fields
    assert set(parameters) == {"adata", "copy", *fields} - OF_FILES
    for name, parameter in parameters.items():
        if name in fields:
            assert parameter.kind is inspect.Parameter.KEYWORD_ONLY
            assert parameter.default == fields[name].default, name


def test_the_choices_are_those_of_the_contract():
    hints = typing.get_type_hints(sccr_node.impute)
    for name, field in ImputeParameters.model_fields.items():
        if name in hints and name != "method":  # the catalogue names the methods
            assert choices(hints[name]) == choices(field.annotation), name


def choices(annotation):
    if typing.get_origin(annotation) is typing.Literal:
        return set(typing.get_args(annotation))
    return set().union(*(choices(part) for part in typing.get_args(annotation)), set())


def test_help_is_for_people():
    page = pydoc.render_doc(sccr_node.impute, renderer=pydoc.plaintext)
    for inside in ("pydantic", "FieldInfo", "Annotated", "metadata", "ByteSize"):
        assert inside not in page
    documented = set(re.findall(r"\b[a-z_]+\b", page[page.index("Parameters") : page.index("Returns")]))
    assert set(inspect.signature(sccr_node.impute).parameters) <= documented


def test_what_is_said_goes_to_the_host_s_log(adata, caplog, capsys):
    with caplog.at_level("INFO", logger="sccr_node"):
        sccr_node.impute(adata)
    assert any("input treated as counts" in message for message in caplog.messages)
    assert capsys.readouterr().err == ""


def test_unknown_attributes_are_unknown():
    with pytest.raises(AttributeError, match="nothing_such"):
        _ = sccr_node.nothing_such


def test_refusals_speak_of_keyword_arguments(adata):
    with pytest.raises(UsageProblem, match=r"^write='recovered' requires method='sccr': scfp has only one output"):
        sccr_node.impute(adata, quiet=True, write="recovered", method="scfp")
    with pytest.raises(UsageProblem, match=r"^key_added: should be a letter or an underscore"):
        sccr_node.impute(adata, quiet=True, key_added=";x")
    adata.X = -adata.X
    with pytest.raises(InputProblem, match=r"another matrix with layer$"):
        sccr_node.impute(adata, quiet=True)
