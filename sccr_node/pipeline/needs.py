"""What a run needs, estimated before it: memory, disk and time, of imputing and of tuning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from sccr_node.contract.impute import ImputeParameters
from sccr_node.contract.keys import ResultKeys
from sccr_node.contract.methods import Output, Value
from sccr_node.contract.report import CELLS_DRAWN
from sccr_node.contract.tune import CELLS_TO_TUNE_ON, TuneParameters
from sccr_node.data.dataset import Dataset
from sccr_node.data.preparation import Preparation
from sccr_node.errors import NotEnoughResources
from sccr_node.evaluation.tuning import tuning_cost
from sccr_node.methods import Cost, Shape, load
from sccr_node.numerics.costs import buffer_bytes
from sccr_node.numerics.pca import GRAM_GENES
from sccr_node.runtime.console import Console
from sccr_node.runtime.resources import memory_limit, readable_bytes, usable_cpus
from sccr_node.runtime.scratch import check_scratch, scratch_dir
from sccr_node.runtime.words import quantity
from sccr_node.storage.blobs import Blobs

WORKING_BYTES = 300_000_000
"""What a run needs in addition to the estimated arrays: libraries, blocks, what the allocator keeps."""

PREPARED_BYTES = 28
"""Per value of the selected genes: for a moment they exist as stored and as float32, each with its column indices."""

OPERATIONS_PER_SECOND = 42e9
"""Roughly, per thread with AVX-512, of the products of a search: for the estimated time that ``--dry-run`` prints."""

WRITTEN_OPERATIONS = 4000
"""What compressing and writing a value takes, in such operations."""

START_SECONDS = 1.2
"""To load the libraries, and to copy and flush small files."""


REPORT_BYTES = 22
"""Per value of the cells that a report draws: its groups and genes are compared before and after, in dense blocks."""

REPORT_LIBRARIES = 60_000_000
"""Modules that only a report loads."""

REPORT_SECONDS, SECONDS_PER_DRAWN = 2.0, 2e-3
"""To load what a report needs, and to place each cell that it draws; on one thread."""


@dataclass(frozen=True)
class Needs:
    """The estimated needs of a run.

    Attributes
    ----------
    memory, memory_limit
        Peak memory, and what the process may use, in bytes.
    scratch, written
        Bytes on disk: temporary files (batches that wait to be written, and matrices that memory does not hold), and
        what is added to the output.
    seconds
        Approximate time on ``threads`` threads.
    on_disk
        How many matrices of cells x genes are kept on disk.
    kept
        Bytes that checkpoints take, if there are any.
    doing
        What needs the memory, for the message.
    ways_out
        What else the user can do if the memory does not suffice.
    """

    memory: int
    memory_limit: int
    scratch: int
    written: int
    seconds: float
    threads: int
    on_disk: int = 0
    kept: int = 0
    ways_out: tuple[str, ...] = ()
    doing: str = "the run"

    def refuse_too_much(self) -> None:
        """Refuse what would not fit in memory.

        Raises
        ------
        NotEnoughResources
            The estimate exceeds the limit.
        """
        if self.memory > self.memory_limit:
            raise NotEnoughResources(
                f"not enough memory: {self.doing} needs about {readable_bytes(self.memory)} and may use only "
                f"{readable_bytes(self.memory_limit)}; provide more (or raise --max-memory, if that is the limit)"
                + "".join(f", or {way_out}" for way_out in self.ways_out)
            )


@dataclass(frozen=True)
class Extent:
    """How much is imputed, by which needs are estimated.

    Attributes
    ----------
    n_cells, n_genes
        Cells, and selected genes.
    n_stored, n_nonzeros
        Values of the selected genes, and of all.
    """

    n_cells: int
    n_genes: int
    n_stored: int
    n_nonzeros: int

    @classmethod
    def of(cls, preparation: Preparation) -> Extent:
        """Return the extent of what was read and selected."""
        summary, genes = preparation.summary, preparation.genes
        n_stored = int(summary.gene_nonzeros[genes].sum())
        return cls(summary.n_cells, len(genes), n_stored, summary.n_nonzeros)

    @classmethod
    def at_most(cls, data: Dataset, n_genes: int) -> Extent:
        """Return the largest extent of some genes by the header alone: no value is read."""
        return cls(data.n_cells, n_genes, min(data.n_stored, data.n_cells * n_genes), data.n_stored)


def needs_of(
    data: Dataset,
    asked: ImputeParameters,
    extent: Extent,
    sizes: Sequence[int],
    settings: Mapping[str, Value],
) -> Needs:
    """Estimate what a run needs, with tuning and the report if they are asked for: the largest memory, and all time.

    Parameters
    ----------
    data
        The opened input.
    asked
        The parameters.
    extent
        How much is imputed.
    sizes
        Number of cells of each batch.
    settings
        All parameters of the method.
    """
    imputing = _of_imputing(data, asked, extent, sizes, settings)
    phases = [imputing]
    if asked.tune:
        share = min(1.0, CELLS_TO_TUNE_ON / sum(sizes))
        phases.append(needs_of_tuning(data, asked, extent, [int(size * share) for size in sizes]))
    if asked.report is not None:
        phases.append(_of_report(imputing, data, asked, extent, sizes))
    largest = max(phases, key=lambda phase: phase.memory)
    return replace(
        imputing,
        seconds=sum(phase.seconds for phase in phases),
        memory=largest.memory,
        ways_out=largest.ways_out,
        doing=largest.doing,
    )


class Estimate(NamedTuple):
    """Memory (bytes) and time (seconds) of an imputation, matrices of its largest batch, bytes of its checkpoints."""

    memory: int
    seconds: float
    matrices: int
    kept: int


def estimate(
    method: str, batches: Sequence[Shape], settings: Mapping[str, Value], outputs: Sequence[Output], threads: int
) -> Estimate:
    """Estimate an imputation by the shapes of its batches, beside what the input itself takes in memory."""
    costs = [load(method).cost(shape, settings, outputs, threads) for shape in batches]
    largest = max(costs, key=lambda cost: cost.bytes)
    n_cells, n_genes = sum(shape.n_cells for shape in batches), batches[0].n_genes
    n_stored, of_batch = sum(shape.n_stored for shape in batches), 0
    if len(batches) > 1:
        of_batch = 8 * max(shape.n_stored for shape in batches)
    values = n_cells * n_genes
    around = 2 * values * min(n_genes, GRAM_GENES) + len(outputs) * WRITTEN_OPERATIONS * values
    operations = sum(cost.operations for cost in costs) + around
    return Estimate(
        memory=WORKING_BYTES + max(PREPARED_BYTES * n_stored, 8 * n_stored + of_batch + largest.bytes),
        seconds=START_SECONDS + operations / (OPERATIONS_PER_SECOND * threads),
        matrices=largest.buffers,
        kept=sum(cost.kept for cost in costs),
    )


def _of_imputing(
    data: Dataset,
    asked: ImputeParameters,
    extent: Extent,
    sizes: Sequence[int],
    settings: Mapping[str, Value],
) -> Needs:
    n_genes = extent.n_genes
    threads = asked.threads or usable_cpus()
    settings = settings_within(settings, extent.n_cells, n_genes)
    shapes = [Shape(size, n_genes, int(extent.n_stored * size / extent.n_cells)) for size in sizes]
    estimated = estimate(asked.method, shapes, settings, asked.outputs, threads)
    memory = estimated.memory + data.in_memory_bytes
    limit = asked.max_memory or memory_limit()
    matrix, on_disk = buffer_bytes(max(sizes), n_genes), 0
    if asked.work_dir is not None and memory > limit:
        on_disk = min(estimated.matrices, -(-(memory - limit) // matrix))
    n_waiting = len(asked.outputs) if len(sizes) > 1 else 0
    return Needs(
        memory=memory - on_disk * matrix,
        memory_limit=limit,
        scratch=n_waiting * extent.n_cells * n_genes * 4 + on_disk * matrix,
        written=written_bytes(extent, asked.result_keys()),
        seconds=estimated.seconds,
        threads=threads,
        on_disk=on_disk,
        kept=estimated.kept,
        ways_out=(
            *([] if asked.work_dir else ["keep the largest matrices on disk (--work-dir)"]),
            *([] if asked.batch_key else ["impute by batches (--batch-key)"]),
            "use fewer genes (--n-top-genes)",
        ),
    )


def _of_report(imputing: Needs, data: Dataset, asked: ImputeParameters, extent: Extent, sizes: Sequence[int]) -> Needs:
    """Estimate what the report needs, beside the expression and the result, which are still in memory then."""
    in_memory = len(asked.outputs) if len(sizes) == 1 and not imputing.on_disk else 0
    n_drawn = min(extent.n_cells, CELLS_DRAWN)
    return replace(
        imputing,
        memory=WORKING_BYTES
        + REPORT_LIBRARIES
        + data.in_memory_bytes
        + 8 * extent.n_stored
        + in_memory * buffer_bytes(extent.n_cells, extent.n_genes)
        + REPORT_BYTES * n_drawn * extent.n_genes,
        seconds=REPORT_SECONDS + SECONDS_PER_DRAWN * n_drawn,
        ways_out=("leave out --report (sccr report can write it later)",),
        doing="the report",
    )


def needs_of_tuning(
    data: Dataset, asked: ImputeParameters | TuneParameters, extent: Extent, sizes: Sequence[int]
) -> Needs:
    """Estimate what tuning needs.

    Parameters
    ----------
    data, asked, extent
        As for :func:`needs_of`.
    sizes
        Number of cells of each batch that are tuned on.
    """
    n_genes, n_stored = extent.n_genes, extent.n_stored
    threads = asked.threads or usable_cpus()
    settings = settings_within(asked.method_parameters(), sum(sizes), n_genes)

    def cost_of(n_cells: int) -> Cost:
        shape = Shape(n_cells, n_genes, int(n_stored * n_cells / extent.n_cells))
        return tuning_cost(asked.method, shape, settings, threads)

    n_cells = sum(sizes)
    share = n_cells / extent.n_cells
    return Needs(
        # Both halves as stored and as float32. What every batch starts from is kept until all are judged.
        memory=WORKING_BYTES
        + data.in_memory_bytes
        + int(extent.n_nonzeros * share) * 16
        + int(n_stored * share) * 24
        + cost_of(n_cells).bytes,
        memory_limit=asked.max_memory or memory_limit(),
        scratch=0,
        written=0,
        seconds=START_SECONDS + sum(cost_of(size).operations for size in sizes) / (OPERATIONS_PER_SECOND * threads),
        threads=threads,
        kept=cost_of(n_cells).kept,
        ways_out=("tune on fewer cells (sccr tune --max-cells)", "use fewer threads (--threads)"),
        doing="tuning",
    )


def settings_within(settings: Mapping[str, Value], n_cells: int, n_genes: int) -> dict[str, Value]:
    """Return the method's settings for an estimate: no cell or gene can have more neighbours than there are."""
    most = {"k_cell": n_cells, "k_denoising": n_cells, "k_gene": n_genes}
    return {name: min(value, most[name]) if name in most else value for name, value in settings.items()}


