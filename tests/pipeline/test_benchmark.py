"""The benchmark from file to table: what it keeps when it is interrupted, and what it refuses."""

import io
import json
import signal
import subprocess
import sys
import time

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from sccr_node.errors import NotEnoughResources
from sccr_node.evaluation import analyses
from sccr_node.evaluation.benchmark import Run, columns
from sccr_node.pipeline import benchmark


def test_an_interrupted_benchmark_goes_on_where_it_stopped(sccr, counts_file, monkeypatch):
    output, as_json = counts_file.with_name("b.tsv"), counts_file.with_name("b.json")
    small = ("--methods", "sccr", "--rates", "0.2,0.4", "--seeds", "0,1", "--n-restarts", "1")
    command = ("benchmark", counts_file, *small, "--label-key", "cell_type", "-o", output)
    done = []
    run_apart = benchmark.run_apart

    def counted(run, *arguments):
        if len(done) == 3 and "let it go on" not in done:
            raise NotEnoughResources("no memory left")
        done.append(run)
        return run_apart(run, *arguments)

    monkeypatch.setattr(benchmark, "run_apart", counted)
    code, _, err = sccr(*command)
    assert code == 75 and "no memory left; finished runs are kept in" in err and not output.exists()
    done.append("let it go on")
    # How it runs is not what it computes.
    code, out, err = sccr(*command, "--json", as_json, "--work-dir", counts_file.parent, "--threads", 1)
    assert (code, out) == (0, "") and "3 of 5 runs already finished" in err
    assert [run.analyses[0] for run in done if isinstance(run, Run)] == ["recovery"] * 4 + ["clustering"]
    table = pd.read_csv(output, sep="\t")
    assert list(table) == list(columns())
    assert list(table["task"]) == ["recovery"] * 4 + ["clustering"] * 8
    assert list(table["rate"][:4]) == [0.2, 0.2, 0.4, 0.4] and (table["peak_mb"] > 1).all()
    document = json.loads(as_json.read_text())
    assert (
        len(document["rows"]) == len(table) and document["params"]["rates"] == "0.2,0.4" and document["n_cells"] == 60
    )
    assert {path.name for path in counts_file.parent.iterdir()} == {"counts.h5ad", "b.tsv", "b.json"}


def test_runs_of_other_parameters_are_not_mixed(refused, sccr, counts_file):
    output = counts_file.with_name("b.tsv")
    journal = counts_file.with_name("b.tsv.runs.jsonl")
    journal.write_text('{"params": {}, "sha256": "of something else", "version": "1"}\n')
    command = ("benchmark", counts_file, "--rates", "0.4", "--seeds", "0", "--methods", "none", "-o", output)
    refused(73, ["b.tsv.runs.jsonl", "--force"], *command)
    assert sccr(*command, "--force")[0] == 0
    assert not journal.exists()


def test_without_an_output_the_table_is_printed(sccr, counts_file):
    code, out, _ = sccr("benchmark", counts_file, "--rates", "0.4", "--seeds", "0", "--methods", "none", "--quiet")
    assert code == 0 and out.splitlines()[0].split("\t") == list(columns()) and len(out.splitlines()) == 2


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
    last = err.splitlines()[-1]
    assert f"finished runs are kept in {output}.runs.jsonl" in last and "no file was written" not in last
    assert time.monotonic() - begin < 10
    assert {path.name for path in counts_file.parent.iterdir()} == {"counts.h5ad", "b.tsv.runs.jsonl"}
    assert len(counts_file.with_name("b.tsv.runs.jsonl").read_text().splitlines()) >= 2


