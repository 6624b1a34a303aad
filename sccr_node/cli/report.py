"""The command ``sccr report``."""

from __future__ import annotations

from pathlib import Path

from sccr_node.cli.options import contract_command, file_option, path_argument
from sccr_node.contract.report import ReportParameters
from sccr_node.errors import UsageProblem
from sccr_node.runtime.console import Console

OPTIONS = (
    file_option("--output", "-o", help_text="Write the page to this file.  [required, unless --multiqc is given]"),
    file_option(
        "--scores",
        help_text="Show this table of sccr evaluate or sccr benchmark (TSV or JSON); may be given more than once.",
        multiple=True,
    ),
)


@contract_command(
    ReportParameters,
    arguments=[path_argument("result")],
    extra_options=OPTIONS,
    summary=(
        "Write the page that shows what an imputation did. RESULT is what sccr impute wrote; the page is one HTML file "
        "that needs no network."
    ),
    epilog=(
        "Cells are laid out with UMAP where umap-learn is installed (pip install 'sccr-node[full]'), else by principal "
        "components."
    ),
)
def report(
    params: ReportParameters, console: Console, result: Path, output: Path | None, scores: tuple[Path, ...]
) -> None:
    """Write the page, the MultiQC content, or both."""
    if output is None and params.multiqc is None:
        raise UsageProblem("say where to write: --output FILE, --multiqc DIR, or both")
    if output is None and scores:
        raise UsageProblem("--scores are shown on the page: give --output FILE too")
    from sccr_node.pipeline.report import report_file

    report_file(result, output, params, scores=scores, console=console)
