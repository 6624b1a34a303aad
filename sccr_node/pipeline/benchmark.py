"""The benchmark from file to table: every method, rate and seed; finished runs survive an interruption."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache, partial
from hashlib import sha256
from pathlib import Path

import numpy as np

from sccr_node import __version__
from sccr_node.contract.benchmark import BenchmarkParameters
from sccr_node.contract.fields import fields_of_result, flag
from sccr_node.contract.methods import METHODS
from sccr_node.data.dataset import Dataset
from sccr_node.data.guard import among
from sccr_node.data.halves import HALF, Halves, refuse_other_than_counts
from sccr_node.data.preparation import Preparation
from sccr_node.errors import InputProblem, SccrError, UsageProblem
from sccr_node.evaluation import analyses
from sccr_node.evaluation.analyses import Row
from sccr_node.evaluation.benchmark import Inputs, Run, columns, planned_runs, run_apart
from sccr_node.evaluation.standings import standings, with_ranks
from sccr_node.methods import Shape, load
from sccr_node.pipeline.compared import read_candidates
from sccr_node.pipeline.evaluate import decide_and_prepare, libraries_to_install, read_order, read_types
from sccr_node.pipeline.journal import Journal, JournalTarget, journal_path
from sccr_node.pipeline.needs import say_kept
from sccr_node.pipeline.plan import open_input
from sccr_node.pipeline.tables import as_json, as_tsv, write_tables
from sccr_node.pipeline.thinning import SPLITTING, halves_of, to_score
from sccr_node.reports.comparison import comparison_page
from sccr_node.runtime import signals
from sccr_node.runtime.console import Console
from sccr_node.runtime.words import plural, quantity
from sccr_node.storage.checkpoints import CheckpointPlace, blobs_in
from sccr_node.storage.copying import sha256_of
from sccr_node.storage.targets import Target, check_targets

EXTENSIBLE_FIELDS = {"methods", "analyses", "rates", "seeds", "candidate", "candidate_layer"}
"""Fields that say which runs there are: finished ones are kept if others are added."""


MADE_FOR = {"masked": "recovery", "halved": "held-out molecules", "full": "analyses of the full data"}
"""The analyses of a candidate, by what it was made from."""


def benchmark_file(
    input_path: Path,
    asked: BenchmarkParameters,
    console: Console,
    *,
    output: Path | None,
    json_file: Path | None,
    page: Path | None = None,
) -> None:
    """Compare methods on a file and write the table.

    Parameters
    ----------
    input_path
        Any data set that ``sccr impute`` reads.
    asked
        Preparation, methods, rates, seeds, labels.
    console
        Shows findings and progress.
    output
        File for the table (TSV); None for standard output, in which case an interrupted benchmark cannot be resumed.
    json_file
        File for the table as JSON, with input and parameters; None for none.
    page
        File for the comparison as a page (HTML); None for none.

    Raises
    ------
    SccrError
        A target cannot be written, the input is not what it should be, or a run failed; finished runs are kept.
    """
    journal_file = None if output is None else journal_path(output)
    targets = [Target(path) for path in (output, json_file, page) if path is not None]
    if journal_file is not None:
        targets.append(JournalTarget(journal_file))
    read = [input_path, *asked.files_read()]
    check_targets(targets, read, force=asked.force, checkpoint_dir=asked.checkpoint_dir)
    chosen = _chosen_analyses(asked, console)
    with open_input(input_path, asked) as (data, listed):
        types = None if asked.label_key is None else read_types(data, asked.label_key, console)
        order = None if asked.order_key is None else read_order(data, asked.order_key, console)
        preparation, prepared = decide_and_prepare(data, asked, console, listed=listed)
        chosen = _without_halves(chosen, data, preparation, console)
        # The runs of a seed are together.
        halves = lru_cache(maxsize=1)(partial(_halves, input_path, asked, preparation, console))
        candidates = read_candidates(asked, data, preparation, prepared, halves, console)
    digest = sha256_of(input_path)
    affecting = set(fields_of_result(BenchmarkParameters))
    about = {
        "version": __version__,
        "sha256": digest,
        "n_cells": prepared.expression.shape[0],
        "n_genes": prepared.expression.shape[1],
        "scale": preparation.scale,
        "params": asked.model_dump(include=affecting),
    }
    fingerprint = {
        **about,
        "params": asked.model_dump(include=affecting - EXTENSIBLE_FIELDS),
        "genes": sha256(preparation.genes.astype(np.int64).tobytes()).hexdigest(),  # a gene file may have changed
    }
    journal = Journal(journal_file, fingerprint, force=asked.force)
    runs = planned_runs(
        chosen,
        asked.method_list(),
        rates=asked.rate_list(),
        mechanism=asked.mechanism,
        seeds=asked.seed_list(),
        candidates=candidates,
    )
    for given in candidates:
        if not any(run.candidate == given.digest for run in runs):
            made_for = MADE_FOR[given.made_from]
            console.warn(
                f"candidate {given.name} is not scored: it can only be used for {made_for}, which this benchmark does "
                "not include"
            )
    for name in chosen:
        if not any(name in run.analyses for run in runs):
            console.warn(f"no {name}: {asked.methods} are not compared for it")
    settings = {name: getattr(asked, name) for name in _settings_of(chosen)}
    place = None
    if asked.checkpoint_dir is not None:
        say_kept(_kept_bytes(runs, prepared.expression.shape), blobs_in(asked.checkpoint_dir), console)
        place = CheckpointPlace(asked.checkpoint_dir, digest)
    checkpoints = None if place is None else place.opened(console.say, console.warn)
    with _telling_what_is_kept(journal):
        rows = _rows(
            runs,
            Inputs(
                expression=prepared.expression,
                halves=lambda seed: to_score(halves(seed), HALF),
                types=types,
                order=order,
                settings=settings,
                threads=asked.threads,
                candidates=candidates,
                checkpoints=place if checkpoints is not None and checkpoints.usable else None,
            ),
            journal,
            console,
        )
        found = standings(rows)
        rows = with_ranks(rows, found)
        beside = {json_file: as_json({**about, "rows": rows})}
        if page is not None:
            beside[page] = comparison_page(
                found,
                source=input_path.name,
                shape=prepared.expression.shape,
                n_seeds=len(asked.seed_list()),
            )
        write_tables(as_tsv(rows, columns()), output, beside, force=asked.force)
        journal.remove()
        if checkpoints is not None:
            checkpoints.remove()


def _kept_bytes(runs: Sequence[Run], shape: tuple[int, int]) -> int:
    """Return what the checkpoints of the largest run take; those of a finished run are removed."""
    methods = {run.method for run in runs if run.method in METHODS}
    whole = Shape(*shape, n_stored=0)
    settings = {name: METHODS[name].complete({}) for name in methods}
    kept = (load(name).cost(whole, settings[name], METHODS[name].outputs, threads=1).kept for name in methods)
    return max(kept, default=0)


def _chosen_analyses(asked: BenchmarkParameters, console: Console) -> list[str]:
    """Return the analyses to do, in the order of the table; say which are skipped, and which parameters are idle.

    Raises
    ------
    UsageProblem
        There is no such analysis, or none that can be done.
    """
    names = analyses.names()
    for name in asked.analysis_list():
        if name not in names:
            raise UsageProblem(
                f"{asked.source_of('analyses')}: there is no analysis {name!r}; there are {among(name, names)}"
            )
    lacking = {name: what for name in names if name in asked.analysis_list() and (what := _lacks(name, asked))}
    chosen = [name for name in names if name in asked.analysis_list() and name not in lacking]
    if not chosen:
        reasons = "; ".join(f"{name} requires {what}" for name, what in lacking.items())
        raise UsageProblem(f"nothing to do: {reasons}")
    for name, what in lacking.items():
        # A form passes the default as well: only a choice deserves a warning.
        tell = console.say if asked.analyses == type(asked).model_fields["analyses"].default else console.warn
        tell(f"skipping {name}: it requires {what}")
    for name in names:
        if idle := asked.without_effect(_settings_of([name]) - _settings_of(chosen)):
            why = f"requires {lacking[name]}" if name in lacking else f"is not among {asked.source_of('analyses')}"
            # Not refused: a form or a workflow passes the same values for data with and without labels.
            has = plural(len(idle), "has", "have")
            console.warn(f"{', '.join(idle)} {has} no effect: {name} {why}")
    return chosen


def _without_halves(chosen: list[str], data: Dataset, preparation: Preparation, console: Console) -> list[str]:
    """Leave out the analyses of halved molecules, with a warning, if the values are no counts.

    Raises
    ------
    InputProblem
        There is no other analysis.
    """
    halved = [name for name in chosen if analyses.load(name).data == "halved"]
    try:
        if halved:
            refuse_other_than_counts(data, preparation.summary, SPLITTING)
    except InputProblem as problem:
        if halved == chosen:
            raise
        for name in halved:
            console.warn(f"skipping {name}: {problem}")
        return [name for name in chosen if name not in halved]
    return chosen


def _halves(
    input_path: Path, asked: BenchmarkParameters, preparation: Preparation, console: Console, seed: int
) -> Halves:
    """Return both halves of the molecules, as ``sccr evaluate split-molecules`` splits them."""
    with open_input(input_path, asked) as (data, listed):
        refuse_other_than_counts(data, preparation.summary, SPLITTING)
        return halves_of(data, preparation.scaling, listed, asked, fraction=HALF, seed=seed, console=console)


def _lacks(name: str, asked: BenchmarkParameters) -> str:
    """Return what an analysis requires and does not have, in the words that the user would type; empty if nothing."""
    needs = [flag(need) for need in analyses.load(name).needs if getattr(asked, need) is None]
    return " and ".join(filter(None, [*needs, libraries_to_install(name)]))


def _settings_of(names: Iterable[str]) -> set[str]:
    return {setting for name in names for setting in analyses.load(name).settings}


def _rows(runs: list[Run], inputs: Inputs, journal: Journal, console: Console) -> list[Row]:
    """Do the runs that are not finished yet, and return all rows: by analysis, then in the order of the runs."""
    kept = sum(run in journal.finished for run in runs)
    if kept:
        text = f"resuming an interrupted benchmark: {kept} of {quantity(len(runs), 'run')} already finished"
        console.say(text, n_finished=kept, n_runs=len(runs))
    for number, run in enumerate(runs, 1):
        if run in journal.finished:
            continue
        where = f"[{number}/{len(runs)}] {run.title}"

        def progress(stage: str, fraction: float, where: str = where) -> None:
            console.progress(f"{where}: {stage}", fraction)

        with _kept_apart(run, inputs.checkpoints) as place:
            journal.add(run, run_apart(run, replace(inputs, checkpoints=place), progress, console))
        console.close_bar()
        console.say(f"{where}: {run.summary(journal.finished[run])}", run=number, n_runs=len(runs))
    rows = [row for run in runs for row in journal.finished[run]]
    return sorted(rows, key=lambda row: analyses.names().index(row["task"]))


@contextmanager
def _kept_apart(run: Run, place: CheckpointPlace | None) -> Iterator[CheckpointPlace | None]:
    """Give a run a place for checkpoints of its own, from which all are removed if the block succeeds."""
    if place is None:
        yield None
        return
    own = replace(place, source=f"{place.source} {run}")
    checkpoints = own.opened(_nothing, _nothing)  # the run's process tells
    try:
        yield own
    except BaseException:
        checkpoints.sweep()  # the run's process was ended while it wrote
        raise
    checkpoints.remove_all()


def _nothing(text: str) -> None:
    """Show nothing."""


@contextmanager
def _telling_what_is_kept(journal: Journal) -> Iterator[None]:
    """Add to a failure or an interruption where finished runs are kept, if there are any."""
    try:
        yield
    except signals.Interrupted as interruption:
        if journal.kept is not None:
            interruption.left = journal.kept
        raise
    except SccrError as problem:
        if journal.kept is None:
            raise
        raise type(problem)(f"{problem}; {journal.kept}") from problem
