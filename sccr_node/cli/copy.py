"""The command ``sccr copy``."""

from __future__ import annotations

from pathlib import Path

from sccr_node.cli.options import contract_command, path_argument
from sccr_node.contract.copy import CopyParameters
from sccr_node.runtime.console import Console


@contract_command(
    CopyParameters,
    arguments=[path_argument("input"), path_argument("output", written=True)],
    summary=(
        "Copy a file or folder as it is, for example from s3://, gs://, az:// or https:// to this machine. OUTPUT "
        "appears whole or not at all; interrupted transfers are resumed."
    ),
)
def copy(params: CopyParameters, console: Console, input: Path, output: Path) -> None:
    """Copy a file or folder."""
    from sccr_node.pipeline.copy import copy_whole

    copy_whole(input, output, params, console=console)
