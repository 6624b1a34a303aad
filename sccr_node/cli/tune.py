"""The command ``sccr tune``."""

from __future__ import annotations

import sys
from pathlib import Path

from sccr_node.cli.options import contract_command, file_option, path_argument
from sccr_node.contract.tune import TuneParameters
from sccr_node.runtime.console import Console


@contract_command(
    TuneParameters,
    arguments=[path_argument("input")],
    extra_options=(
        file_option("--output", "-o", help_text="Write the numbers (YAML) to this file instead of standard output."),
        file_option("--table", "table_file", help_text="Also write everything that was tried to this file (TSV)."),
        file_option("--json", "json_file", help_text="Also write numbers, verdicts and all that was tried (JSON)."),
        file_option("--report", "report_file", help_text="Also write a page with the verdicts and the curve (HTML)."),
    ),
    summary=(
        "Find the numbers for a data set, and whether imputing it helps, without labels. Half of every cell's "
        "molecules are held out; smoothing (--beta) and the share and number of principal components "
        "(--low-rank-share, --low-rank) are chosen so that the other half, imputed, predicts them best. The output is "
        "a config file for sccr impute. INPUT has counts, in any format that sccr impute reads."
    ),
    epilog=(
        "Numbers that are given are kept. With --batch-key, every batch is imputed by itself, and one set of numbers "
        "is chosen for all. Two verdicts are printed: on values, and on neighbourhoods of cells."
    ),
)
def tune(
    params: TuneParameters,
    console: Console,
    input: Path,
    output: Path | None,
    table_file: Path | None,
    json_file: Path | None,
    report_file: Path | None,
) -> None:
    """Run the command."""
    from sccr_node.pipeline.tune import TuningFiles, tune_file

    files = TuningFiles(config=output, table=table_file, json=json_file, page=report_file)
    tune_file(input, params, files, console=console, command=["sccr", *sys.argv[1:]])
