"""The run record: what was run, on what, with which versions, in how much time and memory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sccr_node.errors import InputMissing, InputProblem


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid")


class InputRecord(_Record):
    """The input as it was found."""

    path: str
    format: str = Field(description="h5ad, zarr, 10x_h5 or 10x_mtx.")
    sha256: str = Field(description="Of the file; of a folder, over its sorted relative paths and their contents.")
    bytes: int
    layer: str | None = Field(description="null: X.")
    scale: Literal["counts", "log1p"]
    scale_reason: str
    n_cells: int
    n_genes: int
    n_nonzero: int = Field(description="Entries of the whole matrix that are not zero.")


class PreparationRecord(_Record):
    """Which genes were imputed and how counts became expression."""

    genes_choice: str
    n_genes_imputed: int
    normalize_by: Literal["selected", "all"] | None = Field(description="null where the input was log-normalised.")
    target_sum: float | None = Field(
        description="The depth that every cell was scaled to; null for log-normalised input."
    )
    n_empty_cells: int = Field(description="Cells without expression of any imputed gene; they took no part.")
    n_empty_genes: int = Field(description="Imputed genes without expression in any cell; they took no part.")


class BatchRecord(_Record):
    """One batch, imputed by itself."""

    name: str
    n_cells: int
    seconds: dict[str, float]


class ResultRecord(_Record):
    """What the output holds."""

    path: str
    format: str = Field(description="h5ad or zarr.")
    keys: list[str] = Field(description="What the step added, as slot/key.")
    zeros_before: float = Field(description="Share of zeros among the entries of the imputed genes before imputation.")
    zeros_after: float | None = Field(description="The same in the layer written; null where no layer was written.")
    n_relations_associating: int | None = Field(
        description="Pairs of genes joined with r > 0; null without a gene graph."
    )
    n_relations_dissociating: int | None = Field(
        description="Pairs of genes joined with r < 0; null without a gene graph."
    )


class ResourcesRecord(_Record):
    """What the run was allowed, expected to need, and took."""

    threads: int
    vector_instructions: str = Field(description="Which variant of the kernels ran, e.g. avx512, avx2, baseline.")
    seconds: dict[str, float] = Field(description="Wall-clock seconds of each stage, in order.")
    total_seconds: float
    peak_memory_bytes: int = Field(description="Largest resident set of the process.")
    estimated_memory_bytes: int
    memory_limit_bytes: int | None


class RunRecord(_Record):
    """The record that ``--provenance`` writes."""

    tool: Literal["sccr-node"] = "sccr-node"
    version: str
    command: list[str] = Field(description="The command line; empty when called from Python.")
    method: str
    params: dict[str, Any] = Field(description="Every parameter, as it took effect.")
    input: InputRecord
    preparation: PreparationRecord
    batches: list[BatchRecord] = Field(description="Empty without --batch-key.")
    result: ResultRecord
    resources: ResourcesRecord
    software: dict[str, str] = Field(description="Versions of Python and of the packages that matter.")
    started: str = Field(description="ISO 8601, UTC.")
    finished: str = Field(description="ISO 8601, UTC.")
    messages: list[str] = Field(description="What the step said that a reader of the result should know.")

    def as_json(self) -> str:
        """Return the record as it is written; bytes of file names that are no text become JSON's escapes."""
        text = json.dumps(self.model_dump(), indent=2, ensure_ascii=False) + "\n"
        return text.encode("utf-8", "backslashreplace").decode("utf-8")


def read_record(path: Path) -> RunRecord:
    """Read the record that ``--provenance`` wrote.

    Raises
    ------
    InputMissing
        There is no such file, or it may not be read.
    InputProblem
        It is no run record.
    """
    try:
        return RunRecord.model_validate_json(path.read_bytes())
    except OSError as failure:
        raise InputMissing(f"--provenance {path}: {failure.strerror or failure}") from failure
    except ValidationError as failure:
        first = failure.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputProblem(f"--provenance {path} is no run record of sccr impute: {where} {first['msg']}") from failure
