"""Run the batches of a plan, one by one, through its method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from sccr_node.contract.methods import METHODS, Output
from sccr_node.contract.record import BatchRecord, SearchRecord
from sccr_node.data.preparation import Prepared
from sccr_node.methods import Expression, Imputed, blend_in_place, load
from sccr_node.numerics import Workspace, principal_components
from sccr_node.numerics.row_store import ImputedRows, RowsInMemory, RowsOnDisk
from sccr_node.pipeline.plan import Batch, Plan
from sccr_node.results import Imputation
from sccr_node.runtime.console import Clock, Console, Finding
from sccr_node.runtime.resources import release_memory
from sccr_node.runtime.words import plural, quantity


@dataclass(frozen=True)
class BatchResults:
    """The imputed rows of all batches together, and the gene graph if there was no batch column."""

    rows: Mapping[Output, ImputedRows]
    n_nonzero: Mapping[Output, int]
    relations: sparse.csr_matrix | None
    batches: tuple[BatchRecord, ...]
    searches: tuple[SearchRecord, ...]


def run_plan(plan: Plan, console: Console, clock: Clock) -> Imputation:
    """Prepare the selected genes and impute them, batch by batch.

    Parameters
    ----------
    plan
        The plan.
    console
        Shows findings and progress.
    clock
        Collects the seconds of each stage.
    """
    prepared, findings = prepare(plan, console, clock)
    rows, n_shown = plan.shape
    console.say(
        f"{METHODS[plan.method].title}: imputing {quantity(n_shown, 'gene')} in {quantity(rows, 'cell')}",
        method=plan.method,
        n_genes=n_shown,
        n_cells=rows,
    )
    results = impute_batches(plan, prepared.expression, console, clock)
    return assemble(plan, prepared, findings, results, console, clock)


def prepare(plan: Plan, console: Console, clock: Clock) -> tuple[Prepared, tuple[Finding, ...]]:
    """Return the expression of the selected genes, and the findings about it."""
    with clock.stage("prepare"):
        prepared = plan.preparation.read(plan.data, console.progress)
        prepared = replace(prepared, values=None)  # the counts are not needed any more: let go of them before the peak
        release_memory()
    console.close_bar()
    findings = tuple(_findings(plan, prepared))
    console.show(findings)
    return prepared, findings


def impute_batches(plan: Plan, expression: sparse.csr_matrix, console: Console, clock: Clock) -> BatchResults:
    """Run the method on each batch, and combine the rows of all batches, which wait for the others in scratch."""
    alone = len(plan.batches) == 1
    waiting = {} if alone else {output: RowsOnDisk(*plan.shape) for output in plan.outputs}
    rows: dict[Output, ImputedRows] = {**waiting}
    n_nonzero = dict.fromkeys(plan.outputs, 0)
    records, searches = [], []
    relations = None
    for batch in plan.batches:
        imputed = _impute_batch(expression if alone else expression[batch.cells], batch, plan, console, clock)
        for output in plan.outputs:
            values = imputed_values(imputed, output)
            n_nonzero[output] += int(np.count_nonzero(values))
            if alone:
                rows[output] = RowsInMemory(values)
            else:
                waiting[output].put(batch.cells, values)
        if plan.batch_key is None:
            relations = imputed.relations
        else:
            seconds = {stage: round(value, 3) for stage, value in imputed.seconds.items()}
            records.append(BatchRecord(name=batch.name, n_cells=len(batch.cells), seconds=seconds))
        searches += searches_of(imputed, batch, console)
        del imputed, values  # before the next batch needs its own
    return BatchResults(rows, n_nonzero, relations, tuple(records), tuple(searches))


def searches_of(imputed: Imputed, batch: Batch, console: Console) -> list[SearchRecord]:
    """Return what the searches of a batch left out, and say so."""
    searches = [
        SearchRecord(
            batch=batch.name,
            stage=stage,
            n_groups=search.n_groups,
            n_searched=round(search.n_searched, 2),
            recall=round(search.recall, 5),
            proved=round(search.proved, 5),
        )
        for stage, search in imputed.searches.items()
    ]
    if searches:
        console.close_bar()
    for search in searches:
        console.say(
            f"{batch.name and batch.name + ': '}{search.stage}: cells compared with {search.n_searched:.0f} of "
            f"{search.n_groups:,} groups, which finds {search.recall:.1%} of the nearest cells (in a sample)",
            search=search.stage,
            n_groups=search.n_groups,
            n_searched=search.n_searched,
            recall=search.recall,
        )
    return searches


def imputed_values(imputed: Imputed, output: Output) -> NDArray[np.float32]:
    """Return one output of a method."""
    values: NDArray[np.float32] | None = getattr(imputed, output)
    assert values is not None, output
    return values


def _impute_batch(expression: sparse.csr_matrix, batch: Batch, plan: Plan, console: Console, clock: Clock) -> Imputed:
    where = f"{batch.name}: " if batch.name else ""

    def progress(stage: str, fraction: float) -> None:
        console.progress(where + stage, fraction)

    work = Workspace(plan.needs.threads, progress, on_disk=plan.needs.on_disk, checkpoints=plan.checkpoints)
    data = Expression.of(expression)
    imputed = load(plan.method).impute(data, work, plan.outputs, plan.settings)
    if plan.blend is not None:
        blend_in_place(data, imputed_values(imputed, "denoised"), plan.blend, work)
        imputed = replace(imputed, seconds=work.seconds)
    for stage, seconds in imputed.seconds.items():
        clock.add(f"impute: {stage}", seconds)
    return imputed


def assemble(
    plan: Plan,
    prepared: Prepared,
    findings: tuple[Finding, ...],
    results: BatchResults,
    console: Console,
    clock: Clock,
) -> Imputation:
    """Assemble everything there is to write, with the principal components of all cells."""
    with clock.stage("principal components"):
        components = principal_components(
            results.rows["denoised"].rows,
            *plan.shape,
            plan.n_components,
            threads=plan.needs.threads,
            progress=console.progress,
        )
    console.close_bar()
    used_cells, used_genes = _used(prepared.expression)
    return Imputation(
        preparation=plan.preparation,
        normalization=prepared.normalization,
        expression=prepared.expression,
        rows=results.rows,
        n_nonzero=results.n_nonzero,
        components=components,
        relations=results.relations,
        n_cells_used=int(used_cells.sum()),
        n_genes_used=int(used_genes.sum()),
        batches=results.batches,
        searches=results.searches,
        method=plan.method,
        noted=plan.noted,
        findings=plan.findings + findings,
        output_scale=plan.output_scale,
        tuning=None if plan.tuning is None else plan.tuning.noted(),
    )


def _used(expression: sparse.csr_matrix) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which cells and which genes have any expression."""
    return np.diff(expression.indptr) > 0, np.bincount(expression.indices, minlength=expression.shape[1]) > 0


