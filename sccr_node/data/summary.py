"""Look at every stored value once: what may not be there, what scale it is on, and the sums that preparation needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from sccr_node.data.dataset import InputData
from sccr_node.data.matrix import pieces
from sccr_node.errors import InputProblem

Scale = Literal["counts", "log1p"]
Progress = Callable[[str, float], None]

# Results are stored as float32, and sums of squares of larger numbers overflow even float64.
LARGEST_VALUE = float(np.finfo(np.float32).max)
# log1p of 3.3 million counts: no cell holds more of one gene.
LARGEST_LOG = 15.0
# exp(30) counts of one gene: no logarithm of counts, to whatever base above sqrt(e), is that large.
IMPOSSIBLE_LOG = 30.0


@dataclass
class Offenders:
    """Values of one forbidden kind: how many there are, and the names of the first cell and gene."""

    n: int = 0
    cell: str = ""
    gene: str = ""


@dataclass
class MatrixSummary:
    """What one pass over the matrix found; sums are float64, in the order of the blocks.

    ``gene_sums``, ``gene_sums_of_squares`` and ``gene_nonzeros`` have one entry for each gene; ``cell_totals`` (over
    the counted features) one for each cell.
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
        """Cells without any value in the counted features."""
        return int((self.cell_totals == 0).sum())


def scan(data: InputData, progress: Progress | None = None) -> MatrixSummary:
    """Read every stored value once.

    Parameters
    ----------
    data
        An opened input.
    progress
        Called with the stage's name and the share done, from 0 to 1; what it raises stops the scan.

    Returns
    -------
    MatrixSummary
        Counts, sums and first offenders; nothing is judged here.
    """
    counted = data.counted_features
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


def _add_rows(summary: MatrixSummary, data: InputData, first: int, block: Any, weights: np.ndarray) -> None:
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


def _note(kind: Offenders, where: np.ndarray, data: InputData, first: int, block: Any) -> None:
    n = int(where.sum())
    if n and not kind.n:
        entry = int(np.argmax(where))
        kind.cell = str(data.cell_names[first + int(np.searchsorted(block.indptr, entry, side="right")) - 1])
        kind.gene = str(data.gene_names[block.indices[entry]])
    kind.n += n


def decide_scale(
    summary: MatrixSummary, input_scale: Literal["auto", "counts", "log1p"], *, any_scale: bool = False
) -> tuple[Scale, str]:
    """Decide what scale the values are on.

    Parameters
    ----------
    summary
        From ``scan``.
    input_scale
        What the user says, or "auto".
    any_scale
        With "auto", take values that are neither counts nor logs as they are (as logs), negative ones too.

    Returns
    -------
    tuple
        The scale, and what speaks for it, without the file's name: equal inputs get equal results wherever they lie.

    Raises
    ------
    InputProblem
        On NaN, infinities, negative values, nothing but zeros, and values that do not fit the scale or leave it
        unclear.
    """
    if any_scale and input_scale == "auto":
        refuse_not_finite(summary)
        if summary.negative.n or (not summary.all_integers and summary.maximum > LARGEST_LOG):
            negative = f"{summary.negative.n:,} of them negative"
            return "log1p", f"values up to {summary.maximum:g}, {negative}: used as they are"
    _refuse_impossible(summary)
    what, largest = summary.source, f"{summary.maximum:g}"
    if input_scale == "counts":
        if summary.all_integers:
            return "counts", f"non-negative integers up to {largest}"
        return "counts", f"as asked; fractions up to {largest}"
    if input_scale == "log1p":
        if summary.all_integers:
            raise InputProblem(
                f"{what} holds only integers (up to {largest}): these are counts, not log1p values; leave "
                "--input-scale log1p out, or choose the matrix with --layer"
            )
        if summary.maximum > IMPOSSIBLE_LOG:
            raise InputProblem(
                f"{what} holds values up to {largest}, which no log1p of counts reaches; give --input-scale counts if "
                "they are counts with fractions, or choose another matrix with --layer"
            )
        if summary.maximum > LARGEST_LOG:
            return "log1p", (
                f"as asked, although values up to {largest} are more than log1p of counts reaches (to base 2?)"
            )
        return "log1p", f"as asked; values up to {largest}"
    if summary.all_integers:
        return "counts", f"non-negative integers up to {largest}"
    if summary.maximum <= LARGEST_LOG:
        return "log1p", (
            f"fractions up to {largest}, log-normalised already and used as they are (--input-scale counts if they are "
            "counts)"
        )
    raise InputProblem(
        f"{what} holds fractions up to {largest}: neither counts nor logarithms; give --input-scale counts if they are "
        "counts with fractions (ambient RNA removed) or depth-normalised counts, or choose another matrix with --layer"
    )


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


def _refuse_impossible(summary: MatrixSummary) -> None:
    kinds = [
        (summary.nan, "NaN"),
        (summary.infinite, "infinite"),
        (summary.negative, "negative"),
    ]
    found = [
        f"{kind.n} {name} value{'s' if kind.n > 1 else ''} (first: cell {kind.cell!r}, gene {kind.gene!r})"
        for kind, name in kinds
        if kind.n
    ]
    if found:
        looks = "; it looks scaled (z-scored)" if summary.negative.n else ""
        raise InputProblem(
            f"{summary.source} holds {' and '.join(found)}{looks}: give raw counts or log1p values, "
            "for instance another matrix with --layer"
        )
    if summary.maximum > LARGEST_VALUE:
        raise InputProblem(
            f"{summary.source} holds values up to {summary.maximum:g}, more than any count: give raw counts or log1p "
            "values, for instance another matrix with --layer"
        )
    if not summary.n_nonzeros or not summary.cell_totals.any():
        raise InputProblem(f"{summary.source} holds nothing but zeros: choose another matrix with --layer")
