"""The parameters of ``sccr split`` and ``sccr gather``."""

from __future__ import annotations

from sccr_node.contract.fields import DATA, OUTPUT, parameter
from sccr_node.contract.shared import AppendingParameters, PreparationParameters, WritingParameters


class SplitParameters(PreparationParameters, WritingParameters):
    """Parameters of ``sccr split``."""

    batch_key: str = parameter(
        title="Batch column",
        description="Column of obs that names each cell's batch or sample: one file is written for each.",
        group=DATA,
        metavar="COLUMN",
        min_length=1,
    )
    outdir: str = parameter(
        title="Output folder",
        description=(
            "Folder for the parts, genes.txt and target_sum.txt; it is made. With --force, one that sccr split made is"
            " replaced."
        ),
        group=OUTPUT,
        affects_result=False,
        metavar="DIR",
        min_length=1,
    )


class GatherParameters(AppendingParameters):
    """Parameters of ``sccr gather``."""

    n_components: int | None = parameter(
        None,
        title="Principal components",
        description="How many principal components are computed over all cells; the parts' number where none is given.",
        group=OUTPUT,
        ge=1,
    )
