"""The parameters of ``sccr split`` and ``sccr gather``."""

from __future__ import annotations

from sccr_node.contract.fields import DATA, OUTPUT, parameter
from sccr_node.contract.shared import AppendingParameters, PreparationParameters, WritingParameters


class SplitParameters(PreparationParameters, WritingParameters):
    """Parameters of ``sccr split``."""

    batch_key: str = parameter(
        title="Batch column",
        description="Column of obs with each cell's batch or sample; one file is written per batch.",
        group=DATA,
        metavar="COLUMN",
        min_length=1,
    )
    outdir: str = parameter(
        title="Output folder",
        description=(
            "New folder for the parts, genes.txt and, for counts, target_sum.txt. --force replaces only a folder that"
            " sccr split wrote."
        ),
        group=OUTPUT,
        affects_result=False,
        metavar="DIR",
        path="written",
        min_length=1,
    )


class GatherParameters(AppendingParameters):
    """Parameters of ``sccr gather``."""

    n_components: int | None = parameter(
        None,
        title="Principal components",
        description="Number of principal components over all cells (default: the number used for the parts).",
        group=OUTPUT,
        ge=1,
    )
