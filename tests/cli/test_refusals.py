"""What the command refuses: the exit code, one line that names the cause, and nothing written."""

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import anndata
import click
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from sccr_node.__main__ import main
from sccr_node.cli.app import cli
from sccr_node.cli.options import GivenPath
from sccr_node.errors import InputProblem, NotEnoughResources
from sccr_node.storage.formats import FORMATS
from tests.support.simulated import simulated


def small():
    return simulated(n_cells=30, n_genes=40, n_types=2, n_batches=2)


@pytest.fixture(scope="module")
def counts(tmp_path_factory):
    path = tmp_path_factory.mktemp("counts") / "counts.h5ad"
    small().write_h5ad(path)
    return path


@pytest.fixture
def refused(tmp_path, capsys):
    """Run ``sccr impute`` and return its one line, having checked that nothing was written."""

    def run(source, code, *options, output=None):
        target = tmp_path / "output-of-test.h5ad" if output is None else output
        before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
        assert main(["impute", str(source), str(target), *map(str, options)]) == code
        after = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
        assert after == before
        lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("sccr: error: ")]
        assert len(lines) == 1
        assert len(lines[0]) < 500
        return lines[0]

    return run


def changed(path, change):
    adata = small()
    result = change(adata)
    (adata if result is None else result).write_h5ad(path)
    return path


def with_x(path, values):
    def change(adata):
        adata.X = values(adata.X.toarray().astype(np.float32))

    return changed(path, change)


# --- the input is missing, or is not what it claims to be


def test_a_missing_file(refused, tmp_path):
    assert "does not exist" in refused(tmp_path / "none.h5ad", 66)


def test_a_directory(refused, tmp_path):
    (tmp_path / "folder").mkdir()
    assert "neither an AnnData zarr store nor 10x" in refused(tmp_path / "folder", 65)


def test_samples_in_one_folder(refused, tmp_path):
    for sample in "AB":
        for name in ("matrix.mtx", "features.tsv", "barcodes.tsv"):
            (tmp_path / "geo").mkdir(exist_ok=True)
            (tmp_path / "geo" / f"GSM{sample}_{name}").touch()
    assert "2 samples ('GSMA_matrix.mtx', 'GSMB_matrix.mtx')" in refused(tmp_path / "geo", 65)


def test_an_object_of_r(refused, tmp_path):
    (tmp_path / "seurat.rds").write_bytes(b"RDX3")
    assert "an R object" in refused(tmp_path / "seurat.rds", 65)


def test_a_truncated_file(refused, tmp_path, counts):
    (tmp_path / "cut.h5ad").write_bytes(counts.read_bytes()[:-3000])
    assert "cut.h5ad" in refused(tmp_path / "cut.h5ad", 65)


def test_a_text_file_named_h5ad(refused, tmp_path):
    (tmp_path / "text.h5ad").write_text("gene,cell\n")
    assert "not an HDF5 file" in refused(tmp_path / "text.h5ad", 65)


def test_an_empty_file(refused, tmp_path):
    (tmp_path / "empty.h5ad").touch()
    assert "empty" in refused(tmp_path / "empty.h5ad", 65)


def test_an_h5ad_without_x(refused, tmp_path):
    source = changed(tmp_path / "in.h5ad", lambda adata: setattr(adata, "X", None))
    assert "has no X" in refused(source, 65)


def test_a_missing_layer_names_those_there_are(refused, counts):
    line = refused(counts, 65, "--layer", "spliced")
    assert "no layer 'spliced'" in line and "complete_counts" in line


@pytest.mark.parametrize(("cells", "genes"), [(0, 40), (30, 0)])
def test_no_cells_and_no_genes(refused, tmp_path, cells, genes):
    source = changed(tmp_path / "in.h5ad", lambda adata: adata[:cells, :genes].copy())
    assert f"{cells} cells and {genes} genes" in refused(source, 65)


# --- impossible values: the first offender is named


@pytest.mark.parametrize(("value", "name"), [(np.nan, "NaN"), (np.inf, "infinite"), (-1.0, "negative")])
@pytest.mark.parametrize("kind", [sparse.csr_matrix, np.asarray])
def test_impossible_values(refused, tmp_path, value, name, kind):
    def spoil(x):
        x[17, 23] = value
        x[20, 5] = value
        return kind(x)

    line = refused(with_x(tmp_path / "in.h5ad", spoil), 65)
    assert f"2 {name} values" in line
    assert "cell_18" in line and "gene_24" in line


