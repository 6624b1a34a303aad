"""What the platform tests share: setting platforms up, what images are built from, running containers."""

import hashlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import REPOSITORY

SETUP = Path(__file__).with_name("setup")
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
BUILT_FROM = (
    ".dockerignore",
    "LICENSE",
    "README.md",
    "containers",
    "hatch_build.py",
    "pyproject.toml",
    "requirements-build.lock",
    "requirements.lock",
    "sccr_node",
)
"""What images are built from; the ignore file keeps everything else out."""

HARDENED = ("--read-only", "--network=none", "--cap-drop=all", "--security-opt=no-new-privileges", "--user=12345:12345")


def set_up(name: str) -> dict[str, str]:
    """Run ``setup/NAME.sh`` and return the variables that it prints; exit 69 says that something is not to be had."""
    done = subprocess.run(["bash", SETUP / f"{name}.sh"], capture_output=True, text=True)
    sys.stderr.write(done.stderr)
    if done.returncode == 69:
        pytest.skip(f"setup/{name}.sh: not to be had at the moment: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)


@contextmanager
def folder_for_everybody() -> Iterator[Path]:
    """Give a temporary folder that any user may use: pytest's own are closed to others by every session that starts."""
    with tempfile.TemporaryDirectory(prefix="sccr-node-") as name:
        Path(name).chmod(0o777)
        yield Path(name)


def copy_of_what_images_are_built_from(folder: Path) -> Path:
    """Copy the files that images are built from, readable by every user."""
    for name in BUILT_FROM:
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
        else:
            shutil.copy(source, folder / name)
    subprocess.run(["chmod", "-R", "a+rX", folder], check=True)
    return folder


def key_of(folder: Path, *more: str) -> str:
    digest = hashlib.sha256(repr(more).encode())
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


@dataclass(frozen=True)
class Podman:
    """Podman on this machine, with the image under test."""

    environment: dict[str, str]
    image: str

    def __call__(self, *arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
        """Run podman and return what it said; the exit code is the caller's to look at."""
        command = ["podman", *map(str, arguments)]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, **options)

    def run(self, *command: object, options: tuple[object, ...] = HARDENED) -> subprocess.CompletedProcess[str]:
        """Run a command in a new container of the image, hardened unless other options are given."""
        return self("run", "--rm", *options, self.image, *command)

    def python(self) -> str:
        """Return the version of the image's Python."""
        return self.output("/opt/sccr/bin/python", "-c", "import platform; print(platform.python_version())").strip()

    def output(self, *command: object, options: tuple[object, ...] = HARDENED) -> str:
        """Return what a command in a container prints, which has to succeed."""
        done = self.run(*command, options=options)
        assert done.returncode == 0, done.stderr
        return done.stdout


@dataclass(frozen=True)
class Apptainer:
    """Apptainer on this machine, with the image under test."""

    command: str
    file: Path
    image: str
    """The file's path where Apptainer runs."""

    def exec(self, *command: object, bind: Path) -> subprocess.CompletedProcess[str]:
        """Run a command in the image, with one folder of the machine at /data."""
        return subprocess.run(
            [self.command, "exec", "--containall", "--no-home", f"--bind={bind}:/data", "--pwd=/data", self.image]
            + list(map(str, command)),
            cwd=bind,
            capture_output=True,
            text=True,
        )


def host_sccr() -> str:
    """The command of the environment that runs the tests."""
    return str(Path(sys.executable).with_name("sccr"))
