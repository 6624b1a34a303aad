"""Read every stored value once: refuse impossible values, decide the scale, compute the sums for the preparation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from sccr_node.data.dataset import Dataset
from sccr_node.data.features import choose_features
from sccr_node.data.matrix import pieces
from sccr_node.errors import InputProblem
from sccr_node.runtime.console import Progress
from sccr_node.runtime.words import quantity

Scale = Literal["counts", "log1p"]

# Results are stored as float32, and sums of squares of larger values could overflow even float64.
LARGEST_VALUE = float(np.finfo(np.float32).max)
# log1p of 3.3 million counts: no cell has more of one gene.
LARGEST_LOG = 15.0
# exp(30) counts of one gene: no logarithm of counts, to any base above sqrt(e), is that large.
IMPOSSIBLE_LOG = 30.0


@dataclass
class Offenders:
    """Invalid values of one kind: their number, and the cell and gene of the first."""

    n: int = 0
    cell: str = ""
    gene: str = ""


@dataclass
class MatrixSummary:
    """The findings of one pass over the matrix; sums are float64, in the order of the blocks.

    ``gene_sums``, ``gene_sums_of_squares`` and ``gene_nonzeros`` have one entry per gene; ``cell_totals`` (over the
    counted features) has one per cell.
    """

    source: str
    n_cells: int
    n_genes: int
    counted: np.ndarray
    gene_sums: np.ndarray
    gene_sums_of_squares: np.ndarray
    gene_nonzeros: np.ndarray
    cell_totals: np.ndarray
    n_nonzeros: int = 0
    all_integers: bool = True
    maximum: float = 0.0
    nan: Offenders = field(default_factory=Offenders)
    infinite: Offenders = field(default_factory=Offenders)
    negative: Offenders = field(default_factory=Offenders)

    @property
    def n_empty_cells(self) -> int:
        """Number of cells without any value in the counted features."""
        return int((self.cell_totals == 0).sum())


def scan(data: Dataset, progress: Progress | None = None, *, counted: np.ndarray | None = None) -> MatrixSummary:
    """Read every stored value once.

    Parameters
    ----------
    data
        An opened input.
    progress
        Called with the stage's name and the fraction done, from 0 to 1; an exception stops the scan.
    counted
        Which columns count in the totals of the cells (n_genes booleans; default: as ``choose_features`` recognises).

    Returns
    -------
    MatrixSummary
        Counts, sums and first offenders; nothing is refused here.
    """
    counted = choose_features(data).counted if counted is None else counted
    summary = MatrixSummary(
        source=data.source,
        n_cells=data.n_cells,
        n_genes=data.n_genes,
        counted=counted,
        gene_sums=np.zeros(data.n_genes),
        gene_sums_of_squares=np.zeros(data.n_genes),
        gene_nonzeros=np.zeros(data.n_genes, dtype=np.int64),
        cell_totals=np.zeros(data.n_cells),
    )
    weights = counted.astype(np.float64)
    for first, block in data.blocks():
        if progress is not None:
            progress("scan", first / data.n_cells)
        for start, rows in pieces(block):
            _add_rows(summary, data, first + start, rows, weights)
    if progress is not None:
        progress("scan", 1.0)
    return summary


def _add_rows(summary: MatrixSummary, data: Dataset, first: int, block: Any, weights: np.ndarray) -> None:
    last = first + block.shape[0]
    summary.n_nonzeros += block.nnz
    if not block.nnz:
        return
    values = block.data
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        _note(summary.nan, np.isnan(values), data, first, block)
        _note(summary.infinite, np.isinf(values), data, first, block)
        values = np.where(np.isfinite(values), values, 0).astype(values.dtype)
        block = block.copy()
        block.data = values
    if values.dtype.kind != "u" and values.min() < 0:
        _note(summary.negative, values < 0, data, first, block)
    summary.maximum = max(summary.maximum, float(values.max()))
    if summary.maximum > LARGEST_VALUE:
        return  # refused by decide_scale: the sums would overflow
    if values.dtype.kind == "f" and summary.all_integers:
        summary.all_integers = bool((values == np.rint(values)).all())
    exact = values.astype(np.float64)
    genes = block.indices.astype(np.intp)
    size = summary.n_genes
    summary.gene_nonzeros += np.bincount(genes, minlength=size)
    summary.gene_sums += np.bincount(genes, weights=exact, minlength=size)
    summary.gene_sums_of_squares += np.bincount(genes, weights=exact * exact, minlength=size)
    summary.cell_totals[first:last] = block.astype(np.float64) @ weights


def _note(kind: Offenders, where: np.ndarray, data: Dataset, first: int, block: Any) -> None:
    n = int(where.sum())
    if n and not kind.n:
        entry = int(np.argmax(where))
        kind.cell = str(data.cell_names[first + int(np.searchsorted(block.indptr, entry, side="right")) - 1])
        kind.gene = str(data.gene_names[block.indices[entry]])
    kind.n += n


def decide_scale(
    summary: MatrixSummary, input_scale: Literal["auto", "counts", "log1p"], *, any_scale: bool = False
) -> tuple[Scale, str]:
    """Decide whether the values are counts or log1p values.

    Parameters
    ----------
    summary
        From ``scan``.
    input_scale
        The scale given by the user, or "auto".
    any_scale
        With "auto", use values that are neither counts nor logs as they are (as logs), including negative ones.

    Returns
    -------
    tuple
        The scale and the reason, without the file's name: equal inputs must give equal results wherever they are.

    Raises
    ------
    InputProblem
        The matrix contains NaN, infinite or negative values, only zeros, or values that contradict the scale or leave
        it unclear.
    """
    if any_scale and input_scale == "auto":
        refuse_not_finite(summary)
        if summary.negative.n or (not summary.all_integers and summary.maximum > LARGEST_LOG):
            negative = f"{summary.negative.n:,} of them negative"
            return "log1p", f"values up to {summary.maximum:g}, {negative}; used as they are"
    _refuse_impossible(summary)
    what, largest = summary.source, f"{summary.maximum:g}"
    if input_scale == "counts":
        if summary.all_integers:
            return "counts", f"non-negative integers up to {largest}"
        return "counts", f"as requested; fractional values up to {largest}"
    if input_scale == "log1p":
        if summary.all_integers:
            raise InputProblem(
                f"{what} contains only integers (up to {largest}): these are counts, not log1p values; leave out "
                "--input-scale log1p, or choose another matrix with --layer"
            )
        if summary.maximum > IMPOSSIBLE_LOG:
            raise InputProblem(
                f"{what} contains values up to {largest}, too large for log1p of counts: give --input-scale counts if "
                "they are fractional counts, or choose another matrix with --layer"
            )
        if summary.maximum > LARGEST_LOG:
            return "log1p", (
                f"as requested, although values up to {largest} are too large for log1p of counts (logarithm to base "
                "2?)"
            )
        return "log1p", f"as requested; values up to {largest}"
    if summary.all_integers:
        return "counts", f"non-negative integers up to {largest}"
    if summary.maximum <= LARGEST_LOG:
        return "log1p", (
            f"fractional values up to {largest}, already log-normalised and used as they are (if they are counts, give "
            "--input-scale counts)"
        )
    raise InputProblem(
        f"{what} contains fractional values up to {largest}, neither counts nor logarithms: give --input-scale counts "
        "if they are fractional counts (ambient RNA removed) or depth-normalised, or choose another matrix with --layer"
    )


def refuse_not_finite(summary: MatrixSummary) -> None:
    """Refuse NaN and infinite values, naming the first cell and gene.

    Raises
    ------
    InputProblem
        The matrix contains one.
    """
    for kind, name in ((summary.nan, "NaN"), (summary.infinite, "infinite")):
        if kind.n:
            raise InputProblem(
                f"{summary.source} contains {quantity(kind.n, f'{name} value')} (first: cell {kind.cell!r}, gene "
                f"{kind.gene!r}): every value must be a finite number"
            )


def _refuse_impossible(summary: MatrixSummary) -> None:
    kinds = [
        (summary.nan, "NaN"),
        (summary.infinite, "infinite"),
        (summary.negative, "negative"),
    ]
    found = [
        f"{quantity(kind.n, f'{name} value')} (first: cell {kind.cell!r}, gene {kind.gene!r})"
        for kind, name in kinds
        if kind.n
    ]
    if found:
        looks = "; it looks scaled (z-scored)" if summary.negative.n else ""
        raise InputProblem(
            f"{summary.source} contains {' and '.join(found)}{looks}: give raw counts or log1p values, for example "
            "another matrix with --layer"
        )
    if summary.maximum > LARGEST_VALUE:
        raise InputProblem(
            f"{summary.source} contains values up to {summary.maximum:g}, too large for counts: give raw counts or "
            "log1p values, for example another matrix with --layer"
        )
    if not summary.n_nonzeros or not summary.cell_totals.any():
        raise InputProblem(f"{summary.source} contains only zeros: choose another matrix with --layer")
