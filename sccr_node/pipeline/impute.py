"""Imputation from file to file: open, plan, stage a copy, run, write, compose the side files, publish."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from sccr_node.contract.impute import ImputeParameters
from sccr_node.contract.keys import possible_keys
from sccr_node.contract.record import RunRecord
from sccr_node.contract.shared import AppendingParameters
from sccr_node.data.dataset import Dataset
from sccr_node.data.output import StagedOutput, check_keys, stage_output
from sccr_node.pipeline.needs import check_needs, say_kept
from sccr_node.pipeline.plan import Plan, make_plan, needs_by_header, open_input, with_checkpoints
from sccr_node.pipeline.run import run_plan
from sccr_node.pipeline.side_files import SideFiles, make_record
from sccr_node.pipeline.tune import check_before_tuning, tuned
from sccr_node.pipeline.tuned_before import with_tuning_before
from sccr_node.results import Imputation, Result, write
from sccr_node.runtime.console import Clock, Console
from sccr_node.runtime.words import quantity
from sccr_node.storage.atomic import commit_all
from sccr_node.storage.checkpoints import blobs_in
from sccr_node.storage.copying import sha256_of
from sccr_node.storage.files import staged_texts
from sccr_node.storage.formats import format_of_copy
from sccr_node.storage.targets import check_targets


def impute_file(
    source: Path, output: Path, asked: ImputeParameters, *, console: Console, command: Sequence[str] = ()
) -> RunRecord | None:
    """Impute a file and write the output and its side files.

    Parameters
    ----------
    source
        ``.h5ad``, ``.h5mu``, ``.zarr``, 10x ``.h5`` or a 10x folder.
    output
        ``.h5ad`` or ``.zarr`` (or ``.h5mu``, if the input is one): the input plus the result, with everything else
        unchanged.
    asked
        The parameters.
    console
        Shows findings and progress.
    command
        The command line, for the record.

    Returns
    -------
    The record of the run if one was asked for, whether as a file or in a report.

    Raises
    ------
    SccrError
        Any failure that the user can act on; nothing is written in that case.
    """
    clock = console.clock()
    with open_input(source, asked) as (data, listed):
        beside = SideFiles.of(asked)
        check_before(data, output, asked, beside)
        with clock.stage("read"):
            plan = with_tuning_before(make_plan(data, asked, console, listed=listed), asked, console)
        if asked.tune:
            check_before_tuning(plan.data, plan.preparation, plan.batches)
        check_needs(plan.needs, console)
        if plan.checkpoint_dir is not None:
            say_kept(plan.needs.kept, blobs_in(plan.checkpoint_dir), console)
        if asked.dry_run:
            console.say("dry run: nothing was written")
            return None
        if asked.tune:
            # Tuning comes before the copy, on whose way the input's digest is computed otherwise.
            plan = with_checkpoints(plan, lambda: sha256_of(source), console)
            plan = tuned(plan, asked, console, clock, listed=listed)
        return produce(plan, output, asked, beside, run_plan, console=console, clock=clock, command=command)


def check_file(source: Path, output: Path, asked: ImputeParameters, *, console: Console) -> None:
    """Check by its headers alone that a file can be imputed as asked, and show what that needs at most.

    Parameters
    ----------
    source, output, asked, console
        As for :func:`impute_file`.

    Raises
    ------
    SccrError
        As :func:`impute_file`, as far as it can be told before any value is read.
    """
    with open_input(source, asked) as (data, listed):
        check_before(data, output, asked, SideFiles.of(asked))
        needs = needs_by_header(data, asked, listed=listed)
        what = f"{quantity(data.n_cells, 'cell')} × {quantity(data.n_genes, 'gene')}"
        console.say(f"{data.source}: {what}; values were not scanned", n_cells=data.n_cells, n_genes=data.n_genes)
        check_needs(needs, console)


def produce(
    plan: Plan,
    output: Path,
    asked: AppendingParameters,
    beside: SideFiles,
    impute: Callable[..., Imputation],
    *,
    console: Console,
    clock: Clock,
    command: Sequence[str] = (),
) -> RunRecord | None:
    """Carry out a plan: copy, impute, write, compose, publish.

    Parameters
    ----------
    plan
        The plan.
    output
        The output's path.
    asked
        How files are written.
    beside
        The side files.
    impute
        Computes the imputation: :func:`~sccr_node.pipeline.run.run_plan`, or a function with the same signature that
        collects parts.
    console, clock, command
        As for :func:`impute_file`.
    """
    source = plan.data
    with stage_output(
        source,
        output,
        force=asked.force,
        replaced_keys=possible_keys(plan.keys.name),
        added_bytes=plan.needs.written,
        compression=asked.compression,
        threads=asked.threads,
        hashed=bool(beside.paths) or plan.checkpoint_dir is not None,
    ) as copy:
        # From here on the copy is read, not the input: what is imputed is then what was hashed.
        plan = with_checkpoints(replace(plan, data=copy.data), lambda: copy.sha256, console)
        imputation = impute(plan, console, clock)
        if plan.checkpoints is not None:
            plan.checkpoints.summarise()
        with clock.stage("write"):
            write(imputation, plan.keys, plan.data, copy, console.progress)
            copy.finish()
            written = None if beside.record is None else copy.written_sha256()
        console.close_bar()
        record, texts = None, {}
        if beside.paths:
            record = make_record(
                plan,
                imputation,
                source=source,
                copy=copy,
                written=written,
                command=command,
                clock=clock,
            )
            texts = beside.compose(output, record, Result.of_run(plan.data, plan.keys, imputation), console, clock)
        publish(copy, texts, force=asked.force)
        if plan.checkpoints is not None:
            plan.checkpoints.remove()
    keys = ["/".join(key) for key in plan.keys.all()]
    # What the record and the report say, if there are any.
    seconds = clock.elapsed if record is None else record.resources.total_seconds
    console.done(f"wrote {output}: {', '.join(keys)}", seconds, output=str(output), keys=keys)
    if beside.paths:
        files = [str(path) for path in beside.paths]
        console.done(f"also wrote {', '.join(files)}", seconds, files=files)
    return record


def publish(copy: StagedOutput, texts: Mapping[Path, str], *, force: bool) -> None:
    """Move the output and its side files into place: all or none of them if nothing is replaced.

    A signal can no longer interfere.

    Everything is on disk before the first file is renamed; the output comes last.
    """
    with staged_texts(texts, replace=force) as beside:
        copy.flush()
        commit_all([*beside, copy])


def check_before(
    data: Dataset, output: Path, asked: AppendingParameters, beside: SideFiles, inputs: Sequence[Path] = ()
) -> None:
    """Refuse, before any work, what could not be written or shown at the end.

    Raises
    ------
    SccrError
        A target exists and may not be replaced, cannot be written, or would overwrite an input or another target; a key
        already exists; a column to show does not exist.
    """
    targets = [format_of_copy(output, data.store).target(output), *beside.targets(output)]
    check_targets(
        targets,
        [data.path, *inputs, *asked.files_read()],
        force=asked.force,
        checkpoint_dir=getattr(asked, "checkpoint_dir", None),
    )
    check_keys(data, possible_keys(asked.key_added), overwrite=asked.overwrite_keys)
    if beside.label_key is not None:
        data.obs_column(beside.label_key)
