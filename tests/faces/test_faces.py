"""The checked-in derived files are what ``make faces`` writes."""

from pathlib import Path

import jsonschema
import pytest

from sccr_node.faces import derived_files
from sccr_node.faces.schemas import SCHEMAS, schema
from sccr_node.params import ImputeParameters, flag

ROOT = Path(__file__).parents[2]
FILES = derived_files(ROOT)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_derived_files_are_up_to_date(path):
    assert path.read_text(encoding="utf-8") == FILES[path], f"{path.name} is out of date: run make faces"


@pytest.mark.parametrize("name", SCHEMAS)
def test_schemas_are_schemas(name):
    jsonschema.Draft202012Validator.check_schema(schema(name))


def test_the_schema_accepts_the_defaults_and_refuses_what_the_model_refuses():
    validate = jsonschema.Draft202012Validator(schema("impute"))
    assert not list(validate.iter_errors(ImputeParameters().model_dump(mode="json")))
    for wrong in ({"alpha": 2}, {"k_cell": 0}, {"method": "magic"}, {"unknown": 1}, {"target_sum": -1}):
        assert list(validate.iter_errors(wrong)), wrong


def test_the_readme_has_every_parameter():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in ImputeParameters.model_fields:
        assert f"`{flag(name)}" in readme
