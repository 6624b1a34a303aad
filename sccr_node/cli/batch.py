"""The command ``sccr batch``."""

from __future__ import annotations

from sccr_node.cli.options import command_line, contract_command
from sccr_node.contract.batch import BatchParameters
from sccr_node.runtime.console import Console


@contract_command(
    BatchParameters,
    arguments=[],
    near=["manifest"],
    summary=(
        "Impute the data sets listed in a table: all of them, one after the other, or the one that belongs to the "
        "index of a job array. Each row is what sccr impute would do; the options are defaults for empty cells."
    ),
    epilog=(
        "A row whose output is finished and matches its record is skipped, so the same command resumes a batch that "
        "was ended. A row that fails does not stop the others; the exit code is that of the first that failed. If the "
        "manifest is wrong, every mistake is named and nothing is run."
    ),
)
def batch(params: BatchParameters, console: Console) -> int:
    """Run the command."""
    from sccr_node.pipeline.batch import run_batch

    return run_batch(params, console=console, command=command_line())
