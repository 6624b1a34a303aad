"""Read every stored value once: sums for the preparation, and what is needed to tell what the values are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from sccr_node.data.dataset import Dataset
from sccr_node.data.features import choose_features
from sccr_node.data.matrix import pieces
from sccr_node.runtime.console import Finding, Progress

# Results are stored as float32, and sums of squares of larger values could overflow even float64.
LARGEST_VALUE = float(np.finfo(np.float32).max)
SMALLEST_VALUE = float(np.finfo(np.float32).tiny)
SAMPLED_CELLS = 500
"""About so many cells are kept as a sample, evenly spaced over the data set."""
_ROUNDING, _ROUNDING_PER_COUNT = 1e-6, 2.5e-6
"""What expm1(log1p(counts)) in float32 is off by, twice over, up to a million counts."""


@dataclass
class Offenders:
    """Invalid values of one kind: their number, and the cell and gene of the first."""

    n: int = 0
    cell: str = ""
    gene: str = ""


class SampledCells(NamedTuple):
    """The non-zero values of the counted features of some cells, one cell after another.

    Attributes
    ----------
    values
        Float64, positive.
    starts
        Where each cell begins.
    """

    values: np.ndarray
    starts: np.ndarray


@dataclass
class MatrixSummary:
    """The findings of one pass over the matrix; sums are float64, in the order of the blocks.

    ``gene_sums``, ``gene_sums_of_squares`` and ``gene_nonzeros`` have one entry per gene; ``cell_totals`` (over the
    counted features) has one per cell. ``is_x`` means that the matrix is X, not a layer. ``fraction`` is the first
    value that is no integer, and not off by float rounding either; ``integer_cells`` are those whose counted features
    contain integers above 1, below the maximum, and no fractions.
    """

    source: str
    n_cells: int
    n_genes: int
    counted: np.ndarray
    gene_sums: np.ndarray
    gene_sums_of_squares: np.ndarray
    gene_nonzeros: np.ndarray
    cell_totals: np.ndarray
    is_x: bool = True
    n_nonzeros: int = 0
    all_integers: bool = True
    maximum: float = 0.0
    minimum: float = 0.0
    nan: Offenders = field(default_factory=Offenders)
    infinite: Offenders = field(default_factory=Offenders)
    negative: Offenders = field(default_factory=Offenders)
    fraction: Offenders = field(default_factory=Offenders)
    integer_cells: Offenders = field(default_factory=Offenders)
    kept: list[np.ndarray] = field(default_factory=list, repr=False)

    @property
    def sample(self) -> SampledCells:
        """The values of some cells."""
        sizes = [len(values) for values in self.kept]
        starts = np.concatenate([[0], np.cumsum(sizes)])[:-1].astype(np.intp)
        values = np.concatenate(self.kept) if self.kept else np.empty(0)
        return SampledCells(values.astype(np.float64), starts)

    @property
    def n_empty_cells(self) -> int:
        """Number of cells without any value in the counted features."""
        return int((self.cell_totals == 0).sum())

    @property
    def is_too_large(self) -> bool:
        """Whether a value, of either sign, is larger than what can be stored; the values are not described then."""
        return max(self.maximum, -self.minimum) > LARGEST_VALUE

    @property
    def vanishes(self) -> bool:
        """Whether all values are zeros once they are stored as float32."""
        return max(self.maximum, -self.minimum) < SMALLEST_VALUE

    @property
    def near_integers(self) -> bool:
        """Whether the values are integers but for the rounding of float arithmetic."""
        return not self.fraction.n

    @property
    def zeros(self) -> float:
        """Share of zeros."""
        return 1 - self.n_nonzeros / (self.n_cells * self.n_genes)

    def headline(self) -> Finding:
        """Describe the matrix in one line."""
        return Finding(
            f"{self.source}: {self.n_cells:,} cells × {self.n_genes:,} genes, {self.zeros:.1%} zeros",
            fields={"n_cells": self.n_cells, "n_genes": self.n_genes, "zeros": round(self.zeros, 6)},
        )


def scan(
    data: Dataset,
    progress: Progress | None = None,
    *,
    counted: np.ndarray | None = None,
    convert: Callable[[Any], Any] | None = None,
) -> MatrixSummary:
    """Read every stored value once.

    Parameters
    ----------
    data
        An opened input.
    progress
        Called with the stage's name and the fraction done, from 0 to 1; an exception stops the scan.
    counted
        Which columns count in the totals of the cells (n_genes booleans; default: as ``choose_features`` recognises).
    convert
        Applied to every block first (``Scaling.convert``).

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
        is_x=data.layer is None,
    )
    weights = counted.astype(np.float64)
    for first, block in data.blocks():
        if progress is not None:
            progress("scan", first / data.n_cells)
        for start, rows in pieces(block if convert is None else convert(block)):
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
    summary.minimum = min(summary.minimum, float(values.min()))
    if summary.is_too_large:
        return  # refused by decide_scale: the sums would overflow
    if values.dtype.kind == "f" and summary.near_integers:
        off = np.abs(values - np.rint(values))
        if off.any():
            summary.all_integers = False
            fractions = off > np.minimum(_ROUNDING + _ROUNDING_PER_COUNT * values, 0.25)
            _note(summary.fraction, fractions, data, first, block)
    _keep_sample(summary, first, block)
    exact = values.astype(np.float64)
    genes = block.indices.astype(np.intp)
    size = summary.n_genes
    summary.gene_nonzeros += np.bincount(genes, minlength=size)
    summary.gene_sums += np.bincount(genes, weights=exact, minlength=size)
    summary.gene_sums_of_squares += np.bincount(genes, weights=exact * exact, minlength=size)
    summary.cell_totals[first:last] = block.astype(np.float64) @ weights
    _note_integer_cells(summary, data, first, block, weights)


