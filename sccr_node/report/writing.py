"""Write the page and the MultiQC content of a result: targets checked first, files whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sccr_node.anndata_io.checks import Progress
from sccr_node.anndata_io.side_files import write_text_atomically
from sccr_node.anndata_io.targets import SharedFolder
from sccr_node.errors import InputMissing, InputProblem, OutputProblem
from sccr_node.provenance import RunRecord
from sccr_node.report.gathering import gather, sample_name
from sccr_node.report.multiqc import CONTENT_IDS, multiqc_content, multiqc_file_name
from sccr_node.report.scores import read_scores


def read_record(path: Path) -> RunRecord:
    """Read the record that ``--provenance`` wrote.

    Raises
    ------
    InputMissing
        There is no such file, or it may not be read.
    InputProblem
        It is no run record.
    """
    try:
        return RunRecord.model_validate_json(path.read_bytes())
    except OSError as failure:
        raise InputMissing(f"--provenance {path}: {failure.strerror or failure}") from failure
    except ValidationError as failure:
        first = failure.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputProblem(f"--provenance {path} is no run record of sccr impute: {where} {first['msg']}") from failure


def compose_report(
    result_path: Path,
    *,
    record: RunRecord | None = None,
    scores: Sequence[Path] = (),
    key_added: str | None = None,
    label_key: str | None = None,
    batch_key: str | None = None,
    shown_as: Path | None = None,
    progress: Progress | None = None,
) -> str:
    """Return the page of a result as the text of its HTML file.

    Parameters
    ----------
    result_path
        What the step wrote, .h5ad or .zarr.
    record
        The record of the same run: versions, input, time and memory.
    scores
        Evaluation tables, TSV or JSON.
    key_added
        Name of the result; the record's, or the only one in the file, where none is given.
    label_key, batch_key
        Columns of obs to colour cells by; clusters are found where neither is given or has a value.
    shown_as
        Where the result will stand, while it is still a temporary file.
    progress
        Called with a stage's name and the share done.

    Raises
    ------
    InputMissing, InputProblem
        The result or a table is missing, damaged, or not what it should be; a column is missing.
    """
    from sccr_node.report.page import render

    tables = [read_scores(path) for path in scores]
    content = gather(
        result_path,
        record=record,
        key_added=key_added,
        label_key=label_key,
        batch_key=batch_key,
        shown_as=shown_as,
        progress=progress,
    )
    return render(replace(content, scores=tables))


def write_report(result_path: Path, report_path: Path, *, scores: Sequence[Path] = (), **options: Any) -> None:
    """Write the page of a result.

    Parameters
    ----------
    result_path
        What the step wrote, .h5ad or .zarr.
    report_path
        The HTML file to write; checked before (``check_targets``).
    scores
        Evaluation tables, TSV or JSON.
    **options
        As for :func:`compose_report`.

    Raises
    ------
    InputMissing, InputProblem
        As :func:`compose_report`.
    """
    write_text_atomically(report_path, compose_report(result_path, scores=scores, **options))


def multiqc_target(result_path: Path, folder: Path) -> SharedFolder:
    """Return what a sample's MultiQC content is written to: its own files in a folder that samples may share."""
    sample = sample_name(result_path)
    return SharedFolder(folder, [multiqc_file_name(sample, content_id) for content_id in CONTENT_IDS])


def compose_multiqc(
    result_path: Path,
    *,
    record: RunRecord | None = None,
    key_added: str | None = None,
    shown_as: Path | None = None,
    progress: Progress | None = None,
) -> dict[str, str]:
    """Return MultiQC custom content of a result: for each ``*_mqc.json`` file its name and text.

    Parameters
    ----------
    result_path
        What the step wrote; its name without ending is the sample's.
    record
        The record of the same run.
    key_added
        Name of the result.
    shown_as
        Where the result will stand, while it is still a temporary file.
    progress
        Called with a stage's name and the share done.

    Raises
    ------
    InputMissing, InputProblem
        As :func:`compose_report`.
    """
    content = gather(
        result_path, record=record, key_added=key_added, with_cells=False, shown_as=shown_as, progress=progress
    )
    return {
        multiqc_file_name(content.sample, content_id): json.dumps(part, indent=1, ensure_ascii=False) + "\n"
        for content_id, part in multiqc_content(content).items()
    }


def write_multiqc_files(folder: Path, texts: Mapping[str, str]) -> None:
    """Write MultiQC content into a folder, which is made where there is none; other files in it stay.

    Raises
    ------
    OutputProblem, NotEnoughResources
        The folder does not permit it, or the disk is full.
    """
    try:
        folder.mkdir(exist_ok=True)
    except OSError as failure:
        raise OutputProblem(f"{folder} cannot be made: {failure.strerror}") from failure
    for name, text in texts.items():
        write_text_atomically(folder / name, text)


def write_multiqc(result_path: Path, folder: Path, **options: Any) -> None:
    """Write MultiQC custom content of a result into a folder.

    Parameters
    ----------
    result_path
        What the step wrote; its name without ending is the sample's.
    folder
        Made where there is none; other files in it stay; checked before (``check_targets``).
    **options
        As for :func:`compose_multiqc`.

    Raises
    ------
    InputMissing, InputProblem
        As :func:`compose_report`.
    """
    write_multiqc_files(folder, compose_multiqc(result_path, **options))
