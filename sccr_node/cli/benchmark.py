"""The command ``sccr benchmark``."""

from __future__ import annotations

from pathlib import Path

from sccr_node.cli.options import TABLE_OPTIONS, contract_command, file_option, path_argument
from sccr_node.contract.benchmark import BenchmarkParameters
from sccr_node.runtime.console import Console


@contract_command(
    BenchmarkParameters,
    arguments=[path_argument("input")],
    extra_options=(
        *TABLE_OPTIONS,
        file_option("--report", "page", help_text="Also write an HTML report that compares and ranks the methods."),
    ),
    summary=(
        "Compare imputation methods on a data set. Measures dropout recovery for every rate and seed, clustering (with "
        "--label-key) and any further --analyses, as well as run time and peak memory. With --output, running the same "
        "command again resumes an interrupted benchmark."
    ),
)
def benchmark(
    params: BenchmarkParameters,
    console: Console,
    input: Path,
    output: Path | None,
    json_file: Path | None,
    page: Path | None,
) -> None:
    """Run the benchmark."""
    from sccr_node.pipeline.benchmark import benchmark_file

    benchmark_file(input, params, console, output=output, json_file=json_file, page=page)
