"""Nothing is lost, whatever the command is asked to do: targets, inputs and other people's files next to them."""

import json
import os

import anndata
import pytest

from sccr_node.__main__ import main
from sccr_node.errors import OutputProblem, UsageProblem
from sccr_node.storage.targets import (
    MARKER,
    PartsTarget,
    SharedFolder,
    StoreTarget,
    Target,
    check_targets,
    foreign_in_zarr,
)
from tests.support.inputs import plain, write_zarr

pytestmark = pytest.mark.filterwarnings("ignore")  # the libraries' remarks on old and new encodings


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def data(tmp_path):
    """A folder with an input and something precious beside it."""
    folder = tmp_path / "data"
    folder.mkdir()
    adata = plain()
    adata.obs["sample"] = ["a", "b"] * (adata.n_obs // 2) + ["a"] * (adata.n_obs % 2)
    adata.write_h5ad(folder / "all.h5ad")
    write_zarr(folder / "all.zarr", adata, 2)
    (folder / "precious.txt").write_text("years of work")
    (folder / "run.yaml").write_text("n_top_genes: 20\n")
    (folder / "genes.txt").write_text("\n".join(adata.var_names[:10]))
    return folder


def refused(folder, capsys, code, said, *arguments):
    before = contents(folder)
    assert main([*map(str, arguments)]) == code
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("sccr: error: ") and said in line, line
    assert contents(folder) == before


# --- the folder of sccr split


def test_split_never_replaces_the_folder_of_its_input(data, capsys):
    for force in ([], ["--force"]):
        refused(data, capsys, 2, "contains the input", "split", data / "all.h5ad", "--batch-key", "sample",
                "--outdir", data, *force)  # fmt: skip


@pytest.mark.parametrize("made", ["full", "marked", "edited"])
def test_split_never_replaces_a_folder_with_something_of_others(data, capsys, tmp_path, made):
    other = tmp_path / "other"
    arguments = ["split", str(data / "all.h5ad"), "--batch-key", "sample", "--outdir", str(other)]
    if made == "edited":
        assert main(arguments) == 0
    else:
        other.mkdir()
    if made == "marked":
        (other / MARKER).write_text("not what sccr split writes")
    (other / "mine.txt").write_text("mine")
    refused(tmp_path, capsys, 73, "mine.txt", *arguments, "--force")


def test_split_replaces_what_split_made(data, tmp_path):
    arguments = ["split", str(data / "all.h5ad"), "--batch-key", "sample", "--outdir", str(tmp_path / "parts")]
    assert main(arguments) == 0
    first = contents(tmp_path / "parts")
    assert json.loads(first[next(path for path in first if path.name == MARKER)])["files"] == [
        "genes.txt", "target_sum.txt", "a.h5ad", "b.h5ad",
    ]  # fmt: skip
    assert main(arguments) == 73
    assert main([*arguments, "--force"]) == 0
    assert contents(tmp_path / "parts") == first


def test_an_empty_folder_may_be_replaced_and_the_current_one_not(tmp_path, monkeypatch):
    folder = tmp_path / "empty"
    folder.mkdir()
    check_targets([PartsTarget(folder)], [], force=True)
    (folder / "inner").mkdir()
    monkeypatch.chdir(folder)
    (folder / "inner").rmdir()
    with pytest.raises(OutputProblem, match="current directory"):
        check_targets([PartsTarget(folder)], [], force=True)


def test_a_link_to_a_folder_is_not_replaced_by_parts(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(OutputProblem, match="a file or a link"):
        check_targets([PartsTarget(tmp_path / "link")], [], force=True)


# --- zarr stores


@pytest.mark.parametrize("version", [2, 3])
def test_a_zarr_store_is_replaced_only_without_foreign_files(data, tmp_path, version):
    store = tmp_path / "out.zarr"
    write_zarr(store, plain(), version)
    assert not list(foreign_in_zarr(store))
    check_targets([StoreTarget(store)], [data / "all.h5ad"], force=True)
    for place in ("notes.txt", "obs/notes.txt", "layers/report.html", "figures/one.png", "X/data/notes"):
        path = store / place
        if not path.parent.exists() and place.startswith("figures"):
            path.parent.mkdir()
        if not path.parent.exists():
            continue
        path.write_text("mine")
        with pytest.raises(OutputProblem, match=place.split("/")[0]):
            check_targets([StoreTarget(store)], [], force=True)
        path.unlink()
        if place.startswith("figures"):
            path.parent.rmdir()
    check_targets([StoreTarget(store)], [], force=True)


def test_a_store_around_the_current_folder_is_not_replaced(tmp_path, monkeypatch):
    write_zarr(tmp_path / "out.zarr", plain(), 2)
    monkeypatch.chdir(tmp_path / "out.zarr" / "obs")
    with pytest.raises(OutputProblem, match="current directory"):
        check_targets([StoreTarget(tmp_path / "out.zarr")], [], force=True)


def test_a_file_is_not_replaced_by_a_store(tmp_path):
    (tmp_path / "out.zarr").write_text("a file")
    with pytest.raises(OutputProblem, match="is a file"):
        check_targets([StoreTarget(tmp_path / "out.zarr")], [], force=True)


def test_what_came_into_a_store_meanwhile_is_kept(data, tmp_path, monkeypatch):
    store = tmp_path / "out.zarr"
    write_zarr(store, plain(), 2)
    from sccr_node.pipeline import impute

    publish = impute.publish

    def while_it_works(*arguments, **options):
        (store / "notes.txt").write_text("mine")
        return publish(*arguments, **options)

    monkeypatch.setattr(impute, "publish", while_it_works)
    assert main(["impute", str(data / "all.h5ad"), str(store), "--force", "--quiet"]) == 73
    assert (store / "notes.txt").read_text() == "mine"
    assert sorted(os.listdir(tmp_path)) == ["data", "out.zarr"]


# --- side files


@pytest.mark.parametrize(
    "options",
    [
        ["--provenance", "IN/obs/.zattrs"],
        ["--provenance", "IN/p.json"],
        ["--report", "IN/layers/r.html"],
        ["--multiqc", "IN"],
        ["--multiqc", "IN/obs"],
        ["--config", "DATA/run.yaml", "--provenance", "DATA/run.yaml"],
        ["--genes", "DATA/genes.txt", "--report", "DATA/genes.txt"],
        ["--provenance", "DATA/out.h5ad"],
        ["--provenance", "DATA/p.json", "--report", "DATA/p.json"],
        ["--provenance", "DATA/mq", "--multiqc", "DATA/mq"],
        ["--multiqc", "DATA/out.h5ad"],
        ["--multiqc", "DATA/precious.txt/mq"],
    ],
)
def test_side_files_never_touch_inputs_or_each_other(data, capsys, options):
    source = data / "all.zarr"
    options = [option.replace("IN", str(source)).replace("DATA", str(data)) for option in options]
    code = 73 if "precious" in options[-1] else 2
    refused(data, capsys, code, "cannot", "impute", source, data / "out.h5ad", "--force", *options)


def test_links_are_resolved(data, capsys, tmp_path):
    (tmp_path / "way").symlink_to(data / "all.zarr")
    (tmp_path / "p.json").symlink_to(data / "all.h5ad")
    refused(data, capsys, 2, "is inside the input", "impute", data / "all.zarr", tmp_path / "out.h5ad",
            "--provenance", tmp_path / "way" / "p.json")  # fmt: skip
    refused(data, capsys, 2, "it is the input", "impute", data / "all.h5ad", tmp_path / "out.h5ad", "--force",
            "--provenance", tmp_path / "p.json")  # fmt: skip


@pytest.mark.parametrize(
    "arguments",
    [
        ["evaluate", "mask", "IN", "IN/m.h5ad"],
        ["split", "IN", "--batch-key", "sample", "--outdir", "IN/parts"],
        ["evaluate", "relations", "IN", "-o", "IN/t.tsv"],
        ["report", "IN", "-o", "IN/r.html"],
        ["benchmark", "IN", "-o", "IN/obs/t.tsv"],
        ["evaluate", "cluster", "IN", "--label-key", "sample", "--json", "IN/t.json"],
        ["gather", "DATA/all.h5ad", "DATA/all.zarr", "IN", "--force"],
        ["gather", "DATA/all.h5ad", "IN/out.h5ad", "IN"],
    ],
)
def test_no_command_writes_into_its_input(data, capsys, arguments):
    arguments = [word.replace("IN", str(data / "all.zarr")).replace("DATA", str(data)) for word in arguments]
    before = contents(data)
    assert main(arguments) in (2, 65)
    assert capsys.readouterr().err.count("sccr: error: ") == 1
    assert contents(data) == before


def test_a_multiqc_folder_beside_the_input_is_fine(data, tmp_path):
    assert main(["impute", str(data / "all.h5ad"), str(tmp_path / "out.h5ad"), "--multiqc", str(data), "--quiet"]) == 0
    assert (data / "precious.txt").read_text() == "years of work"
    assert anndata.read_h5ad(data / "all.h5ad").n_obs
    assert len(list(data.glob("*_mqc.json"))) == 5


# --- one target by itself


def test_targets_are_checked_first(tmp_path):
    file, folder = tmp_path / "record.json", tmp_path / "multiqc"
    shared = SharedFolder(folder, ["a.json"])
    check_targets([Target(file), shared], [], force=False)
    file.write_text("{}")
    with pytest.raises(OutputProblem, match="already exists.*--force"):
        check_targets([Target(file)], [], force=False)
    check_targets([Target(file)], [], force=True)
    folder.mkdir()
    check_targets([shared], [], force=False)
    with pytest.raises(OutputProblem, match="is a folder"):
        check_targets([Target(folder)], [], force=True)
    with pytest.raises(OutputProblem, match="not a folder"):
        check_targets([SharedFolder(file, [])], [], force=True)
    with pytest.raises(OutputProblem, match="folder .* does not exist"):
        check_targets([Target(tmp_path / "nowhere" / "record.json")], [], force=True)
    with pytest.raises(UsageProblem, match="two different outputs"):
        check_targets([Target(tmp_path / "a" / ".." / "record.json"), Target(file)], [], force=True)


def test_pipes_and_devices_are_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OutputProblem, match="a device or a pipe"):
        check_targets([Target(tmp_path / "pipe")], [], force=True)


def test_another_kind_is_told_before_force_is_advised(tmp_path):
    """With --force it would be refused all the same."""
    (tmp_path / "folder").mkdir()
    for force in (False, True):
        with pytest.raises(OutputProblem, match="it is a folder; give another name"):
            Target(tmp_path / "folder").check(force=force)
