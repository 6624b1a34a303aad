"""Write tables as TSV and JSON, to a file or to standard output."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Row = Mapping[str, Any]


def as_tsv(rows: Sequence[Row], columns: Sequence[str]) -> str:
    """Return a table with a header line; what a row lacks, and what is not a number, stays empty.

    Parameters
    ----------
    rows
        One mapping for each line.
    columns
        Which of their keys to write, in this order.
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
    """Return a document as JSON, with null for what is not a number."""
    return json.dumps(_without_nan(document), indent=2, ensure_ascii=False) + "\n"


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def check_outputs(outputs: Sequence[Path | None], inputs: Sequence[Path], *, force: bool) -> None:
    """Refuse outputs that cannot be written, before any work is done.

    Parameters
    ----------
    outputs
        The files to write; None for those that were not asked for.
    inputs
        The files that are read.
    force
        Whether outputs may exist.

    Raises
    ------
    UsageProblem
        An output is an input, or two outputs are one file.
    OutputProblem
        An output exists already, or its folder cannot be written to.
    """
    from sccr_node.storage.targets import Target, check_targets

    check_targets([Target(output) for output in outputs if output is not None], inputs, force=force)


def write_tables(
    rows: Sequence[Row], columns: Sequence[str], document: Any, *, output: Path | None, json_file: Path | None
) -> None:
    """Write the table as TSV to a file, or to standard output, and the document as JSON where a file is named."""
    from sccr_node.storage.files import write_text_atomically

    table = as_tsv(rows, columns)
    if json_file is not None:
        write_text_atomically(json_file, as_json(document))
    if output is not None:
        write_text_atomically(output, table)
    else:
        print(table, end="", flush=True)
