"""Write tables as TSV and JSON, to files or standard output."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sccr_node.errors import OutputProblem, problem_of_writing, reason_of
from sccr_node.runtime.console import mute
from sccr_node.storage.atomic import commit_all
from sccr_node.storage.files import staged_texts


def as_tsv(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """Return a table with a header line; missing values and NaN are empty.

    Parameters
    ----------
    rows
        One mapping per row.
    columns
        Keys to write, in this order.
    """
    lines = [columns, *([_cell(row.get(column)) for column in columns] for row in rows)]
    return "".join("\t".join(line) + "\n" for line in lines)


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    return " ".join(str(value).split())  # a name with a tab would break the table


def as_json(document: Any) -> str:
    """Return a document as JSON, with null for NaN and infinite numbers."""
    return json.dumps(_without_nan(document), indent=2, ensure_ascii=False) + "\n"


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_tables(table: str, output: Path | None, beside: Mapping[Path | None, str], *, force: bool) -> None:
    """Write a table to a file or standard output, and accompanying texts to files: all files or none.

    Parameters
    ----------
    table, output
        The table; None for standard output.
    beside
        Further texts by file; texts for None are not written.
    force
        Whether to replace existing files.

    Raises
    ------
    OutputProblem, NotEnoughResources
        A folder is not writable, or the disk is full; no file is written in that case.
    """
    texts = {path: text for path, text in beside.items() if path is not None}
    if output is not None:
        texts[output] = table
    if texts:
        with staged_texts(texts, replace=force) as staged:
            commit_all(staged)
    if output is None:
        _print(table)


def _print(text: str) -> None:
    try:
        print(text, end="", flush=True)
    except BrokenPipeError:  # the reader has seen enough
        raise
    except OSError as failure:
        mute(sys.stdout)
        what = "standard output"
        raise problem_of_writing(failure, what) or OutputProblem(
            f"cannot write {what}: {reason_of(failure)}; give a file with --output"
        ) from failure
