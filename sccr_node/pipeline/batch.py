"""The rows of a manifest, imputed one after the other, or the one row of a job array's index."""

from __future__ import annotations

import gc
import os
import traceback
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from sccr_node.contract.batch import BatchParameters, array_index
from sccr_node.contract.impute import ImputeParameters
from sccr_node.contract.record import RunRecord
from sccr_node.data.guard import listing
from sccr_node.errors import OutputProblem, SccrError, UsageProblem, meaning_of
from sccr_node.evaluation.verdicts import answer_of
from sccr_node.pipeline.finished import is_finished, is_left_over, note_identity
from sccr_node.pipeline.impute import check_file, impute_file
from sccr_node.pipeline.manifest import ManifestProblem, ManifestRow, read_manifest
from sccr_node.pipeline.remote import brought_near
from sccr_node.runtime import signals
from sccr_node.runtime.console import Console
from sccr_node.runtime.resources import release_memory
from sccr_node.runtime.scratch import work_dir
from sccr_node.runtime.words import quantity
from sccr_node.storage.places.transfer import clients_kept

DONE, AGAINST, SKIPPED = "done", "done against the advice of tuning", "finished before"

RESUMED = "finished rows are kept; run the same command again for the rest"
"""What a batch leaves that is ended by a signal."""


def run_batch(asked: BatchParameters, *, console: Console, command: Sequence[str] = ()) -> int:
    """Impute the rows of a manifest, or check them.

    Parameters
    ----------
    asked
        The manifest, the row, and the parameters of rows that do not give their own.
    console
        Shows what concerns the batch as a whole.
    command
        The command line, for the records.

    Returns
    -------
    The exit code: 0, or that of the first row that failed. Each failure has been shown.

    Raises
    ------
    SccrError
        The manifest or the index is wrong; nothing was run.
    """
    path = Path(asked.manifest)
    try:
        rows = read_manifest(path, asked)
    except ManifestProblem as problem:
        for mistake in problem.mistakes if len(problem.mistakes) > 1 else ():
            console.fail(f"manifest {path}: {mistake}", problem.exit_code)
        raise
    told = array_index(os.environ) if asked.index is None else (asked.source_of("index"), asked.index)
    chosen = rows if told is None else [_row_at(rows, path, *told)]
    if told is not None:
        console.say(f"{chosen[0].name} of {quantity(len(rows), 'row')} in {path} ({told[0]})")
    carry_out = _check if asked.check else _impute
    outcomes = _run_all(chosen, lambda row, console: carry_out(row, console, command))
    if told is None:
        _summarize(path, chosen, outcomes, console, checked=asked.check)
    return next((outcome for outcome in outcomes if isinstance(outcome, int)), 0)


def _row_at(rows: Sequence[ManifestRow], manifest: Path, where: str, index: int) -> ManifestRow:
    """Return the row of an index that was given, or that the job array told."""
    if index >= len(rows):
        raise UsageProblem(
            f"{where}: there is no row {index}: {manifest} has {quantity(len(rows), 'row')}, and the first is row 0"
        )
    return rows[index]


def _run_all(rows: Sequence[ManifestRow], carry_out: Callable[[ManifestRow, Console], str]) -> list[str | int]:
    """Return the outcome of every row: what was done, or the exit code of its failure, which has been shown."""
    outcomes: list[str | int] = []
    with clients_kept(), signals.leaving(RESUMED) if len(rows) > 1 else nullcontext():
        for row in rows:
            with signals.going_on() if row is not rows[-1] else nullcontext():
                outcomes.append(_outcome(row, carry_out))
            gc.collect()
            release_memory()  # or a large row would leave its memory to the small ones after it
    return outcomes


def _outcome(row: ManifestRow, carry_out: Callable[[ManifestRow, Console], str]) -> str | int:
    params = row.params
    console = Console(log_format=params.log_format, quiet=params.quiet, about=row.name)
    try:
        with work_dir(params.work_dir):
            return carry_out(row, console)
    except Exception as failure:  # noqa: BLE001 - whatever it is, the other rows have nothing to do with it
        if params.debug:
            traceback.print_exc()
        message, exit_code = meaning_of(failure)
        console.fail(message, exit_code)
        return exit_code
    finally:
        console.close_bar()


def _impute(row: ManifestRow, console: Console, command: Sequence[str]) -> str:
    """Impute a row unless its output is there already."""
    asked = row.params
    if is_finished(row.source, row.output, asked):
        return _skipped(row, console)
    if is_left_over(row.output, asked):
        console.say(f"replacing {asked.provenance}, which a run left that was killed before its output was in place")
        asked = asked.model_copy(update={"force": True})
    try:
        with _near(row, asked, console) as (near, paths):
            record = impute_file(paths["input"], paths["output"], near, console=console, command=command)
    except OutputProblem:
        # Kubernetes may run an index twice at once: the other run was faster.
        if not _finished_meanwhile(row):
            raise
        return _skipped(row, console)
    if record is not None:
        note_identity(row.output, record, row.params, console)
    return AGAINST if _is_advised_against(record) else DONE


def _is_advised_against(record: RunRecord | None) -> bool:
    return record is not None and record.tuning is not None and answer_of(record.tuning["values"]).warns


def _near(
    row: ManifestRow, asked: ImputeParameters, console: Console, by_header: Collection[str] = ()
) -> AbstractContextManager[tuple[ImputeParameters, dict[str, Any]]]:
    """Bring what a row reads and writes to this machine, as for any command."""
    given = {"input": row.source, "output": row.output}
    return brought_near(asked, given, {"output"}, console, by_header=by_header)


def _skipped(row: ManifestRow, console: Console) -> str:
    console.say(f"skipped: {row.output} is finished and matches its record {row.params.provenance}")
    return SKIPPED


def _finished_meanwhile(row: ManifestRow) -> bool:
    try:
        return is_finished(row.source, row.output, row.params)
    except SccrError:
        return False


def _check(row: ManifestRow, console: Console, command: Sequence[str]) -> str:
    """Check a row without reading its values."""
    if is_finished(row.source, row.output, row.params):
        return _skipped(row, console)
    asked = row.params.model_copy(update={"force": True}) if is_left_over(row.output, row.params) else row.params
    with _near(row, asked, console, by_header=["input"]) as (near, paths):
        check_file(paths["input"], paths["output"], near, console=console)
    return DONE


def _summarize(
    path: Path, rows: Sequence[ManifestRow], outcomes: Sequence[str | int], console: Console, *, checked: bool
) -> None:
    done = "can be imputed, as far as headers tell" if checked else "imputed"
    failed = [f"{row.name}: {code}" for row, code in zip(rows, outcomes, strict=True) if isinstance(code, int)]
    n_done = outcomes.count(DONE) + outcomes.count(AGAINST)
    told = [f"{n_done:,} {done}", f"{outcomes.count(SKIPPED):,} skipped", f"{len(failed):,} failed"]
    summary = f"{quantity(len(rows), 'row')} in {path}: {', '.join(told)}"
    if failed:
        summary += f" (exit codes: {', '.join(failed)})"
    against = [row.name for row, outcome in zip(rows, outcomes, strict=True) if outcome == AGAINST]
    if against:
        summary += f"; imputed although tuning says: do not impute: {listing(against, 10)}"
    (console.warn if failed or against else console.say)(summary)
