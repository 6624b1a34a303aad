"""Prepares the chosen genes and runs the method on them, batch by batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from sccr_node.anndata_io.preparation import (
    Normalisation,
    normalisation,
    selected_expression,
)
from sccr_node.anndata_io.reading import InputData
from sccr_node.contract.methods import METHODS
from sccr_node.examination import Batch, Examined
from sccr_node.feedback import Feedback
from sccr_node.methods import Expression, Imputed, load
from sccr_node.numerics import Workspace, principal_components
from sccr_node.params import ImputeParameters, PreparationParameters
from sccr_node.provenance import (
    BatchRecord,
)
from sccr_node.scratch import ImputedRows, RowsInMemory, RowsOnDisk

OutputName = Literal["denoised", "recovered"]

BatchImputer = Callable[[sparse.csr_matrix, Batch, ImputeParameters, Feedback], Imputed]
"""Gives the imputed values of a batch from its prepared expression."""


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
    _say_what_is_constant(expression, used_cells, feedback)
    feedback.say(f"{METHODS[params.method].title}: imputing {shape[1]:,} genes of {shape[0]:,} cells")

    names: list[OutputName] = ["denoised", "recovered"] if params.wants_recovered else ["denoised"]
    stores: dict[OutputName, ImputedRows] = {}
    nonzero_after = dict.fromkeys(names, 0)
    records: list[BatchRecord] = []
    result: Imputed | None = None
    for batch in examined.batches:
        alone = len(examined.batches) == 1
        part = expression if alone else expression[batch.cells]
        _say_how_few(batch, params, feedback)
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


def _say_what_is_constant(expression: sparse.csr_matrix, used_cells: NDArray[np.bool_], feedback: Feedback) -> None:
    n_used = int(used_cells.sum())
    if n_used < 2:
        return
    everywhere = np.flatnonzero(np.bincount(expression.indices, minlength=expression.shape[1]) == n_used)
    values = expression[used_cells][:, everywhere]
    constant = int((values.max(axis=0).toarray() == values.min(axis=0).toarray()).sum()) if len(everywhere) else 0
    if constant:
        genes = "gene has" if constant == 1 else "genes have"
        feedback.warn(
            f"{constant} chosen {genes} one value in all cells, which relates to no other gene's", record=True
        )


def _say_how_few(batch: Batch, params: ImputeParameters, feedback: Feedback) -> None:
    n_cells, k_cell = len(batch.cells), params.method_parameters()["k_cell"]
    which = f"batch {batch.name!r} has" if batch.name else "there is" if n_cells == 1 else "there are"
    if n_cells == 1:
        feedback.warn(f"{which} one cell only: its values pass through unchanged", record=True)
    elif n_cells <= k_cell:
        feedback.warn(
            f"{which} {n_cells} cells only, fewer than a cell and its {k_cell} neighbours: all of them are neighbours",
            record=True,
        )


def _impute_batch(expression: sparse.csr_matrix, batch: Batch, params: ImputeParameters, feedback: Feedback) -> Imputed:
    where = f"{batch.name}: " if batch.name else ""

    def progress(stage: str, fraction: float) -> None:
        feedback.progress(where + stage, fraction)

    work = Workspace(params.threads, progress)
    result = load(params.method).impute(Expression.of(expression), work, params.outputs, params.method_parameters())
    for stage, seconds in result.seconds.items():
        name = f"impute: {stage}"
        feedback.seconds[name] = feedback.seconds.get(name, 0.0) + seconds
    return result


def components(
    denoised: ImputedRows, shape: tuple[int, int], params: ImputeParameters, feedback: Feedback
) -> NDArray[np.float32]:
    """Return the principal components of the denoised, imputed genes, over all cells together."""
    with feedback.stage("principal components"):
        return principal_components(
            denoised.rows, *shape, params.n_components, threads=params.threads, progress=feedback.progress
        )
