"""The platforms under test: each is set up once by its script in setup/, and reused in later runs."""

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from container_tools import (
    CERTIFICATES,
    REPOSITORY,
    Apptainer,
    Podman,
    copy_of_what_images_are_built_from,
    folder_for_everybody,
    key_of,
    set_up,
)


@pytest.fixture(scope="session")
def builder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with the locked build tools, and nothing of the project."""
    folder = tmp_path_factory.mktemp("builder")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    lock = REPOSITORY / "requirements-build.lock"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--require-hashes", "-r", lock], check=True)
    return python


@pytest.fixture(scope="session")
def build_context() -> Iterator[Path]:
    """A copy of what images are built from, in a folder that every user may use."""
    with folder_for_everybody() as folder:
        yield copy_of_what_images_are_built_from(folder)


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Have another worker wait, which then finds the image that this one built."""
    with (Path(tempfile.gettempdir()) / "sccr-node-images.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def podman(build_context: Path) -> Podman:
    """Podman with the image of the shipped Dockerfile, built unless the same sources were built here before."""
    variables = set_up("podman")
    environment = {**os.environ, **variables}
    base = variables["SCCR_BASE_IMAGE"]
    ready = Podman(environment, f"localhost/sccr-node:{key_of(build_context, base)}")
    with _one_at_a_time():
        _have_image(ready, base, build_context, environment)
    return ready


def _have_image(ready: Podman, base: str, build_context: Path, environment: dict[str, str]) -> None:
    if ready("image", "exists", ready.image).returncode != 0:
        command = ["nice", "-n", "10", "buildah", "bud", "--layers", "--runtime=runc", "--isolation=chroot"]
        command += ["--network=host", f"--volume={CERTIFICATES}:{CERTIFICATES}:ro"]
        if Path("/etc/pip.conf").exists():
            command += ["--volume=/etc/pip.conf:/etc/pip.conf:ro"]
        command += [f"--build-arg=BASE_IMAGE={base}", "--file=containers/Dockerfile", f"--tag={ready.image}", "."]
        built = subprocess.run(command, cwd=build_context, env=environment, capture_output=True, text=True)
        assert built.returncode == 0, built.stdout[-2000:] + built.stderr[-4000:]


@pytest.fixture(scope="session")
def apptainer(build_context: Path) -> Apptainer:
    """Apptainer with the image of the shipped definition, built unless the same sources were built here before."""
    variables = set_up("apptainer")
    base = Path(variables["SCCR_APPTAINER_BASE"])
    # The set-up's own folder "work" is /apptainer where Apptainer runs.
    kept = Path(variables["SCCR_APPTAINER"]).parents[1] / "work" / "sif"
    file = kept / f"{key_of(build_context, base.parent.name)}.sif"
    with _one_at_a_time():
        _have_sif(file, variables["SCCR_APPTAINER"], base, build_context)
    return Apptainer(variables["SCCR_APPTAINER"], file, f"/apptainer/sif/{file.name}")


def _have_sif(file: Path, program: str, base: Path, build_context: Path) -> None:
    if not file.exists():
        shutil.copy(base, build_context / "base.oci.tar")
        command = ["nice", "-n", "10", program, "build", "--force"]
        command += ["--build-arg", "BOOTSTRAP=oci-archive", "--build-arg", "BASE_IMAGE=base.oci.tar"]
        # The lightest compression: the image is read once or twice.
        command += ["--bind", f"{CERTIFICATES}:{CERTIFICATES}", "--mksquashfs-args", "-Xcompression-level 1"]
        built = subprocess.run(
            [*command, "sccr-node.sif", "containers/Singularity.def"],
            cwd=build_context,
            env={**os.environ, "SCCR_APPTAINER_NETWORK": "host"},
            capture_output=True,
            text=True,
        )
        (build_context / "base.oci.tar").unlink()
        assert built.returncode == 0, built.stdout[-2000:] + built.stderr[-4000:]
        shutil.rmtree(file.parent, ignore_errors=True)
        file.parent.mkdir()
        shutil.move(build_context / "sccr-node.sif", file)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that a container's unknown user may enter and write to."""
    with folder_for_everybody() as folder:
        yield folder
