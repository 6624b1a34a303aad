"""The command ``sccr impute``."""

from __future__ import annotations

from pathlib import Path

from sccr_node.cli.options import command_line, contract_command, path_argument
from sccr_node.contract.impute import ImputeParameters
from sccr_node.runtime.console import Console


@contract_command(
    ImputeParameters,
    arguments=[path_argument("input"), path_argument("output", written=True)],
    summary=(
        "Impute the expression of a data set. INPUT is an .h5ad or .h5mu file, a .zarr folder, a 10x .h5 file or a 10x "
        "folder with matrix.mtx(.gz); OUTPUT (.h5ad or .zarr; .h5mu if INPUT is one) is INPUT plus the result, with "
        "everything else unchanged."
    ),
    epilog=(
        "sccr tune (or --tune) tunes the parameters for these data, and says whether imputing them helps. Never use "
        "imputed values for tests of differential expression or co-expression, which would treat them as measurements. "
        "The counts are left untouched."
    ),
)
def impute(params: ImputeParameters, console: Console, input: Path, output: Path) -> None:
    """Run the command."""
    from sccr_node.pipeline.impute import impute_file

    impute_file(input, output, params, console=console, command=command_line())
