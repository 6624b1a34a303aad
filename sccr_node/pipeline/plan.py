"""What a run will do, decided once: what was found, the settings, what is written, what it takes; every refusal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sccr_node.contract.impute import ImputeParameters
from sccr_node.contract.keys import ResultKeys
from sccr_node.contract.methods import METHODS, Output, Value
from sccr_node.data.dataset import InputData
from sccr_node.data.preparation import GeneChoice, Preparation, decide_preparation
from sccr_node.errors import InputProblem, NotEnoughResources
from sccr_node.methods import Shape, load
from sccr_node.runtime.console import Console, Finding
from sccr_node.runtime.resources import memory_limit, readable_bytes, usable_cpus

WORKING_BYTES = 300_000_000
"""What a run takes beside the arrays that are estimated: libraries, blocks, what the allocator keeps."""

OPERATIONS_PER_SECOND = 30e9
"""Of one thread, about: for the estimate of time that ``--dry-run`` prints."""


@dataclass(frozen=True)
class Batch:
    """Cells that are imputed together: a name (empty without batches) and their sorted row numbers."""

    name: str
    cells: NDArray[np.intp]


@dataclass(frozen=True)
class Needs:
    """What a run takes, as far as that can be told before.

    Attributes
    ----------
    memory, memory_limit
        Bytes at the peak, and how many the process may use.
    scratch, written
        Bytes on the disk of the output: while batches wait for each other, and for what is added.
    seconds
        About how long it takes, on ``threads`` threads.
    """

    memory: int
    memory_limit: int
    scratch: int
    written: int
    seconds: float
    threads: int


@dataclass(frozen=True)
class Plan:
    """What a run will do: complete, so that nobody below asks for a default or a parameter again.

    Attributes
    ----------
    data
        The opened input.
    preparation
        How its matrix becomes expression.
    batches, batch_key
        The cells that are imputed together, and the column that tells them apart.
    method, settings
        The method and all of its numbers.
    outputs
        What the method is asked for.
    keys
        Where the result goes.
    n_components
        How many principal components are kept.
    noted, params
        The parameters that the result depends on, as ``uns`` records them; all of them, for the run record.
    needs
        What it takes.
    findings
        What a reader of the result should know, as far as it is known before the run.
    """

    data: InputData
    preparation: Preparation
    batches: tuple[Batch, ...]
    batch_key: str | None
    method: str
    settings: Mapping[str, Value]
    outputs: tuple[Output, ...]
    keys: ResultKeys
    n_components: int
    noted: Mapping[str, Any]
    params: Mapping[str, Any]
    needs: Needs
    findings: tuple[Finding, ...]

    @property
    def shape(self) -> tuple[int, int]:
        """Cells x imputed genes."""
        return self.data.n_cells, len(self.preparation.genes)


def make_plan(data: InputData, asked: ImputeParameters, console: Console, *, choice: GeneChoice | None = None) -> Plan:
    """Look at every value of the input, decide what to do with it, and say so.

    Parameters
    ----------
    data
        The opened input.
    asked
        The parameters.
    console
        Where findings are shown as they are made.
    choice
        The genes, if they were chosen before.

    Raises
    ------
    SccrError
        The input cannot be imputed as asked.
    """
    batches = batches_of(data, asked.batch_key)
    preparation = decide_preparation(data, **asked.preparation(), choice=choice, progress=console.progress)
    findings = [*preparation.findings, *of_batches(batches, asked.batch_key, asked.method)]
    console.say(preparation.headline())
    console.show(findings)
    return Plan(
        data=data,
        preparation=preparation,
        batches=batches,
        batch_key=asked.batch_key,
        method=asked.method,
        settings=asked.method_parameters(),
        outputs=asked.outputs,
        keys=asked.result_keys(),
        n_components=asked.n_components,
        noted=asked.result_parameters(),
        params=asked.effective_parameters(),
        needs=_needs(data, asked, preparation, batches),
        findings=tuple(findings),
    )


def batches_of(data: InputData, batch_key: str | None) -> tuple[Batch, ...]:
    """Return the batches of the cells, sorted by name; one nameless batch if there is no batch column.

    Raises
    ------
    InputProblem
        The column does not exist or has missing values.
    """
    if batch_key is None:
        return (Batch("", np.arange(data.n_cells)),)
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
    return tuple(Batch(str(name), np.flatnonzero(codes == code)) for code, name in enumerate(names))


def of_batches(batches: tuple[Batch, ...], batch_key: str | None, method: str) -> list[Finding]:
    """Return what a reader of the result should know of the batches."""
    if batch_key is None:
        return []
    findings = [Finding(f"{len(batches)} batches in obs[{batch_key!r}], each imputed by itself")]
    if METHODS[method].relation is not None:
        findings.append(Finding("no gene relations are written: each batch has a gene graph of its own"))
    return findings


def _needs(data: InputData, asked: ImputeParameters, preparation: Preparation, batches: tuple[Batch, ...]) -> Needs:
    summary, genes = preparation.summary, preparation.genes
    n_stored = int(summary.gene_nonzeros[genes].sum())
    threads = asked.threads or usable_cpus()
    settings = asked.method_parameters()
    for name, most in (("k_cell", summary.n_cells), ("k_denoising", summary.n_cells), ("k_gene", len(genes))):
        if name in settings:
            settings[name] = min(settings[name], most)
    core_bytes, operations = 0, 0.0
    for batch in batches:
        share = len(batch.cells) / summary.n_cells
        shape = Shape(len(batch.cells), len(genes), int(n_stored * share))
        needs = load(asked.method).cost(shape, settings, asked.outputs, threads)
        core_bytes = max(core_bytes, needs.bytes)
        operations += needs.operations
    n_waiting = len(asked.outputs) if len(batches) > 1 else 0
    return Needs(
        # The chosen genes exist twice for a moment, as they are stored and as float32, each with its column numbers.
        memory=WORKING_BYTES + data.in_memory_bytes + n_stored * 20 + core_bytes,
        memory_limit=asked.max_memory or memory_limit(),
        scratch=n_waiting * summary.n_cells * len(genes) * 4,
        written=written_bytes(preparation, asked.result_keys()),
        seconds=2.0 + operations / (OPERATIONS_PER_SECOND * threads),
        threads=threads,
    )


def written_bytes(preparation: Preparation, keys: ResultKeys) -> int:
    """Return about how many bytes a result adds to its output."""
    summary, genes = preparation.summary, preparation.genes
    n_stored = int(summary.gene_nonzeros[genes].sum())
    return len(keys.layers) * 8 * (summary.n_nonzeros - n_stored + summary.n_cells * len(genes))


def check_memory(plan: Plan, console: Console) -> None:
    """Say what the run will take, and stop if it cannot fit.

    Raises
    ------
    NotEnoughResources
        The estimate is above the limit.
    """
    needs = plan.needs
    console.say(
        f"estimate: {readable_bytes(needs.memory)} of memory (limit {readable_bytes(needs.memory_limit)}), "
        f"about {needs.seconds:.0f} s on {needs.threads} thread{'s' if needs.threads > 1 else ''}"
    )
    if needs.memory > needs.memory_limit:
        advice = "fewer genes (--n-top-genes)"
        if plan.batch_key is None:
            advice = f"batches (--batch-key) or {advice}"
        raise NotEnoughResources(
            f"the run needs about {readable_bytes(needs.memory)} of memory and may use "
            f"{readable_bytes(needs.memory_limit)}: give it more memory (or a higher --max-memory, where that is what "
            f"limits it), or use {advice}"
        )
