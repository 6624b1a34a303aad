"""The analyses that evaluate a method's output: one file per analysis, each with its declaration at the end.

Each file here *is* an analysis of the benchmark: it is found by name and loaded on use. It ends with
``ANALYSIS = Analysis(…)``, which declares what it needs, which columns it adds and which function fills them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sccr_node.contract.benchmark import analysis_names
from sccr_node.contract.methods import Task
from sccr_node.evaluation.metrics import METRICS, Metric
from sccr_node.evaluation.molecules import HeldOut
from sccr_node.numerics import Progress

Row = dict[str, Any]
"""One row of a table, by column."""

Data = Literal["masked", "full", "permuted", "halved"]
"""What a method gets: see :class:`Analysis`."""


@dataclass(frozen=True)
class Case:
    """The input of an analysis.

    Attributes
    ----------
    expression
        The method's input: cells x genes, log-normalised, CSR.
    imputed
        The method's output: cells x genes, dense or sparse.
    truth
        The entries that were hidden from the method, CSR; None if none were.
    types
        Type of each cell as a number from 0 (-1: no type); None without labels.
    order
        Known order of each cell (NaN: not known); None without one.
    seeds
        Seeds for the random steps of the analysis.
    settings
        The values of the parameters that the analysis declares.
    threads
        Number of threads. Does not affect the result.
    progress
        Called with a stage's name and the finished fraction.
    held_out
        Both halves of the molecules; None if the method did not get one of them.
    """

    expression: Any
    imputed: Any
    truth: Any
    types: NDArray[Any] | None
    order: NDArray[np.float64] | None
    seeds: Sequence[int]
    settings: Mapping[str, Any]
    threads: int
    progress: Progress
    held_out: HeldOut | None = None


@dataclass(frozen=True)
class Analysis:
    """The declaration of an analysis.

    Attributes
    ----------
    title
        One or two words for progress and messages.
    data
        What the method gets: the data with masked entries (once per rate and seed), the full data (once), the data with
        some genes permuted among the cells, or half of the molecules (once per seed).
    task
        Selects the method's output: the one that its authors evaluated for this task.
    columns
        Columns it adds to the table.
    appended
        More of them, which an analysis of :data:`EARLIEST` got later: they stand at the end of the table.
    score
        Returns the rows, without the columns that identify the run.
    summary
        Returns a one-line summary of the rows for the log.
    ranked_by
        The metric by which methods are ranked; None if they are not.
    question
        What it asks, in one line, for forms and the page.
    note
        What a reader of its table on the page should know besides.
    bounds
        Algorithms that choose by what they are judged by: bounds, which do not count in a method's mean rank.
    metrics
        Its own metrics; those that several commands print are in :data:`~sccr_node.evaluation.metrics.METRICS`.
    needs
        Parameters of the benchmark that must be given: columns with what is known about the cells.
    libraries
        Modules that must be installed.
    extra
        The extra of the package with these libraries.
    settings
        Parameters of the benchmark that it reads, besides the seeds.
    """

    title: str
    data: Data
    task: Task
    columns: tuple[str, ...]
    score: Callable[[Case], list[Row]]
    summary: Callable[[Sequence[Row]], str]
    ranked_by: str | None = None
    question: str = ""
    appended: tuple[str, ...] = ()
    note: str = ""
    bounds: tuple[str, ...] = ()
    metrics: tuple[Metric, ...] = ()
    needs: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ()
    extra: str = "full"
    settings: tuple[str, ...] = ()


def cells_with_types(case: Case) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return the method's output for the cells that have a type, dense, and their types."""
    assert case.types is not None
    typed = case.types >= 0
    return as_dense(case.imputed[typed]), case.types[typed]


def as_dense(cells: Any) -> NDArray[np.float32]:
    """Return some cells of a method's output, dense."""
    return np.asarray(cells if isinstance(cells, np.ndarray) else cells.toarray(), dtype=np.float32)


def names() -> list[str]:
    """Return the names of all analyses, in the order of the table, without loading any."""
    return analysis_names(__path__)


@cache
def load(name: str) -> Analysis:
    """Return the declaration of an analysis."""
    analysis = import_module(f"{__name__}.{name}").ANALYSIS
    assert isinstance(analysis, Analysis)
    return analysis


def missing_libraries(chosen: Iterable[str]) -> list[str]:
    """Return the libraries that analyses require and that are not installed."""
    needed = dict.fromkeys(library for name in chosen for library in load(name).libraries)
    return [library for library in needed if find_spec(library) is None]


def known_metrics() -> dict[str, Metric]:
    """Return all metrics by name: the shared ones and those of single analyses."""
    return {**METRICS, **{metric.name: metric for name in names() for metric in load(name).metrics}}
