"""The Python API gives the same as the command, and touches nothing else."""

import inspect
import pkgutil
import pydoc
import re
import typing
from dataclasses import replace
from importlib import import_module

import anndata
import mudata
import numpy as np
import pytest
import yaml
from scipy import sparse

import sccr_node
from sccr_node.__main__ import main
from sccr_node.api import in_python
from sccr_node.contract.impute import ImputeParameters
from sccr_node.contract.tune import TuneParameters
from sccr_node.errors import InputMissing, InputProblem, OutputProblem, SccrError, UsageProblem
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


OF_FILES = {
    "force",
    "compression",
    "modality",
    "provenance",
    "report",
    "multiqc",
    "label_key",
    "dry_run",
    "log_format",
    "debug",
}
"""Parameters of the command that mean nothing without files."""


def test_the_keywords_are_those_of_the_contract():
    parameters = inspect.signature(sccr_node.impute).parameters
    fields = ImputeParameters.model_fields
    assert set(parameters) == {"adata", "copy", "config", *fields} - OF_FILES
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


@pytest.mark.parametrize(
    ("told", "in_words"),
    [
        ("choose with --feature-type LABEL,...", "choose with feature_type='LABEL,...'"),
        ("correct it, or give --log-base 2.718281828459045", "correct it, or give log_base=2.718281828459045"),
        ("give --log-base 2, or --input-scale log1p to", "give log_base=2, or input_scale='log1p' to"),
        ("give --overwrite-keys to replace it, or another --key-added", "give overwrite_keys=True to replace it, or"),
        ("--key-added mine would replace the layer", "key_added='mine' would replace the layer"),
        ("there is also .raw: give --layer raw", "there is also .raw: give layer='raw'"),
        ("another matrix with --layer, or", "another matrix with layer, or"),
        ("leave out --layer to impute X", "leave out layer to impute X"),
        ("use --genes top-variance, all or a FILE", "use genes='top-variance', all or a FILE"),
        ("--alpha: should be", "alpha: should be"),
        ("--dissociating requires --method sccr: scfp", "dissociating requires method='sccr': scfp"),
        ("impute by batches (--batch-key)", "impute by batches (batch_key)"),
        ("--no-such thing", "--no-such thing"),
    ],
)
def test_flags_become_keywords(told, in_words):
    assert in_python(told, {"key_added": "mine", "layer": None}).startswith(in_words)


def test_endless_values_are_shortened(adata):
    for given in ({"key_added": ";" * 10_000}, {"k_cell": 10**5000}, {"genes": ["g" * 10_000]}):
        with pytest.raises(SccrError) as caught:
            sccr_node.impute(adata, quiet=True, **given)
        assert len(str(caught.value)) < 500


def test_refusals_speak_of_keyword_arguments(adata):
    with pytest.raises(UsageProblem, match=r"^write='recovered' requires method='sccr': scfp has only one output"):
        sccr_node.impute(adata, quiet=True, write="recovered", method="scfp")
    with pytest.raises(UsageProblem, match=r"^key_added: should be a letter or an underscore"):
        sccr_node.impute(adata, quiet=True, key_added=";x")
    adata.X = -adata.X
    with pytest.raises(InputProblem, match=r"another matrix with layer$"):
        sccr_node.impute(adata, quiet=True)


# --- what it takes