def _note_integer_cells(summary: MatrixSummary, data: Dataset, first: int, block: Any, weights: np.ndarray) -> None:
    """Count the cells that contain integers above 1 and no fractions.

    Ones alone prove nothing (log2 of 1 + 1 is 1), nor does the maximum alone (of clipped values).
    """
    totals = summary.cell_totals[first : first + block.shape[0]]
    # Sums of logarithms are hardly ever integers: few cells, if any, are looked at value by value.
    whole = (totals > 0) & (totals == np.rint(totals))
    if not whole.any():
        return
    n_values = np.diff(block.indptr) if weights.all() else _per_cell(block, np.ones(block.nnz), weights)
    whole &= (totals > n_values) & (totals < n_values * summary.maximum)
    if block.dtype.kind == "f" and not summary.all_integers:
        whole &= _per_cell(block, (block.data != np.rint(block.data)).astype(np.float64), weights) == 0
    if whole.any():
        if not summary.integer_cells.n:
            summary.integer_cells.cell = str(data.cell_names[first + int(np.argmax(whole))])
        summary.integer_cells.n += int(whole.sum())


def _per_cell(block: Any, flags: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the sums of what is 0 or 1 for each stored value, over the counted features of each cell."""
    return np.asarray(type(block)((flags, block.indices, block.indptr), shape=block.shape) @ weights)


def _keep_sample(summary: MatrixSummary, first: int, block: Any) -> None:
    """Keep every n-th cell of the data set."""
    every = max(1, summary.n_cells // SAMPLED_CELLS)
    for row in range(-first % every, block.shape[0], every):
        stored = slice(block.indptr[row], block.indptr[row + 1])
        values = block.data[stored][summary.counted[block.indices[stored]]]
        if values.size:
            summary.kept.append(values)


def _note(kind: Offenders, where: np.ndarray, data: Dataset, first: int, block: Any) -> None:
    n = int(where.sum())
    if n and not kind.n:
        entry = int(np.argmax(where))
        kind.cell = str(data.cell_names[first + int(np.searchsorted(block.indptr, entry, side="right")) - 1])
        kind.gene = str(data.gene_names[block.indices[entry]])
    kind.n += n
