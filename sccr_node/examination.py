"""Looks at every value of the input and decides what the run will do with it, and what that will take."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sccr_node.anndata_io.checks import MatrixSummary, Scale, decide_scale, scan
from sccr_node.anndata_io.preparation import (
    GeneChoice,
    choose_genes,
)
from sccr_node.anndata_io.reading import InputData
from sccr_node.contract.methods import METHODS
from sccr_node.errors import InputProblem, NotEnoughResources
from sccr_node.feedback import Feedback
from sccr_node.methods import Shape, load
from sccr_node.numerics import usable_cpus
from sccr_node.params import ImputeParameters
from sccr_node.resources import memory_limit, readable_bytes

WORKING_BYTES = 300_000_000
"""What a run takes beside the arrays that are estimated: libraries, blocks, what the allocator keeps."""

OPERATIONS_PER_SECOND = 30e9
"""Of one thread, about: for the estimate of time that ``--dry-run`` prints."""


@dataclass(frozen=True)
class Batch:
    """Cells that are imputed together: a name (empty where there are no batches) and their sorted row numbers."""

    name: str
    cells: NDArray[np.intp]


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


def examine(
    data: InputData,
    params: ImputeParameters,
    feedback: Feedback,
    *,
    choice: GeneChoice | None = None,
) -> Examined:
    """Look at every value of the input, decide what to do with it, and say so.

    Parameters
    ----------
    data, params, feedback
        The input, the parameters, and where it says what it finds.
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
        from_config=params.from_config("genes"),
    )
    for message in choice.messages:
        feedback.say(message, record=True)
    if params.batch_key is not None:
        feedback.say(f"{len(batches)} batches in obs[{params.batch_key!r}], each imputed by itself", record=True)
        if METHODS[params.method].relation is not None:
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
        first = str(data.cell_names[int(np.argmax(missing))])
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
    numbers = params.method_parameters()
    for name, most in (("k_cell", summary.n_cells), ("k_denoising", summary.n_cells), ("k_gene", len(genes))):
        if name in numbers:
            numbers[name] = min(numbers[name], most)
    recovered = params.wants_recovered
    core_bytes, operations = 0, 0.0
    for batch in batches:
        share = len(batch.cells) / summary.n_cells
        shape = Shape(len(batch.cells), len(genes), int(n_stored * share))
        needs = load(params.method).cost(shape, numbers, params.outputs, params.threads or usable_cpus())
        core_bytes = max(core_bytes, needs.bytes)
        operations += needs.operations
    # The chosen genes exist twice for a moment, as they are stored and as float32, each with its column numbers.
    sparse_bytes = n_stored * 20
    threads = params.threads or usable_cpus()
    n_scratch = (2 if recovered else 1) if len(batches) > 1 else 0
    n_layers = sum(slot == "layers" for slot, _ in params.added_keys())
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
            f"give it more memory (or a higher --max-memory, where that is what limits it), or use {advice}"
        )
