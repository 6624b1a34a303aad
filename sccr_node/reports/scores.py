"""Read evaluation tables for the report: TSV or JSON, as written by evaluate and benchmark, or similar."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sccr_node.errors import InputMissing, InputProblem, reason_of
from sccr_node.reports.content import ScoreTable, readable
from sccr_node.runtime.texts import read_small

MOST_ROWS = 200
EMPTY = "–"


def read_scores(path: Path) -> ScoreTable:
    """Read one table.

    Parameters
    ----------
    path
        A TSV file with the column names in its first line, or a JSON file: a list of objects, an object that contains
        such a list, or an object that is a single row.

    Raises
    ------
    InputMissing
        The file does not exist or cannot be read.
    InputProblem
        The file is not a table.
    """
    try:
        text = read_small(path).decode("utf-8-sig")
    except (UnicodeDecodeError, IsADirectoryError) as failure:
        raise InputProblem(f"cannot read --scores {path}: it is not a text file; give a TSV or JSON table") from failure
    except OSError as failure:
        raise InputMissing(f"cannot read --scores {path}: {reason_of(failure)}") from failure
    records = _json_records(path, text) if text.lstrip()[:1] in ("[", "{") else _tsv_records(path, text)
    # One table has the columns of all analyses: those that say nothing here are left out.
    named = dict.fromkeys(name for record in records for name in record)
    columns = [name for name in named if any(_shown(record.get(name)) != EMPTY for record in records)] or list(named)
    rows = [[record.get(column) for column in columns] for record in records]
    numeric = [
        all(_is_number(row[at]) for row in rows if row[at] not in (None, ""))
        and any(row[at] not in (None, "") for row in rows)
        for at in range(len(columns))
    ]
    return ScoreTable(
        title=readable(path.name),
        columns=[readable(column) for column in columns],
        rows=[[_shown(value) for value in row] for row in rows[:MOST_ROWS]],
        numeric=numeric,
        n_left_out=max(0, len(rows) - MOST_ROWS),
    )


def _json_records(path: Path, text: str) -> Sequence[dict[str, Any]]:
    try:
        found = json.loads(text)
    except json.JSONDecodeError as failure:
        raise InputProblem(f"cannot read --scores {path}: it is not valid JSON ({failure})") from None
    if isinstance(found, dict):
        tables = [value for value in found.values() if _is_table(value)]
        found = tables[0] if tables else [found]
    if not _is_table(found):
        raise InputProblem(
            f"cannot read --scores {path}: it contains no table; give a file written by sccr evaluate or sccr benchmark"
        )
    return [{name: value for name, value in record.items() if not isinstance(value, dict | list)} for record in found]


def _is_table(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, dict) and row for row in value)


def _tsv_records(path: Path, text: str) -> Sequence[dict[str, Any]]:
    lines = [line for line in csv.reader(text.splitlines(), delimiter="\t") if line and not line[0].startswith("#")]
    if len(lines) < 2 or len(lines[0]) < 2 or any(len(line) != len(lines[0]) for line in lines):
        raise InputProblem(
            f"cannot read --scores {path}: it is not a table; separate columns by tabs, and name them in the first line"
        )
    return [dict(zip(lines[0], line, strict=True)) for line in lines[1:]]


def _is_number(value: object) -> bool:
    if isinstance(value, bool):
        return False
    try:
        float(str(value))
    except ValueError:
        return False
    return True


def _shown(value: object) -> str:
    if value is None or value == "":
        return EMPTY
    text = readable(value)
    if not _is_number(value):
        return text
    number = float(text)
    if math.isnan(number):
        return EMPTY
    if number.is_integer() and "." not in text:
        return text
    return f"{number:.4g}".replace("-", "−")