def written_bytes(extent: Extent, keys: ResultKeys) -> int:
    """Estimate how many bytes a result adds to its output."""
    return len(keys.layers) * 8 * (extent.n_nonzeros - extent.n_stored + extent.n_cells * extent.n_genes)


def say_kept(kept: int, blobs: Blobs, console: Console) -> None:
    """Show how much room checkpoints take, and how much there is; too little is a warning, because a run needs none."""
    free = blobs.free()
    room = "" if free is None else f" ({readable_bytes(free)} free)"
    text = f"checkpoints: up to about {readable_bytes(kept)} in {blobs}{room}"
    if free is not None and free < kept:
        console.warn(f"{text}; what does not fit is not kept", checkpoint_bytes=kept, free_bytes=free)
    else:
        console.say(text, checkpoint_bytes=kept, free_bytes=free)


def check_needs(needs: Needs, console: Console) -> None:
    """Show the estimated memory and time, and refuse a run that would not fit in memory or on the disk for scratch.

    Raises
    ------
    NotEnoughResources
        An estimate exceeds what there is.
    """
    seconds = f"about {needs.seconds:.0f} s" + (" or, because of these, several times as long" if needs.on_disk else "")
    matrices = quantity(needs.on_disk, "matrix", "matrices")
    on_disk = f" with {matrices} on disk ({readable_bytes(needs.scratch)} in {scratch_dir()})" if needs.on_disk else ""
    console.say(
        f"estimate: {readable_bytes(needs.memory)} of memory (limit {readable_bytes(needs.memory_limit)}){on_disk}, "
        f"{seconds} on {quantity(needs.threads, 'thread')}",
        memory_bytes=needs.memory,
        memory_limit_bytes=needs.memory_limit,
        scratch_bytes=needs.scratch,
        estimated_seconds=round(needs.seconds, 1),
        threads=needs.threads,
    )
    needs.refuse_too_much()
    check_scratch(needs.scratch)
