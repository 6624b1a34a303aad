"""The step: read, check, prepare, impute, attach, write, record."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from importlib.metadata import version as installed_version
from pathlib import Path

from sccr_node import __version__, signals
from sccr_node.anndata_io.reading import InputData, open_input
from sccr_node.anndata_io.side_files import staged_text
from sccr_node.anndata_io.targets import Target, check_targets
from sccr_node.anndata_io.writing import check_keys, input_bytes, output_target, sha256_of, stage_output
from sccr_node.attachment import attach
from sccr_node.examination import Examined, check_memory, examine
from sccr_node.feedback import Feedback
from sccr_node.numerics import level, usable_cpus
from sccr_node.params import ImputeParameters, result_keys
from sccr_node.provenance import (
    InputRecord,
    PreparationRecord,
    ResourcesRecord,
    ResultRecord,
    RunRecord,
)
from sccr_node.report.writing import compose_multiqc, compose_report, multiqc_target, write_multiqc_files
from sccr_node.resources import memory_limit, peak_memory
from sccr_node.running import BatchImputer, Outcome, run_methods

PACKAGES = ("anndata", "h5py", "numpy", "pandas", "pydantic", "scipy", "zarr")


def impute_file(
    input_path: Path,
    output_path: Path,
    params: ImputeParameters,
    *,
    feedback: Feedback | None = None,
    command: Sequence[str] = (),
) -> RunRecord | None:
    """Run the step from file to file.

    Parameters
    ----------
    input_path
        ``.h5ad``, ``.zarr``, 10x ``.h5`` or a 10x folder.
    output_path
        ``.h5ad`` or ``.zarr``; the input with what the step adds, nothing else changed.
    params
        The parameters.
    feedback
        Where it says what it finds and does.
    command
        The command line, for the record.

    Returns
    -------
    The record of the run; None for a dry run.

    Raises
    ------
    SccrError
        Any failure that the user can act on; nothing has been written then.
    """
    feedback = feedback or Feedback(quiet=True)
    with open_input(input_path, params.layer) as data:
        check_before(data, output_path, params)
        examined = examine(data, params, feedback)
        check_memory(examined, params, feedback)
        if params.dry_run:
            feedback.say("dry run: nothing was written")
            return None
        return produce(data, output_path, examined, params, feedback, command)


def produce(
    data: InputData,
    output_path: Path,
    examined: Examined,
    params: ImputeParameters,
    feedback: Feedback,
    command: Sequence[str],
    impute_batch: BatchImputer | None = None,
) -> RunRecord:
    """Impute, attach, write and record.

    Parameters
    ----------
    data, output_path, examined, params
        The input, where the output goes, what the input turned out to be, and the parameters.
    feedback
        Where it says what it does.
    command
        The command line, for the record.
    impute_batch
        What imputes a batch; the method where none is given.

    Returns
    -------
    The record of the run.
    """
    with stage_output(
        data,
        output_path,
        force=params.force,
        replaced_keys=result_keys(params.key_added),
        added_bytes=examined.written_bytes + examined.scratch_bytes,
        compression=params.compression,
        threads=params.threads,
    ) as output:
        scratch = output_path.parent if examined.scratch_bytes else None
        outcome = run_methods(data, examined, params, feedback, scratch=scratch, impute_batch=impute_batch)
        with feedback.stage("write"):
            attach(output, data, examined, outcome, params, feedback)
            finished = output.finish()
        record = make_record(data, examined, outcome, params, feedback, command, output_path)
        record.resources.total_seconds = round(feedback.elapsed, 3)
        page, multiqc = compose_side_files(finished, output_path, record, params, feedback)
        texts = {params.provenance: record.as_json(), params.report: page}
        with ExitStack() as beside, signals.held():
            # All of them are written before the first is put in its place: a disk may be full for one of them.
            side_files = [beside.enter_context(staged_text(Path(name), text)) for name, text in texts.items() if name]
            output.commit()
            for side_file in side_files:
                side_file.commit()
            if params.multiqc is not None:
                write_multiqc_files(Path(params.multiqc), multiqc)
    feedback.say(f"wrote {output_path} in {feedback.elapsed:.1f} s: {', '.join(record.result.keys)}")
    beside_it = [name for name in (params.provenance, params.report, params.multiqc) if name is not None]
    if beside_it:
        feedback.say(f"beside it: {', '.join(beside_it)}")
    return record


def check_before(data: InputData, output_path: Path, params: ImputeParameters, inputs: Sequence[Path] = ()) -> None:
    """Refuse, before any work, what could not be written or shown at the end.

    Raises
    ------
    SccrError
        A target exists without leave, cannot be written, or would cost an input or another target; a key exists; a
        column to show does not exist.
    """
    targets: list[Target] = [output_target(output_path)]
    targets += [Target(Path(name)) for name in (params.provenance, params.report) if name is not None]
    if params.multiqc is not None:
        targets.append(multiqc_target(output_path, Path(params.multiqc)))
    check_targets(targets, [data.path, *inputs, *params.files_read()], force=params.force)
    check_keys(data, result_keys(params.key_added), overwrite=params.overwrite_keys)
    if params.label_key is not None:
        data.obs_column(params.label_key)


def compose_side_files(
    finished: Path, output_path: Path, record: RunRecord, params: ImputeParameters, feedback: Feedback
) -> tuple[str, dict[str, str]]:
    """Return the report and the MultiQC content of a finished output that is not in its place yet, as asked for."""
    page, multiqc = "", {}
    if params.report is not None:
        with feedback.stage("report"):
            page = compose_report(
                finished,
                record=record,
                label_key=params.label_key,
                batch_key=params.batch_key,
                shown_as=output_path,
                progress=feedback.progress,
            )
    if params.multiqc is not None:
        with feedback.stage("report"):
            multiqc = compose_multiqc(finished, record=record, shown_as=output_path, progress=feedback.progress)
    return page, multiqc


def make_record(
    data: InputData,
    examined: Examined,
    outcome: Outcome,
    params: ImputeParameters,
    feedback: Feedback,
    command: Sequence[str],
    output_path: Path,
) -> RunRecord:
    """Return the record of a run."""
    summary = examined.summary
    entries = summary.n_cells * len(examined.genes)
    after = outcome.n_nonzero_after["recovered" if params.write == "recovered" else "denoised"]
    relations = outcome.relations
    return RunRecord(
        version=__version__,
        command=list(command),
        method=params.method,
        params=params.effective_parameters(),
        input=InputRecord(
            path=str(data.path),
            format=data.format,
            sha256=sha256_of(data.path),
            bytes=input_bytes(data.path),
            layer=data.layer,
            scale=examined.scale,
            scale_reason=examined.scale_reason,
            n_cells=summary.n_cells,
            n_genes=summary.n_genes,
            n_nonzero=summary.n_nonzeros,
        ),
        preparation=PreparationRecord(
            genes_choice=params.genes,
            n_genes_imputed=len(examined.genes),
            normalize_by=params.normalize_by if examined.scale == "counts" else None,
            target_sum=outcome.normalisation.target_sum,
            n_empty_cells=summary.n_cells - outcome.n_cells_used,
            n_empty_genes=len(examined.genes) - outcome.n_genes_used,
        ),
        batches=outcome.batches,
        result=ResultRecord(
            path=str(output_path),
            format="zarr" if output_path.suffix == ".zarr" else "h5ad",
            keys=["/".join(key) for key in params.added_keys()],
            zeros_before=1 - outcome.n_nonzero_before / entries,
            zeros_after=None if params.write == "embedding" else 1 - after / entries,
            n_relations_associating=None if relations is None else int((relations.data > 0).sum()) // 2,
            n_relations_dissociating=None if relations is None else int((relations.data < 0).sum()) // 2,
        ),
        resources=ResourcesRecord(
            threads=params.threads or usable_cpus(),
            vector_instructions=level(),
            seconds={stage: round(seconds, 3) for stage, seconds in feedback.seconds.items()},
            total_seconds=0.0,
            peak_memory_bytes=peak_memory(),
            estimated_memory_bytes=examined.estimated_bytes,
            memory_limit_bytes=params.max_memory or memory_limit(),
        ),
        software={"python": platform.python_version()} | {name: installed_version(name) for name in PACKAGES},
        started=feedback.started.isoformat(timespec="seconds"),
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
        messages=list(feedback.messages),
    )
