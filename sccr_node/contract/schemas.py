"""JSON Schemas of the parameter models and of the run record."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel

from sccr_node import params
from sccr_node.contract.record import RunRecord

REPOSITORY = "https://github.com/sccr-node/sccr-node"

SCHEMAS: dict[str, type[BaseModel]] = {
    "impute": params.ImputeParameters,
    "split": params.SplitParameters,
    "gather": params.GatherParameters,
    "evaluate-mask": params.EvaluateMaskParameters,
    "evaluate-score": params.EvaluateScoreParameters,
    "evaluate-cluster": params.EvaluateClusterParameters,
    "evaluate-relations": params.EvaluateRelationsParameters,
    "benchmark": params.BenchmarkParameters,
    "report": params.ReportParameters,
    "simulate": params.SimulateParameters,
    "provenance": RunRecord,
}
"""What ``sccr schema NAME`` prints and ``schemas/NAME.schema.json`` contains."""


def schema(name: str) -> dict[str, Any]:
    """Return one of the schemas.

    Parameters
    ----------
    name
        A key of :data:`SCHEMAS`.
    """
    body = SCHEMAS[name].model_json_schema()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"{REPOSITORY}/blob/main/schemas/{name}.schema.json",
        **body,
    }


def schema_text(name: str) -> str:
    """Return one of the schemas as the text of its file."""
    return json.dumps(schema(name), indent=2, ensure_ascii=False) + "\n"
