"""Masks from file to file: hide observed entries, and compare what a tool makes of them with the truth."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from sccr_node import __version__
from sccr_node.contract.evaluate import EvaluateMaskParameters, EvaluateScoreParameters
from sccr_node.contract.keys import MASK_KEY
from sccr_node.data.dataset import Dataset, open_dataset
from sccr_node.data.guard import reading
from sccr_node.data.preparation import selected_values
from sccr_node.errors import InputProblem
from sccr_node.evaluation.analyses.recovery import recovery_scores
from sccr_node.evaluation.masks import drop_entries, mask_expression, positions
from sccr_node.pipeline.evaluate import decide_and_prepare
from sccr_node.pipeline.hidden import (
    FACTOR_COLUMN,
    TRUTH_LAYER,
    check_output,
    matching,
    refuse_other_scales,
    refuse_untouched,
    seed_of,
    tables_of,
    write_for_tools,
)
from sccr_node.pipeline.plan import open_input
from sccr_node.runtime.console import Console
from sccr_node.runtime.standins import as_shown


def mask_file(input_path: Path, output_path: Path, asked: EvaluateMaskParameters, console: Console) -> None:
    """Write a masked data set for any tool to impute: log expression in X, counts and truth in layers.

    Parameters
    ----------
    input_path
        Any data set that ``sccr impute`` reads.
    output_path
        The ``.h5ad`` file to write: the selected genes of all cells.
    asked
        Preparation, rate, mechanism and seed.
    console
        Shows findings.

    Raises
    ------
    SccrError
        Any failure that the user can act on; nothing is written in that case.
    """
    check_output("masked data", input_path, output_path, asked)
    with open_input(input_path, asked) as (data, listed):
        preparation, prepared = decide_and_prepare(data, asked, console, listed=listed)
        try:
            masked = mask_expression(prepared.expression, asked.rate, asked.mechanism, asked.seed)
        except ValueError as problem:
            raise InputProblem(f"cannot mask {data.source}: {problem}; choose another --rate") from problem
        obs, var = tables_of(data, preparation.genes)
    layers = {TRUTH_LAYER: masked.truth}
    if preparation.scale == "counts":
        layers["counts"] = drop_entries(prepared.values, masked.truth)
        obs[FACTOR_COLUMN] = prepared.normalization.factors
    n_observed = masked.truth.nnz + masked.expression.nnz
    record: dict[str, Any] = {
        "version": __version__,
        "rate": asked.rate,
        "mechanism": asked.mechanism,
        "seed": asked.seed,
        "n_observed": n_observed,
        "n_masked": masked.truth.nnz,
        "input_scale": preparation.scale,
    }
    if masked.strength is not None:
        record["lambda"] = masked.strength
    if prepared.normalization.target_sum is not None:
        record["target_sum"] = prepared.normalization.target_sum
        record["normalize_by"] = asked.normalize_by
    write_for_tools(output_path, masked.expression, (obs, var), layers, {MASK_KEY: record}, replace=asked.force)
    n_cells, n_genes = masked.expression.shape
    console.say(
        f"wrote {output_path}: {n_cells:,} cells × {n_genes:,} genes; {masked.truth.nnz:,} of "
        f"{n_observed:,} observed entries set to zero ({asked.mechanism}, seed {asked.seed})",
        output=str(output_path),
        n_cells=n_cells,
        n_genes=n_genes,
        n_masked=masked.truth.nnz,
        n_observed=n_observed,
    )


def score_candidate(
    masked_path: Path, candidate_path: Path, asked: EvaluateScoreParameters, console: Console
) -> dict[str, Any]:
    """Compare a candidate with the truth at exactly the masked entries.

    Returns
    -------
    One row of a table: the candidate, how the data were masked, and the metrics.
    """
    with open_dataset(masked_path) as data:
        record = data.element("uns", MASK_KEY)
        with reading(masked_path, f"uns[{MASK_KEY!r}]"):
            how_masked = {
                "mechanism": str(record["mechanism"]), "rate": float(record["rate"]), "seed": seed_of(record)
            }  # fmt: skip
    with open_dataset(masked_path, TRUTH_LAYER) as masked:
        truth = selected_values(masked, np.arange(masked.n_genes))
        with open_dataset(candidate_path, asked.layer, modality=asked.modality) as candidate:
            cells = matching(masked.cell_names, candidate.cell_names, "cell", candidate.source)
            genes = matching(masked.gene_names, candidate.gene_names, "gene", candidate.source)
            refuse_other_scales(candidate, console)
            true, imputed = _at_masked_entries(truth[cells][:, genes].tocsr(), candidate)
            if asked.layer is None and not imputed.any():
                refuse_untouched(candidate, masked, "it is zero at every masked entry")
    return {
        "candidate": as_shown(candidate_path),
        "layer": asked.layer or "X",
        **how_masked,
        **asdict(recovery_scores(true, imputed)),
    }


def _at_masked_entries(truth: sparse.csr_matrix, candidate: Dataset) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the true and the candidate's values at the masked entries, in the candidate's order."""
    truth.sort_indices()
    imputed = np.zeros(truth.nnz)
    for first, block in candidate.blocks():
        start, end = truth.indptr[first], truth.indptr[first + block.shape[0]]
        asked = positions(truth[first : first + block.shape[0]])
        stored = positions(block)
        at = np.searchsorted(stored, asked)
        there = at < stored.size
        there[there] = stored[at[there]] == asked[there]
        imputed[start:end][there] = block.data[at[there]]
    return truth.data, imputed
