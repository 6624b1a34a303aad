"""What would be uploaded to PyPI: what is in it, what PyPI's own checks say, whether an installation is complete."""

import os
import re
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest
from container_tools import set_up

from sccr_node import __version__
from tests.support import REPOSITORY

pytestmark = pytest.mark.platform

ABOUT = {"README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff", "pyproject.toml", "hatch_build.py"}
OF_HATCHLING = {"PKG-INFO", ".gitignore"}
"""The metadata, and what keeps compiled files out of a wheel that is built from the sdist."""

KINDS = {".py", ".c", ".jinja", ".typed", ".css"}
"""What the package consists of; a file of another kind is a stray one."""


def sources() -> set[str]:
    """Return the files of the package, without what Python and the build hook make of them."""
    files = (path for path in (REPOSITORY / "sccr_node").rglob("*") if path.is_file())
    made = {".so", ".pyc"}
    return {path.relative_to(REPOSITORY).as_posix() for path in files if path.suffix not in made}


@pytest.fixture(scope="module")
def sdist(builder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sdist")
    command = [builder, "-m", "hatchling", "build", "-t", "sdist", "-d", folder]
    subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True)
    (archive,) = folder.iterdir()
    return archive


@pytest.fixture(scope="module")
def wheel(builder: Path, sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of what the sdist contains, and of nothing else."""
    folder = tmp_path_factory.mktemp("wheel")
    options = ("--quiet", "--no-deps", "--no-build-isolation", "--no-index")
    subprocess.run([builder, "-m", "pip", "wheel", *options, "-w", folder, sdist], check=True)
    (archive,) = folder.iterdir()
    return archive


@pytest.fixture(scope="module")
def checks() -> dict[str, str]:
    """The environment in which the checks can be imported."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCCR_PLATFORMS_PYTHON", sys.executable)
        return {**os.environ, "PYTHONPATH": set_up("packages")["PACKAGE_CHECKS"]}


def test_the_sdist_has_the_sources_and_nothing_else(sdist: Path) -> None:
    assert {Path(name).suffix for name in sources()} <= KINDS
    with tarfile.open(sdist) as packed:
        names = {member.name for member in packed if not member.isdir()}
    top = f"sccr_node-{__version__}/"
    assert names == {top + name for name in sources() | ABOUT | OF_HATCHLING}


def test_the_wheel_has_the_sources_and_the_libraries(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as packed:
        names = set(packed.namelist())
    metadata = f"sccr_node-{__version__}.dist-info/"
    described = {"METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE"}
    libraries = {name for name in names if name.endswith(".so")}
    assert names - libraries == sources() | {metadata + name for name in described}
    assert {"sccr_node/numerics/_kernels_baseline.so", "sccr_node/runtime/_watchdog.so"} <= libraries


def test_the_front_page_has_no_links_to_files_that_pypi_does_not_have(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as packed:
        metadata = packed.read(f"sccr_node-{__version__}.dist-info/METADATA").decode()
    page = metadata.split("\n\n", 1)[1]
    targets = re.findall(r"\]\(([^)\s]+)\)|^\[[^\]]+\]: (\S+)", page, flags=re.MULTILINE)
    links = ["".join(target) for target in targets]
    assert [link for link in links if not re.match(r"https://|#", link)] == []
    ours = "https://github.com/sccr-node/sccr-node/blob/"
    files = [link.removeprefix(f"{ours}v{__version__}/").partition("#")[0] for link in links if link.startswith(ours)]
    assert len(files) > 20 and all((REPOSITORY / file).exists() for file in files)


@pytest.mark.parametrize(
    "command",
    [
        ("twine", "check", "--strict", "SDIST", "WHEEL"),
        ("check_wheel_contents", "WHEEL"),
        ("validate_pyproject", str(REPOSITORY / "pyproject.toml")),
    ],
    ids=lambda command: command[0],
)
def test_the_checks_find_nothing(command: tuple[str, ...], sdist: Path, wheel: Path, checks: dict[str, str]) -> None:
    words = [{"SDIST": str(sdist), "WHEEL": str(wheel)}.get(word, word) for word in command]
    done = subprocess.run([sys.executable, "-m", *words], env=checks, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "warning" not in (done.stdout + done.stderr).lower()


def test_a_fresh_installation_of_the_locked_versions_is_complete(wheel: Path, tmp_path: Path) -> None:
    folder = tmp_path / "fresh"
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    install = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", python]
    subprocess.run([*install, "--require-hashes", "-r", REPOSITORY / "requirements.lock"], check=True)
    # What the lock file lacks would be fetched with the wheel: there is no index to fetch it from.
    subprocess.run([*install, "--no-index", f"sccr-node[full,cloud] @ {wheel.as_uri()}"], check=True)
    checked = subprocess.run([python, "-m", "pip", "check"], capture_output=True, text=True, cwd=tmp_path)
    assert checked.returncode == 0, checked.stdout
    said = subprocess.run([folder / "bin" / "sccr", "--version"], capture_output=True, text=True, cwd=tmp_path)
    assert said.stdout.strip() == __version__
