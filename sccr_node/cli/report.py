"""The command ``sccr report``."""

from __future__ import annotations

from pathlib import Path

from sccr_node.cli.options import contract_command, file_option, path_argument
from sccr_node.contract.report import ReportParameters
from sccr_node.errors import UsageProblem
from sccr_node.runtime.console import Console

OPTIONS = (
    file_option(
        "--output",
        "-o",
        help_text="Write the report to this file.  [required, unless --multiqc or --numbers is given]",
    ),
    file_option(
        "--scores",
        help_text="Include this table from sccr evaluate or sccr benchmark (TSV or JSON); can be repeated.",
        multiple=True,
    ),
)


@contract_command(
    ReportParameters,
    arguments=[path_argument("result")],
    extra_options=OPTIONS,
    summary=(
        "Write an HTML report on an imputation. RESULT is an output of sccr impute; the report is one self-contained "
        "file."
    ),
    epilog=(
        "Cells are plotted by UMAP if igraph is installed (pip install 'sccr-node[full]'), otherwise by principal "
        "components. Without --label-key, clusters are found in the imputed data: by Leiden if igraph and scanpy are "
        "installed, otherwise by k-means. If --config is the file that sccr tune wrote, the report shows its verdicts, "
        "provided that data and parameters are those that were tuned."
    ),
)
def report(
    params: ReportParameters, console: Console, result: Path, output: Path | None, scores: tuple[Path, ...]
) -> None:
    """Write the report, the MultiQC content, the table of numbers, or several of them."""
    if output is None and params.multiqc is None and params.numbers is None:
        raise UsageProblem(
            "there is nothing to write: give at least one of --output FILE, --multiqc DIR, --numbers FILE"
        )
    if output is None and scores:
        raise UsageProblem("--scores requires --output FILE: scores are shown only in the HTML report")
    from sccr_node.pipeline.report import report_file

    report_file(result, output, params, scores=scores, console=console)
