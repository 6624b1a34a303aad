"""The run record: parameters, input, software versions, time and memory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sccr_node.errors import InputMissing, InputProblem, reason_of
from sccr_node.runtime.texts import read_small


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class InputRecord(_Record):
    """The input."""

    path: str
    format: str = Field(description="h5ad, h5mu, zarr, 10x_h5 or 10x_mtx.")
    sha256: str = Field(description="SHA-256 of the file; for a folder, of its sorted relative paths and contents.")
    bytes: int
    identity: str | None = Field(
        default=None,
        description="Size and tag (ETag or generation) of a remote input, and a digest of what in its URL's query is "
        "not a signature; null for a local one.",
    )
    layer: str | None = Field(description="null for X.")
    scale: Literal["counts", "log1p"]
    scale_reason: str
    n_cells: int
    n_genes: int
    n_nonzero: int = Field(description="Non-zero entries of the whole matrix.")


class PreparationRecord(_Record):
    """Which genes were imputed and how counts became expression."""

    genes_choice: str
    n_genes_imputed: int
    genes_sha256: str | None = Field(
        default=None, description="SHA-256 of the list of genes, one name per line; null if they are not listed."
    )
    normalize_by: Literal["selected", "all"] | None = Field(description="null for log-normalised input.")
    target_sum: float | None = Field(
        description="Depth to which each cell's counts were normalised; null for log-normalised input."
    )
    n_empty_cells: int = Field(description="Cells that express none of the selected genes; skipped.")
    n_empty_genes: int = Field(description="Selected genes that are not expressed in any cell; skipped.")


class BatchRecord(_Record):
    """One batch, imputed separately."""

    name: str
    n_cells: int
    seconds: dict[str, float]


class SearchRecord(_Record):
    """One search for the nearest cells that did not compare every cell with every other."""

    batch: str = Field(description="Empty without --batch-key.")
    stage: str
    n_groups: int = Field(description="Groups of similar cells.")
    n_searched: float = Field(description="Groups that a cell was compared with, on average.")
    recall: float = Field(description="Share of the nearest cells that were found, in a sample of cells.")
    proved: float = Field(description="Share of the cells for which it is proved that none nearer was missed.")


class ResultRecord(_Record):
    """What the output contains."""

    path: str
    format: str = Field(description="h5ad, h5mu or zarr.")
    bytes: int | None = Field(default=None, description="Size of the output; of a folder, of all files in it.")
    sha256: str | None = Field(
        default=None, description="SHA-256 of the output; of a folder, of its sorted relative paths and contents."
    )
    identity: str | None = Field(
        default=None,
        description="Size and tag of a remote output of sccr batch; null for a local one, or if not known.",
    )
    keys: list[str] = Field(description="The keys added, as slot/key.")
    zeros_before: float = Field(description="Fraction of zeros in the imputed genes before imputation.")
    zeros_after: float | None = Field(description="The same in the written layer; null if no layer was written.")
    n_relations_associating: int | None = Field(description="Related gene pairs with r > 0; null without a gene graph.")
    n_relations_dissociating: int | None = Field(
        description="Related gene pairs with r < 0; null without a gene graph."
    )


class ResourcesRecord(_Record):
    """The resources that the run was allowed, was expected to need, and used."""

    threads: int
    vector_instructions: str = Field(description="Variant of the kernels: avx512, avx2 or baseline.")
    seconds: dict[str, float] = Field(description="Wall-clock seconds per stage, in order.")
    total_seconds: float
    peak_memory_bytes: int = Field(description="Peak resident set size of the process.")
    estimated_memory_bytes: int
    memory_limit_bytes: int | None


class RunRecord(_Record):
    """The record that ``--provenance`` writes."""

    tool: Literal["sccr-node"] = "sccr-node"
    version: str
    command: list[str] = Field(description="The command line; empty if called from Python.")
    method: str
    params: dict[str, Any] = Field(description="Every parameter with its effective value.")
    input: InputRecord
    preparation: PreparationRecord
    batches: list[BatchRecord] = Field(description="Empty without --batch-key.")
    searches: list[SearchRecord] = Field(
        default=[], description="Searches by groups of similar cells; those not listed compared all cells."
    )
    result: ResultRecord
    resources: ResourcesRecord
    software: dict[str, str] = Field(description="Versions of Python and of the main packages.")
    started: str = Field(description="ISO 8601, UTC.")
    finished: str = Field(description="ISO 8601, UTC.")
    messages: list[str] = Field(description="Findings that a reader of the result should know.")
    tuning: dict[str, Any] | None = Field(
        default=None,
        description=(
            "What --tune found, on which the parameters are based, or sccr tune, if they and the data are those of its "
            "config file; null otherwise."
        ),
    )

    def as_json(self) -> str:
        """Return the record as JSON text; bytes in file names that are not valid text are escaped."""
        text = json.dumps(self.model_dump(), indent=2, ensure_ascii=False) + "\n"
        return text.encode("utf-8", "backslashreplace").decode("utf-8")


def read_record(path: Path) -> RunRecord:
    """Read a record written by ``--provenance``.

    Raises
    ------
    InputMissing
        The file does not exist or cannot be read.
    InputProblem
        It is not a run record.
    """
    try:
        return RunRecord.model_validate_json(read_small(path))
    except OSError as failure:
        raise InputMissing(f"cannot read --provenance {path}: {reason_of(failure)}") from failure
    except ValidationError as failure:
        first = failure.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        what = f"--provenance {path} is not a run record of sccr impute"
        reason = str(first["msg"]).replace("Input should", "should")
        raise InputProblem(f"{what}: {where} {reason}") from failure
