"""The evaluation's edge to AnnData files: prepared data, masked data, candidates, labels, gene graphs."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from sccr_node import __version__
from sccr_node.contract.evaluate import EvaluateMaskParameters, EvaluateScoreParameters
from sccr_node.contract.keys import ResultKeys
from sccr_node.contract.shared import PreparationParameters
from sccr_node.data.dataset import InputData, open_input
from sccr_node.data.guard import listing
from sccr_node.data.preparation import (
    GeneChoice,
    Preparation,
    Prepared,
    decide_preparation,
    selected_values,
)
from sccr_node.data.summary import LARGEST_LOG, MatrixSummary, refuse_not_finite, scan
from sccr_node.errors import InputProblem
from sccr_node.evaluation.masks import drop_entries, mask_expression
from sccr_node.evaluation.metrics import recovery
from sccr_node.results import imputed_genes, results_in
from sccr_node.runtime.console import Console

MASK_KEY = "sccr_mask"
"""Where masked data say in ``uns`` how they were masked."""

FACTOR_COLUMN = "sccr_mask_factor"
"""Column of obs: log1p(counts x factor) is the scale that masked counts are scored on."""

TRUTH_LAYER = "truth"


def prepare(
    data: InputData,
    params: PreparationParameters,
    console: Console,
    *,
    genes: NDArray[np.intp] | None = None,
    any_scale: bool = False,
) -> tuple[Preparation, Prepared]:
    """Choose genes and normalise, as the step does before it imputes, and say what was found.

    Parameters
    ----------
    data
        An opened input.
    params
        Which genes, which depth.
    console
        Where it shows what it found.
    genes
        Columns to take instead of choosing them.
    any_scale
        Take values that are neither counts nor logarithms as they are: other tools write small negative values.

    Raises
    ------
    InputProblem
        The input cannot be prepared; NaN and infinities in any case.
    """
    choice = None if genes is None else GeneChoice(genes, [])
    preparation = decide_preparation(
        data, **params.preparation(), choice=choice, any_scale=any_scale, progress=console.progress
    )
    console.say(preparation.headline())
    console.show(preparation.findings)
    return preparation, preparation.read(data, console.progress)


def write_masked(input_path: Path, output_path: Path, params: EvaluateMaskParameters, console: Console) -> None:
    """Write prepared, masked data for any tool to impute: logs in X, counts in a layer, the truth in another.

    Parameters
    ----------
    input_path
        What ``sccr impute`` reads.
    output_path
        The ``.h5ad`` file to write: the chosen genes of all cells.
    params
        Preparation, rate, mechanism and seed.
    console
        Where it says what it found.

    Raises
    ------
    SccrError
        Nothing has been written then.
    """
    import anndata as ad

    from sccr_node.storage.files import write_h5ad_atomically

    with open_input(input_path, params.layer) as data:
        preparation, prepared = prepare(data, params, console)
        try:
            masked = mask_expression(prepared.expression, params.rate, params.mechanism, params.seed)
        except ValueError as problem:
            raise InputProblem(f"{data.source} cannot be masked: {problem}") from problem
        obs = pd.DataFrame({name: data.obs_column(name).array for name in data.keys("obs")}, index=data.cell_names)
        var = pd.DataFrame(
            {name: data.var_column(name).array[preparation.genes] for name in data.keys("var")},
            index=data.gene_names[preparation.genes],
        )
    layers = {TRUTH_LAYER: masked.truth}
    if preparation.scale == "counts":
        layers["counts"] = drop_entries(prepared.values, masked.truth)
        obs[FACTOR_COLUMN] = prepared.normalization.factors
    n_observed = masked.truth.nnz + masked.expression.nnz
    record: dict[str, Any] = {
        "version": __version__,
        "rate": params.rate,
        "mechanism": params.mechanism,
        "seed": params.seed,
        "n_observed": n_observed,
        "n_masked": masked.truth.nnz,
        "input_scale": preparation.scale,
    }
    if masked.strength is not None:
        record["lambda"] = masked.strength
    if prepared.normalization.target_sum is not None:
        record["target_sum"] = prepared.normalization.target_sum
        record["normalize_by"] = params.normalize_by
    adata = ad.AnnData(masked.expression, obs=obs, var=var, layers=layers, uns={MASK_KEY: record})
    write_h5ad_atomically(output_path, adata)
    console.say(
        f"wrote {output_path}: {adata.n_obs:,} cells x {adata.n_vars:,} genes, {masked.truth.nnz:,} of "
        f"{n_observed:,} observed entries set to zero ({params.mechanism}, seed {params.seed})"
    )


def score_candidate(
    masked_path: Path, candidate_path: Path, params: EvaluateScoreParameters, console: Console
) -> dict[str, Any]:
    """Compare a candidate with the truth at exactly the masked entries.

    Parameters
    ----------
    masked_path
        What ``sccr evaluate mask`` wrote.
    candidate_path
        Any tool's output on it: the same cells and genes, in any order.
    params
        Which layer of the candidate.
    console
        Where it says what it found.

    Returns
    -------
    One row of a table: what was compared, how it was masked, and the metrics.

    Raises
    ------
    InputProblem
        Either file is not what it should be, or their cells or genes differ.
    """
    with open_input(masked_path) as data:
        if not (data.has_key("uns", MASK_KEY) and data.has_key("layers", TRUTH_LAYER)):
            raise InputProblem(f"{masked_path} was not written by sccr evaluate mask: it has no layer {TRUTH_LAYER!r}")
        record = data.element("uns", MASK_KEY)
    with open_input(masked_path, TRUTH_LAYER) as masked:
        truth = selected_values(masked, np.arange(masked.n_genes))
        with open_input(candidate_path, params.layer) as candidate:
            cells = matching(masked.cell_names, candidate.cell_names, "cells", candidate.source)
            genes = matching(masked.gene_names, candidate.gene_names, "genes", candidate.source)
            _refuse_other_scales(scan(candidate, console.progress), console)
            true, imputed = _at_masked_entries(truth[cells][:, genes].tocsr(), candidate)
    found = recovery(true, imputed)
    return {
        "candidate": str(candidate_path),
        "layer": params.layer or "X",
        "mechanism": str(record["mechanism"]),
        "rate": float(record["rate"]),
        "seed": int(record["seed"]),
        **asdict(found),
    }


def matching(wanted: NDArray[Any], found: NDArray[Any], what: str, where: str) -> NDArray[np.intp]:
    """Return, for every name found, its place among the wanted ones.

    Parameters
    ----------
    wanted, found
        Names; those found may come in another order.
    what
        ``cells`` or ``genes``.
    where
        What the names were found in.

    Raises
    ------
    InputProblem
        One has names that the other lacks, or names in another order are not unique.
    """
    if len(wanted) == len(found) and (wanted == found).all():
        return np.arange(len(wanted))
    for names, others, problem in ((wanted, found, "lacks"), (found, wanted, "has besides them")):
        differing = names[~np.isin(names, others)]
        if differing.size:
            raise InputProblem(
                f"{where} is not made from the masked data: it {problem} {differing.size} {what} "
                f"({listing(differing.tolist(), 3)}); score the output of a tool that keeps all cells and genes"
            )
    if len(np.unique(wanted)) < len(wanted) or len(wanted) != len(found):
        raise InputProblem(
            f"{where} has its {what} in another order, and their names repeat: keep the order of the masked data"
        )
    return np.asarray(pd.Index(wanted).get_indexer(pd.Index(found)), dtype=np.intp)


def _refuse_other_scales(summary: MatrixSummary, console: Console) -> None:
    refuse_not_finite(summary)
    if not summary.n_nonzeros:
        console.warn(f"{summary.source} holds nothing but zeros")
    elif summary.all_integers:
        raise InputProblem(
            f"{summary.source} holds counts (integers up to {summary.maximum:g}), and the truth is logarithms: "
            f"give log1p(counts x obs[{FACTOR_COLUMN!r}]), or another --layer"
        )
    elif summary.maximum > LARGEST_LOG:
        raise InputProblem(
            f"{summary.source} holds values up to {summary.maximum:g}, more than log1p of counts reaches: if these are "
            f"denoised counts, give log1p(counts x obs[{FACTOR_COLUMN!r}])"
        )


def _at_masked_entries(truth: sparse.csr_matrix, candidate: InputData) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the true values and the candidate's at the same entries; cells and genes in the candidate's order."""
    truth.sort_indices()
    imputed = np.zeros(truth.nnz)
    for first, block in candidate.blocks():
        start, end = truth.indptr[first], truth.indptr[first + block.shape[0]]
        asked = _places(truth[first : first + block.shape[0]])
        stored = _places(block)
        at = np.searchsorted(stored, asked)
        there = at < stored.size
        there[there] = stored[at[there]] == asked[there]
        imputed[start:end][there] = block.data[at[there]]
    return truth.data, imputed


