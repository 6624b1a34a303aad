"""The command ``sccr export``."""

from __future__ import annotations

from pathlib import Path

from sccr_node.cli.options import contract_command, path_argument
from sccr_node.contract.export import ExportParameters
from sccr_node.runtime.console import Console


@contract_command(
    ExportParameters,
    arguments=[path_argument("result"), path_argument("output", written=True)],
    summary=(
        "Export the imputed genes as text, for tools that do not read AnnData. RESULT is an output of sccr impute; "
        "OUTPUT is a folder as 10x writes it (matrix.mtx.gz, features.tsv.gz, barcodes.tsv.gz), or, if its name ends "
        "in .tsv.gz or .tsv, a table with one line per cell. RESULT need not fit in memory."
    ),
    epilog="Values are on the scale on which they were written (impute --output-scale), with all digits of float32.",
)
def export(params: ExportParameters, console: Console, result: Path, output: Path) -> None:
    """Export a result."""
    from sccr_node.pipeline.export import export_file

    export_file(result, output, params, console=console)
