"""The command ``sccr benchmark``."""

from __future__ import annotations

from pathlib import Path

from sccr_node.cli.options import TABLE_OPTIONS, contract_command, path_argument
from sccr_node.contract.benchmark import BenchmarkParameters
from sccr_node.runtime.console import Console


@contract_command(
    BenchmarkParameters,
    arguments=[path_argument("input")],
    extra_options=TABLE_OPTIONS,
    summary=(
        "Compare the methods on a data set: dropout recovery at every rate and seed and, with --label-key, clustering. "
        "One row for each run, with its seconds and peak memory. With --output, the same command goes on where an "
        "interrupted one stopped."
    ),
)
def benchmark(
    params: BenchmarkParameters, console: Console, input: Path, output: Path | None, json_file: Path | None
) -> None:
    """Run the benchmark."""
    from sccr_node.pipeline.benchmark import benchmark_file

    benchmark_file(input, params, console, output=output, json_file=json_file)