def _places(rows: sparse.csr_matrix) -> NDArray[np.int64]:
    cells = np.repeat(np.arange(rows.shape[0], dtype=np.int64), np.diff(rows.indptr))
    return cells * rows.shape[1] + rows.indices


def read_types(data: InputData, label_key: str, console: Console) -> NDArray[np.int64]:
    """Return the type of each cell as a number from 0, and -1 for cells without one.

    Parameters
    ----------
    data
        An opened input.
    label_key
        A column of obs: strings, categories, integers or booleans; empty strings count as missing.
    console
        Where it says how many cells have none.

    Raises
    ------
    InputProblem
        There is no such column, it holds measurements, or fewer than two types or as many as cells.
    """
    column = data.obs_column(label_key)
    where = f"obs[{label_key!r}] of {data.path}"
    missing = column.isna().to_numpy() | (column.astype(str).str.strip() == "").to_numpy()
    labels = column[~missing]
    if labels.empty:
        raise InputProblem(f"{where} has no label at all: every value is missing")
    if pd.api.types.is_float_dtype(labels.dtype):
        numbers = labels.to_numpy(dtype=float)
        if not (numbers == np.rint(numbers)).all():
            raise InputProblem(
                f"{where} holds measurements (such as {numbers[0]:g}), not cell types: name another column"
            )
    types = np.full(len(column), -1, dtype=np.int64)
    types[~missing], names = pd.factorize(labels.astype(str), sort=True)
    if len(names) < 2:
        raise InputProblem(f"{where} has one label only ({names[0]!r}): there is nothing to tell apart")
    if len(names) == len(labels):
        raise InputProblem(f"{where} has as many labels as cells ({len(names)}): these are names, not cell types")
    if missing.any():
        console.say(f"{int(missing.sum()):,} cells without a label in {where} are left out")
    return types


