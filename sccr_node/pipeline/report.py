"""The report on a finished result: a page, MultiQC content, a table of numbers, all from one pass over the result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from sccr_node.contract.record import read_record
from sccr_node.contract.report import ReportParameters
from sccr_node.pipeline.tables import as_tsv
from sccr_node.pipeline.tuned_before import take_tuning_before
from sccr_node.reports.content import Content, readable
from sccr_node.reports.multiqc import multiqc_files, multiqc_target
from sccr_node.reports.numbers import COLUMNS, numbers_of
from sccr_node.reports.page import render
from sccr_node.reports.reading import content_of, sample_name
from sccr_node.reports.scores import read_scores
from sccr_node.results import Result, open_result
from sccr_node.runtime.console import Console
from sccr_node.storage.atomic import commit_all
from sccr_node.storage.files import staged_texts
from sccr_node.storage.targets import Target, check_targets

OF_THE_PAGE = ("label_key", "batch_key")
"""The parameters that have no effect on MultiQC content and on the table."""


def report_file(
    result: Path, output: Path | None, asked: ReportParameters, *, scores: Sequence[Path], console: Console
) -> None:
    """Write the HTML report on a result, its MultiQC content, the table of its numbers, or several of them.

    Parameters
    ----------
    result
        An output of ``sccr impute``.
    output
        The HTML file; None if not asked for.
    asked
        The parameters, with the folder of the MultiQC content and the file of the table.
    scores
        Evaluation tables to show, TSV or JSON.
    console
        Shows progress.

    Raises
    ------
    SccrError
        A parameter has no effect, a target cannot be written, or the result, the record, a table or a column is missing
        or not what it should be; nothing is written in that case.
    """
    if output is None:
        asked.refuse_without_effect(OF_THE_PAGE, "cells are shown only in the HTML report (--output FILE)")
    folder, numbers = (None if name is None else Path(name) for name in (asked.multiqc, asked.numbers))
    targets: list[Target] = [Target(path) for path in (output, numbers) if path is not None]
    if folder is not None:
        targets.append(multiqc_target(sample_name(result), folder))
    check_targets(targets, [result, *scores, *asked.files_read()], force=asked.force)
    record = None if asked.provenance is None else read_record(Path(asked.provenance))
    tables = [read_scores(path) for path in scores]
    key = asked.key_added
    if key is None and record is not None:
        noted = record.params.get("key_added")
        key = None if noted is None else str(noted)
    with open_result(result, key, modality=asked.modality) as opened:
        take_tuning_before(opened, asked.tuned_before, console)
        content = content_of(
            opened,
            shown_as=result,
            record=record,
            label_key=asked.label_key,
            batch_key=asked.batch_key,
            with_cells=output is not None,
            progress=console.progress,
        )
    console.close_bar()
    texts = report_texts(replace(content, scores=tables), output, folder, numbers)
    with staged_texts(texts, replace=asked.force) as staged:
        commit_all(staged)
    for path in (output, numbers):
        if path is not None:
            console.say(f"wrote {path}", output=str(path))
    if folder is not None:
        console.say(f"wrote MultiQC content to {folder}", output=str(folder))


def report_page(result: Result, *, sample: str, label_key: str | None, batch_key: str | None, console: Console) -> str:
    """Return the page on a result that is in memory.

    Parameters
    ----------
    result
        The result.
    sample
        What the page calls the data.
    label_key, batch_key
        Columns of obs that colour the cells.
    console
        Shows progress.
    """
    content = content_of(
        result, shown_as=Path(sample), label_key=label_key, batch_key=batch_key, progress=console.progress
    )
    console.close_bar()
    return render(replace(content, sample=readable(sample)))


def report_texts(
    content: Content, page: Path | None, folder: Path | None, numbers: Path | None = None
) -> dict[Path, str]:
    """Return the text of the page, of the table and of every MultiQC file, by path.

    Parameters
    ----------
    content
        What they show.
    page, folder
        The HTML file, and the folder of the MultiQC content; None if not asked for.
    numbers
        The table of numbers; None if not asked for.
    """
    texts = {} if page is None else {page: render(content)}
    if numbers is not None:
        texts[numbers] = as_tsv(numbers_of(content), COLUMNS)
    if folder is not None:
        texts |= {folder / name: text for name, text in multiqc_files(content).items()}
    return texts
