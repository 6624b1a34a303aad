"""The command ``sccr tune``."""

from __future__ import annotations

from pathlib import Path

from sccr_node.cli.options import command_line, contract_command, file_option, path_argument
from sccr_node.contract.tune import TuneParameters
from sccr_node.runtime.console import Console


@contract_command(
    TuneParameters,
    arguments=[path_argument("input")],
    extra_options=(
        file_option(
            "--output",
            "-o",
            help_text="Write the tuned parameters (YAML) to this file, not to standard output.",
            or_standard_output=True,
        ),
        file_option("--table", "table_file", help_text="Also write all settings tried to this file (TSV)."),
        file_option("--json", "json_file", help_text="Also write parameters, verdicts and all settings tried (JSON)."),
        file_option(
            "--report", "report_file", help_text="Also write an HTML report with the verdicts and the smoothing curve."
        ),
    ),
    summary=(
        "Tune scCR's parameters for a data set, and say whether imputing it helps. No labels are needed: half of every "
        "cell's molecules are held out, and smoothing (--beta, --n-denoising-iterations) and the share and number of "
        "principal components (--low-rank-share, --low-rank) are chosen so that the other half, imputed, predicts them "
        "best. The output is a config file for sccr impute. INPUT must contain counts, in any "
        "format that sccr impute reads."
    ),
    epilog=(
        "Parameters that you give are kept; by default, --beta, --n-denoising-iterations, --low-rank-share and "
        "--low-rank are tuned. With --batch-key, each batch is imputed separately, and one set of parameters is chosen "
        "for all. Two verdicts are printed: on the values, and on the neighbourhoods of cells."
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
    tune_file(input, params, files, console=console, command=command_line())
