"""The conda recipe, checked without conda: what it renders to, what it builds from, what it runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml
from packaging.requirements import Requirement

import sccr_node
from tests.support import REPOSITORY

pytestmark = pytest.mark.platform

CONDA_NAMES = {"pyyaml": "pyyaml", "igraph": "python-igraph"}
"""Where conda-forge calls a package otherwise than PyPI."""


@pytest.fixture(scope="module")
def recipe(builder: Path) -> dict[str, Any]:
    template = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False).from_string(
        (REPOSITORY / "conda" / "recipe" / "meta.yaml").read_text()
    )
    text = template.render(
        PYTHON=str(builder),
        compiler=lambda language: f"{language}-compiler",
        pin_subpackage=lambda name, max_pin: f"{name} {max_pin}",
    )
    return yaml.safe_load(text)  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def pyproject() -> dict[str, Any]:
    return tomllib.loads((REPOSITORY / "pyproject.toml").read_text())


def as_conda(requirement: str) -> tuple[str, str]:
    asked = Requirement(requirement)
    return CONDA_NAMES.get(asked.name.lower(), asked.name.lower()), str(asked.specifier)


def split(requirements: list[str]) -> dict[str, str]:
    return dict((requirement.split(" ", 1) + [""])[:2] for requirement in requirements)  # type: ignore[misc]


def test_the_recipe_asks_for_what_the_package_asks_for(recipe: dict[str, Any], pyproject: dict[str, Any]) -> None:
    project = pyproject["project"]
    wanted = dict(map(as_conda, [*project["dependencies"], *project["optional-dependencies"]["full"]]))
    run = split(recipe["requirements"]["run"])
    assert run.pop("python") == ""
    assert run == wanted
    host = split(recipe["requirements"]["host"])
    assert dict(map(as_conda, pyproject["build-system"]["requires"])).items() <= host.items()
    assert recipe["requirements"]["build"] == ["c-compiler"]
    assert recipe["package"] == {"name": project["name"], "version": sccr_node.__version__}
    (entry,) = recipe["build"]["entry_points"]
    assert entry == f"sccr = {project['scripts']['sccr']}"
    assert {"pip check", "sccr --version"} <= set(recipe["test"]["commands"]) and recipe["test"]["requires"] == ["pip"]
    papers = re.findall(r"doi:(\S+)", " ".join(recipe["extra"]["identifiers"]))
    assert papers and all(doi in (REPOSITORY / "galaxy" / "macros.xml").read_text() for doi in papers)
    assert recipe["about"]["license"] == project["license"]
    assert recipe["about"]["home"] == project["urls"]["Homepage"]


def test_the_recipes_script_builds_a_package_that_passes_its_tests(
    recipe: dict[str, Any], builder: Path, tmp_path: Path
) -> None:
    # As conda does: the released archive, unpacked, the script in it, the tests somewhere else.
    command = [str(builder), "-m", "hatchling", "build", "-t", "sdist", "-d", str(tmp_path)]
    subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True)
    (archive,) = tmp_path.glob("*.tar.gz")
    assert archive.name == recipe["source"]["url"].rsplit("/", 1)[-1]
    with tarfile.open(archive) as packed:
        packed.extractall(tmp_path, filter="data")
    source = tmp_path / archive.name.removesuffix(".tar.gz")
    assert (source / recipe["about"]["license_file"]).exists()
    prefix = tmp_path / "prefix"
    environment = {**os.environ, "PIP_TARGET": str(prefix), "PIP_FIND_LINKS": ""}
    built = subprocess.run(
        recipe["build"]["script"], shell=True, cwd=source, env=environment, capture_output=True, text=True
    )
    assert built.returncode == 0, built.stdout[-3000:] + built.stderr[-3000:]
    assert list(prefix.glob("sccr_node/numerics/_kernels_*.so"))
    assert list(prefix.glob("sccr_node/runtime/_watchdog.so"))
    there = tmp_path / "test"
    there.mkdir()
    path = os.pathsep.join([str(prefix / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]])
    # The dependencies are this environment's; the project itself is what was built (the last check says so).
    modules = os.pathsep.join([str(prefix), sysconfig.get_paths()["purelib"]])
    environment = {**os.environ, "PYTHONPATH": modules, "PATH": path}
    tests = [f"{sys.executable} -c 'import {name}'" for name in recipe["test"]["imports"]] + recipe["test"]["commands"]
    for test in tests:
        done = subprocess.run(test, shell=True, cwd=there, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, (test, done.stdout, done.stderr)
    where = "import sccr_node; print(sccr_node.__file__)"
    found = subprocess.run([sys.executable, "-c", where], env=environment, cwd=there, capture_output=True, text=True)
    assert found.stdout.startswith(str(prefix)), found.stdout
    assert {path.name for path in there.iterdir()} == {"cells.h5ad", "imputed.h5ad", "report.html"}
