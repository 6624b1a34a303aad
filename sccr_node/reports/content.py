"""The content of the report, independent of files: numbers, names and matrices of one result."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

BINS_PER_UNIT = 20
"""Bins of the value histograms per unit of log expression: fine enough for a median to two decimals."""

MAX_LOG_VALUE = 16
"""Upper end of the value histograms; log1p of ten million is 16.1."""

LONGEST_MARK = 3
"""Longest group name that fits into a figure, in characters."""

_UNREADABLE = {"Cc", "Cs"}
_BIDI_CONTROLS = set("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def readable(name: object) -> str:
    """Return a name from the data, replacing characters that would break or reorder a line of text."""
    text = str(name)
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        "\N{REPLACEMENT CHARACTER}"
        if unicodedata.category(character) in _UNREADABLE or character in _BIDI_CONTROLS
        else character
        for character in text
    )


@dataclass(frozen=True)
class Fact:
    """One line of a table of facts; ``note`` explains it in a few words."""

    name: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Grouping:
    """The plotted cells in groups: a column of obs, or clusters computed for the report.

    Attributes
    ----------
    title
        What the groups are, such as the name of the column.
    names
        The groups with their own colour, largest first.
    sizes
        Number of cells per group in the whole data set (for clusters: among the plotted cells).
    codes
        Group of each plotted cell as a position in ``names``; -1: another group, or none.
    n_others
        Number of further groups, which share the code -1.
    n_missing
        Number of cells without a value.
    found_here
        Whether the groups are clusters computed for the report.
    """

    title: str
    names: list[str]
    sizes: list[int]
    codes: NDArray[np.int64]
    n_others: int = 0
    n_missing: int = 0
    found_here: bool = False

    @property
    def marks(self) -> list[str]:
        """The label of each group in a figure: its name if all names are short enough, otherwise its number.

        Names such as 1, 2, 3 would be confused with numbers by size.
        """
        if all(len(name) <= LONGEST_MARK for name in self.names):
            return self.names
        return [str(number + 1) for number in range(len(self.names))]


@dataclass(frozen=True)
class Embedding:
    """The plotted cells in two dimensions, before and after imputation (plotted cells x 2 each)."""

    technique: str
    before: NDArray[np.float32]
    after: NDArray[np.float32]


@dataclass(frozen=True)
class Values:
    """How expression changed, entry by entry, over the imputed genes of all cells.

    Attributes
    ----------
    n_observed, n_unobserved
        Number of entries that were not zero, and that were zero, before imputation.
    n_observed_zero, n_unobserved_zero
        How many of each are zero after imputation.
    observed_before, observed_after, unobserved_after
        Histograms in bins of 1 / BINS_PER_UNIT from 0 to MAX_LOG_VALUE; zeros are in the first bin.
    mean_observed_before, mean_observed_after, mean_unobserved_after
        Mean log expression of the same entries.
    mean_change
        Mean absolute difference between before and after at the observed entries.
    """

    n_observed: int
    n_unobserved: int
    n_observed_zero: int
    n_unobserved_zero: int
    observed_before: NDArray[np.int64]
    observed_after: NDArray[np.int64]
    unobserved_after: NDArray[np.int64]
    mean_observed_before: float
    mean_observed_after: float
    mean_unobserved_after: float
    mean_change: float

    @property
    def zeros_before(self) -> float:
        """Share of zeros before imputation."""
        return self.n_unobserved / max(1, self.n_observed + self.n_unobserved)

    @property
    def zeros_after(self) -> float:
        """Share of zeros after imputation."""
        return (self.n_observed_zero + self.n_unobserved_zero) / max(1, self.n_observed + self.n_unobserved)


def median_of_bins(counts: NDArray[np.int64]) -> float:
    """Return the middle of the bin with the median of a histogram; 0 if the histogram is empty."""
    total = int(counts.sum())
    if not total:
        return 0.0
    position = int(np.searchsorted(np.cumsum(counts), total / 2))
    return (position + 0.5) / BINS_PER_UNIT


@dataclass(frozen=True)
class Pair:
    """Two related genes; ``detected`` is the fraction of cells in which each was observed."""

    genes: tuple[str, str]
    r: float
    detected: tuple[float, float]


@dataclass(frozen=True)
class Relations:
    """The gene graph: pairs by sign, their coefficients in 40 bins from -1 to 1, and the strongest pairs."""

    coefficient: str
    n_associating: int
    n_dissociating: int
    histogram: NDArray[np.int64]
    associating: list[Pair]
    dissociating: list[Pair]
    n_related_genes: int

    @property
    def share_associating(self) -> float:
        """Fraction of pairs with a positive coefficient."""
        return self.n_associating / max(1, self.n_associating + self.n_dissociating)


@dataclass(frozen=True)
class MarkerMap:
    """Expression of marker genes in some cells of each group (genes x cells, 0 to 1 per gene), before and after.

    Attributes
    ----------
    genes
        Names of the rows.
    gene_groups
        The group that each gene is a marker of, as a position in the grouping's names.
    cell_groups
        The group of each column, by which columns are sorted.
    """

    genes: list[str]
    gene_groups: list[int]
    cell_groups: NDArray[np.int64]
    before: NDArray[np.float32]
    after: NDArray[np.float32]


@dataclass(frozen=True)
class SmallGroup:
    """A group of cells, and how many of its cells' neighbours are its own before and after imputation (0 to 1)."""

    name: str
    size: int
    before: float
    after: float


