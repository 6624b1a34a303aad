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


def schema(name: str) -> dict[str, Any]:
    """Return a schema.

    Parameters
    ----------
    name
        A key of :data:`SCHEMAS`.
    """
    model = SCHEMAS[name]
    body = model.model_json_schema()
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
