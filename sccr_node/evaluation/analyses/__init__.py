"""What the output of a method is judged by: one file per analysis, each with its declaration at its foot.

A file here *is* an analysis of the benchmark: it is found by its name, and loaded when it is used. It ends with
``ANALYSIS = Analysis(…)``, which says what it needs, which columns it adds and which function fills them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pkgutil import iter_modules
from typing import Any, Literal

from numpy.typing import NDArray

from sccr_node.contract.methods import Task
from sccr_node.evaluation.metrics import METRICS, Metric
from sccr_node.numerics import Progress

Row = dict[str, Any]
"""One line of a table, by column."""

EARLIEST = ("recovery", "clustering")
"""The analyses that the benchmark began with come first; later ones follow by name, and no column ever moves."""


@dataclass(frozen=True)
class Case:
    """What an analysis looks at.

    Attributes
    ----------
    expression
        What the method was given: cells x genes, log-normalised, CSR.
    imputed
        What it made of it: cells x genes, dense or sparse.
    truth
        The entries that were hidden from the method, CSR; None if nothing was.
    types
        The type of each cell as a number from 0, -1 for cells without one; None without labels.
    seeds
        For what is random in the analysis.
    settings
        The values of the parameters that the analysis declares.
    threads
        How many may work. No result depends on it.
    progress
        Called with a stage's name and the share done.
    """

    expression: Any
    imputed: Any
    truth: Any
    types: NDArray[Any] | None
    seeds: Sequence[int]
    settings: Mapping[str, Any]
    threads: int
    progress: Progress


@dataclass(frozen=True)
class Analysis:
    """The declaration of an analysis.

    Attributes
    ----------
    title
        What it does, in one or two words, for progress and messages.
    data
        Whether the method is given the data with entries masked (once per rate and seed), or all of them (once).
    task
        Which output of the method is judged: the one that its authors evaluated for this task.
    columns
        What it adds to the table.
    score
        Makes the rows, without what identifies the run.
    summary
        Says what the rows say, for the log.
    metrics
        Metrics of its own; those that several commands print are in :data:`~sccr_node.evaluation.metrics.METRICS`.
    needs_labels
        Whether it runs only where cell types are known.
    libraries
        Modules that have to be installed.
    settings
        The parameters of the benchmark that it reads, beyond the seeds.
    """

    title: str
    data: Literal["masked", "full"]
    task: Task
    columns: tuple[str, ...]
    score: Callable[[Case], list[Row]]
    summary: Callable[[Sequence[Row]], str]
    metrics: tuple[Metric, ...] = ()
    needs_labels: bool = False
    libraries: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()


def names() -> list[str]:
    """Return the names of all analyses, in the order of the table; none is loaded."""
    found = sorted(module.name for module in iter_modules(__path__))
    return sorted(found, key=lambda name: EARLIEST.index(name) if name in EARLIEST else len(EARLIEST))


@cache
def load(name: str) -> Analysis:
    """Return the declaration of an analysis."""
    analysis = import_module(f"{__name__}.{name}").ANALYSIS
    assert isinstance(analysis, Analysis)
    return analysis


def missing_libraries(chosen: Iterable[str]) -> list[str]:
    """Return the libraries that analyses need and that are not installed."""
    needed = dict.fromkeys(library for name in chosen for library in load(name).libraries)
    return [library for library in needed if find_spec(library) is None]


def known_metrics() -> dict[str, Metric]:
    """Return all metrics by name: those of the table, and those of single analyses."""
    return {**METRICS, **{metric.name: metric for name in names() for metric in load(name).metrics}}
