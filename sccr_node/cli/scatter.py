"""The commands ``sccr split`` and ``sccr gather``."""

from __future__ import annotations

from pathlib import Path

import click

from sccr_node.cli.options import PATH, command_line, contract_command, path_argument
from sccr_node.contract.scatter import GatherParameters, SplitParameters
from sccr_node.runtime.console import Console


@contract_command(
    SplitParameters,
    arguments=[path_argument("input")],
    summary=(
        "Split a data set into batches, to impute each on a different machine. Genes and target depth are chosen over "
        "all cells; INPUT need not fit in memory."
    ),
    epilog=(
        "Impute each part with --genes DIR/genes.txt and, for counts, --target-sum with the number in "
        "DIR/target_sum.txt; then run sccr gather."
    ),
)
def split(params: SplitParameters, console: Console, input: Path) -> None:
    """Split a data set."""
    from sccr_node.pipeline.scatter import split_file

    split_file(input, params, console=console)


@contract_command(
    GatherParameters,
    arguments=[
        path_argument("input"),
        path_argument("output", written=True),
        click.Argument(["parts"], type=PATH, nargs=-1, required=True),
    ],
    summary=(
        "Gather imputed batches into one data set. INPUT is the data set that was split, PARTS are the outputs of sccr "
        "impute for every part; OUTPUT is identical, byte for byte, to that of one run of sccr impute --batch-key."
    ),
)
def gather(params: GatherParameters, console: Console, input: Path, output: Path, parts: tuple[Path, ...]) -> None:
    """Gather imputed parts."""
    from sccr_node.pipeline.scatter import gather_files

    gather_files(input, output, parts, params, console=console, command=command_line())
