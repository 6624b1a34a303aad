"""The entry for scverse's list agrees with the package, and has what the list's schema asks for."""

import tomllib

import yaml

import sccr_node
from tests.support import REPOSITORY

REQUIRED = {
    "name", "description", "project_home", "documentation_home", "install", "license", "tags", "version", "authors",
}  # fmt: skip
ALLOWED = REQUIRED | {"tutorials_home", "publications", "test_command"}


def test_the_entry_agrees_with_the_package():
    entry = yaml.safe_load((REPOSITORY / "scverse" / "meta.yaml").read_text())
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert REQUIRED <= set(entry) <= ALLOWED
    assert entry["version"] == sccr_node.__version__
    assert (entry["name"], entry["license"]) == (project["name"], project["license"])
    assert entry["project_home"] == project["urls"]["Homepage"]
    assert entry["documentation_home"] == project["urls"]["Documentation"]
    assert entry["install"]["pypi"] == project["name"] and "::" in entry["install"]["conda"]
    assert len(entry["tags"]) == len(set(entry["tags"])) > 0