def test_a_signal_after_the_table_stands_is_too_late(counts_file):
    """Starting processes, multiprocessing unblocks signals; on the way out they must not spoil the exit code."""
    program = (
        "import atexit, os, signal, sys\n"
        "atexit.register(lambda: os.kill(os.getpid(), signal.SIGTERM))\n"
        "from sccr_node.__main__ import main\n"
        "sys.exit(main())\n"
    )
    words = ["benchmark", counts_file, "--rates", "0.4", "--seeds", "0", "--methods", "none", "--quiet"]
    words += ["-o", counts_file.with_name("b.tsv")]
    command = [sys.executable, "-c", program, *map(str, words)]
    assert subprocess.run(command, stderr=subprocess.PIPE, text=True).returncode == 0
    assert counts_file.with_name("b.tsv").exists()


def test_a_file_that_is_no_journal_is_never_replaced(refused, sccr, counts_file):
    output = counts_file.with_name("b.tsv")
    journal = counts_file.with_name("b.tsv.runs.jsonl")
    command = ("benchmark", counts_file, "--rates", "0.4", "--seeds", "0", "--methods", "none", "-o", output)
    for text in ("a user's notes\n", '{"sha256": "alone"}\n', "[1, 2]\n"):
        journal.write_text(text)
        refused(73, ["b.tsv.runs.jsonl", "is not a benchmark's journal"], *command)
        refused(73, ["b.tsv.runs.jsonl", "is not a benchmark's journal"], *command, "--force")
    journal.unlink()
    counts_file.rename(journal)
    refused(2, ["it is the input"], "benchmark", journal, *command[2:], "--force")
    refused(2, ["two different outputs"], *command, "--json", journal, "--force")


def test_without_labels_the_numbers_of_clustering_are_said_to_have_no_effect(sccr, counts_file):
    command = ("benchmark", counts_file, "--rates", "0.4", "--seeds", "0", "--methods", "none")
    code, _, err = sccr(*command, "--resolution", "0.5", "--n-restarts", "3", "--n-neighbors", "15")
    assert code == 0
    (line,) = [line for line in err.splitlines() if "warning" in line]
    assert "--n-restarts, --resolution have no effect: clustering requires --label-key" in line


def test_an_analysis_that_lacks_something_is_skipped(sccr, refused, counts_file, monkeypatch):
    command = ("benchmark", counts_file, "--rates", "0.4", "--seeds", "0", "--methods", "none")
    code, out, err = sccr(*command)
    assert code == 0 and "skipping clustering: it requires --label-key" in err
    code, out, err = sccr(*command, "--analyses", "clustering,recovery", "--quiet")
    assert code == 0 and "warning: skipping clustering: it requires --label-key" in err
    assert [line.split("\t")[0] for line in out.splitlines()] == ["task", "recovery"]
    refused(2, ["nothing to do: clustering requires --label-key"], *command, "--analyses", "clustering")
    monkeypatch.setattr(analyses, "find_spec", lambda name: None if name == "igraph" else name)
    command = (*command, "--label-key", "cell_type")
    code, out, err = sccr(*command)
    assert (
        code == 0
        and "skipping clustering: it requires igraph, which is not installed: run pip install 'sccr-node[full]'" in err
    )
    refused(
        2,
        ["nothing to do: clustering requires igraph, which is not installed: run pip install"],
        *command,
        "--analyses",
        "clustering",
    )


def test_only_the_chosen_analyses_are_done(sccr, counts_file):
    command = ("benchmark", counts_file, "--methods", "none", "--label-key", "cell_type", "--seeds", "0")
    code, out, err = sccr(*command, "--analyses", "clustering", "--n-restarts", "1", "--rates", "0.4")
    assert code == 0 and {line.split("\t")[0] for line in out.splitlines()} == {"task", "clustering"}
    code, out, err = sccr(*command, "--analyses", "recovery", "--n-restarts", "1", "--rates", "0.4")
    assert code == 0 and {line.split("\t")[0] for line in out.splitlines()} == {"task", "recovery"}
    assert "--n-restarts has no effect: clustering is not among --analyses" in err


