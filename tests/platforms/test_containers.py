"""The shipped Dockerfile and Singularity.def, built and run as hardened sites run them, on real data."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import time
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import pytest
from container_tools import HARDENED, Apptainer, Podman, host_sccr

from tests.support import REPOSITORY
from tests.support.locks import locked_versions
from tools.faces import batch

pytestmark = pytest.mark.platform

LARGEST_IMAGE = 1_000_000_000
SHARED_DATA = Path(os.environ.get("SCCR_SHARED", REPOSITORY.parent / "shared")) / "data"


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def in_folder(folder: Path) -> tuple[str, ...]:
    return (*HARDENED, f"--volume={folder}:/data")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Counts of 4,186 real cells; where the real data sets are not at hand, of as many simulated ones."""
    real = SHARED_DATA / "worm_neuron.h5ad"
    if real.exists():
        return real
    simulated = tmp_path_factory.mktemp("simulated") / "cells.h5ad"
    options = ("--quiet", "--n-cells=4186", "--n-genes=3000", "--depth=300")
    subprocess.run([host_sccr(), "simulate", *options, simulated], check=True)
    return simulated


@pytest.fixture(scope="module")
def host_result(podman: Podman, data: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The checksum of what the host's own environment makes of the real data; it has to hold the image's versions."""
    python = podman.python()
    for name, locked in locked_versions("requirements.lock", python).items():
        installed = version(name)
        expected = f"{locked} in requirements.lock for Python {python}, the image's"
        assert installed == locked, f"{name} is {installed} here and {expected}: make setup anew, with such a Python"
    output = tmp_path_factory.mktemp("host") / "imputed.h5ad"
    subprocess.run([host_sccr(), "impute", "--quiet", data, output], check=True)
    return sha256(output)


def test_the_image_suits_galaxy_and_nextflow(podman: Podman) -> None:
    described = json.loads(podman("image", "inspect", podman.image).stdout)[0]
    config = described["Config"]
    assert not config.get("Entrypoint")
    assert config["Cmd"] == ["sccr", "--help"]
    assert config["User"] == "1000:1000"
    assert {name: value for name, value in config["Labels"].items() if name.startswith("org.opencontainers")} == {
        "org.opencontainers.image.title": "sccr-node",
        "org.opencontainers.image.description": "scCR imputation of single-cell RNA-seq as a workflow step",
        "org.opencontainers.image.url": "https://github.com/sccr-node/sccr-node",
        "org.opencontainers.image.source": "https://github.com/sccr-node/sccr-node",
        "org.opencontainers.image.documentation": (
            "https://github.com/sccr-node/sccr-node/blob/main/docs/containers.md"
        ),
        "org.opencontainers.image.licenses": "MIT",
        "org.opencontainers.image.version": "unreleased",
        "org.opencontainers.image.revision": "unknown",
    }
    assert podman.output().startswith("Usage: sccr")
    assert podman.output("/bin/sh", "-c", "sccr --version").strip() == version("sccr-node")
    assert podman.output("/bin/bash", "-ue", "-c", "ps -o pid= -p $$; command -v bash").split() == [
        "1",
        "/usr/bin/bash",
    ]


def test_the_image_is_small_and_says_what_takes_the_room(podman: Podman) -> None:
    size = json.loads(podman("image", "inspect", podman.image).stdout)[0]["Size"]
    listing = podman.output("sh", "-c", "du -sk /opt/sccr/lib/python*/site-packages/* | sort -rn | head -n 12")
    print(f"image: {size / 1e6:.0f} MB, of which the packages of most kilobytes are\n{listing}")
    assert size < LARGEST_IMAGE
    tests = podman.output("sh", "-c", "find /opt/sccr/lib -type d -name tests | wc -l")
    assert int(tests) == 0


def test_the_image_holds_no_privileged_or_open_file_and_no_build_tool(podman: Podman) -> None:
    as_root = ("--read-only", "--network=none", "--user=0:0")
    found = podman.output(
        "find", "/", "-xdev", "-type", "f", "(", "-perm", "/6000", "-o", "-perm", "-0002", ")", options=as_root
    )
    assert not found
    # Folders for everybody are those of any Debian, each with the sticky bit.
    folders = podman.output(
        "find", "/", "-xdev", "-type", "d", "-perm", "-0002", "!", "-perm", "-1000", options=as_root
    )
    assert not folders
    assert podman.run("sh", "-c", "command -v gcc cc make pip").stdout == ""
    assert podman.run("/opt/sccr/bin/python", "-m", "pip").returncode == 1
    # What belongs to the user of the image could be changed by it.
    owned = podman.output("find", "/opt", "/usr", "/etc", "-xdev", "-user", "1000", options=as_root)
    assert not owned


def test_the_packages_of_the_image_are_the_locked_ones(podman: Podman) -> None:
    script = (
        "from importlib.metadata import distributions\n"
        "for found in distributions(): print(found.name.lower().replace('_', '-').replace('.', '-'), found.version)"
    )
    installed = dict(line.split() for line in podman.output("/opt/sccr/bin/python", "-c", script).splitlines())
    locked = locked_versions("requirements.lock", podman.python())
    assert installed.items() - locked.items() == {("sccr-node", version("sccr-node"))}


def test_the_image_holds_the_sources_as_they_are_now(podman: Podman, build_context: Path) -> None:
    listing = podman.output(
        "sh", "-c", "cd /opt/sccr/lib/python*/site-packages && find sccr_node -name '*.py' | xargs sha256sum"
    )
    shipped = {name: checksum for checksum, name in (line.split() for line in listing.splitlines())}
    sources = {
        str(path.relative_to(build_context)): sha256(path) for path in (build_context / "sccr_node").rglob("*.py")
    }
    assert shipped == sources


def test_a_hardened_run_on_data_equals_the_hosts_to_the_byte(
    podman: Podman, data: Path, host_result: str, open_folder: Path
) -> None:
    shutil.copy(data, open_folder / "in.h5ad")
    options = ("--name=sccr-hardened", *in_folder(open_folder))
    podman("rm", "--force", "--ignore", "sccr-hardened")
    command = ("sccr", "impute", "in.h5ad", "out.h5ad", "--provenance", "run.json")
    done = podman("run", *options, podman.image, *command)
    changed = podman("diff", "sccr-hardened").stdout
    podman("rm", "--force", "sccr-hardened")
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in open_folder.iterdir()) == ["in.h5ad", "out.h5ad", "run.json"]
    assert (open_folder / "out.h5ad").stat().st_uid == 12345
    assert sha256(open_folder / "out.h5ad") == host_result
    # Nothing but what podman itself puts there: mount points and the files about the network.
    written = {line.split(" ", 1)[1] for line in changed.splitlines()}
    assert not {path for path in written if path.startswith(("/opt", "/usr", "/home", "/root", "/var"))}, changed


def test_the_step_needs_no_writable_place_but_its_output(podman: Podman, open_folder: Path) -> None:
    options = (*in_folder(open_folder), "--read-only-tmpfs=false")
    assert "Read-only file system" in podman.run("touch", "/tmp/x", options=options).stderr
    made = podman.run("sccr", "simulate", "--quiet", "--n-cells=200", "--n-genes=100", "in.h5ad", options=options)
    assert made.returncode == 0, made.stderr
    done = podman.run("sccr", "impute", "in.h5ad", "out.h5ad", options=options)
    assert done.returncode == 0, done.stderr


def test_the_memory_limit_of_the_container_is_the_guards(podman: Podman, data: Path, open_folder: Path) -> None:
    shutil.copy(data, open_folder / "in.h5ad")
    options = (*in_folder(open_folder), "--memory=350m", "--memory-swap=350m")
    done = podman.run("sccr", "impute", "in.h5ad", "out.h5ad", options=options)
    assert done.returncode == 75, done.stderr
    assert "memory" in done.stderr.splitlines()[-1]
    assert sorted(path.name for path in open_folder.iterdir()) == ["in.h5ad"]
    # What the guard lets through fits: the kernel would kill it otherwise (137).
    enough = (*in_folder(open_folder), "--memory=500m", "--memory-swap=500m")
    done = podman.run("sccr", "impute", "in.h5ad", "out.h5ad", options=enough)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["missing.h5ad", "out.h5ad"], 66), (["in.h5ad", "out.h5ad"], 65), (["in.h5ad", "out.h5ad", "--k-cell=0"], 2)],
)
def test_failures_leave_the_container_with_their_exit_code(
    podman: Podman, open_folder: Path, arguments: list[str], code: int
) -> None:
    (open_folder / "in.h5ad").write_text("not HDF5")
    done = podman.run("sccr", "impute", *arguments, options=in_folder(open_folder))
    assert done.returncode == code, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert sorted(path.name for path in open_folder.iterdir()) == ["in.h5ad"]


def test_the_first_process_of_the_container_heeds_a_stop(podman: Podman, open_folder: Path, data: Path) -> None:
    shutil.copy(data, open_folder / "in.h5ad")
    command = ("sccr", "impute", "in.h5ad", "out.h5ad", "--n-iterations=100000")
    identity = podman("run", "--detach", *in_folder(open_folder), podman.image, *command).stdout.strip()
    try:
        waited = time.monotonic() + 60
        while "imputing" not in podman("logs", identity).stderr:
            assert time.monotonic() < waited
            time.sleep(0.2)
        podman("stop", "--time=30", identity)
        assert podman("wait", identity).stdout.strip() == "143"
    finally:
        podman("rm", "--force", identity)
    assert sorted(path.name for path in open_folder.iterdir()) == ["in.h5ad"]


def stages_kept(folder: Path, k_cell: int) -> list[Path]:
    """Return the checkpoints of the run with so many neighbours: the settings are in their headers."""
    kept = []
    for path in folder.glob("*.checkpoint"):
        with suppress(FileNotFoundError), path.open("rb") as file:  # a run that has ended removes its own
            if f"('k_cell', {k_cell})".encode() in file.read(4096):
                kept.append(path)
    return kept


def test_an_array_of_jobs_survives_what_happens_to_them(
    podman: Podman, data: Path, open_folder: Path, tmp_path: Path
) -> None:
    """Four jobs, of which one is asked to end and one is killed in the middle: both go on where they were."""
    shutil.copy(data, open_folder / "in.h5ad")
    neighbours = (12, 15, 18, 21)  # so that no two have a stage in common
    rows = [f"in.h5ad,out{index}.h5ad,{k}" for index, k in enumerate(neighbours)]
    (open_folder / "samples.csv").write_text("\n".join(["input,output,k_cell", *rows, ""]))
    command = ("sccr", "batch", "--manifest=samples.csv", "--checkpoint-dir=kept", "--threads=1")
    made: list[str] = []

    def submitted(index: int) -> str:
        variable = f"--env=AWS_BATCH_JOB_ARRAY_INDEX={index}"
        started = podman("run", "--detach", variable, *in_folder(open_folder), podman.image, *command)
        assert started.returncode == 0, started.stderr
        made.append(started.stdout.strip())
        return made[-1]

    def ended(job: str) -> tuple[str, str]:
        return podman("wait", job).stdout.strip(), podman("logs", job).stderr

    try:
        jobs = [submitted(index) for index in range(4)]

        def have_three_stages(index: int) -> None:
            waited = time.monotonic() + 120
            while len(stages_kept(open_folder / "kept", neighbours[index])) < 3:
                assert time.monotonic() < waited, podman("logs", jobs[index]).stderr
                time.sleep(0.05)

        have_three_stages(2)
        podman("kill", "--signal=KILL", jobs[2])
        have_three_stages(1)
        asked = time.monotonic()
        podman("stop", "--time=30", jobs[1])
        assert time.monotonic() - asked < 10
        assert [ended(job)[0] for job in jobs] == ["0", "143", "137", "0"]
        assert not [f"out{index}.h5ad" for index in (1, 2) if (open_folder / f"out{index}.h5ad").exists()]
        for index in (1, 2):
            code, said = ended(submitted(index))
            assert code == "0", said
            found = re.search(r"(\d+) stages were not repeated", said)
            assert found and int(found[1]) >= 3, said
        code, said = ended(submitted(0))
        assert code == "0" and "skipped: out0.h5ad is finished" in said
    finally:
        podman("rm", "--force", *made)
    for index, k in enumerate(neighbours):
        subprocess.run(
            [host_sccr(), "impute", "--quiet", f"--k-cell={k}", data, tmp_path / "host.h5ad", "--force"], check=True
        )
        assert sha256(open_folder / f"out{index}.h5ad") == sha256(tmp_path / "host.h5ad")
    outputs = {f"out{index}.h5ad{suffix}" for index in range(4) for suffix in ("", ".record.json")}
    assert {path.name for path in open_folder.iterdir()} - {"kept"} == {"in.h5ad", "samples.csv", *outputs}
    assert not list(open_folder.glob("kept/*"))


def test_nothing_is_compiled_on_the_first_run(podman: Podman, open_folder: Path) -> None:
    options = (*in_folder(open_folder), "--env=NUMBA_CACHE_DIR=/data/numba")
    made = podman.run("sccr", "simulate", "--quiet", "--n-cells=400", "--n-genes=300", "in.h5ad", options=options)
    assert made.returncode == 0, made.stderr
    shipped = podman.output("sh", "-c", "cd /opt/sccr/share/sccr-node/numba && find . -type f | sort").split()
    assert len(shipped) > 20
    started = time.monotonic()
    podman.output("sccr", "impute", "in.h5ad", "out.h5ad", options=options)
    imputed = time.monotonic() - started
    assert not (open_folder / "numba").exists()
    started = time.monotonic()
    podman.output("sccr", "report", "out.h5ad", "--output=report.html", options=options)
    reported = time.monotonic() - started
    podman.output("sccr", "evaluate", "cluster", "in.h5ad", "--label-key=cell_type", "--seeds=0", options=options)
    print(f"400 cells, each in a new container: impute {imputed:.1f} s, report {reported:.1f} s")
    used = sorted(f"./{path.relative_to(open_folder / 'numba')}" for path in (open_folder / "numba").rglob("*.nb?"))
    assert used == shipped


def test_apptainer_runs_the_shipped_definition_on_data_as_the_host_does(
    apptainer: Apptainer, data: Path, host_result: str, open_folder: Path
) -> None:
    shutil.copy(data, open_folder / "in.h5ad")
    print(f"Apptainer image: {apptainer.file.stat().st_size / 1e6:.0f} MB")
    done = apptainer.exec("sccr", "impute", "in.h5ad", "out.h5ad", bind=open_folder)
    assert done.returncode == 0, done.stderr
    assert sha256(open_folder / "out.h5ad") == host_result
    assert apptainer.exec("sccr", "impute", "missing.h5ad", "x.h5ad", bind=open_folder).returncode == 66
    assert apptainer.exec("sh", "-c", "command -v gcc cc pip", bind=open_folder).stdout == ""
    assert apptainer.exec("bash", "-c", "ps -o comm= -p $$; true", bind=open_folder).stdout.split() == ["bash"]


def test_both_images_are_built_from_the_same_packages(podman: Podman, apptainer: Apptainer, open_folder: Path) -> None:
    listing = ("sh", "-c", "ls /opt/sccr/lib/python*/site-packages; ls /opt/sccr/share/sccr-node/numba")
    assert apptainer.exec(*listing, bind=open_folder).stdout == podman.output(*listing)


def test_what_jobs_for_an_object_store_are_given_has_scratch_for_everybody(podman: Podman) -> None:
    options = (*batch.container_options(batch.Files("gs://BUCKET/FOLDER", "/tmp")).split(), "--network=none")
    made = "sccr simulate /tmp/in.h5ad --n-cells 50 --n-genes 60 --quiet"
    imputed = "sccr impute /tmp/in.h5ad /tmp/out.h5ad --work-dir /tmp --quiet"
    podman.output("bash", "-c", f"{made} && {imputed} && ! touch /here && id -u | grep -x 1000", options=options)
