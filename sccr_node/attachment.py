"""What a run adds to its output, under which keys, and how it is laid out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from sccr_node import __version__
from sccr_node.anndata_io.preparation import (
    prepare_block,
    with_imputed,
)
from sccr_node.anndata_io.reading import InputData
from sccr_node.anndata_io.writing import (
    StagedOutput,
)
from sccr_node.examination import Examined
from sccr_node.feedback import Feedback
from sccr_node.params import ImputeParameters
from sccr_node.running import Outcome, OutputName

WRITE_ROWS = 1024
"""Cells that are joined with their other genes at a time; small, because the imputed genes are dense."""

READ_BYTES = 32 * 2**20

SPARSE_BELOW = 0.5
"""A layer is stored sparse where at least half of it is zero, as the CELLxGENE schema asks."""


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
    for slot, key in params.added_keys():
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