def test_scaled_data(refused, tmp_path):
    source = with_x(tmp_path / "in.h5ad", lambda x: (x - x.mean(axis=0)) / (x.std(axis=0) + 1))
    assert "looks scaled" in refused(source, 65)


def test_fractions_of_unclear_scale(refused, tmp_path):
    source = with_x(tmp_path / "in.h5ad", lambda x: x * 10.5)
    assert "--input-scale counts" in refused(source, 65)


def test_an_all_zero_matrix(refused, tmp_path):
    assert "contains only zeros" in refused(with_x(tmp_path / "in.h5ad", lambda x: x * 0), 65)


# --- columns, keys, genes


def test_a_batch_key_that_does_not_exist(refused, counts):
    line = refused(counts, 65, "--batch-key", "donor")
    assert "no column 'donor'" in line and "cell_type" in line


def test_a_batch_key_with_missing_values(refused, tmp_path):
    def lose(adata):
        adata.obs["sample"] = pd.Categorical([None if cell in (4, 7) else "a" for cell in range(adata.n_obs)])

    line = refused(changed(tmp_path / "in.h5ad", lose), 65, "--batch-key", "sample")
    assert "no value for 2 cells" in line and "cell_05" in line


def test_a_misspelt_choice_of_genes(refused, counts):
    line = refused(counts, 66, "--genes", "top-varience")
    assert "top-variance" in line and "highly-variable" in line


def test_a_gene_file_that_the_config_names_is_missing_input(refused, counts, tmp_path):
    (tmp_path / "run.yaml").write_text("genes: none.txt\n")
    assert "none.txt" in refused(counts, 66, "--config", tmp_path / "run.yaml")


def test_genes_that_the_data_do_not_have(refused, counts, tmp_path):
    (tmp_path / "genes.txt").write_text("gene_01\n" + "\n".join(f"MISSING{i}" for i in range(8)))
    line = refused(counts, 65, "--genes", tmp_path / "genes.txt")
    assert "8 of the 9 genes" in line and "MISSING4" in line and "MISSING5" not in line


def test_no_highly_variable_genes_were_chosen(refused, counts):
    assert "highly_variable" in refused(counts, 65, "--genes", "highly-variable")


def test_a_key_that_exists(refused, tmp_path):
    def occupy(adata):
        adata.layers["sccr"] = adata.X.copy()

    line = refused(changed(tmp_path / "in.h5ad", occupy), 65)
    assert "layers['sccr']" in line and "--overwrite-keys" in line and "--key-added" in line


# --- usage


@pytest.mark.parametrize(
    ("options", "offender"),
    [
        (["--k-cell", "0"], "--k-cell"),
        (["--k-cell", "many"], "--k-cell"),
        (["--alpha", "1.5"], "--alpha"),
        (["--threads", "0"], "--threads"),
        (["--target-sum", "-1"], "--target-sum"),
        (["--max-memory", "6.GB"], "--max-memory"),
        (["--method", "magic"], "--method"),
        (["--method", "scfp", "--gamma", "0.1"], "--gamma"),
        (["--method", "scfp", "--write", "both"], "--write both"),
        (["--genes", "all", "--n-top-genes", "5"], "--n-top-genes"),
        (["--input-scale", "log1p", "--target-sum", "10"], "--target-sum"),
        (["--key-added", "a/b"], "--key-added"),
        (["--no-such-flag"], "--no-such-flag"),
    ],
)
def test_bad_usage(refused, counts, options, offender):
    assert offender in refused(counts, 2, *options)


def test_an_unknown_config_key(refused, counts, tmp_path):
    (tmp_path / "run.json").write_text(json.dumps({"n_top_gene": 3}))
    assert "n_top_gene" in refused(counts, 2, "--config", tmp_path / "run.json")


def test_a_missing_config_file(refused, counts, tmp_path):
    assert "none.yaml" in refused(counts, 66, "--config", tmp_path / "none.yaml")


