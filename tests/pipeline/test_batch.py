"""``sccr batch``: a row is what ``sccr impute`` does, finished rows are skipped, failures stay with their rows."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import anndata
import numpy as np
import pytest

from sccr_node.__main__ import main
from sccr_node.pipeline import batch as batch_module
from tests.support.simulated import simulated


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    for name, seed in (("a", 1), ("b", 2), ("c", 3)):
        simulated(n_cells=60, n_genes=50, n_types=2, n_batches=2, seed=seed).write_h5ad(folder / f"{name}.h5ad")
    return folder


@pytest.fixture
def here(inputs, tmp_path, monkeypatch):
    folder = shutil.copytree(inputs, tmp_path / "here")
    monkeypatch.chdir(folder)
    return folder


def manifest(folder, *lines):
    (folder / "m.csv").write_text("\n".join(lines) + "\n")


def batch(*options, code=0):
    assert main(["batch", "--manifest", "m.csv", *map(str, options)]) == code


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


THREE = ("input,output,k_cell,batch_key", "a.h5ad,x.h5ad,5,", "b.h5ad,y.h5ad,,batch", "c.h5ad,z.h5ad,,")


def test_every_row_is_what_impute_writes(here):
    manifest(here, *THREE)
    batch("--k-cell", 7, "--quiet")
    for words in (
        ("a", "x", "--k-cell", "5"),
        ("b", "y", "--k-cell", "7", "--batch-key", "batch"),
        ("c", "z", "--k-cell", "7"),
    ):
        alone = here / "alone.h5ad"
        assert main(["impute", f"{words[0]}.h5ad", "alone.h5ad", *words[2:], "--force", "--quiet"]) == 0
        assert (here / f"{words[1]}.h5ad").read_bytes() == alone.read_bytes()
        record = json.loads((here / f"{words[1]}.h5ad.record.json").read_text())
        assert record["command"] == ["sccr", "batch", "--manifest", "m.csv", "--k-cell", "7", "--quiet"]
        assert record["params"]["k_cell"] == int(words[3])
        assert record["result"]["bytes"] == len(alone.read_bytes())


def test_finished_rows_are_skipped_and_said(here, capsys):
    manifest(here, *THREE)
    batch("--quiet")
    before = {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in here.iterdir()}
    os.remove("y.h5ad")  # its record is then of a run that was killed before its output was in place
    capsys.readouterr()
    batch()
    said = capsys.readouterr().err
    assert "row 0 (x): skipped: x.h5ad is finished and matches its record x.h5ad.record.json" in said
    assert "row 1 (y): replacing y.h5ad.record.json, which a run left that was killed" in said
    assert said.splitlines()[-1].endswith("3 rows in m.csv: 1 imputed, 2 skipped, 0 failed")
    after = {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in here.iterdir()}
    assert {name for name in before if after[name] != before[name]} == {"y.h5ad", "y.h5ad.record.json"}


def test_a_changed_parameter_is_refused_and_with_force_run_again(here, capsys):
    manifest(here, *THREE)
    batch("--quiet")
    first = files(here)
    batch("--alpha", 0.5, "--index", 1, code=73)
    assert (
        "row 1 (y): y.h5ad already exists, and does not match its record y.h5ad.record.json (other parameters: 'alpha')"
        in (capsys.readouterr().err)
    )
    assert files(here) == first
    batch("--alpha", 0.5, "--index", 1, "--force")
    assert files(here)["y.h5ad"] != first["y.h5ad"]
    batch("--alpha", 0.5, "--index", 1)


@pytest.mark.parametrize("variable", ["AWS_BATCH_JOB_ARRAY_INDEX", "SLURM_ARRAY_TASK_ID"])
def test_the_row_of_a_job_array(here, monkeypatch, capsys, variable):
    manifest(here, *THREE)
    monkeypatch.setenv(variable, "2")
    batch()
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].endswith(f"row 2 (z) of 3 rows in m.csv ({variable})")
    assert all("row 2 (z)" in line for line in lines)
    assert set(files(here)) == {"a.h5ad", "b.h5ad", "c.h5ad", "m.csv", "z.h5ad", "z.h5ad.record.json"}
    batch("--index", 0, "--quiet")
    assert "x.h5ad" in files(here)


@pytest.mark.parametrize(
    ("environ", "options", "told"),
    [
        (
            {"BATCH_TASK_INDEX": "3"},
            (),
            "BATCH_TASK_INDEX: there is no row 3: m.csv has 3 rows, and the first is row 0",
        ),
        ({}, ("--index", 9), "--index: there is no row 9"),
        ({"SCCR_INDEX": "9"}, (), "SCCR_INDEX: there is no row 9"),
        ({}, ("--index", -1), "--index: should be greater than or equal to 0"),
        ({"BATCH_TASK_INDEX": "1", "JOB_COMPLETION_INDEX": "2"}, (), "the environment tells different indices"),
    ],
)
def test_an_index_without_a_row(here, monkeypatch, capsys, environ, options, told):
    manifest(here, *THREE)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    batch(*options, code=2)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"sccr: error: {told}")
    assert set(files(here)) == {"a.h5ad", "b.h5ad", "c.h5ad", "m.csv"}


FAILING = (
    "input,output,layer", "a.h5ad,x.h5ad,", "none.h5ad,n.h5ad,", "b.h5ad,y.h5ad,none", "c.h5ad,z.h5ad,",
)  # fmt: skip


def test_a_row_that_fails_does_not_stop_the_others(here, capsys):
    manifest(here, *FAILING)
    batch(code=66)
    lines = capsys.readouterr().err.splitlines()
    errors = [line for line in lines if line.startswith("sccr: error: ")]
    assert errors[0] == "sccr: error: row 1 (n): none.h5ad does not exist"
    assert errors[1].startswith("sccr: error: row 2 (y): b.h5ad has no layer 'none'")
    assert len(errors) == 2
    assert lines[-1] == (
        "sccr: warning: 4 rows in m.csv: 2 imputed, 0 skipped, 2 failed (exit codes: row 1 (n): 66, row 2 (y): 65)"
    )
    assert {"x.h5ad", "z.h5ad"} <= set(files(here))
    assert not {"n.h5ad", "y.h5ad", "y.h5ad.record.json"} & set(files(here))


def test_errors_as_json(here, capsys):
    manifest(here, *FAILING)
    batch("--log-format", "json", "--quiet", code=66)
    errors = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(error["level"], error.get("exit_code")) for error in errors] == [
        ("error", 66),
        ("error", 65),
        ("warning", None),
    ]
    assert errors[0]["message"] == "row 1 (n): none.h5ad does not exist"


def test_an_internal_error_in_one_row_does_not_lose_the_rest(here, capsys, monkeypatch):
    impute_file = batch_module.impute_file

    def broken(source, *arguments, **options):
        if source.name == "b.h5ad":
            raise KeyError("a bug")
        return impute_file(source, *arguments, **options)

    monkeypatch.setattr(batch_module, "impute_file", broken)
    manifest(here, *THREE)
    batch("--quiet", code=70)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("sccr: error: row 1 (y): internal error (KeyError: 'a bug'); this is a bug in sccr-node")
    assert lines[1].endswith("2 imputed, 0 skipped, 1 failed (exit codes: row 1 (y): 70)")
    assert {"x.h5ad", "z.h5ad"} <= set(files(here))


def test_an_index_that_runs_twice_at_once_succeeds_twice(here, capsys, monkeypatch):
    """Kubernetes may do so: the run that is second to rename finds the output of the first, which is the same."""
    manifest(here, "input,output", "a.h5ad,x.h5ad")
    impute_file = batch_module.impute_file

    def second(*arguments, **options):
        monkeypatch.setattr(batch_module, "impute_file", impute_file)
        batch("--index", 0, "--quiet")
        return impute_file(*arguments, **options)

    monkeypatch.setattr(batch_module, "impute_file", second)
    batch("--index", 0)
    assert "row 0 (x): skipped: x.h5ad is finished" in capsys.readouterr().err


def test_check_estimates_by_headers_and_writes_nothing(here, capsys, monkeypatch):
    monkeypatch.setattr("sccr_node.data.dataset.Dataset.blocks", None)  # no value is read
    manifest(here, *THREE, "a.h5ad,/nowhere/x.h5ad,,", "a.h5ad,w.h5ad,,none", "none.h5ad,v.h5ad,,")
    before = files(here)
    batch("--check", code=73)
    said = capsys.readouterr().err
    assert "row 0 (x): X of a.h5ad: 60 cells × 50 genes; values were not scanned" in said
    assert said.count(": estimate: ") == 3
    assert "row 3 (x): cannot write /nowhere/x.h5ad: the folder /nowhere does not exist" in said
    assert "row 4 (w): obs of a.h5ad has no column 'none'" in said
    assert "row 5 (v): none.h5ad does not exist" in said
    last = "6 rows in m.csv: 3 can be imputed, as far as headers tell, 0 skipped, 3 failed"
    assert said.splitlines()[-1].startswith(f"sccr: warning: {last}")
    assert files(here) == before


def test_check_refuses_what_does_not_fit_in_memory(here, capsys):
    manifest(here, *THREE)
    batch("--check", "--max-memory", "100MB", "--index", 0, code=75)
    assert "row 0 (x): not enough memory: the run needs about" in capsys.readouterr().err


def test_the_estimate_by_headers_is_not_below_the_one_by_values(here, capsys):
    manifest(here, *THREE)

    def estimates(*options):
        batch(*options)
        lines = [line for line in capsys.readouterr().err.splitlines() if ": estimate: " in line]
        return [int(line.split(": estimate: ")[1].split(" MB")[0]) for line in lines]

    by_headers, by_values = estimates("--check", "--n-top-genes", 20), estimates("--dry-run", "--n-top-genes", 20)
    assert len(by_headers) == len(by_values) == 3
    assert all(header >= value for header, value in zip(by_headers, by_values, strict=True))


def test_columns_of_how_a_row_runs(here, capsys):
    (here / "scratch").mkdir()
    manifest(
        here,
        "input,output,work_dir,quiet,log_format,dry_run",
        "a.h5ad,x.h5ad,scratch,,json,",
        "b.h5ad,y.h5ad,nowhere,,,",
        "c.h5ad,z.h5ad,,true,,true",
    )
    batch(code=73)
    lines = capsys.readouterr().err.splitlines()
    assert json.loads(lines[0])["message"].startswith("row 0 (x): ")
    assert any(line.startswith("sccr: error: row 1 (y): cannot keep temporary files in nowhere") for line in lines)
    assert not any(": row 2 (z)" in line or line.startswith("row 2") for line in lines)
    assert "z.h5ad" not in files(here)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_batch_and_the_same_command_resumes_it(inputs, tmp_path, number):
    """Also right after a row was put in place, from when on a single imputation has succeeded."""
    for name in ("a", "b", "c"):
        shutil.copy(inputs / f"{name}.h5ad", tmp_path)
    manifest(tmp_path, *THREE)
    words = [sys.executable, "-m", "sccr_node", "batch", "--manifest", "m.csv"]
    with subprocess.Popen(words, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr:
            if "row 0 (x): wrote x.h5ad" in line:
                process.send_signal(number)
                break
        begin = time.monotonic()
        said = process.stderr.read()
        code = process.wait(10)
    assert code == 128 + number
    assert time.monotonic() - begin < 10
    left = "finished rows are kept; run the same command again for the rest"
    assert said.splitlines()[-1] == f"sccr: interrupted by {number.name}; {left}"
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    assert (tmp_path / "x.h5ad").exists()
    assert not (tmp_path / "z.h5ad").exists()
    again = subprocess.run(words, cwd=tmp_path, stderr=subprocess.PIPE, text=True, check=True).stderr
    assert "row 0 (x): skipped" in again
    assert again.splitlines()[-1].split(": ")[-1].endswith("0 failed")


def test_memory_is_given_back_between_rows(tmp_path, monkeypatch):
    """Several rows take no more than one, but for what the allocator keeps."""
    monkeypatch.chdir(tmp_path)
    assert main(["simulate", "a.h5ad", "--n-cells", "2000", "--n-genes", "1000", "--quiet"]) == 0
    program = (
        "import sys\nfrom sccr_node.__main__ import main\nfrom sccr_node.runtime.resources import peak_memory\n"
        "code = main(['batch', '--manifest', sys.argv[1], '--quiet'])\nprint(peak_memory())\nsys.exit(code)\n"
    )
    peaks = []
    for n in (1, 3):
        rows = [f"a.h5ad,o{n}_{number}.h5ad" for number in range(n)]
        (tmp_path / f"{n}.csv").write_text("\n".join(["input,output", *rows]))
        ended = subprocess.run([sys.executable, "-c", program, f"{n}.csv"], capture_output=True, text=True, check=True)
        peaks.append(int(ended.stdout.split()[-1]))
    assert peaks[1] < 1.15 * peaks[0]


def test_rows_imputed_against_the_advice_of_tuning_are_named(here, capfd):
    noise = np.random.default_rng(0).poisson(1.0, (80, 60)).astype(np.float32)
    anndata.AnnData(noise).write_h5ad("noise.h5ad")
    manifest(here, "input,output,tune", "noise.h5ad,out.h5ad,true", "a.h5ad,x.h5ad,")
    batch()
    last = capfd.readouterr().err.splitlines()[-1]
    assert "2 imputed, 0 skipped, 0 failed; imputed although tuning says: do not impute: 'row 0 (out)'" in last
