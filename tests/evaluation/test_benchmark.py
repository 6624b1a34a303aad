"""The benchmark: its plan, its rows, what it keeps when it is interrupted, and what it refuses."""

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from sccr_node.contract.benchmark import BenchmarkParameters
from sccr_node.errors import NotEnoughResources, OutputProblem
from sccr_node.evaluation import benchmark
from sccr_node.evaluation.benchmark import COLUMNS, Journal, Run, planned_runs, rows_of
from sccr_node.evaluation.masks import mask_expression
from sccr_node.evaluation.metrics import recovery
from sccr_node.methods import sccr as impute_by_sccr


def test_the_plan():
    params = BenchmarkParameters(methods="none,scfp", rates="0.2,0.8", seeds="0,3", mechanism="mnar")
    runs = planned_runs(params, clustering=True)
    assert len(runs) == 2 * 2 * 2 + 2
    assert runs[0] == Run("recovery", "none", "mnar", 0.2, 0)
    assert runs[-1] == Run("clustering", "scfp", seeds=(0, 3))
    assert len(planned_runs(params, clustering=False)) == 8


def laid_out(run, folder):
    random = np.random.default_rng(0)
    dense = random.gamma(2.0, 0.6, (40, 30)) * (random.random((40, 30)) < 0.4)
    expression = sparse.csr_matrix(dense.astype(np.float32))
    benchmark._lay_out(run, expression, np.arange(40) % 3 - 1, folder)
    return expression


def test_a_run_scores_what_the_method_recovers(tmp_path):
    run = Run("recovery", "sccr", "mcar", 0.4, 5)
    expression = laid_out(run, tmp_path)
    (row,) = rows_of(run, tmp_path, BenchmarkParameters(), lambda stage, fraction: None)
    masked = mask_expression(expression, 0.4, "mcar", 5)
    truth = masked.truth.tocoo()
    recovered = impute_by_sccr(masked.expression, recovered=True).recovered
    expected = recovery(truth.data, recovered[truth.row, truth.col])
    assert (row["method"], row["rate"], row["seed"], row["n_entries"]) == ("sccr", 0.4, 5, expected.n_entries)
    assert row["mae"] == pytest.approx(expected.mae) and row["cosine"] == pytest.approx(expected.cosine)
    assert row["seconds"] > 0 and row["peak_mb"] > 1


def test_a_run_clusters_the_cells_with_a_type(tmp_path):
    run = Run("clustering", "none", seeds=(0, 1))
    laid_out(run, tmp_path)
    rows = rows_of(run, tmp_path, BenchmarkParameters(n_restarts=1), lambda stage, fraction: None)
    assert [(row["algorithm"], row["seed"]) for row in rows] == [
        ("kmeans", 0), ("kmeans", 1), ("leiden", 0), ("leiden", 1),
    ]  # fmt: skip
    assert rows[0]["n_clusters"] == 2 and set(rows[0]) <= set(COLUMNS)


def test_the_journal_keeps_finished_runs_and_forgets_a_line_that_was_cut_off(tmp_path):
    path = tmp_path / "t.tsv.runs.jsonl"
    runs = planned_runs(BenchmarkParameters(methods="none", rates="0.2"), clustering=True)
    journal = Journal(path, {"sha256": "a"}, force=False)
    journal.add(runs[0], [{"mae": 0.5}])
    journal.add(runs[-1], [{"ari": 1.0}, {"ari": 0.25}])
    with path.open("a") as file:
        file.write('{"run": {"task": "reco')
    again = Journal(path, {"sha256": "a"}, force=False)
    assert again.finished == {runs[0]: [{"mae": 0.5}], runs[-1]: [{"ari": 1.0}, {"ari": 0.25}]}
    again.add(runs[1], [{"mae": 0.75}])
    assert len(Journal(path, {"sha256": "a"}, force=False).finished) == 3
    with pytest.raises(OutputProblem, match="other data or with other parameters"):
        Journal(path, {"sha256": "b"}, force=False)
    assert Journal(path, {"sha256": "b"}, force=True).finished == {}
    again.remove()
    assert not path.exists()


