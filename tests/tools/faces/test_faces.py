"""The checked-in derived files are what ``make faces`` writes."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from sccr_node.contract.fields import flag
from sccr_node.contract.impute import ImputeParameters
from tools.faces import derived_files
from tools.faces.__main__ import main

ROOT = Path(__file__).parents[3]
FILES = derived_files(ROOT)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_derived_files_are_up_to_date(path):
    assert path.read_text(encoding="utf-8") == FILES[path], f"{path.name} is out of date: run make faces"


def test_the_readme_has_every_parameter():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in ImputeParameters.model_fields:
        assert f"`{flag(name)}" in readme


def test_check_names_what_is_out_of_date_and_writes_nothing(tmp_path, monkeypatch):
    (tmp_path / "README.md").write_text((ROOT / "README.md").read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    checked = CliRunner().invoke(main, ["--check"])
    assert checked.exit_code == 1
    assert "schemas/impute.schema.json is out of date: run make faces" in checked.output.splitlines()
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]

    written = CliRunner().invoke(main)
    assert written.exit_code == 0
    assert "wrote schemas/impute.schema.json" in written.output.splitlines()
    again = CliRunner().invoke(main, ["--check"])
    assert (again.exit_code, again.output) == (0, "")
