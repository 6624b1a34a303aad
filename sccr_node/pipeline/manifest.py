"""The rows of a manifest: a table of data sets to impute, checked as a whole before any of them is."""

from __future__ import annotations

import codecs
import csv
import errno
import io
import re
import stat
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sccr_node.contract.batch import BatchParameters
from sccr_node.contract.fields import path_fields
from sccr_node.contract.impute import ImputeParameters
from sccr_node.contract.settings import closest_field
from sccr_node.errors import InputMissing, UsageProblem, reason_of
from sccr_node.pipeline.side_files import SideFiles
from sccr_node.runtime.texts import read_small
from sccr_node.runtime.words import plural, quantity
from sccr_node.storage.claims import Claim, Meeting, as_path, collisions, with_addresses, within
from sccr_node.storage.formats import format_of_output
from sccr_node.storage.places.address import Address, is_remote

INPUT_COLUMN, OUTPUT_COLUMN = "input", "output"
"""The columns that every manifest has."""

RECORD_SUFFIX = ".record.json"
"""Added to the name of an output for its record, unless the row names one."""

SEPARATORS = {"\t": "tabs (name the file .tsv)", ";": "semicolons (use commas)", ",": "commas (name the file .csv)"}
"""What else may stand between cells, and what to do about it."""

_FLAG = re.compile(r"--[a-z][a-z-]*")

LARGEST_MANIFEST = 2**25
"""Bytes; a real one of 10,000 rows has a few million."""


class ManifestProblem(UsageProblem):
    """A manifest that cannot be used.

    Attributes
    ----------
    mistakes
        Everything that is wrong with it, one line each.
    """

    def __init__(self, path: Path, mistakes: Sequence[str]) -> None:
        found = mistakes[0] if len(mistakes) == 1 else f"{quantity(len(mistakes), 'mistake')}, named above"
        super().__init__(f"manifest {path}: {found}; nothing was run")
        self.mistakes = mistakes


@dataclass(frozen=True)
class ManifestRow:
    """One row: what is imputed, and how.

    Attributes
    ----------
    number
        From 0, without the header and blank lines.
    source, output
        The paths.
    params
        The parameters of ``sccr impute``, with a record.
    """

    number: int
    source: Path | Address
    output: Path | Address
    params: ImputeParameters

    @property
    def name(self) -> str:
        """How messages call it: by its number and its sample."""
        return row_name(self.number, self.output)


def row_name(number: int, output: Path | Address | None) -> str:
    """Return how messages call a row: by its number, and by its sample if the output is known."""
    return f"row {number}" if output is None else f"row {number} ({Path(output.name).stem})"


def read_manifest(path: Path, asked: BatchParameters) -> list[ManifestRow]:
    """Read and check a manifest.

    Parameters
    ----------
    path
        A table with a header: CSV, or separated by tabs if it is named ``.tsv``.
    asked
        The parameters of rows that do not give their own.

    Raises
    ------
    InputMissing
        It does not exist or cannot be read.
    ManifestProblem
        It is not such a table, or some of its rows cannot be used.
    """
    lines = _lines(path)
    header, mistakes = _header(lines[0], lines[1:])
    rows: list[ManifestRow] = []
    files: list[_Files] = []
    for number, cells in enumerate(lines[1:]):
        given = {name: cell for name, cell in zip(header, cells, strict=False) if name and cell}
        (source, output), wrong = _places(header, given)
        where = row_name(number, output)
        params, wrong_params = _params(given, output, asked)
        mistakes += [f"{where}{mistake}" for mistake in [*_surplus(cells, header), *wrong, *wrong_params]]
        files.append(_Files.of(where, source, output, params))
        if params is not None and source is not None and output is not None:
            rows.append(ManifestRow(number, source, output, params))
    mistakes += _collisions(path, files)
    if mistakes:
        raise ManifestProblem(path, mistakes)
    return rows