def test_an_interrupted_benchmark_goes_on_where_it_stopped(sccr, counts_file, monkeypatch):
    output, as_json = counts_file.with_name("b.tsv"), counts_file.with_name("b.json")
    small = ("--methods", "sccr", "--rates", "0.2,0.4", "--seeds", "0,1", "--n-restarts", "1")
    command = ("benchmark", counts_file, *small, "--label-key", "cell_type", "-o", output)
    done = []
    in_own_process = benchmark._in_own_process

    def counted(run, *arguments):
        if len(done) == 3 and "let it go on" not in done:
            raise NotEnoughResources("no memory left")
        done.append(run)
        return in_own_process(run, *arguments)

    monkeypatch.setattr(benchmark, "_in_own_process", counted)
    code, _, err = sccr(*command)
    assert code == 75 and "no memory left" in err and not output.exists()
    done.append("let it go on")
    code, out, err = sccr(*command, "--json", as_json)
    assert (code, out) == (0, "") and "3 of 5 runs are finished already" in err
    assert [run.task for run in done if isinstance(run, Run)] == ["recovery"] * 4 + ["clustering"]
    table = pd.read_csv(output, sep="\t")
    assert list(table) == list(COLUMNS)
    assert list(table["task"]) == ["recovery"] * 4 + ["clustering"] * 4
    assert list(table["rate"][:4]) == [0.2, 0.2, 0.4, 0.4] and (table["peak_mb"] > 1).all()
    document = json.loads(as_json.read_text())
    assert len(document["rows"]) == 8 and document["params"]["rates"] == "0.2,0.4" and document["n_cells"] == 60
    assert {path.name for path in counts_file.parent.iterdir()} == {"counts.h5ad", "b.tsv", "b.json"}


def test_runs_of_other_parameters_are_not_mixed(refused, sccr, counts_file):
    output = counts_file.with_name("b.tsv")
    journal = counts_file.with_name("b.tsv.runs.jsonl")
    journal.write_text('{"sha256": "of something else"}\n')
    command = ("benchmark", counts_file, "--rates", "0.4", "--seeds", "0", "--methods", "none", "-o", output)
    refused(73, ["b.tsv.runs.jsonl", "--force"], *command)
    assert sccr(*command, "--force")[0] == 0
    assert not journal.exists()


def test_without_an_output_the_table_is_printed(sccr, counts_file):
    code, out, _ = sccr("benchmark", counts_file, "--rates", "0.4", "--seeds", "0", "--methods", "none", "--quiet")
    assert code == 0 and out.splitlines()[0].split("\t") == list(COLUMNS) and len(out.splitlines()) == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly_and_keeps_what_is_finished(counts_file, number):
    output = counts_file.with_name("b.tsv")
    command = [
        sys.executable,
        "-m",
        "sccr_node",
        "benchmark",
        counts_file,
        "--seeds",
        "0,1,2,3,4,5,6,7,8,9",
        "-o",
        output,
    ]
    process = subprocess.Popen([str(part) for part in command], stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if "[2/" in line:
            break
    begin = time.monotonic()
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 128 + number and "Traceback" not in err
    assert time.monotonic() - begin < 10
    assert {path.name for path in counts_file.parent.iterdir()} == {"counts.h5ad", "b.tsv.runs.jsonl"}
    assert len(counts_file.with_name("b.tsv.runs.jsonl").read_text().splitlines()) >= 2


def test_a_run_that_is_killed_or_fails_is_told(tmp_path, monkeypatch):
    run = Run("recovery", "none", "mcar", 0.4, 0)
    laid_out(run, tmp_path)
    (tmp_path / "truth.npz").unlink()
    with pytest.raises(RuntimeError, match="truth.npz"):
        benchmark._in_own_process(run, tmp_path, BenchmarkParameters(), lambda stage, fraction: None)

    class Killed:
        exitcode = -9

        def join(self):
            pass

    class Nothing:
        def recv(self):
            raise EOFError

    from contextlib import nullcontext

    monkeypatch.setattr(benchmark, "_child", lambda *arguments: nullcontext((Killed(), Nothing())))
    with pytest.raises(NotEnoughResources, match="exit -9.*goes on from here"):
        benchmark._in_own_process(run, tmp_path, BenchmarkParameters(), lambda stage, fraction: None)


def test_it_refuses(refused, counts_file):
    output = counts_file.with_name("b.tsv")

    def bad(exit_code, words, *arguments):
        refused(exit_code, words, "benchmark", counts_file, "-o", output, *arguments)

    bad(2, ["--methods"], "--methods", "none,magic")
    bad(2, ["rates", "twice"], "--rates", "0.4,0.40")
    bad(2, ["--rates"], "--rates", "1.5")
    bad(2, ["--seeds"], "--seeds", "0,-1")
    bad(65, ["'celltype'"], "--label-key", "celltype")
    bad(65, ["drops none"], "--rates", ".000000001", "--methods", "none", "--seeds", "0")
    output.write_text("kept")
    bad(73, ["already exists"])
