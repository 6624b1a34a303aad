"""The workflow's Slurm profile on a real one-node Slurm: success, failure, and a job that needs more memory."""

import hashlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from container_tools import SETUP, folder_for_everybody, host_sccr, set_up
from nextflow_tools import TEST_DATA, Nextflow, samplesheet

pytestmark = pytest.mark.platform

FIRST, SECOND, BAD = (TEST_DATA / name for name in ("first.h5ad", "second.h5ad", "not_anndata.h5ad"))
POLLING = "executor { pollInterval = '1 sec'; queueStatInterval = '2 sec'; exitReadTimeout = '30 sec' }\n"


@pytest.fixture(scope="module")
def slurm() -> Iterator[dict[str, str]]:
    """A cluster of this machine, for as long as the tests of this file run."""
    set_up("slurm")
    with folder_for_everybody() as folder:  # munge wants its socket within everybody's reach
        folder.chmod(0o755)
        with (folder / "start.log").open("w") as said:
            # The daemons outlive the script and would hold a pipe open.
            command = ["bash", SETUP / "slurm.sh", "start", folder]
            started = subprocess.run(command, stdout=said, stderr=subprocess.STDOUT, timeout=120)
        try:
            assert started.returncode == 0, (folder / "start.log").read_text()
            yield {"SLURM_CONF": str(folder / "slurm.conf")}
        finally:
            subprocess.run(["bash", SETUP / "slurm.sh", "stop", folder], check=True, timeout=120)


@pytest.fixture(scope="module")
def nextflow(slurm: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Nextflow:
    return Nextflow(set_up("nextflow")["SCCR_NEXTFLOW"], tmp_path_factory.mktemp("home"), slurm)


def quick(folder: Path, more: str = "") -> Path:
    config = folder / "quick.config"
    config.write_text(POLLING + more)
    return config


def test_jobs_succeed_and_one_fails(nextflow: Nextflow, tmp_path: Path) -> None:
    sheet = samplesheet(tmp_path, f"bad,{BAD}", f"second,{SECOND}")
    limits = "process.resourceLimits = [cpus: 2, memory: 1.GB, time: 1.h]\n"
    arguments = ("-profile", "test,slurm", "--queue", "test", "--report", "false")
    run = nextflow.workflow(tmp_path, "-c", quick(tmp_path, limits), *arguments, "--input", sheet)
    assert run.returncode != 0
    assert "SCCR_IMPUTE (bad) failed with exit status 65: sccr: error:" in run.log
    assert run.exits("SCCR_IMPUTE (bad)") == ["65"]
    assert run.exits("SCCR_IMPUTE (second)") == ["0"]
    submitted = next((tmp_path / "work").glob("*/*/.command.run")).read_text()
    assert "#SBATCH -p test" in submitted
    assert "#SBATCH --mem 1024M" in submitted
    host = tmp_path / "host.h5ad"
    subprocess.run([host_sccr(), "impute", "--quiet", "--n-top-genes", "200", SECOND, host], check=True)
    published = run.results / "imputed" / "second_imputed.h5ad"
    assert hashlib.sha256(published.read_bytes()).digest() == hashlib.sha256(host.read_bytes()).digest()


def test_a_job_that_slurm_ends_for_its_memory_gets_more(nextflow: Nextflow, tmp_path: Path) -> None:
    # The step's own guard would stop before Slurm has to: the command takes memory that no estimate knows of.
    hog = (
        "process { withName: 'SCCR_IMPUTE' {\n"
        "    memory       = { 300.MB * (3 ** (task.attempt - 1)) }\n"
        "    beforeScript = { task.attempt > 1 ? '' : "
        """"python3 -c 'import time; hog = bytearray(700_000_000); time.sleep(30)'" }\n"""
        "} }\n"
    )
    sheet = samplesheet(tmp_path, f"second,{SECOND}")
    arguments = ("-profile", "test,slurm", "--queue", "test", "--report", "false")
    run = nextflow.workflow(tmp_path, "-c", quick(tmp_path, hog), *arguments, "--input", sheet)
    assert run.returncode == 0, run.log
    # Slurm leaves no exit file behind: Nextflow counts 2147483647, which its trace writes as a dash.
    assert run.exits("SCCR_IMPUTE (second)") == ["-", "0"]
    assert "terminated for an unknown reason" in run.log
    assert "Execution is retried (1)" in run.log
    assert "imputed/second_imputed.h5ad" in run.published


def test_the_script_of_job_arrays_can_be_submitted(slurm: dict[str, str], tmp_path: Path) -> None:
    """The rows of a manifest, on a real cluster; in the place of Apptainer, a script that shows what it is to run."""
    script = SETUP.parents[2] / "containers" / "batch" / "slurm.sh"
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "apptainer").write_text('#!/bin/sh\necho "$@"\nexit $((SLURM_ARRAY_TASK_ID == 2 ? 66 : 0))\n')
    (tools / "apptainer").chmod(0o755)
    environment = {**os.environ, **slurm, "PATH": f"{tools}:{os.environ['PATH']}", "SCCR_DATA": str(tmp_path)}
    # This machine may be smaller than the data set that the script is for.
    small = ("--cpus-per-task=1", "--mem=200M", "--partition=test")
    subprocess.run(["sbatch", "--test-only", *small, script], env=environment, check=True, capture_output=True)
    done = subprocess.run(
        ["sbatch", "--wait", *small, script], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 66, done.stderr
    logs = sorted(tmp_path.glob("sccr-*.log"))
    assert len(logs) == 4
    for row, log in enumerate(logs):
        assert f"--env SLURM_ARRAY_TASK_ID={row} " in log.read_text()
        assert "sccr batch --manifest /data/samples.csv" in log.read_text()