@pytest.mark.parametrize("storage", [sparse.csr_matrix, sparse.csc_matrix, sparse.csr_array, np.asarray])
@pytest.mark.parametrize("mode", ["r", "r+"])
@pytest.mark.parametrize("place", ["X", "raw"])
def test_backed_objects_give_the_same(adata, tmp_path, storage, mode, place):
    layer = None
    matrix = storage(adata.X.toarray())
    if place == "raw":
        layer, adata.raw = "raw", anndata.AnnData(matrix, obs=adata.obs, var=adata.var)
    adata.X = matrix
    adata.write_h5ad(tmp_path / "in.h5ad")
    before = (tmp_path / "in.h5ad").read_bytes()
    backed = anndata.read_h5ad(tmp_path / "in.h5ad", backed=mode)
    sccr_node.impute(backed, layer=layer, quiet=True)
    sccr_node.impute(adata, layer=layer, quiet=True)
    assert same(backed.layers["sccr"], adata.layers["sccr"])
    with pytest.raises(UsageProblem, match="cannot copy an AnnData object in backed mode"):
        sccr_node.impute(backed, copy=True, quiet=True, key_added="again")
    with pytest.raises(UsageProblem, match=r"to a view of an AnnData object in backed mode: give view\.to_memory\(\)"):
        sccr_node.impute(backed[:30], layer=layer, quiet=True, key_added="again")
    backed.file.close()
    if mode == "r":
        assert (tmp_path / "in.h5ad").read_bytes() == before


class Delayed:
    """An array that some library computes later, as dask's."""

    shape, dtype, ndim = (60, 80), np.dtype(float), 2

    def compute(self):
        raise AssertionError


class Elsewhere:
    """An object that is nothing of the kind, as cupy's arrays."""

    shape, dtype, ndim = (60, 80), np.dtype(float), 2


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (
            Delayed(),
            r"X is a test_api\.Delayed; give a numpy array .* matrix \(call \.compute\(\) first\)$",
        ),
        (Elsewhere(), r"X is a test_api\.Elsewhere; give a numpy array or a scipy sparse matrix$"),
        (np.ones((60, 80), complex), "its values are not numbers but complex128"),
        (sparse.csr_matrix(np.ones((60, 80), complex)), "its values are not numbers but complex128"),
        (np.full((60, 80), "x", dtype=object), "its values are not numbers but object"),
    ],
)
def test_matrices_that_cannot_be_read(adata, values, words):
    class Holder(anndata.AnnData):
        X = property(lambda self: values)

    with pytest.raises(InputProblem, match=f"cannot use the matrix of the AnnData object: {words}"):
        sccr_node.impute(Holder(obs=adata.obs, var=adata.var), quiet=True)


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("data.h5ad", "of type str: give an AnnData object; read the file first, or use the command sccr impute"),
        (np.ones((3, 3)), "of type ndarray: give an AnnData object; put the matrix into one"),
        (None, "of type NoneType: give an AnnData object"),
    ],
)
def test_other_objects_are_refused(what, words):
    with pytest.raises(UsageProblem, match=f"cannot impute an object {words}"):
        sccr_node.impute(what, quiet=True)


@pytest.mark.filterwarnings("ignore")
def test_mudata_is_answered_with_its_modalities(adata):
    both = mudata.MuData({"prot": adata.copy(), "rna": adata})
    way_out = r"of type MuData: give one of its modalities, such as mdata\['rna'\]; it has 'prot', 'rna'"
    for function, doing in ((sccr_node.impute, "impute"), (sccr_node.tune, "tune on"), (sccr_node.report, "report on")):
        with pytest.raises(UsageProblem, match=f"cannot {doing} an object {way_out}"):
            function(both, quiet=True)
    sccr_node.impute(both["rna"], quiet=True)
    assert "sccr" in adata.layers


@pytest.mark.parametrize("kind", [list, tuple, np.array, iter])
def test_genes_by_name(adata, tmp_path, kind):
    names = [str(name) for name in adata.var_names[[3, 5, 8, 13, 21, 34]]]
    (tmp_path / "genes.txt").write_text("\n".join(names))
    listed = sccr_node.impute(adata, genes=kind(names), quiet=True, copy=True)
    from_file = sccr_node.impute(adata, genes=str(tmp_path / "genes.txt"), quiet=True, copy=True)
    from_path = sccr_node.impute(adata, genes=tmp_path / "genes.txt", quiet=True, copy=True)
    assert same(listed.layers["sccr"], from_file.layers["sccr"])
    assert same(listed.layers["sccr"], from_path.layers["sccr"])
    assert listed.uns["sccr"] == from_file.uns["sccr"]
    assert listed.var_names[listed.var["sccr_imputed"]].tolist() == names


