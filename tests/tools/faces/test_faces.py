"""The checked-in derived files are what ``make faces`` writes."""

from pathlib import Path

import pytest

from sccr_node.params import ImputeParameters, flag
from tools.faces import derived_files

ROOT = Path(__file__).parents[3]
FILES = derived_files(ROOT)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_derived_files_are_up_to_date(path):
    assert path.read_text(encoding="utf-8") == FILES[path], f"{path.name} is out of date: run make faces"


def test_the_readme_has_every_parameter():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in ImputeParameters.model_fields:
        assert f"`{flag(name)}" in readme
