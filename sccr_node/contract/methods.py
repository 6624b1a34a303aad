"""The catalogue of methods: their names, published defaults and outputs. A new one requires an entry and a module.

The entry belongs here, because help pages, schemas and forms are derived from it and must not load numpy; the module
is ``sccr_node/methods/NAME.py``. Everything else consults the entry, never the name.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Value = bool | int | float | str
NeighborSearch = Literal["auto", "exact", "clustered"]
Output = Literal["denoised", "recovered"]
Task = Literal["recovery", "clustering"]


COMMON_SETTINGS: Mapping[str, Value] = {"neighbor_search": "auto"}
"""The settings of all methods that are ours, not published, with their defaults."""

CLUSTERED_FROM = 8_192
"""Cells from which the automatic choice is the clustered search (docs/benchmarks.md has the measurements)."""


@dataclass(frozen=True)
class Method:
    """What is known about a method before it runs.

    Attributes
    ----------
    name
        Its name on the command line, also that of its module in ``sccr_node.methods`` and of the function there.
    title
        Its name as its authors write it.
    summary
        Which graphs it builds, for somebody choosing between methods.
    idea
        What a missing value is estimated from, for somebody who does not know the methods.
    reference
        The publication.
    defaults
        Its published settings with their values: here and nowhere else. (All methods have the common ones, too.)
    outputs
        The matrices that it can produce, in order: the first is the cheapest.
    relation
        The coefficient between genes in its gene graph; None if it has no gene graph.
    scored
        The output that its authors evaluated for each task.
    follows
        Its settings without a published value, each with the setting whose value it takes unless it is given.
    tuned
        The parameters that ``sccr tune`` chooses, those of the blend included; empty if the method cannot be tuned.
    """

    name: str
    title: str
    summary: str
    idea: str
    reference: str
    defaults: Mapping[str, Value]
    outputs: tuple[Output, ...]
    relation: Literal["pearson", "cosine"] | None
    scored: Mapping[Task, Output]
    follows: Mapping[str, str] = field(default_factory=dict)
    tuned: tuple[str, ...] = ()

    @property
    def settings(self) -> tuple[str, ...]:
        """The names of all settings."""
        return (*self.defaults, *self.follows, *COMMON_SETTINGS)

    def complete(self, given: Mapping[str, Value | None]) -> dict[str, Value]:
        """Return all settings: those given (not None), the published defaults, and those that follow another.

        Raises
        ------
        ValueError
            A setting was given that the method does not have.
        """
        known = {name: value for name, value in given.items() if value is not None}
        if unknown := known.keys() - set(self.settings):
            raise ValueError(f"{self.title} has no setting {', '.join(sorted(unknown))}")
        settings = {**self.defaults, **COMMON_SETTINGS, **known}
        return settings | {name: settings.get(name, settings[other]) for name, other in self.follows.items()}


METHODS: Mapping[str, Method] = {
    method.name: method
    for method in (
        Method(
            name="sccr",
            title="scCR",
            summary="cell graph and signed gene graph; NeurIPS 2024",
            idea="similar cells and related genes",
            reference=(
                "Um D, Yoon JW, Ahn SJ, Yeo Y. Gene-Gene Relationship Modeling Based on Genetic Evidence for "
                "Single-Cell RNA-Seq Data Imputation. NeurIPS 2024."
            ),
            defaults={
                "k_cell": 15,
                "k_gene": 2,
                "n_iterations": 40,
                "n_gene_iterations": 40,
                "alpha": 0.05,
                "beta": 0.99,
                "gamma": 0.01,
                "symmetrize_final": True,
                "dissociating": True,
                "standardize": True,
            },
            outputs=("recovered", "denoised"),
            relation="pearson",
            scored={"recovery": "recovered", "clustering": "denoised"},
            follows={"k_denoising": "k_cell", "n_denoising_iterations": "n_iterations"},
            tuned=("beta", "n_denoising_iterations", "low_rank", "low_rank_share"),
        ),
        Method(
            name="scfp",
            title="scFP",
            summary="cell graphs only",
            idea="similar cells only",
            reference=(
                "Yun S, Lee J, Park C. Single-cell RNA-seq data imputation using Feature Propagation. 2023, "
                "arXiv:2307.10037."
            ),
            defaults={"k_cell": 15, "n_iterations": 40, "beta": 0.99},
            outputs=("denoised",),
            relation=None,
            scored={"recovery": "denoised", "clustering": "denoised"},
            follows={"k_denoising": "k_cell", "n_denoising_iterations": "n_iterations"},
        ),
        Method(
            name="scbfp",
            title="scBFP",
            summary="a gene graph, then a cell graph",
            idea="related genes, then similar cells",
            reference=(
                "Lee J, Yun S, Kim Y, Chen T, Kellis M, Park C. Single-cell RNA sequencing data imputation using "
                "bi-level feature propagation. Briefings in Bioinformatics 2024, bbae209."
            ),
            defaults={"k_cell": 10, "k_gene": 10, "n_iterations": 40, "n_gene_iterations": 10},
            outputs=("denoised",),
            relation="cosine",
            scored={"recovery": "denoised", "clustering": "denoised"},
        ),
    )
}
"""All methods; the first is the default."""

DEFAULT_METHOD = next(iter(METHODS))