def test_genes_that_are_missing(adata, caplog):
    names = [*adata.var_names[:9], "no", "none"]
    with pytest.raises(InputProblem, match=r"2 of the 11 genes in the list are not in .*; give genes_missing='skip'"):
        sccr_node.impute(adata, genes=names, quiet=True)
    with caplog.at_level("WARNING", logger="sccr_node"):
        sccr_node.impute(adata, genes=names, genes_missing="skip", quiet=True)
    assert "2 of the 11 genes in the gene list are not in the data and skipped: 'no', 'none'" in caplog.messages
    assert adata.uns["sccr"]["params"]["genes_missing"] == "skip"
    for wrong in ([], [1, 2], 7, None, np.array("g1"), np.array([["g1", "g2"]])):
        with pytest.raises(UsageProblem, match="genes should be names of genes, or 'top-variance'"):
            sccr_node.impute(adata, genes=wrong, quiet=True, key_added="x")


def test_the_package_lists_what_there_is():
    assert dir(sccr_node) == ["__version__", "impute", "report", "tune"]
    assert all(hasattr(sccr_node, name) for name in dir(sccr_node))


def test_tuning_is_that_of_the_command(tmp_path):
    adata = simulated(n_cells=160, n_genes=100, n_types=3, depth=150)
    before = adata.copy()
    adata.write_h5ad(tmp_path / "in.h5ad")
    tuning = sccr_node.tune(adata, quiet=True, n_top_genes=60)
    assert main(["impute", str(tmp_path / "in.h5ad"), str(tmp_path / "out.h5ad"), "--tune", "--n-top-genes", "60"]) == 0
    written = anndata.read_h5ad(tmp_path / "out.h5ad")
    params = written.uns["sccr"]["params"]
    assert {name: params[name] for name in tuning.parameters} == tuning.parameters
    assert [verdict.text for verdict in tuning.verdicts] == list(written.uns["sccr"]["tuning"]["verdicts"])
    assert (adata.X != before.X).nnz == 0 and set(adata.uns) == set(before.uns)
    sccr_node.impute(adata, quiet=True, n_top_genes=60, tune=True)
    assert same(adata.layers["sccr"], written.layers["sccr"])
    sccr_node.impute(before, quiet=True, n_top_genes=60, **tuning.parameters)
    assert same(before.layers["sccr"], written.layers["sccr"])


def test_tuning_has_the_keywords_of_the_contract():
    keywords = inspect.signature(sccr_node.tune).parameters
    not_here = {"log_format", "debug", "force", "method", "log_base", "modality"}
    assert set(keywords) - {"adata", "config"} == set(TuneParameters.model_fields) - not_here
    for name, keyword in keywords.items():
        if name not in ("adata", "config"):
            assert keyword.default == TuneParameters.model_fields[name].default


# --- config files


def sparse_counts():
    """Counts so few that imputing them helps."""
    return simulated(n_cells=160, n_genes=100, n_types=3, depth=150)


@pytest.fixture
def tuned_config(tmp_path):
    """The config that sccr tune writes for these counts."""
    sparse_counts().write_h5ad(tmp_path / "in.h5ad")
    path = tmp_path / "tuned.yaml"
    assert main(["tune", str(tmp_path / "in.h5ad"), "-o", str(path), "--quiet"]) == 0
    return path


def test_a_config_does_what_it_does_for_the_command(tuned_config, tmp_path, caplog):
    output = tmp_path / "out.h5ad"
    words = ["impute", str(tmp_path / "in.h5ad"), str(output), "--config", str(tuned_config), "--quiet"]
    assert main([*words, "--k-cell", "9"]) == 0
    adata = sparse_counts()
    with caplog.at_level("INFO", logger="sccr_node"):
        sccr_node.impute(adata, config=tuned_config)
        assert any("parameters tuned on these data: values: closer to the truth" in line for line in caplog.messages)
        caplog.clear()
        # A keyword beats the config, as a flag does.
        sccr_node.impute(adata, config=str(tuned_config), k_cell=9, overwrite_keys=True)
        assert any("the verdicts of sccr tune do not hold" in line for line in caplog.messages)
    written = anndata.read_h5ad(output)
    assert same(adata.layers["sccr"], written.layers["sccr"])
    assert adata.uns["sccr"]["params"] == written.uns["sccr"]["params"]
    again = sccr_node.tune(adata, config=tuned_config, quiet=True)
    assert again.parameters["beta"] == yaml.safe_load(tuned_config.read_text())["beta"]


