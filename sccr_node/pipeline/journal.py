"""The journal of a benchmark: its finished runs, one per line, so that an interrupted benchmark can be resumed."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sccr_node.errors import OutputProblem, writing
from sccr_node.evaluation.analyses import Row
from sccr_node.evaluation.benchmark import Run
from sccr_node.storage.files import write_text_atomically
from sccr_node.storage.targets import Target, check_folder

MARKS = {"version", "sha256", "params"}
"""Keys that the first line of every journal contains, by which a journal is recognised."""

LONGEST_HEADER = 2**20
"""Most characters of the first line to read: a file that is not a journal may have no line breaks."""


def journal_path(output: Path) -> Path:
    """Return the path of a table's journal."""
    return output.with_name(output.name + ".runs.jsonl")


class JournalTarget(Target):
    """The journal, which may already exist: only a benchmark's journal is resumed or replaced."""

    def check(self, *, force: bool) -> None:
        """Refuse a file that is not a journal, with or without ``force``; whether it matches is checked later."""
        with writing(self.path):
            check_folder(self.path)
            if os.path.lexists(self.path):
                self.check_replaceable()

    def check_replaceable(self) -> None:
        """Refuse anything but a benchmark's journal or an empty file."""
        super().check_replaceable()
        try:
            with self.path.open(encoding="utf-8") as file:
                first = file.readline(LONGEST_HEADER)
            told = json.loads(first) if first else {}
            if not first or (isinstance(told, dict) and told.keys() >= MARKS):
                return
        except FileNotFoundError:
            return  # a dangling link
        except ValueError:
            pass
        raise OutputProblem(
            f"cannot keep finished runs in {self.path}: the file exists and is not a benchmark's journal; move it, or "
            "choose another --output"
        )


class Journal:
    """The finished runs of a benchmark.

    Parameters
    ----------
    path
        The file; None if nothing is kept.
    fingerprint
        Data and parameters that all runs share; runs with others are never mixed in.
    force
        Whether to replace the journal of a different benchmark.

    Raises
    ------
    OutputProblem
        The file is the journal of a different benchmark.
    """

    def __init__(self, path: Path | None, fingerprint: Mapping[str, Any], *, force: bool) -> None:
        self._path = path
        self._begun = False
        self.finished: dict[Run, list[Row]] = {}
        if path is None:
            return
        self._header = json.dumps(fingerprint, sort_keys=True)
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        if lines and lines[0] != self._header and not force:
            raise OutputProblem(
                f"cannot resume from {path}: it contains finished runs of different data or with different parameters; "
                "remove it, or start over with --force"
            )
        if lines and lines[0] == self._header:
            for line in lines[1:]:
                try:
                    entry = json.loads(line)
                except json.JSONDecodeError:
                    break  # the line that was being written when the benchmark was killed
                self.finished[Run.of_json(entry["run"])] = entry["rows"]

    @property
    def kept(self) -> str | None:
        """A note on what is kept if the benchmark ends now; None if nothing is."""
        if self._path is None or not self.finished:
            return None
        return f"finished runs are kept in {self._path}; run the same command again to resume"

    def add(self, run: Run, rows: list[Row]) -> None:
        """Keep the rows of a finished run."""
        self.finished[run] = rows
        if self._path is None:
            return
        if not self._begun:  # an existing file may be cut off, or belong to a different benchmark
            lines = [self._header, *(self._line(*entry) for entry in self.finished.items())]
            write_text_atomically(self._path, "".join(line + "\n" for line in lines), replace=True)
            self._begun = True
            return
        with writing(self._path), self._path.open("a", encoding="utf-8") as file:
            file.write(self._line(run, rows) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def remove(self) -> None:
        """Remove the file once the table is written."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    @staticmethod
    def _line(run: Run, rows: list[Row]) -> str:
        return json.dumps({"run": asdict(run), "rows": rows})
