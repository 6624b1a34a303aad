"""The step: read, check, prepare, impute, attach, write, record."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from sccr_node import __version__, signals
from sccr_node.anndata_io.checks import MatrixSummary, Scale, decide_scale, scan
from sccr_node.anndata_io.preparation import (
    GeneChoice,
    Normalisation,
    choose_genes,
    normalisation,
    prepare_block,
    selected_expression,
    with_imputed,
)
from sccr_node.anndata_io.reading import InputData, open_input
from sccr_node.anndata_io.side_files import check_side_file, write_text_atomically
from sccr_node.anndata_io.writing import (
    StagedOutput,
    check_keys,
    check_output,
    input_bytes,
    sha256_of,
    stage_output,
)
from sccr_node.errors import InputProblem, NotEnoughResources
from sccr_node.feedback import Feedback
from sccr_node.imputation import IMPUTERS, Imputed, estimate, level, principal_components, usable_cpus
from sccr_node.params import METHOD_TITLES, ImputeParameters, PreparationParameters
from sccr_node.provenance import (
    BatchRecord,
    InputRecord,
    PreparationRecord,
    ResourcesRecord,
    ResultRecord,
    RunRecord,
)
from sccr_node.report.writing import check_multiqc_folder, compose_multiqc, compose_report, write_multiqc_files
from sccr_node.resources import memory_limit, peak_memory, readable_bytes
from sccr_node.scratch import ImputedRows, RowsInMemory, RowsOnDisk

WRITE_ROWS = 1024
"""Cells that are joined with their other genes at a time; small, because the imputed genes are dense."""

READ_BYTES = 32 * 2**20

SPARSE_BELOW = 0.5
"""A layer is stored sparse where at least half of it is zero, as the CELLxGENE schema asks."""

WORKING_BYTES = 300_000_000
"""What a run takes beside the arrays that are estimated: libraries, blocks, what the allocator keeps."""

OPERATIONS_PER_SECOND = 30e9
"""Of one thread, about: for the estimate of time that ``--dry-run`` prints."""


PACKAGES = ("anndata", "h5py", "numpy", "pandas", "pydantic", "scipy", "zarr")


@dataclass(frozen=True)
class Batch:
    """Cells that are imputed together: a name (empty where there are no batches) and their sorted row numbers."""

    name: str
    cells: NDArray[np.intp]


BatchImputer = Callable[[sparse.csr_matrix, Batch, ImputeParameters, Feedback], Imputed]
"""Gives the imputed values of a batch from its prepared expression."""

OutputName = Literal["denoised", "recovered"]


@dataclass(frozen=True)
class Examined:
    """What the input turned out to be, and what the run will do with it."""

    summary: MatrixSummary
    scale: Scale
    scale_reason: str
    genes: NDArray[np.intp]
    gene_messages: list[str]
    batches: list[Batch]
    estimated_bytes: int
    estimated_seconds: float
    scratch_bytes: int
    written_bytes: int


@dataclass
class Outcome:
    """What the run made of it, ready to be attached."""

    normalisation: Normalisation
    n_cells_used: int
    n_genes_used: int
    rows: dict[OutputName, ImputedRows]
    components: NDArray[np.float32]
    relations: sparse.csr_matrix | None
    n_nonzero_before: int
    n_nonzero_after: dict[OutputName, int]
    batches: list[BatchRecord]


def impute_file(
    input_path: Path,
    output_path: Path,
    params: ImputeParameters,
    *,
    feedback: Feedback | None = None,
    command: Sequence[str] = (),
    genes_from_config: bool = False,
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
    genes_from_config
        Whether a config file named the gene file.

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
        check_targets(data, output_path, params)
        examined = examine(data, params, feedback, genes_from_config=genes_from_config)
        check_memory(examined, params, feedback)
        if params.dry_run:
            feedback.say("dry run: nothing was written")
            return None
        return produce(data, output_path, examined, params, feedback, command)


def check_targets(data: InputData, output_path: Path, params: ImputeParameters) -> None:
    """Refuse, before any work, what could not be written or shown at the end.

    Raises
    ------
    SccrError
        The output, a side file or a key exists without leave, cannot be written, or a column to show does not exist.
    """
    check_output(data, output_path, force=params.force)
    check_side_files(data.path, output_path, params)
    check_keys(data, result_keys(params.key_added), overwrite=params.overwrite_keys)
    if params.label_key is not None:
        data.obs_column(params.label_key)


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
        with signals.held():
            output.commit()
            if params.provenance is not None:
                write_text_atomically(Path(params.provenance), record.model_dump_json(indent=2) + "\n")
            if params.report is not None:
                write_text_atomically(Path(params.report), page)
            if params.multiqc is not None:
                write_multiqc_files(Path(params.multiqc), multiqc)
    feedback.say(f"wrote {output_path} in {feedback.elapsed:.1f} s: {', '.join(record.result.keys)}")
    return record


def check_side_files(input_path: Path, output_path: Path, params: ImputeParameters) -> None:
    """Refuse, before any work, side files that could not be written at the end.

    Raises
    ------
    SccrError
        One exists without ``force``, is named twice, or its folder is missing or not permitted.
    """
    taken = [input_path, output_path]
    for side_file in (params.provenance, params.report):
        if side_file is not None:
            check_side_file(Path(side_file), force=params.force, others=taken)
            taken.append(Path(side_file))
    if params.multiqc is not None:
        check_multiqc_folder(output_path, Path(params.multiqc), force=params.force)


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


def result_keys(name: str) -> list[tuple[str, str]]:
    """Return every (slot, key) pair that a run may add under a name; with leave, all of them are replaced together."""
    return [
        ("layers", name),
        ("layers", f"{name}_recovered"),
        ("obsm", f"X_{name}"),
        ("varp", f"{name}_relations"),
        ("var", f"{name}_imputed"),
        ("uns", name),
    ]


def added_keys(params: ImputeParameters) -> list[tuple[str, str]]:
    """Return the (slot, key) pairs that a run with these parameters adds to its output."""
    name = params.key_added
    left_out = set()
    if params.write in ("recovered", "embedding"):
        left_out.add(("layers", name))
    if not wants_recovered(params):
        left_out.add(("layers", f"{name}_recovered"))
    if params.method == "scfp" or params.batch_key is not None:
        left_out.add(("varp", f"{name}_relations"))
    return [key for key in result_keys(name) if key not in left_out]


def examine(
    data: InputData,
    params: ImputeParameters,
    feedback: Feedback,
    *,
    genes_from_config: bool = False,
    choice: GeneChoice | None = None,
) -> Examined:
    """Look at every value of the input, decide what to do with it, and say so.

    Parameters
    ----------
    data, params, feedback
        The input, the parameters, and where it says what it finds.
    genes_from_config
        Whether a config file named the gene file.
    choice
        The genes, where they were chosen before.

    Raises
    ------
    SccrError
        The input cannot be imputed as asked.
    """
    with feedback.stage("read"):
        batches = batches_of(data, params.batch_key)
        summary = scan(data, feedback.progress)
    scale, reason = decide_scale(summary, params.input_scale)
    zeros = 1 - summary.n_nonzeros / (summary.n_cells * summary.n_genes)
    feedback.say(f"{data.source}: {summary.n_cells:,} cells x {summary.n_genes:,} genes, {zeros:.1%} zeros")
    feedback.say(f"input taken as {scale}: {reason}", record=True)
    for note in data.notes:
        feedback.warn(note, record=True)
    choice = choice or choose_genes(
        data,
        summary,
        genes=params.genes,
        n_top_genes=params.n_top_genes,
        scale=scale,
        from_config=genes_from_config,
    )
    for message in choice.messages:
        feedback.say(message, record=True)
    if params.batch_key is not None:
        feedback.say(f"{len(batches)} batches in obs[{params.batch_key!r}], each imputed by itself", record=True)
        if params.method != "scfp":
            feedback.say("no gene relations are written: each batch has a gene graph of its own", record=True)
    return _with_estimate(data, params, summary, scale, reason, choice, batches)


def batches_of(data: InputData, batch_key: str | None) -> list[Batch]:
    """Return the batches of the cells, sorted by name; one nameless batch where there is no batch column.

    Raises
    ------
    InputProblem
        The column does not exist or has missing values.
    """
    if batch_key is None:
        return [Batch("", np.arange(data.n_cells))]
    column = data.obs_column(batch_key)
    missing = column.isna().to_numpy()
    if missing.any():
        first = data.cell_names[int(np.argmax(missing))]
        raise InputProblem(
            f"obs[{batch_key!r}] of {data.path} has no value for {int(missing.sum())} cells (first: {first!r}): "
            "fill them in, or remove those cells"
        )
    labels = column.astype(str).to_numpy()
    names, codes = np.unique(labels, return_inverse=True)
    return [Batch(str(name), np.flatnonzero(codes == code)) for code, name in enumerate(names)]


def _with_estimate(
    data: InputData,
    params: ImputeParameters,
    summary: MatrixSummary,
    scale: Scale,
    reason: str,
    choice: GeneChoice,
    batches: list[Batch],
) -> Examined:
    genes = choice.columns
    n_stored = int(summary.gene_nonzeros[genes].sum())
    numbers: dict[str, Any] = {
        name: value
        for name, value in params.method_parameters().items()
        if name in ("k_cell", "k_gene", "n_iterations", "n_gene_iterations")
    }
    recovered = wants_recovered(params)
    core_bytes, operations = 0, 0.0
    for batch in batches:
        share = len(batch.cells) / summary.n_cells
        needs = estimate(
            len(batch.cells),
            len(genes),
            int(n_stored * share),
            method=params.method,
            recovered=recovered,
            threads=params.threads or usable_cpus(),
            **numbers,
        )
        core_bytes = max(core_bytes, needs.bytes)
        operations += needs.operations
    # The chosen genes exist twice for a moment, as they are stored and as float32, each with its column numbers.
    sparse_bytes = n_stored * 20
    threads = params.threads or usable_cpus()
    n_scratch = (2 if recovered else 1) if len(batches) > 1 else 0
    n_layers = sum(slot == "layers" for slot, _ in added_keys(params))
    return Examined(
        summary=summary,
        scale=scale,
        scale_reason=reason,
        genes=genes,
        gene_messages=choice.messages,
        batches=batches,
        estimated_bytes=WORKING_BYTES + data.in_memory_bytes + sparse_bytes + core_bytes,
        estimated_seconds=2.0 + operations / (OPERATIONS_PER_SECOND * threads),
        scratch_bytes=n_scratch * summary.n_cells * len(genes) * 4,
        written_bytes=n_layers * 8 * (summary.n_nonzeros - n_stored + summary.n_cells * len(genes)),
    )


def wants_recovered(params: ImputeParameters) -> bool:
    """Return whether the recovered expression is among the outputs."""
    return params.write in ("recovered", "both")


def check_memory(examined: Examined, params: ImputeParameters, feedback: Feedback) -> None:
    """Say what the run will take, and stop where it cannot fit.

    Raises
    ------
    NotEnoughResources
        The estimate is above the limit.
    """
    limit = params.max_memory or memory_limit()
    need = examined.estimated_bytes
    threads = params.threads or usable_cpus()
    feedback.say(
        f"estimate: {readable_bytes(need)} of memory (limit {readable_bytes(limit)}), "
        f"about {examined.estimated_seconds:.0f} s on {threads} thread{'s' if threads > 1 else ''}"
    )
    if need > limit:
        advice = (
            "fewer genes (--n-top-genes)"
            if params.batch_key
            else "batches (--batch-key) or fewer genes (--n-top-genes)"
        )
        raise NotEnoughResources(
            f"the run needs about {readable_bytes(need)} of memory and may use {readable_bytes(limit)}: "
            f"give it more (and --max-memory, where that is set), or use {advice}"
        )


def run_methods(
    data: InputData,
    examined: Examined,
    params: ImputeParameters,
    feedback: Feedback,
    *,
    scratch: Path | None = None,
    impute_batch: BatchImputer | None = None,
) -> Outcome:
    """Prepare the chosen genes and impute them, batch by batch.

    Parameters
    ----------
    data, examined, params
        The input, what it turned out to be, and the parameters.
    feedback
        Where it says what it does.
    scratch
        Folder for what finished batches wait in; None keeps them in memory.
    impute_batch
        What imputes a batch; the method where none is given.
    """
    summary, genes = examined.summary, examined.genes
    expression, found = prepare(data, examined, params, feedback)
    if found.target_sum is not None:
        feedback.say(f"counts scaled to {found.target_sum:,.10g} per cell, then log1p", record=True)
    shape = (summary.n_cells, len(genes))
    used_cells = np.diff(expression.indptr) > 0
    used_genes = np.bincount(expression.indices, minlength=len(genes)) > 0
    _say_what_is_empty(used_cells, used_genes, feedback)
    feedback.say(f"{METHOD_TITLES[params.method]}: imputing {shape[1]:,} genes of {shape[0]:,} cells")

    names: list[OutputName] = ["denoised", "recovered"] if wants_recovered(params) else ["denoised"]
    stores: dict[OutputName, ImputedRows] = {}
    nonzero_after = dict.fromkeys(names, 0)
    records: list[BatchRecord] = []
    result: Imputed | None = None
    for batch in examined.batches:
        alone = len(examined.batches) == 1
        part = expression if alone else expression[batch.cells]
        if len(batch.cells) == 1:
            which = f"batch {batch.name!r} has" if batch.name else "there is"
            feedback.warn(f"{which} one cell only: its values pass through unchanged", record=True)
        result = (impute_batch or _impute_batch)(part, batch, params, feedback)
        for name in names:
            values = getattr(result, name)
            nonzero_after[name] += int(np.count_nonzero(values))
            if alone:
                stores[name] = RowsInMemory(values)
            else:
                if name not in stores:
                    stores[name] = (
                        RowsInMemory(np.empty(shape, np.float32)) if scratch is None else RowsOnDisk(scratch, *shape)
                    )
                stores[name].put(batch.cells, values)
        if params.batch_key is not None:
            seconds = {stage: round(value, 3) for stage, value in result.seconds.items()}
            records.append(BatchRecord(name=batch.name, n_cells=len(batch.cells), seconds=seconds))
    assert result is not None
    return Outcome(
        normalisation=found,
        n_cells_used=int(used_cells.sum()),
        n_genes_used=int(used_genes.sum()),
        rows=stores,
        components=components(stores["denoised"], shape, params, feedback),
        relations=result.relations if params.batch_key is None else None,
        n_nonzero_before=int(expression.nnz),
        n_nonzero_after=nonzero_after,
        batches=records,
    )


def prepare(
    data: InputData, examined: Examined, params: PreparationParameters, feedback: Feedback
) -> tuple[sparse.csr_matrix, Normalisation]:
    """Return the expression of the chosen genes, cells x genes, and how it was normalised."""
    normalise = partial(
        normalisation,
        examined.summary,
        normalize_by=params.normalize_by,
        target_sum=params.target_sum,
        scale=examined.scale,
    )
    with feedback.stage("prepare"):
        return selected_expression(data, examined.genes, normalise, feedback.progress)


def _say_what_is_empty(used_cells: NDArray[np.bool_], used_genes: NDArray[np.bool_], feedback: Feedback) -> None:
    for used, what, other in (
        (used_cells, "cells", "of the chosen genes"),
        (used_genes, "chosen genes", "in any cell"),
    ):
        empty = int((~used).sum())
        if empty:
            feedback.warn(
                f"{empty} {what} have no expression {other}: they take no part, and their imputed values are 0",
                record=True,
            )


def _impute_batch(expression: sparse.csr_matrix, batch: Batch, params: ImputeParameters, feedback: Feedback) -> Imputed:
    where = f"{batch.name}: " if batch.name else ""

    def progress(stage: str, fraction: float) -> None:
        feedback.progress(where + stage, fraction)

    options: dict[str, Any] = dict(params.method_parameters())
    if params.method == "sccr":
        options["recovered"] = wants_recovered(params)
    imputer: Callable[..., Imputed] = IMPUTERS[params.method]
    result = imputer(expression, threads=params.threads, progress=progress, **options)
    for stage, seconds in result.seconds.items():
        name = f"impute: {stage}"
        feedback.seconds[name] = feedback.seconds.get(name, 0.0) + seconds
    return result


def attach(
    output: StagedOutput,
    data: InputData,
    examined: Examined,
    outcome: Outcome,
    params: ImputeParameters,
    feedback: Feedback,
) -> None:
    """Append everything that the run made to the staged output."""
    layers: dict[str, OutputName] = {params.key_added: "denoised", f"{params.key_added}_recovered": "recovered"}
    for slot, key in added_keys(params):
        if slot == "layers":
            output.write_layer(
                key,
                (data.n_cells, data.n_genes),
                layer_blocks(data, examined, outcome, layers[key], partial(feedback.progress, f"write {key}")),
                sparse=layer_is_sparse(examined, outcome, layers[key]),
            )
        elif slot == "obsm":
            output.write_obsm(key, outcome.components)
        elif slot == "varp":
            assert outcome.relations is not None
            relations = over_all_genes(outcome.relations, examined.genes, data.n_genes)
            output.write_varp(key, relations)
        elif slot == "var":
            output.write_var_column(key, imputed_flags(examined.genes, data.n_genes))
        else:
            output.write_uns(key, summary_of_run(data.layer, examined, outcome, params, feedback.messages))


def layer_is_sparse(examined: Examined, outcome: Outcome, which: OutputName) -> bool:
    """Return whether an output, with the genes that were not imputed, is to be stored sparse."""
    summary = examined.summary
    n_nonzero = summary.n_nonzeros - outcome.n_nonzero_before + outcome.n_nonzero_after[which]
    return n_nonzero <= SPARSE_BELOW * summary.n_cells * summary.n_genes


def layer_blocks(
    data: InputData, examined: Examined, outcome: Outcome, which: OutputName, progress: Callable[[float], None]
) -> Iterator[sparse.csr_matrix]:
    """Yield an output in blocks of cells: imputed genes as imputed, the others with the same scaling."""
    factors, imputed = outcome.normalisation.factors, outcome.rows[which]
    for first, block in data.blocks(READ_BYTES):
        for start in range(0, block.shape[0], WRITE_ROWS):
            part = block[start : start + WRITE_ROWS]
            cells = slice(first + start, first + start + part.shape[0])
            prepared = prepare_block(part, None if factors is None else factors[cells])
            yield with_imputed(prepared, examined.genes, imputed.rows(cells.start, cells.stop))
            progress(cells.stop / data.n_cells)


def components(
    denoised: ImputedRows, shape: tuple[int, int], params: ImputeParameters, feedback: Feedback
) -> NDArray[np.float32]:
    """Return the principal components of the denoised, imputed genes, over all cells together."""
    with feedback.stage("principal components"):
        return principal_components(
            denoised.rows, *shape, params.n_components, threads=params.threads, progress=feedback.progress
        )


def over_all_genes(relations: sparse.csr_matrix, genes: NDArray[np.intp], n_genes: int) -> sparse.csr_matrix:
    """Return the gene graph of the imputed genes as a matrix over all genes (sorted ``genes`` keep their order)."""
    counts = np.zeros(n_genes, dtype=relations.indptr.dtype)
    counts[genes] = np.diff(relations.indptr)
    pointers = np.concatenate([[0], np.cumsum(counts)]).astype(relations.indptr.dtype)
    columns = genes[relations.indices].astype(relations.indices.dtype)
    return sparse.csr_matrix((relations.data, columns, pointers), shape=(n_genes, n_genes))


def imputed_flags(genes: NDArray[np.intp], n_genes: int) -> NDArray[np.bool_]:
    """Return which genes were imputed."""
    flags = np.zeros(n_genes, dtype=bool)
    flags[genes] = True
    return flags


def summary_of_run(
    layer: str | None, examined: Examined, outcome: Outcome, params: ImputeParameters, messages: Sequence[str]
) -> dict[str, Any]:
    """Return what ``uns`` says of the run: facts of data and parameters only, so that equal runs write equal files."""
    return {
        "version": __version__,
        "method": params.method,
        "params": params.result_parameters(),
        "input": {
            "scale": examined.scale,
            "layer": "X" if layer is None else layer,
            "genes": params.result_parameters()["genes"],
        },
        "n_cells": outcome.n_cells_used,
        "n_genes": outcome.n_genes_used,
        "messages": list(messages),
    }


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
    effective = params.model_dump(mode="json") | params.method_parameters()
    return RunRecord(
        version=__version__,
        command=list(command),
        method=params.method,
        params=effective,
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
            keys=["/".join(key) for key in added_keys(params)],
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