@dataclass(frozen=True)
class ShownVerdict:
    """One verdict: the question, the short answer, the sentence that explains it, and how it is marked."""

    question: str
    answer: str
    text: str
    kind: Literal["good", "open", "bad"]


@dataclass(frozen=True)
class Helps:
    """What tuning found: the verdicts, what is explained by what, and the curve over the strengths of smoothing.

    Attributes
    ----------
    answers
        The verdicts.
    explained
        What each way explains of the predictable variation: name, share.
    betas, lines
        The strengths that were tried, and what is explained at each, by line; NaN where it was not tried.
    chosen
        The strength that was chosen, and what is explained with all the chosen numbers.
    numbers
        The numbers that were chosen.
    n_cells, seed
        Cells that were tuned on, and the seed.
    """

    answers: list[ShownVerdict]
    explained: list[tuple[str, float]]
    betas: list[float]
    lines: dict[str, list[float]]
    chosen: tuple[float, float]
    numbers: list[Fact]
    n_cells: int
    seed: int


@dataclass(frozen=True)
class ScoreTable:
    """One evaluation table as given, as text; numbers are rounded to four significant digits."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    numeric: list[bool]
    n_left_out: int = 0


@dataclass(frozen=True)
class Stage:
    """One stage of the run and its wall-clock seconds."""

    name: str
    seconds: float


@dataclass(frozen=True)
class Resources:
    """Time and memory of the run, in seconds and bytes."""

    stages: list[Stage]
    total_seconds: float
    threads: int
    peak_memory: int
    estimated_memory: int
    memory_limit: int | None


@dataclass(frozen=True)
class Content:
    """Everything that the HTML report and the MultiQC content show of one result."""

    sample: str
    key: str
    file: str
    method: str
    version: str
    scale: str
    scale_reason: str
    n_cells: int
    n_genes: int
    n_imputed_genes: int
    what: str
    """What the report shows: denoised or recovered expression, or only the embedding."""
    values: Values | None
    zeros_before: float | None
    zeros_after: float | None
    relations: Relations | None
    resources: Resources | None
    facts: list[Fact]
    parameters: list[Fact]
    software: list[Fact]
    messages: list[str]
    n_drawn: int = 0
    groupings: list[Grouping] = field(default_factory=list)
    embedding: Embedding | None = None
    markers: MarkerMap | None = None
    helps: Helps | None = None
    """What tuning found; None if the numbers were not tuned."""
    small_groups: list[SmallGroup] = field(default_factory=list)
    scores: list[ScoreTable] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What the report cannot show, and why; one sentence each."""
