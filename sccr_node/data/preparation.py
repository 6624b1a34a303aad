"""From counts to the expression that methods impute: genes, one factor per cell, log1p; pure functions on arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from scipy import sparse

from sccr_node.contract.keys import MASK_KEY, MOLECULES_KEY
from sccr_node.data.dataset import Dataset, matrix_name
from sccr_node.data.features import Features, choose_features
from sccr_node.data.genes import GeneChoice, ListedGene, choose_genes
from sccr_node.data.logs import prepare_block
from sccr_node.data.matrix import canonical, pieces
from sccr_node.data.scale import Scale, Scaling, decide_scale, log_mark
from sccr_node.data.summary import MatrixSummary, scan
from sccr_node.errors import InputProblem
from sccr_node.runtime.console import Finding, Progress


class Normalization(NamedTuple):
    """One factor per cell and the target depth; both are None for log-normalised input, which is not scaled."""

    factors: np.ndarray | None
    target_sum: float | None


def selected_values(
    data: Dataset, columns: np.ndarray, progress: Progress | None = None, *, scaling: Scaling | None = None
) -> Any:
    """Read the selected genes of all cells.

    Parameters
    ----------
    data
        An opened input.
    columns
        Sorted column indices.
    progress
        Called with the stage's name and the fraction done; an exception stops the reading.
    scaling
        How stored values become counts or natural logarithms (default: as they are).

    Returns
    -------
    scipy.sparse.csr_matrix
        Cells x selected genes, canonical, in the stored type.
    """
    blocks: list[Any] = []
    for first, block in data.blocks():
        if progress is not None:
            progress("select", first / data.n_cells)
        converted = block if scaling is None else scaling.convert(block)
        blocks.extend(take_columns(rows, columns) for _, rows in pieces(converted))
    selected = blocks[0] if len(blocks) == 1 else sparse.vstack(blocks, format="csr")
    if progress is not None:
        progress("select", 1.0)
    return selected


def take_columns(block: Any, columns: np.ndarray) -> Any:
    """Return some columns of a CSR block, in increasing order."""
    return block if len(columns) == block.shape[1] else canonical(block[:, columns])


def row_totals(values: Any) -> np.ndarray:
    """Return the total of each row of a CSR matrix, in float64."""
    return np.asarray(values.astype(np.float64) @ np.ones(values.shape[1]))


def normalization(
    summary: MatrixSummary,
    selected_totals: np.ndarray,
    *,
    normalize_by: Literal["selected", "all"] = "selected",
    target_sum: float | Literal["median"] = "median",
) -> Normalization:
    """Return the factor per cell that scales its counts to the target depth.

    Parameters
    ----------
    summary
        From ``scan``, with the totals over all counted features.
    selected_totals
        Total per cell over the selected genes; not all 0.
    normalize_by
        Which of these totals are scaled to the target depth.
    target_sum
        A depth, or "median" for the median of the non-zero totals.

    Returns
    -------
    Normalization
        A cell whose selected genes are all zero is scaled by its total over all genes; a cell without any counts has
        factor 1.
    """
    by = selected_totals if normalize_by == "selected" else summary.cell_totals
    target = float(np.median(by[by > 0])) if target_sum == "median" else float(target_sum)
    totals = np.where(by > 0, by, summary.cell_totals)
    factors = np.ones(summary.n_cells)
    np.divide(target, totals, out=factors, where=totals > 0)
    return Normalization(factors, target)


def with_imputed(block: Any, columns: np.ndarray, imputed: np.ndarray) -> Any:
    """Replace the selected columns of a prepared block by imputed values.

    Parameters
    ----------
    block
        Prepared values, some cells x all genes (float32 CSR).
    columns
        Sorted column indices of the selected genes.
    imputed
        The same cells x selected genes, dense float32.

    Returns
    -------
    scipy.sparse.csr_matrix
        Cells x all genes, canonical, without stored zeros.
    """
    n_rows, n_genes = block.shape
    chosen = np.zeros(n_genes, dtype=bool)
    chosen[columns] = True
    kept = ~chosen[block.indices]
    others = sparse.csr_matrix(block.shape, dtype=np.float32)
    others.data, others.indices = block.data[kept], block.indices[kept]
    kept_before = np.concatenate([[0], np.cumsum(kept)])
    others.indptr = kept_before[block.indptr].astype(block.indptr.dtype)
    present = imputed != 0
    own = sparse.csr_matrix(block.shape, dtype=np.float32)
    own.indptr = np.concatenate([[0], np.cumsum(present.sum(axis=1))]).astype(np.int32)
    if present.all():
        own.data, own.indices = imputed.ravel(), np.tile(columns.astype(np.int32), n_rows)
    else:
        own.data = imputed[present]
        own.indices = np.broadcast_to(columns.astype(np.int32), imputed.shape)[present]
    for part in (others, own):
        part.has_canonical_format = True
    # The two have no positions in common, so their sum is their union: sorted, and without zeros.
    return others + own


@dataclass(frozen=True)
class Prepared:
    """The selected genes of all cells, ready for a method.

    Attributes
    ----------
    values
        Cells x selected genes, CSR, as stored: counts, or log-normalised values.
    expression
        The same, log-normalised, float32.
    normalization
        How the values became expression.
    """

    values: Any
    expression: Any
    normalization: Normalization


@dataclass(frozen=True)
class Preparation:
    """How a matrix becomes expression, decided once: its scale, the genes to impute, the target depth.

    Attributes
    ----------
    summary
        The findings of one pass over every value.
    scaling
        What the stored values are, and how they become counts or natural logarithms.
    genes, genes_choice
        Sorted column indices of the selected genes, and the choice that was asked for.
    gene_messages
        Messages about the choice.
    normalize_by, target_sum
        Which totals are scaled to which depth.
    findings
        What a reader of the result should know about all this.
    """

    summary: MatrixSummary
    scaling: Scaling
    genes: np.ndarray
    genes_choice: str
    gene_messages: tuple[str, ...]
    normalize_by: Literal["selected", "all"]
    target_sum: float | Literal["median"]
    findings: tuple[Finding, ...]

    @property
    def scale(self) -> Scale:
        """Counts or logarithms."""
        return self.scaling.scale

    def headline(self) -> Finding:
        """Describe the matrix in one line."""
        return self.summary.headline()

    def read(self, data: Dataset, progress: Progress | None = None) -> Prepared:
        """Read the selected genes of all cells and normalise them.

        Raises
        ------
        InputProblem
            The selected genes are zero in every cell.
        """
        values = selected_values(data, self.genes, progress, scaling=self.scaling)
        if not values.nnz:
            raise InputProblem(
                f"the selected genes are zero in every cell of {data.source}: select others with --genes"
            )
        found = Normalization(None, None)
        if self.scale == "counts":
            found = normalization(
                self.summary, row_totals(values), normalize_by=self.normalize_by, target_sum=self.target_sum
            )
        return Prepared(values, prepare_block(values, found.factors), found)


def decide_preparation(
    data: Dataset,
    *,
    feature_type: str | None = None,
    input_scale: Literal["auto", "counts", "log1p"] = "auto",
    log_base: float | Literal["e"] | None = None,
    genes: str = "top-variance",
    n_top_genes: int = 2000,
    normalize_by: Literal["selected", "all"] = "selected",
    target_sum: float | Literal["median"] = "median",
    genes_missing: Literal["error", "skip"] = "error",
    listed: Sequence[ListedGene] | None = None,
    choice: GeneChoice | None = None,
    any_scale: bool = False,
    is_result: bool = False,
    progress: Progress | None = None,
) -> Preparation:
    """Read every value of a matrix and decide how it becomes expression.

    Parameters
    ----------
    data
        The opened input.
    feature_type, input_scale, log_base, genes, n_top_genes, normalize_by, target_sum, genes_missing
        As in the contract.
    listed
        The genes, if they are listed; ``genes`` is then what the list is called in messages.
    choice
        The genes, if they have been chosen already.
    any_scale
        Use values that are neither counts nor logs as they are: other tools write small negative values.
    is_result
        The values are a result of ``sccr impute``: logarithms, whatever they look like.
    progress
        Called with the stage's name and the fraction done.

    Raises
    ------
    SccrError
        The matrix cannot be prepared as asked.
    """
    features = choose_features(data, feature_type)
    summary, scaling = decide_values(
        data, features, input_scale, log_base, any_scale=any_scale, is_result=is_result, progress=progress
    )
    if not scaling.as_stored:
        summary = scan(data, progress, counted=features.counted, convert=scaling.convert)
    if choice is None:
        choice = choose_genes(
            data,
            summary,
            genes=genes,
            n_top_genes=n_top_genes,
            scale=scaling.scale,
            listed=listed,
            missing=genes_missing,
        )
    findings = [*of_values(data, scaling, any_scale=any_scale), *features.findings, *choice.findings]
    return Preparation(
        summary=summary,
        scaling=scaling,
        genes=choice.columns,
        genes_choice=genes,
        gene_messages=tuple(finding.text for finding in choice.findings),
        normalize_by=normalize_by,
        target_sum=target_sum,
        findings=tuple(findings),
    )


def decide_values(
    data: Dataset,
    features: Features,
    input_scale: Literal["auto", "counts", "log1p"],
    log_base: float | Literal["e"] | None,
    *,
    any_scale: bool = False,
    is_result: bool = False,
    progress: Progress | None = None,
) -> tuple[MatrixSummary, Scaling]:
    """Read every value of a matrix as it is stored, and decide what the values are.

    Raises
    ------
    InputProblem
        They are impossible, or contradict the scale or leave it unclear.
    """
    summary = scan(data, progress, counted=features.counted)
    try:
        scaling = decide_scale(
            summary, input_scale, mark=log_mark(data), log_base=log_base, any_scale=any_scale, is_result=is_result
        )
    except InputProblem as problem:
        if where := data.counts_seem("counts"):
            raise InputProblem(f"{problem}{where}") from problem
        raise
    return summary, scaling


def of_values(data: Dataset, scaling: Scaling, *, any_scale: bool = False) -> list[Finding]:
    """Return what a reader should know about the values and the names, before genes are selected."""
    return [
        Finding(f"input treated as {scaling.scale}: {scaling.reason}", fields={"scale": scaling.scale}),
        *(Finding(warning, warning=True) for warning in scaling.warnings),
        *(_of_counts_elsewhere(data) if scaling.scale == "log1p" and not any_scale else []),
        *(Finding(note, warning=True) for note in data.notes),
    ]


def _of_counts_elsewhere(data: Dataset) -> list[Finding]:
    # X of these is what a tool shall get; the counts beside it are for tools that take counts.
    if data.layer is None and any(data.has_key("uns", key) for key in (MASK_KEY, MOLECULES_KEY)):
        return []
    places = data.counts_elsewhere()
    if not places:
        return []
    where, layer = matrix_name(places[0]), places[0]
    text = f"logarithms are imputed, although {where} contains counts: to use them, give --layer {layer}"
    return [Finding(text, warning=True)]
