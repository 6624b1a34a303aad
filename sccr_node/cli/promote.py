"""The command ``sccr promote``."""

from __future__ import annotations

from pathlib import Path

from sccr_node.cli.options import contract_command, path_argument
from sccr_node.contract.promote import PromoteParameters
from sccr_node.runtime.console import Console


@contract_command(
    PromoteParameters,
    arguments=[path_argument("input"), path_argument("output", written=True)],
    summary=(
        "Move a layer to X, for tools that read only X; the former X becomes a layer. OUTPUT has the format of "
        "INPUT, .h5ad, .h5mu or .zarr; nothing else changes, and INPUT need not fit in memory."
    ),
)
def promote(params: PromoteParameters, console: Console, input: Path, output: Path) -> None:
    """Promote a layer."""
    from sccr_node.pipeline.promote import promote_file

    promote_file(input, output, params, console=console)
