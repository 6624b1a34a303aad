"""The platforms under test: each is set up once by its script in setup/, and reused in later runs."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from container_tools import (
    CERTIFICATES,
    Apptainer,
    Podman,
    copy_of_what_images_are_built_from,
    folder_for_everybody,
    key_of,
    set_up,
)


@pytest.fixture(scope="session")
def build_context() -> Iterator[Path]:
    """A copy of what images are built from, in a folder that every user may use."""
    with folder_for_everybody() as folder:
        yield copy_of_what_images_are_built_from(folder)


@pytest.fixture(scope="session")
def podman(build_context: Path) -> Podman:
    """Podman with the image of the shipped Dockerfile, built unless the same sources were built here before."""
    variables = set_up("podman")
    environment = {**os.environ, **variables}
    base = variables["SCCR_BASE_IMAGE"]
    ready = Podman(environment, f"localhost/sccr-node:{key_of(build_context, base)}")
    if ready("image", "exists", ready.image).returncode != 0:
        command = ["nice", "-n", "10", "buildah", "bud", "--layers", "--runtime=runc", "--isolation=chroot"]
        command += ["--network=host", f"--volume={CERTIFICATES}:{CERTIFICATES}:ro"]
        if Path("/etc/pip.conf").exists():
            command += ["--volume=/etc/pip.conf:/etc/pip.conf:ro"]
        command += [f"--build-arg=BASE_IMAGE={base}", "--file=containers/Dockerfile", f"--tag={ready.image}", "."]
        built = subprocess.run(command, cwd=build_context, env=environment, capture_output=True, text=True)
        assert built.returncode == 0, built.stdout[-2000:] + built.stderr[-4000:]
    return ready


@pytest.fixture(scope="session")
def apptainer(build_context: Path) -> Apptainer:
    """Apptainer with the image of the shipped definition, built unless the same sources were built here before."""
    variables = set_up("apptainer")
    base = Path(variables["SCCR_APPTAINER_BASE"])
    # The set-up's own folder "work" is /apptainer where Apptainer runs.
    kept = Path(variables["SCCR_APPTAINER"]).parents[1] / "work" / "sif"
    file = kept / f"{key_of(build_context, base.parent.name)}.sif"
    if not file.exists():
        shutil.copy(base, build_context / "base.oci.tar")
        command = ["nice", "-n", "10", variables["SCCR_APPTAINER"], "build", "--force"]
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
        shutil.rmtree(kept, ignore_errors=True)
        kept.mkdir()
        shutil.move(build_context / "sccr-node.sif", file)
    return Apptainer(variables["SCCR_APPTAINER"], file, f"/apptainer/sif/{file.name}")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that a container's unknown user may enter and write to."""
    with folder_for_everybody() as folder:
        yield folder
