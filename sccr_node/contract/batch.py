"""The parameters of ``sccr batch``: those of ``sccr impute`` as defaults for all rows, and which rows to impute."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sccr_node.contract.fields import MANIFEST, parameter
from sccr_node.contract.impute import ImputeParameters
from sccr_node.contract.settings import Merged
from sccr_node.errors import UsageProblem

INDEX_VARIABLES = ("AWS_BATCH_JOB_ARRAY_INDEX", "BATCH_TASK_INDEX", "JOB_COMPLETION_INDEX", "SLURM_ARRAY_TASK_ID")
"""Where AWS Batch, Google Batch, Kubernetes and Slurm tell a job which one of its array it is."""


class BatchParameters(ImputeParameters):
    """Parameters of ``sccr batch``."""

    manifest: str = parameter(
        title="Manifest",
        description=(
            "Table with one row per data set (CSV; .tsv: separated by tabs): the columns input and output, and any "
            "parameter of sccr impute, by its name in config files. An empty cell is not given."
        ),
        group=MANIFEST,
        affects_result=False,
        metavar="FILE",
        path="read",
        min_length=1,
    )
    index: int | None = parameter(
        None,
        title="Row",
        description=(
            "Impute only this row; the first is 0 (default: the index of the job array, as AWS Batch, Google Batch, "
            "Kubernetes or Slurm tell it; without an array, all rows, one after the other)."
        ),
        group=MANIFEST,
        affects_result=False,
        ge=0,
    )
    check: bool = parameter(
        False,
        title="Check",
        description=(
            "Check the manifest and the headers of all inputs, estimate memory and time per row, and write nothing. "
            "Values are not read (--dry-run reads them)."
        ),
        group=MANIFEST,
        affects_result=False,
    )

    def contradictions(self) -> Iterator[str]:
        """Yield nothing: a cell can settle what the defaults alone leave contradictory; rows are checked as a whole."""
        yield from ()

    def of_row(self, cells: Mapping[str, str], columns: Mapping[str, str]) -> Merged[ImputeParameters]:
        """Return the parameters of a row, not yet validated.

        Parameters
        ----------
        cells
            Its cells that are not empty, by parameter.
        columns
            What each cell is called in messages.
        """
        given = {name for name in self.model_fields_set if name in ImputeParameters.model_fields}
        values: dict[str, Any] = {name: getattr(self, name) for name in given}
        return Merged(
            ImputeParameters, values | dict(cells), self._sources | dict(columns), self._config, self._tuned_before
        )


def array_index(environ: Mapping[str, str]) -> tuple[str, int] | None:
    """Return the variable that tells the index in a job array, and the index; None outside of one.

    Raises
    ------
    UsageProblem
        It is not a number, or two variables differ.
    """
    found: dict[str, int] = {}
    for variable in INDEX_VARIABLES:
        if text := environ.get(variable, "").strip():
            if not (text.isascii() and text.isdigit() and len(text) < 10):
                raise UsageProblem(f"{variable}: should be the number of a row, from 0 (given: {text!r}); give --index")
            found[variable] = int(text)
    if len(set(found.values())) > 1:
        told = ", ".join(f"{variable} = {index}" for variable, index in found.items())
        raise UsageProblem(f"the environment tells different indices ({told}): give --index")
    return next(iter(found.items()), None)