def _lines(path: Path) -> list[list[str]]:
    """Return the cells of the header and of every row, without blank lines."""
    try:
        text = _text(path)
        separator = "\t" if path.suffix.lower() in (".tsv", ".tab") else ","
        # strict: a quote that is never closed would swallow the rows after it.
        table = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True, strict=True)
        lines = [[cell.strip() for cell in cells] for cells in table]
    except csv.Error as failure:
        raise ManifestProblem(path, [f"line {table.line_num}: not a line of a table ({failure})"]) from None
    except (UnicodeDecodeError, LookupError):
        raise ManifestProblem(path, ["not a text file in UTF-8; save it as CSV (UTF-8)"]) from None
    except OSError as failure:
        if failure.errno == errno.EFBIG:
            large = f"larger than {LARGEST_MANIFEST // 2**20} MiB: not a list of data sets"
            raise ManifestProblem(path, [large]) from None
        raise InputMissing(f"cannot read manifest {path}: {reason_of(failure)}") from None
    lines = [cells for cells in lines if any(cells)]
    if len(lines) < 2:
        raise ManifestProblem(path, ["no rows: expected a header (input, output, parameters) and one row per data set"])
    return lines


def _text(path: Path) -> str:
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # every job of an array reads it, and every attempt
        raise ManifestProblem(path, ["a pipe or a device, which can be read only once; give a file"])
    content = read_small(path, LARGEST_MANIFEST)
    # Excel's "Unicode text" is UTF-16.
    wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return content.decode("utf-16" if wide else "utf-8-sig")


def _header(names: Sequence[str], rows: Sequence[Sequence[str]]) -> tuple[list[str], list[str]]:
    """Return the column names, empty where a column is ignored, and what is wrong with them."""
    mistakes: list[str] = []
    known = {INPUT_COLUMN, OUTPUT_COLUMN, *ImputeParameters.model_fields}
    columns: list[str] = []
    for place, name in enumerate(names):
        columns.append(name if name in known and name not in columns else "")
        if name in known:
            if not columns[-1]:
                mistakes.append(f"header: the column {name!r} occurs more than once; keep one of them")
        elif name:
            close = closest_field(name, ImputeParameters)
            hint = f"; did you mean {close!r}?" if close else "; expected input, output and parameters of sccr impute"
            mistakes.append(f"header: unknown column {name!r}{hint}")
        elif any(cells[place : place + 1] != [""] for cells in rows if len(cells) > place):
            mistakes.append(f"header: column {place + 1} has no name")
    for name in (INPUT_COLUMN, OUTPUT_COLUMN):
        if name not in columns:
            other = next((mark for mark in ("\t", ";", ",") if any(mark in cell for cell in names)), None)
            hint = "" if other is None else f"; its cells seem to be separated by {SEPARATORS[other]}"
            mistakes.append(f"header: there is no column {name!r}{hint}")
    return columns, mistakes


def _params(
    given: Mapping[str, str], output: Path | Address | None, asked: BatchParameters
) -> tuple[ImputeParameters | None, list[str]]:
    """Return the parameters of a row, unless they are wrong, and everything that is wrong with them."""
    values = {name: cell for name, cell in given.items() if name not in (INPUT_COLUMN, OUTPUT_COLUMN)}
    if output is not None and "provenance" not in values and asked.provenance is None:
        values["provenance"] = f"{output}{RECORD_SUFFIX}"
    merged = asked.of_row(values, {name: f"column {name}" for name in values})
    wrong = merged.problems()
    if wrong:
        return None, [_by_column(problem, values) for problem in wrong]
    params = merged.validated()
    for name, use in path_fields(ImputeParameters).items():
        value = getattr(params, name)
        if isinstance(value, str) and is_remote(value):
            wrong += _problems_of_place(value, written=use == "written", where=params.source_of(name))
    return (None if wrong else params), wrong


def _by_column(problem: str, given: Collection[str]) -> str:
    """Return what is wrong with a row, in which flags that are cells of it are called columns."""
    if problem.startswith("column "):
        return f", {problem}"
    flags = dict.fromkeys(_FLAG.findall(problem))
    columns = {each: name for each in flags if (name := each.removeprefix("--").replace("-", "_")) in given}
    if not columns:
        return f": {problem}"
    said = _FLAG.sub(lambda found: columns.get(found[0], found[0]), problem)
    return f", {plural(len(columns), 'column', 'columns')} {' and '.join(columns.values())}: {said}"