def test_a_config_and_genes_are_fetched_to_the_folder_for_temporary_files(adata, tmp_path, monkeypatch):
    """From an address, here of a server that is not there, and not to where nothing can be written."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    monkeypatch.setattr("sccr_node.storage.places.transfer.WAITS", ())
    for given in ({"config": "http://127.0.0.1:9/tuned.yaml"}, {"genes": "http://127.0.0.1:9/genes.txt"}):
        with pytest.raises(SccrError, match=r"cannot read http://127\.0\.0\.1:9/.*refused"):
            sccr_node.impute(adata, work_dir=tmp_path, quiet=True, **given)


def test_configs_that_cannot_be_used_are_refused(adata, tmp_path, caplog):
    config = tmp_path / "config.yaml"
    for text, words in {
        "report: x.html": "config file .*: report would have no effect: it is about the files",
        "betta: 0.5": "config file .*: unknown key 'betta'; did you mean beta",
        "beta: 2": "config file .*: beta: should be less than or equal to 1",
        "tuning: 3": "tuning is not as sccr tune writes it",
    }.items():
        config.write_text(text)
        with pytest.raises(UsageProblem, match=words):
            sccr_node.impute(adata, config=config, quiet=True)
    with pytest.raises(UsageProblem, match="config: expected a path, not an object of type dict"):
        sccr_node.impute(adata, config={"beta": 0.5}, quiet=True)
    for function in (sccr_node.impute, sccr_node.tune, sccr_node.report):
        with pytest.raises(InputMissing, match="cannot read config file absent.yaml: no such file"):
            function(adata, config="absent.yaml")
    assert "sccr" not in adata.uns
    config.write_text("")
    sccr_node.impute(adata, config=config, quiet=True)
    assert any("sets no parameter: was it cut off?" in line for line in caplog.messages)


# --- the report


def sections(page):
    return dict(re.findall(r'<section id="(\w+)"[^>]*>(.*?)</section>', page, re.S))


@pytest.mark.parametrize("options", [{}, {"write": "both", "output_scale": "counts"}, {"write": "embedding"}])
def test_the_report_is_that_of_the_command(adata, tmp_path, options):
    sccr_node.impute(adata, quiet=True, n_top_genes=40, **options)
    adata.write_h5ad(tmp_path / "out.h5ad")
    words = ["report", str(tmp_path / "out.h5ad"), "-o", str(tmp_path / "page.html"), "--label-key", "cell_type"]
    assert main([*words, "--quiet"]) == 0
    before = adata.copy()
    page = sccr_node.report(adata, tmp_path / "own.html", label_key="cell_type", sample="lung.1", quiet=True)
    assert (tmp_path / "own.html").read_text() == page.html
    assert "lung.1" in page.html
    theirs, ours = sections((tmp_path / "page.html").read_text()), sections(page.html)
    assert set(ours) == set(theirs) and "cells" in ours
    for name in ours.keys() & {"cells", "groups", "values", "markers", "relations"}:
        assert ours[name] == theirs[name], name
    assert set(adata.uns) == set(before.uns) and set(adata.layers) == set(before.layers)
    read = anndata.read_h5ad(tmp_path / "out.h5ad")
    assert sccr_node.report(read, label_key="cell_type", sample="lung.1", quiet=True).html == page.html


def test_the_report_has_the_verdicts_of_tuning(tuned_config, tmp_path):
    adata = sparse_counts()
    tuning = sccr_node.tune(adata, quiet=True)
    sccr_node.impute(adata, quiet=True, **tuning.parameters)
    before = adata.uns["sccr"].copy()
    assert "helps" not in sections(sccr_node.report(adata, quiet=True).html)
    pages = [sccr_node.report(adata, quiet=True, **how).html for how in ({"tuning": tuning}, {"config": tuned_config})]
    told = [sections(page)["helps"] for page in pages]
    assert "Closer to the truth" in told[0] and told[0] == told[1]
    assert adata.uns["sccr"].keys() == before.keys()
    with pytest.raises(UsageProblem, match="tuning: expected what sccr_node.tune returned, not an object of type dict"):
        sccr_node.report(adata, tuning=tuning.parameters, quiet=True)
    with pytest.raises(SccrError, match=r"tuned\.yaml"):
        sccr_node.report(adata, tuned_config, config=tuned_config, quiet=True, force=True)
    with pytest.raises(UsageProblem, match="tuning: it does not say which data it is about"):
        sccr_node.report(adata, tuning=replace(tuning, note=None), quiet=True)
    adata.X[0, :] = 1
    assert "helps" not in sections(sccr_node.report(adata, tuning=tuning, quiet=True).html)


def test_a_notebook_shows_the_report_in_a_frame(adata):
    sccr_node.impute(adata, quiet=True, n_top_genes=40)
    page = sccr_node.report(adata, quiet=True)
    shown = page._repr_html_()
    assert shown.startswith("<iframe srcdoc=") and shown.count("<") == 2
    assert len(repr(page)) < 100


def test_what_cannot_be_reported_is_refused(adata, tmp_path):
    out = tmp_path / "page.html"
    with pytest.raises(InputProblem, match="the AnnData object contains no result of sccr impute"):
        sccr_node.report(adata, out, quiet=True)
    with pytest.raises(UsageProblem, match="cannot report on an object of type str: .* use the command sccr report"):
        sccr_node.report("out.h5ad", out)
    with pytest.raises(UsageProblem, match="output: expected a path, not an object of type int"):
        sccr_node.report(adata, 5)
    sccr_node.impute(adata, quiet=True, n_top_genes=40)
    with pytest.raises(InputProblem, match="no column 'donor'"):
        sccr_node.report(adata, out, label_key="donor", quiet=True)
    with pytest.raises(UsageProblem, match="key_added: should not be empty"):
        sccr_node.report(adata, out, key_added="", quiet=True)
    sccr_node.impute(adata, quiet=True, n_top_genes=40, key_added="other")
    with pytest.raises(InputProblem, match="several results: 'sccr', 'other'; choose one with key_added"):
        sccr_node.report(adata, out, quiet=True)
    assert not out.exists()
    sccr_node.report(adata, out, key_added="other", quiet=True)
    with pytest.raises(OutputProblem, match="already exists: give force=True"):
        sccr_node.report(adata, out, key_added="other", quiet=True)
    sccr_node.report(adata, out, key_added="other", quiet=True, force=True)
    with pytest.raises(TypeError, match="color"):
        sccr_node.report(adata, color="cell_type")


def test_a_result_of_a_layer_is_reported_without_x(adata):
    adata.layers["counts"] = adata.X
    adata.X = None
    sccr_node.impute(adata, layer="counts", quiet=True, n_top_genes=40)
    assert "values" in sections(sccr_node.report(adata, quiet=True).html)


def test_help_shows_the_functions():
    """A module of the name of a function would take its place in the package as soon as it is imported."""
    assert not set(sccr_node.__all__) & {module.name for module in pkgutil.iter_modules(sccr_node.__path__)}
    documented = {"sccr_node": ["impute", "report", "tune"], "sccr_node.methods": ["blend", "sccr", "scfp", "scbfp"]}
    for home, names in documented.items():
        for name in names:
            head = pydoc.plaintext.document(getattr(import_module(home), name), name)
            head = head.replace("(\n    ", "(", 1)  # newer Pythons break long signatures
            assert head.startswith(f"{name}({'adata' if home == 'sccr_node' else 'expression'}: "), head[:80]
