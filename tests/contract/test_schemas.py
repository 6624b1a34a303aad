"""What ``sccr schema`` prints is JSON Schema, and agrees with the models."""

import json

import jsonschema
import pytest

from sccr_node.contract.impute import ImputeParameters
from sccr_node.contract.schemas import SCHEMAS, json_schema, schema


@pytest.mark.parametrize("name", SCHEMAS)
def test_schemas_are_schemas(name):
    jsonschema.Draft202012Validator.check_schema(schema(name))


def test_the_schema_accepts_the_defaults_and_refuses_what_the_model_refuses():
    validate = jsonschema.Draft202012Validator(schema("impute"))
    assert not list(validate.iter_errors(ImputeParameters().model_dump(mode="json")))
    for wrong in ({"alpha": 2}, {"k_cell": 0}, {"method": "magic"}, {"unknown": 1}, {"target_sum": -1}):
        assert list(validate.iter_errors(wrong)), wrong


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_pattern_is_also_said_in_words(name):
    for field in schema(name).get("properties", {}).values():
        assert ("pattern" in field) == ("expects" in field)


def test_schemas_are_the_same_text_with_every_version_of_pydantic():
    class Older:
        @staticmethod
        def model_json_schema():
            base = {"anyOf": [{"const": "e", "enum": ["e"], "type": "string"}, {"maximum": 1.0, "minimum": 0.5}]}
            return {
                "properties": {"base": base | {"default": 1.0}, "kind": {"enum": ["a"]}, "params": {"type": "object"}}
            }

    class Newer:
        @staticmethod
        def model_json_schema():
            base = {"anyOf": [{"const": "e", "type": "string"}, {"maximum": 1, "minimum": 0.5}]}
            params = {"additionalProperties": True, "type": "object"}
            return {"properties": {"base": base | {"default": 1.0}, "kind": {"enum": ["a"]}, "params": params}}

    assert json.dumps(json_schema(Older)) == json.dumps(json_schema(Newer))
    assert json_schema(Newer)["properties"]["base"]["default"] == 1.0
    assert json_schema(Newer)["properties"]["kind"] == {"enum": ["a"]}
