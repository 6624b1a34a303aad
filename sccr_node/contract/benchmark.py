"""The parameters of ``sccr benchmark``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from pkgutil import iter_modules

from pydantic import ValidationInfo, field_validator

from sccr_node.contract.fields import DATA, EVALUATION, parameter
from sccr_node.contract.imputing import DEFAULT_RANK
from sccr_node.contract.methods import METHODS, Task
from sccr_node.contract.shared import (
    ClusteringParameters,
    Mechanism,
    PreparationParameters,
    ResumableParameters,
    ThreadedParameters,
    _without_repeats,
)


@dataclass(frozen=True)
class Baseline:
    """What a benchmark compares methods with: its name, its title, and the tasks that it makes sense for."""

    name: str
    title: str
    tasks: tuple[Task, ...]


BASELINES: Mapping[str, Baseline] = {
    baseline.name: baseline
    for baseline in (
        Baseline("none", "no imputation", ("recovery", "clustering")),
        Baseline("gene-mean", "gene mean", ("recovery",)),
        Baseline("gene-and-cell-mean", "gene and cell mean", ("recovery",)),
        Baseline("pca", "PCA", ("recovery", "clustering")),
    )
}
"""What any method has to beat; the functions are in ``evaluation/baselines.py``."""

COMPARED = (*BASELINES, *METHODS)
"""What a benchmark can compare: the baselines, and all methods."""


EARLIEST = ("recovery", "clustering")
"""The benchmark's original analyses: their columns stand before those of run time and memory."""

ORDER = (
    *EARLIEST, "neighbors", "annotation", "markers", "false_markers", "differential", "trajectory", "scib", "held_out",
)  # fmt: skip
"""The order of the table. A new analysis goes to the end, so that no column ever moves; others follow by name."""

ANALYSES = Path(__file__).parents[1] / "evaluation" / "analyses"
"""The folder with one file per analysis."""


def analysis_names(folders: Iterable[str] = (str(ANALYSES),)) -> list[str]:
    """Return the names of all analyses, in the order of the table, without loading any."""
    found = sorted(module.name for module in iter_modules(folders))
    return sorted(found, key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER))


CANDIDATE_NAME = r"[A-Za-z0-9][A-Za-z0-9_.+-]*"


def title_of(name: str) -> str:
    """Return the title of a baseline or a method; a candidate's is its name."""
    if name not in COMPARED:
        return name
    return BASELINES[name].title if name in BASELINES else METHODS[name].title


def serves(name: str, task: Task) -> bool:
    """Return whether a baseline or a method is compared for a task."""
    return task in (BASELINES[name].tasks if name in BASELINES else METHODS[name].scored)


