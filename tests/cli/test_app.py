"""The command line: every parameter is there, start-up is fast, and help shows the defaults."""

import json
import shlex
import subprocess
import sys

import pytest

from sccr_node import __version__
from sccr_node.__main__ import main
from sccr_node.cli.app import COMMANDS
from sccr_node.cli.evaluate import EVALUATE_COMMANDS
from sccr_node.contract.fields import flag
from sccr_node.contract.impute import ImputeParameters
from sccr_node.contract.methods import METHODS
from sccr_node.contract.schemas import SCHEMAS


def test_version_is_bare(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"{__version__}\n"


HEAVY = {"numpy", "scipy", "pandas", "anndata", "h5py", "zarr", "scanpy", "matplotlib", "sklearn", "tqdm"}


@pytest.mark.parametrize(
    ("arguments", "heavy"),
    # Only a command's own help shows parameters.
    [(["--version"], HEAVY | {"pydantic"}), (["--help"], HEAVY | {"pydantic"}), (["impute", "--help"], HEAVY)],
)
def test_start_up_imports_nothing_heavy(arguments, heavy):
    program = (
        "import sys\n"
        "from sccr_node.__main__ import main\n"
        f"code = main({arguments!r})\n"
        f"print(sorted({heavy!r} & set(sys.modules)), file=sys.stderr)\n"
        "sys.exit(code)\n"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stderr.strip() == "[]"


def test_help_has_every_parameter_with_its_default(capsys):
    assert main(["impute", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    for name in ImputeParameters.model_fields:
        assert flag(name) in text
    published = {name: method.defaults["k_cell"] for name, method in METHODS.items() if "k_cell" in method.defaults}
    assert f"[default: {', '.join(f'{name}: {value}' for name, value in published.items())}]" in text
    assert "[default: 0.05]" in text
    assert "[default: 2000]" in text


def test_the_list_of_commands_names_those_of_evaluate():
    assert COMMANDS["evaluate"][1].endswith(f": {', '.join(EVALUATE_COMMANDS)}.")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command, capsys):
    assert main([command, "--help"]) == 0
    assert "Usage: sccr" in capsys.readouterr().out


@pytest.mark.parametrize("name", SCHEMAS)
def test_schemas_are_printed(name, capsys):
    assert main(["schema", name]) == 0
    assert json.loads(capsys.readouterr().out)["properties"]


def test_an_unknown_schema_and_an_unknown_command(capsys):
    assert main(["schema", "none"]) == 2
    assert main(["inpute"]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 2
    assert "choose one of " in errors[0]


def test_no_command_shows_the_help(capsys):
    assert main([]) == 2
    assert "Usage: sccr" in capsys.readouterr().err


def test_a_reader_that_has_seen_enough_is_no_failure():
    run = subprocess.run(
        f"{sys.executable} -m sccr_node schema | head -1", shell=True, capture_output=True, text=True, check=True
    )
    assert run.stdout == "{\n"
    assert run.stderr == ""


def test_the_module_is_the_command():
    run = subprocess.run([sys.executable, "-m", "sccr_node", "--version"], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == __version__


@pytest.mark.parametrize("standard_error", ["2>&-", "2>/dev/full", "2> >(head -c 1 > /dev/null)", "<&- >&- 2>&-"])
def test_a_run_that_nobody_listens_to_is_the_same_run(tmp_path, standard_error):
    """Closed streams must not give their numbers to the output, nor a log that is gone end the run."""
    counts = tmp_path / "counts.h5ad"
    assert main(["simulate", str(counts), "--n-cells", "30", "--n-genes", "20", "--quiet"]) == 0
    assert main(["impute", str(counts), str(tmp_path / "heard.h5ad"), "--quiet"]) == 0
    command = [sys.executable, "-m", "sccr_node", "impute", str(counts), str(tmp_path / "unheard.h5ad")]
    assert subprocess.run(["bash", "-c", f"{shlex.join(command)} {standard_error}"]).returncode == 0
    assert (tmp_path / "unheard.h5ad").read_bytes() == (tmp_path / "heard.h5ad").read_bytes()


@pytest.mark.parametrize("standard_error", ["2>&-", "2>/dev/full"])
def test_a_failure_that_nobody_listens_to_has_its_exit_code(tmp_path, standard_error):
    command = [sys.executable, "-m", "sccr_node", "impute", str(tmp_path / "none.h5ad"), str(tmp_path / "out.h5ad")]
    assert subprocess.run(["bash", "-c", f"{shlex.join(command)} {standard_error}"]).returncode == 66


@pytest.mark.parametrize("way", ["config", "variable", "flag", "late flag"])
def test_a_failure_keeps_to_the_log_format_wherever_it_was_given(tmp_path, capsys, monkeypatch, way):
    config = tmp_path / "run.yaml"
    config.write_text("log_format: json\nalpha: 7\n" if way == "config" else "alpha: 7\n")
    if way == "variable":
        monkeypatch.setenv("SCCR_LOG_FORMAT", "json")
    options = {"flag": ["--log-format", "json"], "late flag": ["--log-format=json"]}.get(way, [])
    assert main(["impute", "none.h5ad", str(tmp_path / "out.h5ad"), "--config", str(config), *options]) == 2
    line = json.loads(capsys.readouterr().err)
    assert line["exit_code"] == 2 and "alpha" in line["message"]


def test_debug_may_come_from_a_config_file(tmp_path, capsys):
    (tmp_path / "run.yaml").write_text("debug: true\n")
    config = ["--config", str(tmp_path / "run.yaml")]
    assert main(["impute", str(tmp_path / "none.h5ad"), str(tmp_path / "out.h5ad"), *config]) == 66
    assert "Traceback" in capsys.readouterr().err


def test_an_interrupt_keeps_to_the_log_format(tmp_path):
    program = (
        "import os, signal, sys\n"
        "from sccr_node.__main__ import main\n"
        "import sccr_node.data.simulation as simulation\n"
        "draw = simulation.Simulation\n"
        "simulation.Simulation = lambda params: os.kill(os.getpid(), signal.SIGTERM) or draw(params)\n"
        f"sys.exit(main(['simulate', {str(tmp_path / 'out.h5ad')!r}, '--log-format', 'json']))\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True)
    assert ended.returncode == 143
    line = json.loads(ended.stderr.splitlines()[-1])
    assert line.pop("seconds") > 0
    assert line == {"level": "error", "message": "interrupted by SIGTERM; no file was written", "exit_code": 143}


@pytest.mark.parametrize("command", ["gather", "simulate"])
def test_every_command_takes_a_config_file(command, capsys):
    assert main([command, "--help"]) == 0
    assert "--config FILE" in capsys.readouterr().out


@pytest.mark.parametrize("words", ["schema", "--help", "impute --help", "--version", "evaluate relations COUNTS"])
def test_a_reader_that_closes_at_once_fails_no_pipeline(tmp_path, words):
    counts = tmp_path / "counts.h5ad"
    assert main(["simulate", str(counts), "--n-cells", "30", "--n-genes", "20", "--quiet"]) == 0
    command = f"{sys.executable} -m sccr_node {words.replace('COUNTS', str(counts))} 2>{tmp_path / 'err'} | true"
    for _ in range(3):
        assert subprocess.run(["bash", "-o", "pipefail", "-c", command]).returncode == 0
    assert "rror" not in (tmp_path / "err").read_text()


@pytest.mark.parametrize(
    ("out", "words", "exit_code"),
    [
        (">/dev/full", "cannot write standard output: not enough disk space", 75),
        (">&-", "cannot write standard output: bad file descriptor; give a file with --output", 73),
    ],
)
def test_a_result_that_is_lost_is_a_failure(tmp_path, out, words, exit_code):
    counts = tmp_path / "counts.h5ad"
    assert main(["simulate", str(counts), "--n-cells", "60", "--n-genes", "20", "--quiet"]) == 0
    train = tmp_path / "train.h5ad"
    assert main(["evaluate", "split-molecules", str(counts), str(train), "--quiet"]) == 0
    for arguments in (["tune", str(counts)], ["evaluate", "score", str(train), str(train)]):
        command = shlex.join([sys.executable, "-m", "sccr_node", *arguments, "--quiet"])
        run = subprocess.run(["bash", "-c", f"{command} {out}"], capture_output=True, text=True)
        lines = [line for line in run.stderr.splitlines() if not line.startswith("sccr: warning")]
        assert (run.returncode, len(lines)) == (exit_code, 1), run.stderr
        assert lines[0].startswith(f"sccr: error: {words}")


@pytest.mark.parametrize("arguments", ["--version", "--help", "schema"])
def test_a_page_that_nobody_can_read_is_not_a_bug(arguments):
    run = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m sccr_node {arguments} >&-"], capture_output=True, text=True
    )
    assert (run.returncode, run.stderr) == (73, "sccr: error: cannot write standard output: it is closed\n")


def test_a_dash_is_standard_output_and_never_a_file(sccr, refused, counts_file, monkeypatch):
    monkeypatch.chdir(counts_file.parent)
    code, out, _ = sccr("tune", counts_file, "-o", "-")
    assert code == 0 and out == sccr("tune", counts_file)[1]
    assert not (counts_file.parent / "-").exists()
    refused(2, ["--table", "cannot be written to standard output (-)", "./-"], "tune", counts_file, "--table", "-")
