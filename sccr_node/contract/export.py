"""The parameters of ``sccr export``."""

from __future__ import annotations

from typing import Literal

from sccr_node.contract.fields import DATA, OUTPUT, parameter
from sccr_node.contract.shared import ModalityParameters, WritingParameters


class ExportParameters(ModalityParameters, WritingParameters):
    """Parameters of ``sccr export``."""

    key_added: str | None = parameter(
        None,
        title="Name of the result",
        description="Result to export (default: the only one in the file).",
        group=DATA,
        metavar="NAME",
        min_length=1,
    )
    expression: Literal["denoised", "recovered"] | None = parameter(
        None,
        title="Which expression",
        description="Layer of the result to export (default: denoised, or recovered if only that was written).",
        group=DATA,
    )
    all_genes: bool = parameter(
        False,
        title="All genes",
        description="Export all genes of the layer, not only those that were imputed.",
        group=OUTPUT,
    )