def _surplus(cells: Sequence[str], header: Sequence[str]) -> list[str]:
    if not any(cells[len(header) :]):
        return []
    many = f"has {len(cells)} cells, but the header has {len(header)}"
    return [f": {many}; put quotes around a cell that contains a separator"]


def _places(
    header: Sequence[str], given: Mapping[str, str]
) -> tuple[tuple[Path | Address | None, Path | Address | None], list[str]]:
    """Return input and output of a row, unless they cannot be used, and what is wrong with them."""
    wrong: list[str] = []
    places: list[Path | Address | None] = []
    for name in (INPUT_COLUMN, OUTPUT_COLUMN):
        found = None
        if name not in given:
            wrong += [f": no {name} is given"] if name in header else []
        elif "\0" in given[name]:
            wrong.append(f", column {name}: should not contain the NUL character")
        elif bad := _problems_of_place(given[name], written=name == OUTPUT_COLUMN, where=f"column {name}"):
            wrong += bad
        else:
            found = place_of(given[name])
        places.append(found)
    source, output = places
    if output is not None:
        try:
            format_of_output(as_path(output))
        except UsageProblem as problem:
            wrong.append(f", column {OUTPUT_COLUMN}: {with_addresses(str(problem))}")
    return (source, output), wrong


def _problems_of_place(text: str, *, written: bool, where: str) -> list[str]:
    try:
        place = place_of(text)
    except UsageProblem as problem:
        return [f", {where}: {problem}"]
    if written and isinstance(place, Address) and not place.can_be_written:
        return [f", {where}: cannot write {place}: {place.scheme}:// can only be read"]
    return []


def place_of(text: str) -> Path | Address:
    """Return the remote address or the path that a text is.

    Raises
    ------
    UsageProblem
        It begins like an address, but is not that of a file.
    """
    return Address.of(text) if is_remote(text) else Path(text)


@dataclass(frozen=True)
class _Files:
    """What a row, which may be wrong otherwise, reads and writes; paths stand for remote addresses."""

    read: Sequence[Claim] = ()
    written: Sequence[Claim] = ()
    kept: Sequence[Claim] = ()

    @classmethod
    def of(
        cls, row: str, source: Path | Address | None, output: Path | Address | None, params: ImputeParameters | None
    ) -> _Files:
        """Return the files of a row; those of its parameters if these are right."""
        read = [] if source is None else [as_path(source)]
        written = [] if output is None else [as_path(output)]
        kept = []
        if params is not None and output is not None:
            fields = {name: getattr(params, name) for name in path_fields(ImputeParameters)}
            remote = {name: str(as_path(text)) for name, text in fields.items() if text and is_remote(text)}
            near = params.model_copy(update=remote)
            read += near.files_read()
            written += [path for target in SideFiles.of(near).targets(as_path(output)) for path in target.own_files]
            kept = [] if params.checkpoint_dir is None else [as_path(params.checkpoint_dir)]
        return cls(*([Claim(path, row) for path in paths] for paths in (read, written, kept)))


def _collisions(manifest: Path, rows: Sequence[_Files]) -> list[str]:
    """Return what is wrong with the rows together: none writes what is read, or what another one writes."""
    itself = Claim(manifest, "the manifest")
    read = [itself, *(claim for row in rows for claim in row.read)]
    written = [claim for row in rows for claim in row.written]

    def told(meeting: Meeting, other: Claim) -> str:
        what = other.by if other is itself else f"{'read' if other in read_by else 'written'} by {other.by}"
        if meeting is not Meeting.IS:
            return f"{meeting.value} {other.path}, which is {what}"
        return f"it is {what}" if other in read_by else f"it is also {what}"

    read_by = set(read)
    mistakes = [
        f"{claim.by}: cannot write {claim.path}: {told(meeting, other)}; give another name"
        for claim, meeting, other in collisions(read, written)
    ]
    mistakes += [
        f"{claim.by}: cannot keep checkpoints in {claim.path}: {told(meeting, other)}; give another folder"
        for claim, meeting, other in within([claim for row in rows for claim in row.kept], [*read, *written])
    ]
    return list(map(with_addresses, mistakes))
