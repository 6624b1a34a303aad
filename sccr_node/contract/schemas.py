"""JSON Schemas of the parameter models and of the run record."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel

from sccr_node.contract.batch import BatchParameters
from sccr_node.contract.benchmark import BenchmarkParameters
from sccr_node.contract.copy import CopyParameters
from sccr_node.contract.evaluate import (
    EvaluateClusterParameters,
    EvaluateMaskParameters,
    EvaluateRelationsParameters,
    EvaluateScoreParameters,
    EvaluateSplitMoleculesParameters,
)
from sccr_node.contract.export import ExportParameters
from sccr_node.contract.impute import ImputeParameters
from sccr_node.contract.imputing import MethodParameters
from sccr_node.contract.promote import PromoteParameters
from sccr_node.contract.record import RunRecord
from sccr_node.contract.report import ReportParameters
from sccr_node.contract.scatter import GatherParameters, SplitParameters
from sccr_node.contract.simulate import SimulateParameters
from sccr_node.contract.tune import TuneParameters
from sccr_node.contract.tuned import TUNING_DESCRIPTION, TUNING_KEY

REPOSITORY = "https://github.com/sccr-node/sccr-node"

SCHEMAS: dict[str, type[BaseModel]] = {
    "impute": ImputeParameters,
    "batch": BatchParameters,
    "tune": TuneParameters,
    "split": SplitParameters,
    "gather": GatherParameters,
    "evaluate-mask": EvaluateMaskParameters,
    "evaluate-split-molecules": EvaluateSplitMoleculesParameters,
    "evaluate-score": EvaluateScoreParameters,
    "evaluate-cluster": EvaluateClusterParameters,
    "evaluate-relations": EvaluateRelationsParameters,
    "benchmark": BenchmarkParameters,
    "report": ReportParameters,
    "export": ExportParameters,
    "promote": PromoteParameters,
    "copy": CopyParameters,
    "simulate": SimulateParameters,
    "provenance": RunRecord,
}
"""What ``sccr schema NAME`` prints and ``schemas/NAME.schema.json`` contains."""


BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
"""The keywords of JSON Schema that limit a number."""


def json_schema(model: type[BaseModel]) -> dict[str, Any]:
    """Return the JSON Schema of a model, in the same words with every version of pydantic.

    Some versions before 2.11 also write a constant as a list of one choice, and all bounds as floats; later ones write
    that an object may have any properties, which is so unless a schema says otherwise.
    """
    alike: dict[str, Any] = _alike(model.model_json_schema())
    return alike


def _alike(part: Any) -> Any:
    if isinstance(part, list):
        return [_alike(each) for each in part]
    if not isinstance(part, dict):
        return part
    body = {key: _alike(value) for key, value in part.items()}
    if body.get("enum") == [body.get("const")]:
        del body["enum"]
    if body.get("additionalProperties") is True:
        del body["additionalProperties"]
    return body | {key: _written(body[key]) for key in BOUNDS if isinstance(body.get(key), float)}


def _written(bound: float) -> float:
    return int(bound) if bound.is_integer() and abs(bound) < 2**53 else bound


def schema(name: str) -> dict[str, Any]:
    """Return a schema.

    Parameters
    ----------
    name
        A key of :data:`SCHEMAS`.
    """
    model = SCHEMAS[name]
    body = json_schema(model)
    if issubclass(model, MethodParameters):
        body["properties"][TUNING_KEY] = {"description": TUNING_DESCRIPTION, "type": "object"}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"{REPOSITORY}/blob/main/schemas/{name}.schema.json",
        **body,
    }


def schema_text(name: str) -> str:
    """Return a schema as the text of its file."""
    return json.dumps(schema(name), indent=2, ensure_ascii=False) + "\n"
