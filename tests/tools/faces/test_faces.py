"""The checked-in derived files are what ``make faces`` writes."""

import re

import pytest
from click.testing import CliRunner

from sccr_node.contract.fields import flag
from sccr_node.contract.schemas import SCHEMAS
from sccr_node.contract.shared import Parameters
from tests.support import REPOSITORY
from tools.faces import derived_files
from tools.faces.__main__ import main

FILES = derived_files(REPOSITORY)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_derived_files_are_up_to_date(path):
    assert path.read_text(encoding="utf-8") == FILES[path], f"{path.name} is out of date: run make faces"


def test_the_reference_has_every_parameter_of_every_command():
    page = (REPOSITORY / "docs" / "reference" / "cli.md").read_text(encoding="utf-8")
    sections = {part.split("\n", 1)[0]: part for part in page.split("\n## sccr ")}
    for name, model in SCHEMAS.items():
        if not issubclass(model, Parameters):
            continue
        section = sections[name.replace("-", " ", 1)]
        # In front of the closing backtick or of a placeholder: no other parameter's name begins with it.
        missing = [each for each in model.model_fields if not re.search(rf"`{flag(each)}[` ]", section)]
        assert missing == [], name


def test_check_names_what_is_out_of_date_and_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    checked = CliRunner().invoke(main, ["--check"])
    assert checked.exit_code == 1
    assert "schemas/impute.schema.json is out of date: run make faces" in checked.output.splitlines()
    assert list(tmp_path.iterdir()) == []

    written = CliRunner().invoke(main)
    assert written.exit_code == 0
    assert "wrote schemas/impute.schema.json" in written.output.splitlines()
    again = CliRunner().invoke(main, ["--check"])
    assert (again.exit_code, again.output) == (0, "")
