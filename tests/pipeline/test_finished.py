"""Whether an output is finished: it matches its record, and the record what is asked for now."""

import json
import os
import shutil

import anndata
import pytest

from sccr_node.contract.impute import ImputeParameters
from sccr_node.errors import OutputProblem
from sccr_node.pipeline.finished import is_finished, is_left_over
from sccr_node.pipeline.impute import impute_file
from sccr_node.runtime.console import Console
from tests.support.simulated import simulated


def imputed(folder, name="out.h5ad", **given):
    """Impute with a record, and return what :func:`is_finished` is asked about."""
    params = ImputeParameters(**{"provenance": str(folder / f"{name}.record.json")} | given)
    impute_file(folder / "in.h5ad", folder / name, params, console=Console(quiet=True))
    return folder / "in.h5ad", folder / name, params


def changed(params, **given):
    return ImputeParameters(**params.model_dump(exclude_unset=True) | given)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("done")
    simulated(n_cells=40, n_genes=50, n_types=2).write_h5ad(folder / "in.h5ad")
    (folder / "genes.txt").write_text("".join(f"{name}\n" for name in simulated(n_cells=40, n_genes=50).var_names[:20]))
    imputed(folder, n_top_genes=20)
    imputed(folder, "out.zarr", n_top_genes=20)
    imputed(folder, "listed.h5ad", genes=str(folder / "genes.txt"), report=str(folder / "r.html"))
    return folder


@pytest.fixture
def folder(done, tmp_path):
    return shutil.copytree(done, tmp_path / "here")


def run_of(folder, name="out.h5ad", **given):
    params = {"provenance": str(folder / f"{name}.record.json"), "n_top_genes": 20} | given
    return folder / "in.h5ad", folder / name, ImputeParameters(**{k: v for k, v in params.items() if v is not None})


@pytest.mark.parametrize("name", ["out.h5ad", "out.zarr"])
def test_a_finished_run(folder, name):
    assert is_finished(*run_of(folder, name))


@pytest.mark.parametrize(
    "given", [{"threads": 1}, {"quiet": True}, {"max_memory": "8GB"}, {"compression": "none"}, {"force": True}]
)
def test_what_does_not_affect_the_result_may_differ(folder, given):
    assert is_finished(*run_of(folder, **given))


def test_nothing_is_finished_without_output_or_record(folder):
    source, output, params = run_of(folder)
    (folder / "out.h5ad.record.json").unlink()
    assert not is_finished(source, output, params)
    source, output, params = run_of(folder, "out.zarr")
    shutil.rmtree(output)
    assert not is_finished(source, output, params)


@pytest.mark.parametrize("name", ["in.h5ad", "out.h5ad.record.json"])
def test_a_pipe_is_not_waited_for(folder, name):
    (folder / name).unlink()
    os.mkfifo(folder / name)
    assert not is_finished(*run_of(folder))


def other_input(folder):
    adata = anndata.read_h5ad(folder / "in.h5ad")
    adata.X = adata.X.toarray() + 1
    adata.write_h5ad(folder / "in.h5ad")


def other_version(folder):
    record = json.loads((folder / "out.h5ad.record.json").read_text())
    (folder / "out.h5ad.record.json").write_text(json.dumps(record | {"version": "0.0.1"}))


def output_of_another(folder):
    source, output, params = run_of(folder, n_top_genes=30)
    impute_file(
        source, output, changed(params, force=True, provenance=str(folder / "o.json")), console=Console(quiet=True)
    )


def grown(folder):
    with (folder / "out.h5ad").open("ab") as file:
        file.write(b"more")


DAMAGE = {
    "other data in the input": other_input,
    "written by version 0.0.1": other_version,
    "another size": grown,
    "is not a run record of sccr impute": lambda folder: (folder / "out.h5ad.record.json").write_text("{"),
    "another size|belongs to a different run": output_of_another,
}


@pytest.mark.parametrize("why", DAMAGE)
def test_an_output_that_does_not_match_is_refused_and_with_force_run_again(folder, why):
    DAMAGE[why](folder)
    with pytest.raises(OutputProblem, match=rf"already exists, and does not match its record .*({why}).*give --force"):
        is_finished(*run_of(folder))
    assert not is_finished(*run_of(folder, force=True))


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"k_cell": 7}, "k_cell"),
        ({"n_top_genes": None, "genes": "all"}, "genes"),
        ({"write": "both"}, "write"),
        ({"key_added": "other"}, "key_added"),
        ({"low_rank_share": 0.5}, "low_rank_share"),
        ({"tune": True}, "tune"),
    ],
)
def test_other_parameters(folder, given, named):
    with pytest.raises(OutputProblem, match=rf"other parameters: .*{named}"):
        is_finished(*run_of(folder, **given))


def test_a_list_of_genes_is_compared_by_its_names(folder):
    given = {"n_top_genes": None, "report": str(folder / "r.html")}
    listed = run_of(folder, "listed.h5ad", genes=str(folder / "genes.txt"), **given)
    assert is_finished(*listed)
    shutil.move(folder / "genes.txt", folder / "moved.txt")
    assert is_finished(*run_of(folder, "listed.h5ad", genes=str(folder / "moved.txt"), **given))
    names = (folder / "moved.txt").read_text().splitlines()
    (folder / "moved.txt").write_text("\n".join(names[:-1]))
    with pytest.raises(OutputProblem, match="other parameters: 'genes'"):
        is_finished(*run_of(folder, "listed.h5ad", genes=str(folder / "moved.txt"), **given))


def test_a_report_that_is_missing(folder):
    (folder / "r.html").unlink()
    given = {"n_top_genes": None, "report": str(folder / "r.html"), "genes": str(folder / "genes.txt")}
    with pytest.raises(OutputProblem, match=r"r\.html is missing"):
        is_finished(*run_of(folder, "listed.h5ad", **given))


def test_what_tuning_found_is_not_asked_for_again(tmp_path):
    simulated(n_cells=150, n_genes=60, n_types=2).write_h5ad(tmp_path / "in.h5ad")
    source, output, params = imputed(tmp_path, tune=True, alpha=0.1)
    assert is_finished(source, output, params)
    with pytest.raises(OutputProblem, match="other parameters: 'alpha'"):
        is_finished(source, output, changed(params, alpha=0.2))
    with pytest.raises(OutputProblem, match="other parameters: 'beta'"):
        is_finished(source, output, changed(params, beta=0.123))


def test_a_record_without_its_output_is_left_over_from_a_killed_run(folder):
    _, output, params = imputed(folder, "new.h5ad")
    assert not is_left_over(output, params)
    output.unlink()
    assert is_left_over(output, params)
    shutil.copy(folder / "out.h5ad.record.json", folder / "new.h5ad.record.json")
    assert not is_left_over(output, params)
