"""The evaluation's edge to AnnData files: prepared data, masked data, candidates, labels, gene graphs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from sccr_node import __version__
from sccr_node.anndata_io.checks import LARGEST_LOG, MatrixSummary, Scale, decide_scale, scan
from sccr_node.anndata_io.preparation import (
    Normalisation,
    choose_genes,
    normalisation,
    prepare_block,
    row_totals,
    selected_values,
)
from sccr_node.anndata_io.reading import InputData, listing, open_input, reading
from sccr_node.errors import InputProblem
from sccr_node.evaluation.masks import drop_entries, mask_expression
from sccr_node.evaluation.metrics import recovery
from sccr_node.feedback import Feedback
from sccr_node.params import EvaluateMaskParameters, EvaluateScoreParameters, PreparationParameters

MASK_KEY = "sccr_mask"
"""Where masked data say in ``uns`` how they were masked."""

FACTOR_COLUMN = "sccr_mask_factor"
"""Column of obs: log1p(counts x factor) is the scale that masked counts are scored on."""

TRUTH_LAYER = "truth"


@dataclass(frozen=True)
class Prepared:
    """The chosen genes of all cells, as the methods take them."""

    values: sparse.csr_matrix
    """As stored: counts, or the logs themselves."""
    expression: sparse.csr_matrix
    """Log-normalised, float32."""
    genes: NDArray[np.intp]
    """The columns of the input that these are."""
    scale: Scale
    normalisation: Normalisation


def prepare(
    data: InputData,
    params: PreparationParameters,
    feedback: Feedback,
    *,
    genes: NDArray[np.intp] | None = None,
    any_scale: bool = False,
) -> Prepared:
    """Choose genes and normalise, as the step does before it imputes.

    Parameters
    ----------
    data
        An opened input.
    params
        Which genes, which depth.
    feedback
        Where it says what it found.
    genes
        Columns to take instead of choosing them.
    any_scale
        Take values that are neither counts nor logarithms as they are: other tools write small negative values.

    Raises
    ------
    InputProblem
        The input cannot be prepared; NaN and infinities in any case.
    """
    summary = scan(data, feedback.progress)
    scale, reason = _scale(summary, params, any_scale=any_scale)
    feedback.say(f"{data.source}: {data.n_cells:,} cells x {data.n_genes:,} genes, taken as {scale}: {reason}")
    if genes is None:
        choice = choose_genes(data, summary, genes=params.genes, n_top_genes=params.n_top_genes, scale=scale)
        genes = choice.columns
        for message in choice.messages:
            feedback.say(message)
    values = selected_values(data, genes, feedback.progress)
    if scale == "log1p":
        found = Normalisation(None, None)
    else:
        found = normalisation(
            summary, row_totals(values), normalize_by=params.normalize_by, target_sum=params.target_sum, scale=scale
        )
    if not values.nnz:
        raise InputProblem(f"the chosen genes are zero in every cell of {data.source}: choose others with --genes")
    return Prepared(values, prepare_block(values, found.factors), genes, scale, found)


def _scale(summary: MatrixSummary, params: PreparationParameters, *, any_scale: bool) -> tuple[Scale, str]:
    refuse_not_finite(summary)
    unusual = summary.negative.n > 0 or (not summary.all_integers and summary.maximum > LARGEST_LOG)
    if any_scale and unusual and params.input_scale == "auto":
        return "log1p", f"values up to {summary.maximum:g}, {summary.negative.n:,} of them negative: used as they are"
    return decide_scale(summary, params.input_scale)


def refuse_not_finite(summary: MatrixSummary) -> None:
    """Refuse NaN and infinities, naming the first cell and gene.

    Raises
    ------
    InputProblem
        There is one.
    """
    for kind, name in ((summary.nan, "NaN"), (summary.infinite, "infinite")):
        if kind.n:
            raise InputProblem(
                f"{summary.source} holds {kind.n} {name} value{'s' if kind.n > 1 else ''} (first: cell {kind.cell!r}, "
                f"gene {kind.gene!r}): every entry must be a number"
            )


def write_masked(input_path: Path, output_path: Path, params: EvaluateMaskParameters, feedback: Feedback) -> None:
    """Write prepared, masked data for any tool to impute: logs in X, counts in a layer, the truth in another.

    Parameters
    ----------
    input_path
        What ``sccr impute`` reads.
    output_path
        The ``.h5ad`` file to write: the chosen genes of all cells.
    params
        Preparation, rate, mechanism and seed.
    feedback
        Where it says what it found.

    Raises
    ------
    SccrError
        Nothing has been written then.
    """
    import anndata as ad

    from sccr_node.anndata_io.side_files import write_h5ad_atomically

    with open_input(input_path, params.layer) as data:
        prepared = prepare(data, params, feedback)
        try:
            masked = mask_expression(prepared.expression, params.rate, params.mechanism, params.seed)
        except ValueError as problem:
            raise InputProblem(f"{data.source} cannot be masked: {problem}") from problem
        obs = pd.DataFrame({name: data.obs_column(name).array for name in data.keys("obs")}, index=data.cell_names)
        var = pd.DataFrame(
            {name: data.var_column(name).array[prepared.genes] for name in data.keys("var")},
            index=data.gene_names[prepared.genes],
        )
    layers = {TRUTH_LAYER: masked.truth}
    if prepared.scale == "counts":
        layers["counts"] = drop_entries(prepared.values, masked.truth)
        obs[FACTOR_COLUMN] = prepared.normalisation.factors
    n_observed = masked.truth.nnz + masked.expression.nnz
    record: dict[str, Any] = {
        "version": __version__,
        "rate": params.rate,
        "mechanism": params.mechanism,
        "seed": params.seed,
        "n_observed": n_observed,
        "n_masked": masked.truth.nnz,
        "input_scale": prepared.scale,
    }
    if masked.strength is not None:
        record["lambda"] = masked.strength
    if prepared.normalisation.target_sum is not None:
        record["target_sum"] = prepared.normalisation.target_sum
        record["normalize_by"] = params.normalize_by
    adata = ad.AnnData(masked.expression, obs=obs, var=var, layers=layers, uns={MASK_KEY: record})
    write_h5ad_atomically(output_path, adata)
    feedback.say(
        f"wrote {output_path}: {adata.n_obs:,} cells x {adata.n_vars:,} genes, {masked.truth.nnz:,} of "
        f"{n_observed:,} observed entries set to zero ({params.mechanism}, seed {params.seed})"
    )


def score_candidate(
    masked_path: Path, candidate_path: Path, params: EvaluateScoreParameters, feedback: Feedback
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
    feedback
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
        record = read_element(data, "uns", MASK_KEY)
    with open_input(masked_path, TRUTH_LAYER) as masked:
        truth = selected_values(masked, np.arange(masked.n_genes))
        with open_input(candidate_path, params.layer) as candidate:
            cells = matching(masked.cell_names, candidate.cell_names, "cells", candidate.source)
            genes = matching(masked.gene_names, candidate.gene_names, "genes", candidate.source)
            _refuse_other_scales(scan(candidate, feedback.progress), feedback)
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


def _refuse_other_scales(summary: MatrixSummary, feedback: Feedback) -> None:
    refuse_not_finite(summary)
    if not summary.n_nonzeros:
        feedback.warn(f"{summary.source} holds nothing but zeros")
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


def read_element(data: InputData, slot: str, key: str) -> Any:
    """Read one element of an opened AnnData file; InputProblem where it cannot be decoded."""
    from anndata.io import read_elem

    with reading(data.path, f"{slot}[{key!r}]"):
        return read_elem(data.root[slot][key])


def read_types(data: InputData, label_key: str, feedback: Feedback) -> NDArray[np.int64]:
    """Return the type of each cell as a number from 0, and -1 for cells without one.

    Parameters
    ----------
    data
        An opened input.
    label_key
        A column of obs: strings, categories, integers or booleans; empty strings count as missing.
    feedback
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
        feedback.say(f"{int(missing.sum()):,} cells without a label in {where} are left out")
    return types


def imputed_genes(data: InputData, layer: str | None) -> NDArray[np.intp] | None:
    """Return the genes that ``sccr impute`` imputed in a layer; None where the layer is not its result."""
    if layer is None:
        return None
    for key in (layer, layer.removesuffix("_recovered")):
        if data.has_key("var", f"{key}_imputed") and data.has_key("uns", key):
            return np.flatnonzero(data.var_column(f"{key}_imputed").to_numpy(dtype=bool))
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
    element = read_element(data, "obsm", key)
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
