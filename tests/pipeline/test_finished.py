"""Whether an output is finished: it matches its record, and the record what is asked for now."""

import json
import os
import shutil

import anndata
import h5py
import pytest

from sccr_node.__main__ import main
from sccr_node.contract.impute import ImputeParameters
from sccr_node.errors import OutputProblem
from sccr_node.pipeline.finished import is_finished, is_left_over
from sccr_node.pipeline.impute import impute_file
from sccr_node.runtime.console import Console
from sccr_node.storage.places.bucket import Refused
from tests.storage.test_places import Memory
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


def overwritten(folder):
    """Change one imputed value: neither the size nor ``uns`` shows it."""
    with h5py.File(folder / "out.h5ad") as file:
        stored = file["layers/sccr"].id.get_chunk_info(0)
    with (folder / "out.h5ad").open("r+b") as file:
        file.seek(stored.byte_offset + stored.size // 2)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))


DAMAGE = {
    "other data in the input": other_input,
    "written by version 0.0.1": other_version,
    "another size": grown,
    "is not a run record of sccr impute": lambda folder: (folder / "out.h5ad.record.json").write_text("{"),
    "another size|other content than was written": output_of_another,
    "other content": overwritten,
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


def test_a_store_of_which_one_file_was_overwritten(folder):
    source, output, params = run_of(folder, "out.zarr")
    largest = max(
        (path for path in (output / "layers").rglob("*") if path.is_file()), key=lambda path: path.stat().st_size
    )
    largest.write_bytes(bytes(largest.stat().st_size))
    with pytest.raises(OutputProblem, match="other content than was written"):
        is_finished(source, output, params)


def test_the_record_of_a_version_that_noted_no_checksum(folder):
    path = folder / "out.h5ad.record.json"
    record = json.loads(path.read_text())
    del record["result"]["sha256"]
    path.write_text(json.dumps(record))
    with pytest.raises(OutputProblem, match=r"\(the record has no checksum of the output\)"):
        is_finished(*run_of(folder))


@pytest.fixture
def bucket(folder, monkeypatch):
    """A bucket in memory, which notes what is read of it, and where uploads are begun for trial."""
    made = Memory({})
    made.seen, made.tried = [], []
    monkeypatch.setattr(made, "prepare", made.tried.append)
    read = made.read
    monkeypatch.setattr(made, "read", lambda key, *what: made.seen.append(key) or read(key, *what))
    monkeypatch.setattr("sccr_node.storage.places.transfer.bucket_of", lambda address: made)
    return made


@pytest.mark.parametrize("record", ["s3://b/new.h5ad.record.json", "here.json"])
@pytest.mark.parametrize("name", ["new.h5ad", "new.zarr"])
def test_a_remote_output_is_known_by_its_tag_and_else_by_its_bytes(folder, bucket, monkeypatch, capsys, name, record):
    monkeypatch.chdir(folder)
    (folder / "m.csv").write_text(f"input,output,n_top_genes,provenance\nin.h5ad,s3://b/{name},20,{record}\n")

    def run(code, said):
        bucket.seen.clear()
        assert main(["batch", "--manifest", "m.csv"]) == code
        assert said in capsys.readouterr().err

    def change_record(change):
        if record.startswith("s3"):
            key = record.removeprefix("s3://b/")
            bucket.objects[key] = change(bucket.objects[key])
        else:
            (folder / record).write_bytes(change((folder / record).read_bytes()))

    def without_tag(text):
        told = json.loads(text)
        assert told["result"]["identity"].startswith(f"{told['result']['bytes']} bytes, ")
        told["result"]["identity"] = None
        return json.dumps(told).encode()

    run(0, "1 imputed")
    # An upload for trial that a kill left open would stay, because a finished row is not written to again.
    assert len(bucket.tried) == len(set(bucket.tried))
    data = [key for key in bucket.objects if key.startswith(name) and not key.endswith("record.json")]
    run(0, "skipped")
    assert not set(bucket.seen) & set(data)
    change_record(without_tag)  # as if the run had been killed just before it noted the tag
    run(0, "skipped")
    assert set(data) <= set(bucket.seen)
    largest = max(data, key=lambda key: len(bucket.objects[key]))
    bucket.objects[largest] = bytes(len(bucket.objects[largest]))
    run(73, "does not match its record")


def test_a_tag_that_cannot_be_noted_is_a_warning(folder, bucket, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    (folder / "m.csv").write_text("input,output,n_top_genes\nin.h5ad,s3://b/new.h5ad,20\n")
    begin, begun = bucket.begin, []

    def once(key, *, replace):
        begun.append(key)
        if begun.count(key) > 1:
            raise Refused("objects of this bucket are never replaced")
        return begin(key, replace=replace)

    monkeypatch.setattr(bucket, "begin", once)
    assert main(["batch", "--manifest", "m.csv"]) == 0
    said = capsys.readouterr().err
    assert "s3://b/new.h5ad is complete, but its tag could not be noted in s3://b/new.h5ad.record.json" in said
    assert "never replaced" in said
    assert main(["batch", "--manifest", "m.csv"]) == 0
    assert "skipped" in capsys.readouterr().err