def test_all_analyses_of_cells_with_types_and_an_order(sccr, counts_file):
    adata = ad.read_h5ad(counts_file)
    adata.obs["day"] = pd.Categorical(np.arange(adata.n_obs) // 20)  # categories that are numbers
    adata.obs.loc[adata.obs_names[:3], "day"] = np.nan
    adata.write_h5ad(counts_file)
    command = ["benchmark", counts_file, "--seeds", "0,1", "--methods", "none,scfp", "--rates", "0.4"]
    names = [name for name in analyses.names() if not analyses.missing_libraries([name])]
    command += ["--label-key", "cell_type", "--order-key", "day", "--analyses", ",".join(names)]
    code, out, err = sccr(*command, "--n-restarts", "1")
    table = pd.read_csv(io.StringIO(out), sep="\t")
    assert code == 0 and list(dict.fromkeys(table["task"])) == names
    assert "3 cells without a value in obs['day']" in err
    for name in names:
        rows = table[table["task"] == name]
        assert set(rows["method"]) == {"none", "scfp"}
        leading = analyses.load(name).columns
        assert (
            rows[[column for column in leading if column not in ("vote_rare", "own_neighbors_rare")]]
            .notna()
            .any()
            .all()
        )


def test_the_page_is_written_with_the_table(sccr, refused, counts_file):
    output, page = counts_file.with_name("b.tsv"), counts_file.with_name("b.html")
    command = ("benchmark", counts_file, "--methods", "none,scfp", "--rates", "0.4", "--seeds", "0", "-o", output)
    code, out, err = sccr(*command, "--report", page)
    table = pd.read_csv(output, sep="\t")
    assert (code, out) == (0, "") and dict(zip(table["method"], table["rank"], strict=True)) == {"none": 2, "scfp": 1}
    assert "<h1>counts.h5ad</h1>" in page.read_text() and "1 of 2" in page.read_text()
    output.unlink()
    refused(73, ["b.html", "already exists"], *command, "--report", page)
    refused(2, ["b.tsv"], *command, "--report", output)


def test_an_order_that_is_none_is_refused(refused, counts_file):
    adata = ad.read_h5ad(counts_file)
    adata.obs["same"], adata.obs["endless"] = 1.0, [np.inf, *range(1, adata.n_obs)]
    adata.write_h5ad(counts_file)
    command = ("benchmark", counts_file, "--analyses", "trajectory", "--methods", "none", "--order-key")
    refused(65, ["cannot use obs['cell_type']", "does not contain numbers"], *command, "cell_type")
    refused(65, ["cannot use obs['same']", "fewer than two different values"], *command, "same")
    refused(65, ["cannot use obs['endless']", "infinite"], *command, "endless")
    refused(65, ["obs of", "has no column 'days'"], *command, "days")
    refused(2, ["nothing to do: trajectory requires --order-key"], *command[:-1])
    command = ("benchmark", counts_file, "--analyses", "markers,trajectory", "--methods", "none")
    refused(2, ["nothing to do: markers requires --label-key; trajectory requires --order-key"], *command)


def test_it_refuses(refused, counts_file):
    output = counts_file.with_name("b.tsv")

    def bad(exit_code, words, *arguments):
        refused(exit_code, words, "benchmark", counts_file, "-o", output, *arguments)

    bad(2, ["--methods"], "--methods", "none,magic")
    bad(2, ["rates", "twice"], "--rates", "0.4,0.40")
    bad(2, ["--rates"], "--rates", "1.5")
    bad(2, ["--analyses", "'clusters'", "did you mean 'clustering'?"], "--analyses", "recovery,clusters")
    bad(2, ["analyses", "twice"], "--analyses", "recovery,recovery")
    bad(2, ["--analyses", "names separated by commas"], "--analyses", "")
    bad(2, ["--seeds"], "--seeds", "0,-1")
    bad(65, ["'celltype'"], "--label-key", "celltype")
    bad(65, ["would drop none", "--rates"], "--rates", ".000000001", "--methods", "none", "--seeds", "0")
    output.write_text("kept")
    bad(73, ["already exists"])
