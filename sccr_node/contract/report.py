"""The parameters of ``sccr report``."""

from __future__ import annotations

from pathlib import Path

from sccr_node.contract.fields import DATA, REPORTING, parameter
from sccr_node.contract.shared import ModalityParameters, WritingParameters

CELLS_DRAWN = 8000
"""Most cells in a scatter plot: more would make the page larger, but not clearer."""


class ReportParameters(ModalityParameters, WritingParameters):
    """Parameters of ``sccr report``."""

    key_added: str | None = parameter(
        None,
        title="Name of the result",
        description="Result to report on (default: the only one in the file).",
        group=DATA,
        metavar="NAME",
        min_length=1,
    )
    provenance: str | None = parameter(
        None,
        title="Run record",
        description="Run record written with --provenance; adds input, software versions, time and memory.",
        group=DATA,
        metavar="FILE",
        path="read",
        min_length=1,
    )
    label_key: str | None = parameter(
        None,
        title="Label column",
        description=(
            "Column of obs that colours the cells in the HTML report and groups its markers, e.g. cell type (default: "
            "clusters computed for the report)."
        ),
        group=REPORTING,
        metavar="COLUMN",
        min_length=1,
    )
    batch_key: str | None = parameter(
        None,
        title="Batch column",
        description="Column of obs for a second colouring of the cells in the HTML report, e.g. sample.",
        group=REPORTING,
        metavar="COLUMN",
        min_length=1,
    )
    multiqc: str | None = parameter(
        None,
        title="MultiQC content",
        description="Also write MultiQC custom content to this folder; several samples can share one.",
        group=REPORTING,
        affects_result=False,
        metavar="DIR",
        path="written",
        min_length=1,
    )
    numbers: str | None = parameter(
        None,
        title="Table of numbers",
        description="Also write the numbers of the report, each with its meaning, to this file (TSV).",
        group=REPORTING,
        affects_result=False,
        metavar="FILE",
        path="written",
        min_length=1,
    )

    def files_read(self) -> list[Path]:
        """Return the config file and the run record."""
        return [*super().files_read(), *([] if self.provenance is None else [Path(self.provenance)])]