def test_unknown_variables_are_warned_of(counts, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("SCCR_TOP_GENES", "5")
    assert main(["impute", str(counts), str(tmp_path / "out.h5ad"), "--quiet"]) == 0
    assert "SCCR_TOP_GENES" in capsys.readouterr().err


# --- the output


@pytest.mark.parametrize("link", [None, "symlink", "hardlink"])
def test_output_equal_to_input(refused, counts, tmp_path, link):
    source = tmp_path / "in.h5ad"
    source.write_bytes(counts.read_bytes())
    target = source
    if link:
        target = tmp_path / "link.h5ad"
        target.symlink_to(source) if link == "symlink" else target.hardlink_to(source)
    assert "is the input" in refused(source, 2, "--force", output=target)


def test_an_existing_output(refused, counts, tmp_path):
    (tmp_path / "out.h5ad").write_text("precious")
    assert "--force" in refused(counts, 73, output=tmp_path / "out.h5ad")
    assert (tmp_path / "out.h5ad").read_text() == "precious"


def test_an_existing_record(refused, counts, tmp_path):
    (tmp_path / "run.json").write_text("precious")
    assert "run.json" in refused(counts, 73, "--provenance", tmp_path / "run.json")


def test_one_name_for_two_outputs(refused, counts, tmp_path):
    assert "two different outputs" in refused(
        counts, 2, "--provenance", tmp_path / "out.h5ad", output=tmp_path / "out.h5ad"
    )


def test_a_missing_folder(refused, counts, tmp_path):
    assert "does not exist; create it first" in refused(counts, 73, output=tmp_path / "none" / "out.h5ad")


def test_an_output_of_no_known_format(refused, counts, tmp_path):
    line = refused(counts, 2, output=tmp_path / "out.csv")
    assert all((store.suffix in line) != store.only_from_itself for store in FORMATS)


# --- resources


def test_not_enough_memory_for_the_estimate(refused, counts):
    line = refused(counts, 75, "--max-memory", "100MB")
    assert "needs about" in line and "100 MB" in line


def test_a_full_disk_is_told_from_a_bug(counts, tmp_path, capsys, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("sccr_node.pipeline.impute.run_plan", full)
    assert main(["impute", str(counts), str(tmp_path / "out.h5ad")]) == 75
    assert "not enough disk" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_running_out_of_memory(counts, tmp_path, capsys, monkeypatch):
    def exhausted(*_, **__):
        raise MemoryError

    monkeypatch.setattr("sccr_node.pipeline.impute.run_plan", exhausted)
    assert main(["impute", str(counts), str(tmp_path / "out.h5ad")]) == 75
    assert "out of memory" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_bug_is_one_line_that_says_how_to_report_it(counts, tmp_path, capsys, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("surprise")

    monkeypatch.setattr("sccr_node.pipeline.impute.run_plan", broken)
    assert main(["impute", str(counts), str(tmp_path / "out.h5ad"), "--quiet"]) == 70
    error = capsys.readouterr().err
    assert "surprise" in error and "--debug" in error and "issues" in error
    assert "Traceback" not in error
    assert main(["impute", str(counts), str(tmp_path / "out.h5ad"), "--quiet", "--debug"]) == 70
    assert "Traceback" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_failures_are_json_where_the_log_is(counts, tmp_path, capsys):
    assert main(["impute", "none.h5ad", str(tmp_path / "out.h5ad"), "--log-format", "json"]) == 66
    last = json.loads(capsys.readouterr().err.splitlines()[-1])
    assert last["level"] == "error" and last["exit_code"] == 66


# --- signals: cleanly, within seconds, inside a long kernel, and nothing left behind


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """Data that take some seconds to impute on one thread."""
    folder = tmp_path_factory.mktemp("large")
    random = np.random.default_rng(0)
    x = sparse.random(12_000, 1500, density=0.1, format="csr", random_state=random, dtype=np.float32)
    x.data = np.ceil(x.data * 5)
    anndata.AnnData(X=x).write_h5ad(folder / "large.h5ad")
    return folder / "large.h5ad"


@pytest.mark.parametrize(
    ("signals", "code"),
    [
        ([signal.SIGTERM], 143),
        ([signal.SIGINT], 130),
        ([signal.SIGHUP], 129),
        ([signal.SIGTERM, signal.SIGTERM, signal.SIGINT], 143),
    ],
)
@pytest.mark.parametrize("stage", ["cell graph", "propagation"])
def test_signals_end_it_cleanly(large, tmp_path, signals, code, stage):
    command = [sys.executable, "-m", "sccr_node", "impute", str(large), str(tmp_path / "out.h5ad"), "--threads", "1"]
    process = subprocess.Popen(
        [*command, "--provenance", str(tmp_path / "run.json")], stderr=subprocess.PIPE, text=True
    )
    for line in process.stderr:
        if stage in line:
            break
    for number in signals:
        process.send_signal(number)
        time.sleep(0.05)  # signals that wait together are heard in the order of their numbers
    began = time.monotonic()
    error = process.communicate(timeout=30)[1]
    assert process.returncode == code
    assert time.monotonic() - began < 10
    assert error.splitlines()[-1].startswith("sccr: interrupted by SIG")
    assert list(tmp_path.iterdir()) == []


def test_a_killed_run_is_cleaned_up_by_the_next(large, counts, tmp_path):
    command = [sys.executable, "-m", "sccr_node", "impute", str(large), str(tmp_path / "out.h5ad"), "--threads", "1"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if "propagation" in line:
            break
    process.kill()
    process.wait()
    process.stderr.close()
    left = list(tmp_path.iterdir())
    assert left and all(path.name.startswith(".") for path in left)
    assert main(["impute", str(counts), str(tmp_path / "out.h5ad"), "--quiet"]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["out.h5ad"]


def test_a_signal_ends_a_library_that_never_lets_go():
    """HDF5 can loop for ever while it holds the interpreter's lock, so that no Python code runs any more."""
    program = (
        "import ctypes, sys\n"
        "from sccr_node.__main__ import main\n"
        "from sccr_node.cli import app\n"
        "def stuck(words):\n"
        "    print('stuck', flush=True)\n"
        "    ctypes.PyDLL(None).sleep(60)\n"
        "app.run = stuck\n"
        "sys.exit(main())\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "stuck\n"
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=12)
    assert process.returncode == 143


def test_signals_count_from_the_first_import_on(tmp_path):
    """A signal during start-up, before any command runs, also gives its own exit code."""
    program = (
        "import os, signal, sys\n"
        "from sccr_node import __main__\n"
        "class Meddler:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'sccr_node.cli.app':\n"
        "            os.kill(os.getpid(), signal.SIGTERM)\n"
        "sys.meta_path.insert(0, Meddler())\n"
        "sys.exit(__main__.main(['--version']))\n"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True).returncode == 143


def test_an_ignored_signal_stays_ignored(counts, tmp_path):
    """Under nohup, SIGHUP is ignored by the parent and must stay so."""
    program = (
        "import os, signal, sys\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "from sccr_node.__main__ import main\n"
        "import sccr_node.pipeline.impute as step\n"
        "run = step.run_plan\n"
        "def hung_up(*arguments, **options):\n"
        "    os.kill(os.getpid(), signal.SIGHUP)\n"
        "    return run(*arguments, **options)\n"
        "step.run_plan = hung_up\n"
        f"sys.exit(main(['impute', {str(counts)!r}, {str(tmp_path / 'out.h5ad')!r}, '--quiet']))\n"
    )
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
    assert (tmp_path / "out.h5ad").exists()


def test_after_the_rename_a_signal_no_longer_matters(counts, tmp_path):
    program = (
        "import os, signal, sys\n"
        "from sccr_node.__main__ import main\n"
        "from sccr_node.storage.atomic import Staged\n"
        "commit = Staged.commit\n"
        "def interrupted(staged):\n"
        "    commit(staged)\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "Staged.commit = interrupted\n"
        f"sys.exit(main(['impute', {str(counts)!r}, {str(tmp_path / 'out.h5ad')!r}, '--quiet', "
        f"'--provenance', {str(tmp_path / 'run.json')!r}]))\n"
    )
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.h5ad", "run.json"]


def test_the_input_is_never_changed(counts, tmp_path):
    source = tmp_path / "in.h5ad"
    source.write_bytes(counts.read_bytes())
    os.chmod(source, 0o444)
    assert main(["impute", str(source), str(tmp_path / "out.h5ad"), "--quiet"]) == 0
    assert source.read_bytes() == counts.read_bytes()
    with h5py.File(tmp_path / "out.h5ad") as file:
        assert "sccr" in file["layers"]


# --- names and side files


def test_an_input_that_may_not_be_read_is_not_bad_usage(counts, tmp_path):
    """Click checks paths itself unless it is told not to, and calls this bad usage."""
    source = tmp_path / "in.h5ad"
    source.write_bytes(counts.read_bytes())
    os.chmod(source, 0)
    program = (
        "import os, sys\n"
        "from sccr_node.__main__ import main\n"
        "import sccr_node.pipeline.impute, anndata\n"
        f"here = os.open({str(tmp_path)!r}, os.O_RDONLY)\n"
        "os.fchdir(here)\n"
        "os.geteuid() or os.setuid(65534)\n"  # root may read everything
        "sys.exit(main(['impute', 'in.h5ad', 'out.h5ad']))\n"
    )
    os.chmod(tmp_path, 0o777)
    ended = subprocess.run([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True)
    assert ended.returncode == 66, ended.stderr
    assert "in.h5ad: permission denied" in ended.stderr


def test_a_name_that_is_too_long(refused, counts, tmp_path):
    assert "name too long" in refused(counts, 73, output=tmp_path / ("a" * 300 + ".h5ad"))[-400:]


def test_a_list_of_genes_in_the_place_of_a_file(refused, counts):
    assert "write the genes to a file" in refused(counts, 2, "--genes", ",".join(f"gene_{n}" for n in range(1000)))


def test_a_working_folder_that_is_gone(counts, tmp_path):
    (tmp_path / "gone").mkdir()
    program = (
        "import os, sys\n"
        "from sccr_node.__main__ import main\n"
        f"os.rmdir({str(tmp_path / 'gone')!r})\n"
        f"sys.exit(main(['impute', {str(counts)!r}, 'out.h5ad', '--quiet']))\n"
    )
    ended = subprocess.run(
        [sys.executable, "-P", "-c", program], cwd=tmp_path / "gone", stderr=subprocess.PIPE, text=True
    )
    assert ended.returncode == 73, ended.stderr


def test_names_that_are_no_text_are_recorded(counts, tmp_path):
    source = os.fsencode(tmp_path) + b"/in\xff.h5ad"
    with open(source, "wb") as file:
        file.write(counts.read_bytes())
    record = tmp_path / "run.json"
    command = ["impute", os.fsdecode(source), str(tmp_path / "out.h5ad"), "--provenance", str(record), "--quiet"]
    assert main(command) == 0
    assert os.fsencode(json.loads(record.read_text(encoding="utf-8"))["input"]["path"]) == source


def test_a_side_file_that_cannot_be_written_leaves_no_output(counts, tmp_path, capsys, monkeypatch):
    """A scheduler tries again with more disk, and would find an output that exists."""

    def full(path, *_, **__):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr("pathlib.Path.write_text", full)
    command = ["impute", str(counts), str(tmp_path / "out.h5ad"), "--provenance", str(tmp_path / "run.json")]
    assert main([*command, "--quiet"]) == 75
    assert ": not enough disk space" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def _blocks(monkeypatch, total):
    """Have every disk say that it is full, out of a number of blocks."""
    full = os.statvfs_result((4096, 4096, total, 0, 0, 1000, 1000, 1000, 0, 255))
    monkeypatch.setattr("sccr_node.runtime.resources.os.statvfs", lambda folder: full)


def test_a_full_disk_is_told_before_the_work(counts, tmp_path, capsys, monkeypatch):
    _blocks(monkeypatch, 1000)
    assert main(["impute", str(counts), str(tmp_path / "out.h5ad"), "--quiet"]) == 75
    assert "not enough disk space" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_that_says_no_size_is_not_full(counts, tmp_path, capsys, monkeypatch):
    """Some in user space say 0 of 0 blocks."""
    _blocks(monkeypatch, 0)
    output, kept = tmp_path / "out.h5ad", tmp_path / "kept"
    command = ["impute", str(counts), str(output), "--work-dir", str(tmp_path), "--checkpoint-dir", str(kept)]
    assert main(command) == 0
    assert " free)" not in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [output]


@pytest.mark.skipif(not os.path.ismount("/proc"), reason="Linux: a file system without files of ours")
def test_a_file_system_that_takes_no_files_is_no_matter_of_room(counts, capsys):
    assert main(["impute", str(counts), "/proc/out.h5ad", "--quiet"]) == 73
    assert "cannot write /proc/out.h5ad: no such file or directory" in capsys.readouterr().err


@pytest.mark.parametrize("failure", [RuntimeError("cannot cache function"), MemoryError(), InputProblem("no such")])
def test_an_imputation_is_not_thrown_away_for_a_picture(counts, tmp_path, capsys, monkeypatch, failure):
    def broken(*_, **__):
        raise failure

    monkeypatch.setattr("sccr_node.reports.reading.lay_out", broken)
    command = ["impute", str(counts), str(tmp_path / "out.h5ad"), "--quiet", "--multiqc", str(tmp_path / "multiqc")]
    command += ["--report", str(tmp_path / "report.html"), "--provenance", str(tmp_path / "run.json")]
    assert main(command) == 0
    (warning,) = [line for line in capsys.readouterr().err.splitlines() if "report" in line]
    assert warning.startswith("sccr: warning: cannot compose the report")
    assert "sccr" in anndata.read_h5ad(tmp_path / "out.h5ad").layers
    assert "No report on out.h5ad" in (tmp_path / "report.html").read_text()
    (section,) = (tmp_path / "multiqc").glob("*_mqc.json")
    assert json.loads(section.read_text())["plot_type"] == "html"
    assert any("cannot compose" in message for message in json.loads((tmp_path / "run.json").read_text())["messages"])


@pytest.mark.parametrize("place", ["multiqc", "report.html", "run.json"])
def test_a_side_file_is_on_the_disk_before_anything_is_renamed(counts, tmp_path, capsys, monkeypatch, place):
    from sccr_node.storage import files

    staged_text = files.staged_text

    def full(path, text, **options):
        if place in str(path):
            raise NotEnoughResources(f"cannot write {path}: not enough disk space")
        return staged_text(path, text, **options)

    monkeypatch.setattr(files, "staged_text", full)
    monkeypatch.setattr("sccr_node.reports.layout.FEWEST_CELLS_FOR_UMAP", 10**9)
    command = ["impute", str(counts), str(tmp_path / "out.h5ad"), "--quiet", "--multiqc", str(tmp_path / "multiqc")]
    command += ["--report", str(tmp_path / "report.html"), "--provenance", str(tmp_path / "run.json")]
    assert main(command) == 75
    assert list(tmp_path.iterdir()) == []


def test_a_result_that_would_replace_the_layer_to_impute(refused, counts):
    options = ("--layer", "complete_counts", "--key-added", "complete_counts", "--overwrite-keys")
    assert "would replace the layer" in refused(counts, 2, *options)


def test_more_neighbours_than_there_are_take_no_more_memory(counts, tmp_path):
    options = ["--k-cell", "1000000000", "--k-gene", "1000000000", "--dry-run", "--quiet"]
    assert main(["impute", str(counts), str(tmp_path / "out.h5ad"), *options]) == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["imput", "a", "b"], "No such command 'imput'; did you mean 'impute'? (see sccr --help)"),
        (["evaluate", "scor"], "No such command 'scor'; did you mean 'score'? (see sccr evaluate --help)"),
        (["impute", "a", "b", "--methd", "x"], "No such option '--methd'; did you mean '--method'? (see sccr impute"),
        (["impute", "a", "b", "--xyzzy"], "No such option '--xyzzy' (see sccr impute --help)"),
    ],
)
def test_misspelt_commands_and_options_name_the_closest(arguments, words, capsys):
    assert main(arguments) == 2
    assert words in capsys.readouterr().err


def test_misspelt_columns_and_layers_name_the_closest(refused, counts):
    assert "did you mean 'batch'?" in refused(counts, 65, "--batch-key", "Bacth")
    assert "did you mean 'cell_type'?" in refused(counts, 65, "--label-key", "celltype", "--report", "r.html")
    assert "did you mean 'complete_counts'?" in refused(counts, 65, "--layer", "complete_count")


def test_a_gene_list_that_is_none_is_refused_before_the_input_is_read(refused, tmp_path):
    (tmp_path / "not-data.h5ad").write_text("no HDF5")
    assert "--genes hvg is neither one of" in refused(tmp_path / "not-data.h5ad", 66, "--genes", "hvg")


def test_a_url_is_called_one(refused):
    message = refused("ftp://example.org/pbmc.h5ad", 66)
    assert "cannot read ftp://example.org/pbmc.h5ad: only s3://, gs://, az:// and https:// addresses are" in message


@pytest.mark.parametrize("suffix", [".h5ad", ".zarr"])
def test_with_few_descriptors_it_ends_cleanly(counts, tmp_path, suffix):
    """From nothing that works to everything that works, there is no number that leaves anything behind."""
    codes = set()
    for most in range(10, 28, 4):
        target = tmp_path / f"out{most}{suffix}"
        script = f"ulimit -n {most}; exec {sys.executable} -m sccr_node impute {counts} {target} --quiet"
        ended = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
        lines = [line for line in ended.stderr.splitlines() if not line.startswith("sccr: warning: ")]
        assert len(lines) == (ended.returncode != 0), ended.stderr
        assert ended.returncode in (0, 75), ended.stderr
        assert {path.name for path in tmp_path.iterdir()} == ({target.name} if ended.returncode == 0 else set())
        shutil.rmtree(target, ignore_errors=True)
        target.unlink(missing_ok=True)
        codes.add(ended.returncode)
    assert codes == {0, 75}


def test_no_more_threads_is_a_lack_of_resources(counts, tmp_path, capsys, monkeypatch):
    def refuse(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("threading.Thread.start", refuse)
    assert main(["impute", str(counts), str(tmp_path / "out.h5ad"), "--quiet"]) == 75
    assert "try again later" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


# --- paths that are empty, as a shell makes them of a variable that is not set


EMPTY = {
    "input": ("impute", "", "out.h5ad"),
    "output": ("impute", "in.h5ad", ""),
    "config": ("impute", "in.h5ad", "out.h5ad", "--config", ""),
    "report": ("impute", "in.h5ad", "out.h5ad", "--report", ""),
    "genes": ("impute", "in.h5ad", "out.h5ad", "--genes", ""),
    "outdir": ("split", "in.h5ad", "--batch-key", "batch", "--outdir", ""),
    "part": ("gather", "in.h5ad", "out.h5ad", "part.h5ad", ""),
    "promoted": ("promote", "", "out.h5ad"),
    "exported": ("export", "in.h5ad", ""),
    "copied": ("copy", "in.h5ad", ""),
    "simulated": ("simulate", ""),
    "table": ("evaluate", "cluster", "in.h5ad", "--label-key", "cell_type", "--output", ""),
    "json": ("benchmark", "in.h5ad", "--json", ""),
}


@pytest.mark.parametrize("case", EMPTY)
def test_an_empty_path_is_not_the_current_folder(counts, tmp_path, monkeypatch, capsys, case):
    monkeypatch.chdir(tmp_path)
    shutil.copy(counts, "in.h5ad")
    assert main([*EMPTY[case]]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("sccr: error: ") and re.search("it is empty; give a path|should not be empty", line)
    assert [path.name for path in tmp_path.iterdir()] == ["in.h5ad"]


def every_command(group, words=()):
    for name in group.list_commands(None):
        command = group.get_command(None, name)
        if isinstance(command, click.Group):
            yield from every_command(command, (*words, name))
        else:
            yield " ".join((*words, name)), command


def test_every_path_is_checked_in_one_place():
    kinds = {type(each.type) for _, command in every_command(cli) for each in command.params}
    assert GivenPath in kinds and click.Path not in kinds and click.File not in kinds


def test_what_is_endless_is_not_repeated(refused, counts, tmp_path):
    (tmp_path / "genes.txt").write_text("g" * 100_000)
    refused(counts, 65, "--genes", tmp_path / "genes.txt")
    refused(counts, 2, "--k-cell", "1" + "0" * 5000)
    refused(counts, 2, f"--{'x' * 10_000}")
    refused(counts, 65, "--layer", "x" * 10_000)
    refused("x" * 10_000, 66)