class BenchmarkParameters(PreparationParameters, ClusteringParameters, ThreadedParameters, ResumableParameters):
    """Parameters of ``sccr benchmark``."""

    methods: str = parameter(
        ",".join(COMPARED),
        title="Methods",
        description=(
            "Methods to compare, separated by commas. none: no imputation; gene-mean (a gene's mean observed value) "
            "and gene-and-cell-mean (the same plus the cell's offset) are simple baselines that any method should "
            f"beat; pca: reconstruction from the first {DEFAULT_RANK} principal components."
        ),
        group=EVALUATION,
        metavar="METHOD,METHOD,...",
        pattern="^({0})(,({0}))*$".format("|".join(COMPARED)),
        expects=f"names separated by commas, of these: {', '.join(COMPARED)}",
    )
    analyses: str = parameter(
        ",".join(EARLIEST),
        title="Analyses",
        description=(
            f"Analyses of the imputed data, separated by commas: {', '.join(analysis_names())}. An analysis whose "
            "requirements are not met, e.g. known cell types, is skipped with a message."
        ),
        group=EVALUATION,
        metavar="ANALYSIS,ANALYSIS,...",
        pattern=r"^[a-z_]+(,[a-z_]+)*$",
        expects="names separated by commas, such as recovery,clustering",
    )
    rates: str = parameter(
        "0.2,0.4,0.8",
        title="Rates",
        description="Fractions of the observed (non-zero) entries to drop, separated by commas.",
        group=EVALUATION,
        metavar="RATE,RATE,...",
        pattern=r"^0?\.\d+(,0?\.\d+)*$",
        expects="numbers between 0 and 1, separated by commas, such as 0.2,0.4",
    )
    mechanism: Mechanism = parameter(
        "mcar",
        title="Mechanism",
        description="mcar: drop observed entries at random; mnar: drop low expression more often.",
        group=EVALUATION,
    )
    label_key: str | None = parameter(
        None,
        title="Label column",
        description=(
            "Column of obs with the known cell types, which all analyses require except recovery, held_out and "
            "trajectory."
        ),
        group=DATA,
        metavar="COLUMN",
        min_length=1,
    )

    order_key: str | None = parameter(
        None,
        title="Order column",
        description=(
            "Numeric column of obs that orders the cells, e.g. day or stage; used by the trajectory analysis."
        ),
        group=EVALUATION,
        metavar="COLUMN",
        min_length=1,
    )
    candidate: dict[str, str | list[str]] = parameter(
        {},
        title="Results of other tools",
        description=(
            "A result to compare, under a name of your choice: log expression of the same cells and genes, from any "
            "tool; can be repeated (in a config file: a mapping). Results made from the output of sccr evaluate mask "
            "are scored for recovery, those from sccr evaluate split-molecules for held_out, and those from the full "
            "data for the other analyses."
        ),
        group=DATA,
        metavar="NAME=FILE",
        path="read",
    )
    candidate_layer: dict[str, str] = parameter(
        {},
        title="Layers of these results",
        description="Layer of a candidate with the log expression (default: X); can be repeated.",
        group=DATA,
        metavar="NAME=LAYER",
    )

    @field_validator("candidate", "candidate_layer", mode="before")
    @classmethod
    def _pairs_are_mappings(cls, given: object, info: ValidationInfo) -> object:
        """Turn NAME=VALUE, as a flag or an environment variable has it, into a mapping."""
        pairs = [given] if isinstance(given, str) else given
        if not isinstance(pairs, list):
            return given
        found: dict[str, list[str]] = {}
        for pair in pairs:
            name, equals, value = str(pair).partition("=")
            if not (name and equals and value):
                raise ValueError(f"should be NAME={'FILE' if info.field_name == 'candidate' else 'LAYER'}")
            found.setdefault(name, []).append(value)
        if info.field_name == "candidate":
            return found
        if repeated := [name for name, values in found.items() if len(values) > 1]:
            raise ValueError(f"names two layers for {repeated[0]}")
        return {name: values[0] for name, values in found.items()}

    @field_validator("candidate")
    @classmethod
    def _candidates_have_names(cls, given: dict[str, str | list[str]]) -> dict[str, str | list[str]]:
        for name, files in given.items():
            if not re.fullmatch(CANDIDATE_NAME, name):
                raise ValueError(f"{name!r} is not a valid name: use only letters, digits, and _ . + -")
            if name in COMPARED:
                raise ValueError(f"{name} is the name of a method: choose another")
            if not files or (isinstance(files, list) and "" in files):
                raise ValueError(f"{name} has no file")
        return given

    def contradictions(self) -> Iterator[str]:
        """Yield the layers of candidates that are not there."""
        yield from super().contradictions()
        for name in self.candidate_layer:
            if name not in self.candidate:
                yield f"--candidate-layer names {name}, for which there is no --candidate"

    def candidate_files(self) -> list[tuple[str, Path]]:
        """Return the name and the path of every candidate; a name can have several files."""
        return [
            (name, Path(file))
            for name, files in self.candidate.items()
            for file in ([files] if isinstance(files, str) else files)
        ]

    def files_read(self) -> list[Path]:
        """Return the files that the command reads, the candidates included."""
        return [*super().files_read(), *(path for _, path in self.candidate_files())]

    @field_validator("methods", "analyses", "rates")
    @classmethod
    def _items_differ(cls, items: str, info: ValidationInfo) -> str:
        return _without_repeats(str(info.field_name), items)

    @field_validator("rates")
    @classmethod
    def _rates_above_zero(cls, rates: str) -> str:
        if not all(float(rate) > 0 for rate in rates.split(",")):
            raise ValueError("every rate must be above 0")
        return rates

    def method_list(self) -> list[str]:
        """Return the methods."""
        return self.methods.split(",")

    def analysis_list(self) -> list[str]:
        """Return the analyses as typed; which ones exist is known to ``sccr_node.evaluation.analyses``."""
        return self.analyses.split(",")

    def rate_list(self) -> list[float]:
        """Return the rates as numbers."""
        return [float(rate) for rate in self.rates.split(",")]
