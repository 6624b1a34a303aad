"""The lock files: one version of a package for each Python, as pyproject.toml allows, the same in all of them."""

import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.support import REPOSITORY
from tests.support.locks import locked_versions

PROJECT = tomllib.loads(REPOSITORY.joinpath("pyproject.toml").read_text())["project"]
EXTRAS = {
    "requirements.lock": ("full", "cloud"),
    "requirements-test.lock": ("full", "cloud", "test", "dev"),
    "requirements-docs.lock": ("full", "docs"),
}
PYTHONS = ("3.11.0", "3.11.13", "3.12.4", "3.13.0", "3.14.2")


def asked(extras):
    """Return what the project and its extras require, without itself."""
    for line in PROJECT["dependencies"] + [
        line for extra in extras for line in PROJECT["optional-dependencies"][extra]
    ]:
        requirement = Requirement(line)
        if requirement.name == PROJECT["name"]:
            yield from asked(requirement.extras)
        else:
            yield requirement


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("name", EXTRAS)
def test_a_lock_file_has_what_the_project_requires(name, python):
    locked = locked_versions(name, python)
    for requirement in asked(EXTRAS[name]):
        version = locked[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), f"{requirement}, not {version}: run make lock"


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("name", ["requirements-test.lock", "requirements-docs.lock"])
def test_the_tests_and_the_tutorials_run_on_what_the_image_has(name, python):
    shipped, other = (locked_versions(each, python) for each in ("requirements.lock", name))
    common = shipped.keys() & other.keys()
    assert {each: shipped[each] for each in common} == {each: other[each] for each in common}


def test_the_newest_versions_for_a_python_do_not_depend_on_what_an_older_one_can_have():
    old, new = (locked_versions("requirements.lock", python) for python in ("3.11.13", "3.13.0"))
    assert Version(new["anndata"]) > Version(old["anndata"])


def test_the_page_on_installing_says_how_many_packages_and_which_bounds_there_are():
    page = REPOSITORY.joinpath("docs", "install.md").read_text()
    old, *newer = (len(locked_versions("requirements.lock", python)) for python in ("3.11.13", "3.12.4", "3.13.0"))
    assert set(newer) == {newer[0]}
    assert f"({old} packages with Python 3.11, {newer[0]} with newer ones; " in page
    for requirement in asked(("full", "cloud")):
        for bound in requirement.specifier:
            if bound.operator in ("<", "<=", "=="):
                assert f"{requirement.name} (below {bound.version}" in page
