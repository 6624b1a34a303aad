"""Run the tests on sets of versions that people have, each in an environment of its own: make test-versions.

Run from a checkout: ``python -m tools.versions SET... [-- OPTIONS OF PYTEST]``, in an environment that has uv.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
USERS = ("full", "cloud")
"""The extras that users install; scib-metrics (benchmark) is too large, and has a test of its own."""

OURS = ("test", "dev")


class CannotRun(Exception):
    """A set cannot be tried at all: what it needs is not there, or cannot be installed."""


@dataclass(frozen=True)
class Environment:
    """A virtual environment of one set."""

    repository: Path
    folder: Path

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / "bin" / "python"

    def uv(self, *arguments: object) -> str:
        """Run uv on this environment, in the repository, and return what it prints."""
        command = [sys.executable, "-m", "uv", *map(str, arguments), "--python", str(self.python)]
        done = subprocess.run(command, cwd=self.repository, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            raise CannotRun(f"uv {' '.join(map(str, arguments[:2]))} failed ({done.returncode})")
        return done.stdout

    def install_project(self, *options: object, extras: Sequence[str] = (*USERS, *OURS)) -> None:
        """Install this checkout, editable, with what its extras require."""
        self.uv("pip", "install", *options, "--editable", f".[{','.join(extras)}]" if extras else ".")


def _install_locked(environment: Environment) -> None:
    environment.uv("pip", "install", "--require-hashes", "-r", "requirements-test.lock")
    environment.install_project("--no-deps", extras=())


def _install_newest(environment: Environment) -> None:
    environment.install_project()


def _install_prereleases(environment: Environment) -> None:
    environment.install_project("--prerelease", "allow")


def _install_lowest(environment: Environment) -> None:
    """Install the lowest versions of what users need, and whatever tools of ours go with them."""
    lowest = environment.folder / "lowest.txt"
    extras = [word for extra in USERS for word in ("--extra", extra)]
    options = ("--resolution", "lowest-direct", "--output-file", lowest)
    environment.uv("pip", "compile", "--quiet", *options, *extras, "pyproject.toml")
    environment.install_project("--constraints", lowest)


@dataclass(frozen=True)
class Versions:
    """A set of versions: whether its Python is the newest or the oldest, and how the rest is installed."""

    newest_python: bool
    install: Callable[[Environment], None]


SETS = {
    "locked": Versions(False, _install_locked),
    "newest": Versions(True, _install_newest),
    "lowest": Versions(False, _install_lowest),
    "prereleases": Versions(True, _install_prereleases),
}


def pythons() -> dict[int, Path]:
    """Return the released Pythons 3.N that run here, by N: those on PATH, then those of pyenv.

    The shims of pyenv are on PATH for versions that are not chosen, too, and then refuse to run.
    """
    pyenv = Path(os.environ.get("PYENV_ROOT") or "~/.pyenv").expanduser()
    folders = [Path(folder) for folder in os.environ["PATH"].split(os.pathsep) if folder]
    found: dict[int, Path] = {}
    for folder in [*folders, *sorted(pyenv.glob("versions/*/bin"))]:
        for path in folder.glob("python3.*"):
            named = re.fullmatch(r"python3\.(\d+)", path.name)
            if named and int(named[1]) not in found and _is_released(path):
                found[int(named[1])] = path
    return found


def _is_released(python: Path) -> bool:
    asked: list[str | Path] = [python, "-c", "import sys; print(sys.version_info.releaselevel)"]
    try:
        return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip() == "final"
    except OSError:
        return False


def _project(repository: Path) -> dict[str, object]:
    project: dict[str, object] = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return project


def _oldest(repository: Path) -> int:
    """Return the N of the oldest Python 3.N that the project supports."""
    return int(str(_project(repository)["requires-python"]).removeprefix(">=3."))


def _python_for(versions: Versions, repository: Path) -> Path:
    found, oldest = pythons(), _oldest(repository)
    wanted = max(found, default=0) if versions.newest_python else oldest
    if wanted < oldest or wanted not in found:
        needed = f"Python 3.{oldest}{' or newer' if versions.newest_python else ''}"
        raise CannotRun(f"{needed} is needed, and neither PATH nor pyenv has it; install it")
    return found[wanted]


def _prepare(name: str, repository: Path) -> Environment:
    """Make the environment of a set anew, and check that its packages agree with each other."""
    environment = Environment(repository, repository / ".venv-versions" / name)
    python = _python_for(SETS[name], repository)
    made: list[str | Path] = [sys.executable, "-m", "uv", "venv", "--quiet", "--clear", "--python", python]
    if code := subprocess.run([*made, environment.folder], check=False).returncode:
        raise CannotRun(f"uv venv failed ({code})")
    SETS[name].install(environment)
    environment.uv("pip", "check")
    return environment


def _described(environment: Environment) -> str:
    """Return the versions of Python and of what the project itself asks for."""
    dependencies = _project(environment.repository)["dependencies"]
    assert isinstance(dependencies, list)
    asked = {re.split(r"[^\w.-]", line, maxsplit=1)[0].lower() for line in dependencies}
    installed = json.loads(environment.uv("pip", "list", "--format", "json"))
    version = subprocess.run(
        [environment.python, "--version"], capture_output=True, text=True, check=True
    ).stdout.strip()
    return ", ".join([version, *(f"{each['name']} {each['version']}" for each in installed if each["name"] in asked)])


def _outcome(name: str, options: Sequence[str], repository: Path) -> tuple[bool, str]:
    """Run the tests on one set; return whether they passed, and what to say about it."""
    started = time.monotonic()
    try:
        environment = _prepare(name, repository)
    except CannotRun as problem:
        return False, f"{name}: not tried: {problem}"
    described = _described(environment)
    print(f"{name}: {described}", flush=True)
    tests: list[str | Path] = [
        environment.python,
        "-m",
        "pytest",
        "-m",
        "not platform",
        "-n",
        "auto",
        "--dist",
        "loadfile",
        *options,
    ]
    code = subprocess.run(tests, cwd=repository, check=False).returncode
    result = "passed" if code == 0 else f"failed (pytest ended with {code})"
    return code == 0, f"{name}: {result} in {(time.monotonic() - started) / 60:.0f} minutes: {described}"


def run(sets: Sequence[str], options: Sequence[str] = (), repository: Path = REPOSITORY) -> int:
    """Run the tests on each of the sets, whatever becomes of the others.

    Parameters
    ----------
    sets
        Names of SETS.
    options
        More options of pytest.
    repository
        The checkout.

    Returns
    -------
    0 if all passed, else 1.
    """
    outcomes = [_outcome(name, options, repository) for name in sets]
    print(*(said for _, said in outcomes), sep="\n")
    return 0 if all(passed for passed, _ in outcomes) else 1


def main(arguments: Sequence[str]) -> int:
    """Run the sets that the arguments name; what follows ``--`` is for pytest."""
    end = [*arguments, "--"].index("--")
    parser = argparse.ArgumentParser(prog="python -m tools.versions", description="Run the tests on sets of versions.")
    parser.add_argument("sets", nargs="+", choices=SETS, metavar="SET", help=", ".join(SETS))
    return run(parser.parse_args(arguments[:end]).sets, arguments[end + 1 :])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
