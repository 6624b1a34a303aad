"""What the lock files pin for a version of Python."""

import re

from packaging.requirements import Requirement

from tests.support import REPOSITORY


def locked_versions(name: str, python: str) -> dict[str, str]:
    """Return the versions in a lock file for a version of Python, such as 3.11.7, on this kind of machine."""
    lines = re.findall(r"^([a-z0-9].*?) \\$", (REPOSITORY / name).read_text(), re.MULTILINE)
    here = {"python_full_version": python, "python_version": ".".join(python.split(".")[:2])}
    found = [each for each in map(Requirement, lines) if each.marker is None or each.marker.evaluate(here)]
    names = [each.name for each in found]
    assert len(names) == len(set(names)), f"{name} has two versions of a package for Python {python}"
    return {each.name: str(each.specifier).removeprefix("==") for each in found}