def _findings(plan: Plan, prepared: Prepared) -> list[Finding]:
    findings = []
    depth = prepared.normalization.target_sum
    if depth is not None:
        text = f"counts normalised to {depth:,.10g} per cell, then log1p-transformed"
        findings.append(Finding(text, fields={"target_sum": depth}))
    used_cells, used_genes = _used(prepared.expression)
    n_empty = int((~used_cells).sum())
    if n_empty:
        what = f"{quantity(n_empty, 'cell')} {plural(n_empty, 'expresses', 'express')} none of the selected genes"
        findings.append(Finding(f"{what}; {_skipped(n_empty)}", warning=True, fields={"n_empty_cells": n_empty}))
    n_empty = int((~used_genes).sum())
    if n_empty:
        what = f"{quantity(n_empty, 'selected gene')} {plural(n_empty, 'is', 'are')} not expressed in any cell"
        findings.append(Finding(f"{what}; {_skipped(n_empty)}", warning=True, fields={"n_empty_genes": n_empty}))
    findings += _of_constant_genes(prepared.expression, used_cells)
    return findings + _of_neighbors(plan)


def _skipped(n: int) -> str:
    return plural(n, "it is skipped and stays 0", "they are skipped and stay 0")


def _of_constant_genes(expression: sparse.csr_matrix, used_cells: NDArray[np.bool_]) -> list[Finding]:
    n_used = int(used_cells.sum())
    if n_used < 2:
        return []
    everywhere = np.flatnonzero(np.bincount(expression.indices, minlength=expression.shape[1]) == n_used)
    values = expression[used_cells][:, everywhere]
    constant = int((values.max(axis=0).toarray() == values.min(axis=0).toarray()).sum()) if len(everywhere) else 0
    if not constant:
        return []
    what = f"{quantity(constant, 'selected gene')} {plural(constant, 'has', 'have')} the same value in every"
    whose = plural(constant, "its", "their")
    said = f"{what} non-empty cell; {whose} correlation with other genes is undefined"
    return [Finding(said, warning=True, fields={"n_constant_genes": constant})]


def _of_neighbors(plan: Plan) -> list[Finding]:
    """Return warnings about groups that are too small for the numbers of neighbours."""
    findings = []
    n_genes, k_gene = plan.shape[1], int(plan.settings.get("k_gene", 0))
    if 1 < n_genes <= k_gene:
        text = f"only {n_genes} genes for k_gene = {k_gene}: every gene becomes a neighbour of every other"
        findings.append(Finding(text, warning=True))
    single = [batch for batch in plan.batches if len(batch.cells) == 1]
    if single:
        text = f"{_of_those(single, plan)} only 1 cell: its values pass through unchanged"
        findings.append(Finding(text, warning=True))
    k_cell = max(int(plan.settings.get(name, 0)) for name in ("k_cell", "k_denoising"))
    few = [batch for batch in plan.batches if 1 < len(batch.cells) <= k_cell]
    if few:
        n_cells = min(len(batch.cells) for batch in few)
        what = f"only {n_cells} cells" if len(few) == 1 else f"{k_cell} cells or fewer (the smallest: {n_cells})"
        text = (
            f"{_of_those(few, plan)} {what} for {k_cell} neighbours: every cell becomes a neighbour of every other, "
            "whatever its type"
        )
        findings.append(Finding(text, warning=True))
    return findings + _of_ranks(plan)


def _of_ranks(plan: Plan) -> list[Finding]:
    """Return a warning if there are too few cells or genes for the rank of the blend."""
    if plan.blend is None:
        return []
    n_genes, n_cells = plan.shape[1], min((n for batch in plan.batches if (n := len(batch.cells)) > 1), default=0)
    most = min(n_cells - 1, n_genes)
    if not 0 < most < plan.blend.rank:
        return []
    smallest = f"{n_genes:,} genes" if most == n_genes else f"{n_cells:,} cells"
    where = "" if plan.batch_key is None or most == n_genes else " in the smallest batch"
    text = f"only {smallest}{where} for low_rank = {plan.blend.rank}: there are only {most} principal components"
    return [Finding(text, warning=True)]


def _of_those(batches: Sequence[Batch], plan: Plan) -> str:
    """Begin a sentence on some batches, or on the whole data set if there is no batch column."""
    if plan.batch_key is None:
        return "there is" if len(batches[0].cells) == 1 else "there are"
    if len(batches) == 1:
        return f"batch {batches[0].name!r} has"
    return f"{len(batches):,} of {len(plan.batches):,} batches (first: {batches[0].name!r}) have"
