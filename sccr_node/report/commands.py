"""The command ``sccr report``."""

from __future__ import annotations

from pathlib import Path

import click

from sccr_node.cli import PATH, contract_command, path_argument
from sccr_node.errors import UsageProblem
from sccr_node.feedback import Feedback
from sccr_node.params import ReportParameters

OPTIONS = (
    click.Option(
        ["--output", "-o"],
        type=PATH,
        metavar="FILE",
        help="Write the page to this file.  [required, unless --multiqc is given]",
    ),
    click.Option(
        ["--scores"],
        type=PATH,
        multiple=True,
        metavar="FILE",
        help="Show this table of sccr evaluate or sccr benchmark (TSV or JSON); may be given more than once.",
    ),
)


@contract_command(
    ReportParameters,
    arguments=[path_argument("result")],
    config=True,
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
    params: ReportParameters, feedback: Feedback, result: Path, output: Path | None, scores: tuple[Path, ...]
) -> None:
    """Write the page, the MultiQC content, or both."""
    if output is None and params.multiqc is None:
        raise UsageProblem("say where to write: --output FILE, --multiqc DIR, or both")
    if output is None and scores:
        raise UsageProblem("--scores are shown on the page: give --output FILE too")
    from sccr_node.anndata_io.targets import Target, check_targets
    from sccr_node.report.writing import multiqc_target, read_record, write_multiqc, write_report

    record = None if params.provenance is None else read_record(Path(params.provenance))
    targets = [] if output is None else [Target(output)]
    if params.multiqc is not None:
        targets.append(multiqc_target(result, Path(params.multiqc)))
    check_targets(targets, [result, *scores, *params.files_read()], force=params.force)
    if output is not None:
        write_report(
            result,
            output,
            record=record,
            scores=scores,
            key_added=params.key_added,
            label_key=params.label_key,
            batch_key=params.batch_key,
            progress=feedback.progress,
        )
        feedback.say(f"wrote {output}")
    if params.multiqc is not None:
        write_multiqc(
            result,
            Path(params.multiqc),
            record=record,
            key_added=params.key_added,
            progress=feedback.progress,
        )
        feedback.say(f"wrote MultiQC content to {params.multiqc}")
