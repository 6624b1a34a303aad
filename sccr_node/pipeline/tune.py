"""Tuning from file to file: hold out molecules, score the grid, choose, judge, and write a config for imputation."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sccr_node import __version__
from sccr_node.contract.fields import flag
from sccr_node.contract.impute import ImputeParameters
from sccr_node.contract.imputing import MethodParameters
from sccr_node.contract.methods import Value
from sccr_node.contract.tune import CELLS_TO_TUNE_ON, TuneParameters, config_numbers, given_numbers
from sccr_node.contract.tuned import TUNING_KEY, TunedBefore
from sccr_node.data.dataset import Dataset
from sccr_node.data.genes import ListedGene
from sccr_node.data.halves import HALF, Halves, read_halves, refuse_other_than_counts
from sccr_node.data.preparation import Preparation
from sccr_node.errors import InputProblem
from sccr_node.evaluation.tuning import (
    Grid,
    Products,
    Start,
    choose,
    judge_neighborhoods,
    products,
    scored_genes,
    start_of,
)
from sccr_node.evaluation.verdicts import Tuning
from sccr_node.numerics import Workspace
from sccr_node.pipeline.needs import Extent, needs_of_tuning, say_kept
from sccr_node.pipeline.plan import (
    Batch,
    Plan,
    batches_of,
    blend_of,
    decide_and_show,
    of_imputed_again,
    open_input,
    opened_checkpoints,
)
from sccr_node.pipeline.tables import as_json, as_tsv, write_tables
from sccr_node.pipeline.tuned_before import note_of
from sccr_node.runtime.console import Clock, Console
from sccr_node.runtime.resources import usable_cpus
from sccr_node.runtime.words import quantity
from sccr_node.storage.checkpoints import Checkpoints, blobs_in
from sccr_node.storage.copying import sha256_of
from sccr_node.storage.targets import Target, check_targets

FEWEST_CELLS_FOR_TUNING = 50

TABLE_COLUMNS = (
    "candidate", "beta", "n_denoising_iterations", "low_rank", "low_rank_share", "error", "explained", "above",
    "standard_error", "chosen",
)  # fmt: skip


@dataclass(frozen=True)
class TuningFiles:
    """The files to write; None if not asked for (the config then goes to standard output)."""

    config: Path | None = None
    table: Path | None = None
    json: Path | None = None
    page: Path | None = None


def tune_file(
    source: Path, asked: TuneParameters, files: TuningFiles, *, console: Console, command: Sequence[str] = ()
) -> Tuning:
    """Tune on a file, and write the config and what else was asked for.

    Parameters
    ----------
    source
        Counts, in any format that ``sccr impute`` reads.
    asked
        The parameters.
    files
        The files to write.
    console
        Shows findings, verdicts and progress.
    command
        The command line, for the page.

    Raises
    ------
    SccrError
        Any failure that the user can act on; nothing is written in that case.
    """
    clock = console.clock()
    wanted = [path for path in (files.config, files.table, files.json, files.page) if path is not None]
    with open_input(source, asked) as (data, listed):
        check_targets(
            [Target(path) for path in wanted],
            [source, *asked.files_read()],
            force=asked.force,
            checkpoint_dir=asked.checkpoint_dir,
        )
        console.show(of_imputed_again(data, asked))
        batches = batches_of(data, asked.batch_key)
        preparation = decide_and_show(data, console, **asked.preparation(), listed=listed)
        checkpoints = opened_checkpoints(asked.checkpoint_dir, lambda: sha256_of(source), console)
        tuning = tune_opened(
            data, preparation, batches, asked, console, clock,
            listed=listed, max_cells=asked.max_cells, seed=asked.seed, checkpoints=checkpoints,
        )  # fmt: skip
        note = note_of(tuning, data, preparation, batches, asked)
    if checkpoints is not None:
        checkpoints.summarise()
    numbers = config_numbers(asked, tuning.parameters)
    document = {
        "version": __version__,
        "input": str(source),
        "parameters": numbers,
        **tuning.noted(),
        "tried": tuning.rows(),
    }
    beside = {files.table: as_tsv(tuning.rows(), TABLE_COLUMNS), files.json: as_json(document)}
    if files.page is not None:
        from sccr_node.reports.tuning_page import tuning_page

        beside[files.page] = tuning_page(tuning, source=source, numbers=numbers, command=command)
    flags = _as_flags(asked)
    write_tables(config_text(tuning, numbers, note, source, flags), files.config, beside, force=asked.force)
    if checkpoints is not None:
        checkpoints.remove()
    if wanted:
        names = [str(path) for path in wanted]
        console.done(f"wrote {', '.join(names)}", clock.elapsed, files=names)
    if files.config is not None:
        on_values, _ = tuning.verdicts
        how = "to impute all the same" if on_values.warns else "impute with"
        console.say(f"{how}: sccr impute {source} OUTPUT --config {files.config}{flags}")
    return tuning


def _as_flags(asked: TuneParameters) -> str:
    """Return the given flags that decide which values are imputed: the config has only the method's numbers.

    A config can then serve the parts of a split data set too, for which genes and depth are given as well.
    """
    given = {"batch_key": asked.batch_key, **asked.noted_preparation()}
    names = [name for name in given if name in asked.model_fields_set and given[name] is not None]
    return "".join(f" {flag(name)} {shlex.quote(str(given[name]))}" for name in names)


def config_text(tuning: Tuning, numbers: Mapping[str, Value], note: TunedBefore, source: Path, flags: str = "") -> str:
    """Return the config file for ``sccr impute``, with the verdicts as comments, and as a note that it reads."""
    import yaml

    used = f"{tuning.n_cells_used:,} of {quantity(tuning.n_cells, 'cell')}"
    comments = [f"sccr tune {__version__} on {source.name}: {used}, seed {tuning.seed}"]
    if flags:
        comments.append(f"tuned with{flags}: give these to sccr impute too")
    comments += [verdict.text for verdict in tuning.verdicts]
    lines = [*(f"# {' '.join(line.split())}" for line in comments)]
    lines.append(yaml.safe_dump(dict(numbers), sort_keys=False).rstrip())
    lines.append("# What sccr impute says and reports of these parameters; it holds for these data only.")
    lines.append(yaml.safe_dump({TUNING_KEY: note.model_dump(mode="json")}, sort_keys=False, width=math.inf))
    return "\n".join(lines)


def tune_opened(
    data: Dataset,
    preparation: Preparation,
    batches: Sequence[Batch],
    asked: ImputeParameters | TuneParameters,
    console: Console,
    clock: Clock,
    *,
    listed: Sequence[ListedGene] | None = None,
    max_cells: int = CELLS_TO_TUNE_ON,
    seed: int = 0,
    checkpoints: Checkpoints | None = None,
) -> Tuning:
    """Choose the numbers for an opened data set, and show the verdicts.

    Parameters
    ----------
    data
        The opened input.
    preparation
        How its matrix becomes expression.
    batches
        The cells that are imputed together; one set of numbers is chosen for all of them.
    asked
        The method and its numbers: those that are given are kept.
    console, clock
        Show and time the stages.
    listed
        The genes, if they are listed.
    max_cells
        Number of cells to tune on, 0 for all.
    seed
        Which cells, molecules and genes are drawn.
    checkpoints
        Keeps finished stages; None if nothing does.

    Raises
    ------
    InputProblem
        The data are not whole counts, or too few.
    NotEnoughResources
        The memory does not suffice.
    """
    check_before_tuning(data, preparation, batches)
    threads = asked.threads or usable_cpus()
    used = _sampled(batches, max_cells, seed)
    if len(used) < data.n_cells:
        text = f"tuning on {len(used):,} of {quantity(data.n_cells, 'cell')}, drawn at random (seed {seed})"
        console.say(text, n_cells_used=len(used), n_cells=data.n_cells, seed=seed)
    rows = [np.searchsorted(used, np.intersect1d(batch.cells, used)) for batch in batches]
    needs = needs_of_tuning(data, asked, Extent.of(preparation), [len(cells) for cells in rows])
    needs.refuse_too_much()
    if asked.checkpoint_dir is not None and isinstance(asked, TuneParameters):
        say_kept(needs.kept, blobs_in(asked.checkpoint_dir), console)
    with clock.stage("tune: hold out molecules"):
        chosen = data.of_cells(used) if len(used) < data.n_cells else data
        halves = read_halves(
            chosen, preparation.scaling, asked.preparation(),
            fraction=HALF, seed=seed, listed=listed, progress=console.progress,
        )  # fmt: skip
    console.close_bar()
    work = Workspace(
        threads, lambda stage, fraction: console.progress(f"tune: {stage}", fraction), checkpoints=checkpoints
    )
    tuning = _tuned(halves, rows, asked, work, n_cells=data.n_cells, seed=seed)
    console.close_bar()
    for stage, seconds in work.seconds.items():
        clock.add(f"tune: {stage}", seconds)
    numbers = ", ".join(f"{name} = {value:g}" for name, value in tuning.parameters.items())
    console.say(f"tuned on held-out molecules: {numbers}", **tuning.parameters)
    console.show(tuning.findings)
    return tuning


def check_before_tuning(data: Dataset, preparation: Preparation, batches: Sequence[Batch]) -> None:
    """Refuse, before any work, what cannot be tuned on.

    Raises
    ------
    InputProblem
        The data are not whole counts, or too few.
    """
    refuse_other_than_counts(data, preparation.summary, "tune on")
    used = preparation.summary.cell_totals > 0
    _refuse_few([int(used[batch.cells].sum()) for batch in batches])


def _refuse_few(sizes: Sequence[int]) -> None:
    """Refuse too few cells; a batch with at most one is not imputed."""
    if sum(size for size in sizes if size >= 2) >= FEWEST_CELLS_FOR_TUNING:
        return
    among = " in batches of at least 2" if len(sizes) > 1 else ""
    raise InputProblem(
        f"too few cells to tune on: at least {FEWEST_CELLS_FOR_TUNING} with counts in both halves of their molecules "
        f"are needed{among} (found: {sum(size for size in sizes if size >= 2 or not among)})"
    )


def tuned(
    plan: Plan,
    asked: ImputeParameters,
    console: Console,
    clock: Clock,
    *,
    listed: Sequence[ListedGene] | None = None,
) -> Plan:
    """Return a plan with tuned numbers, and what tuning found.

    Parameters
    ----------
    plan
        The plan with the numbers as asked.
    asked
        The parameters; numbers that are given are kept.
    console, clock, listed
        As for :func:`tune_opened`.
    """
    tuning = tune_opened(
        plan.data, plan.preparation, plan.batches, asked, console, clock, listed=listed, checkpoints=plan.checkpoints
    )
    asked = asked.model_copy(update=tuning.parameters)
    settings = asked.method_parameters()
    return replace(
        plan,
        settings=settings,
        blend=blend_of(asked.blend_parameters()),
        noted=asked.result_parameters(settings),
        params=asked.effective_parameters(settings),
        tuning=tuning,
        findings=(*plan.findings, *tuning.findings),
    )


def _sampled(batches: Sequence[Batch], max_cells: int, seed: int) -> NDArray[np.intp]:
    """Return the cells to tune on: all, or a sample from every batch in proportion."""
    n_cells = sum(len(batch.cells) for batch in batches)
    if not max_cells or n_cells <= max_cells:
        return np.sort(np.concatenate([batch.cells for batch in batches]))
    random = np.random.default_rng(seed)
    share = max_cells / n_cells
    drawn = [random.permutation(batch.cells)[: max(1, int(len(batch.cells) * share))] for batch in batches]
    return np.sort(np.concatenate(drawn))


def _tuned(
    halves: Halves,
    batches: Sequence[NDArray[np.intp]],
    asked: MethodParameters,
    work: Workspace,
    *,
    n_cells: int,
    seed: int,
) -> Tuning:
    settings, given = asked.method_parameters(), given_numbers(asked)
    training, held_out = halves.training.expression, halves.held_out.expression
    of_cell = np.diff(training.indptr) > 0
    _refuse_few([int((of_cell & halves.in_both)[cells].sum()) for cells in batches])
    # A batch with at most one cell that is not empty is not imputed.
    imputed = [cells for cells in batches if of_cell[cells].sum() >= 2]
    grid = _grid(given, most=min(max(int(of_cell[cells].sum()) for cells in imputed) - 1, training.shape[1]))
    n_steps = max(int(settings["n_denoising_iterations"]), *grid.iterations)
    weights = scored_genes(training, seed=seed)
    starts: list[Start] = []
    found: Products | None = None
    for cells in imputed:
        begin = start_of(asked.method, training[cells], held_out[cells], settings, grid.ranks, work)
        own = products(begin, grid.ranks, n_steps, weights, work, seed=seed)
        found = own if found is None else found + own
        starts.append(begin)
    assert found is not None
    choice = choose(asked.method, found, grid, settings)
    neighborhoods = judge_neighborhoods(starts, choice.chosen, settings, work, seed=seed)
    return Tuning(
        choice=choice,
        neighborhoods=neighborhoods,
        n_cells=n_cells,
        n_cells_used=sum(len(cells) for cells in batches),
        seed=seed,
    )


def _grid(given: Mapping[str, Any], most: int) -> Grid:
    """Return what to try: everything, but for numbers that were given; ranks up to the largest possible."""
    grid = Grid()
    if "beta" in given:
        grid = replace(grid, betas=(float(given["beta"]),))
    if "n_denoising_iterations" in given:
        grid = replace(grid, iterations=(int(given["n_denoising_iterations"]),))
    if "low_rank_share" in given:
        grid = replace(grid, share=float(given["low_rank_share"]))
    if "low_rank" in given:
        return replace(grid, ranks=(int(given["low_rank"]),))
    return replace(grid, ranks=tuple(rank for rank in grid.ranks if rank <= most) or (max(1, most),))