def genes_of_layer(data: InputData, layer: str | None) -> NDArray[np.intp] | None:
    """Return the genes that ``sccr impute`` imputed in a layer; None if the layer is not its result."""
    for key in results_in(data):
        if layer in [ResultKeys(key).layer(output) for output in ("denoised", "recovered")]:
            return imputed_genes(data, key)
    return None


def read_obsm(data: InputData, key: str) -> NDArray[np.float32]:
    """Return coordinates of the cells.

    Raises
    ------
    InputProblem
        There are none of that name, or one is not a number.
    """
    if not data.has_key("obsm", key):
        raise InputProblem(f"{data.path} has no obsm[{key!r}]; it has {listing(data.keys('obsm'))}")
    element = data.element("obsm", key)
    try:
        dense = element if isinstance(element, np.ndarray | pd.DataFrame) else element.toarray()
        coordinates = np.asarray(dense, dtype=np.float32)
    except (AttributeError, TypeError, ValueError) as problem:
        raise InputProblem(f"obsm[{key!r}] of {data.path} is not a table of numbers") from problem
    if not np.isfinite(coordinates).all():
        first = int(np.argmax(~np.isfinite(coordinates).all(axis=1)))
        raise InputProblem(
            f"obsm[{key!r}] of {data.path} holds NaN or infinite values (first: cell {str(data.cell_names[first])!r})"
        )
    return coordinates
