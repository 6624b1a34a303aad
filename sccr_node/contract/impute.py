"""The parameters of ``sccr impute``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import model_validator

from sccr_node.contract.fields import DATA, METHOD, NUMBERS, OUTPUT, REPORTING, RUNNING, extra_of, flag, parameter
from sccr_node.contract.keys import ResultKeys
from sccr_node.contract.methods import DEFAULT_METHOD, METHODS, Output, Value
from sccr_node.contract.shared import GENE_CHOICES, AppendingParameters, PreparationParameters

RELATING = tuple(name for name, method in METHODS.items() if method.relation is not None)
"""The methods that build a gene graph."""


if TYPE_CHECKING:
    MethodName = str
    RelatingMethodName = str
else:  # the type checker need not know which methods there are, pydantic must
    MethodName = Literal[tuple(METHODS)]
    RelatingMethodName = Literal[RELATING]


def published_for(setting: str) -> dict[str, Value]:
    """Return the published default of a setting for each method that has it."""
    return {name: method.defaults[setting] for name, method in METHODS.items() if setting in method.defaults}


def followed_by(setting: str) -> str:
    """Return the setting whose value another one has unless it is given."""
    return next(method.follows[setting] for method in METHODS.values() if setting in method.follows)


def _described() -> str:
    """Return the methods in a sentence: the first, and its relatives."""
    first, *others = (f"{method.title} ({method.summary})" for method in METHODS.values())
    return f"{first}, or its relatives: {', '.join(others[:-1])} and {others[-1]}."


def _having(output: Output) -> list[str]:
    """Return the names of the methods that have an output."""
    return [name for name, method in METHODS.items() if output in method.outputs]


class ImputeParameters(AppendingParameters, PreparationParameters):
    """Parameters of ``sccr impute``."""

    # --- input
    batch_key: str | None = parameter(
        None,
        title="Batch column",
        description=(
            "Column of obs that names each cell's batch or sample. Each batch is imputed by itself: no expression "
            "crosses from one to another. Genes and sequencing depth are chosen once, over all cells."
        ),
        group=DATA,
        metavar="COLUMN",
        min_length=1,
    )

    # --- method
    method: MethodName = parameter(
        DEFAULT_METHOD,
        title="Method",
        description=_described(),
        group=METHOD,
    )
    k_cell: int | None = parameter(
        None,
        title="Neighbours of a cell",
        description="How many similar cells each cell is joined to.",
        group=NUMBERS,
        published=published_for("k_cell"),
        ge=1,
    )
    k_gene: int | None = parameter(
        None,
        title="Neighbours of a gene",
        description="How many related genes each gene is joined to.",
        group=NUMBERS,
        published=published_for("k_gene"),
        ge=1,
    )
    k_denoising: int | None = parameter(
        None,
        title="Neighbours for denoising",
        description="Number of nearest neighbours per cell in the last cell graph, over which expression is denoised.",
        group=NUMBERS,
        follows=followed_by("k_denoising"),
        ge=1,
    )
    n_iterations: int | None = parameter(
        None,
        title="Iterations on cell graphs",
        description=(
            "How many steps expression is propagated over a graph of cells. The published numbers are part of the "
            "method."
        ),
        group=NUMBERS,
        published=published_for("n_iterations"),
        ge=1,
    )
    n_gene_iterations: int | None = parameter(
        None,
        title="Iterations on the gene graph",
        description="How many steps expression is propagated over the graph of genes.",
        group=NUMBERS,
        published=published_for("n_gene_iterations"),
        ge=1,
    )
    n_denoising_iterations: int | None = parameter(
        None,
        title="Iterations of denoising",
        description="Number of iterations of the last propagation over cells, which denoises the expression.",
        group=NUMBERS,
        follows=followed_by("n_denoising_iterations"),
        ge=1,
    )
    alpha: float | None = parameter(
        None,
        title="Share of the pre-imputation (alpha)",
        description=(
            "Weight of the pre-imputed values in the recovered expression; the rest comes from the complete relations."
        ),
        group=NUMBERS,
        published=published_for("alpha"),
        ge=0,
        le=1,
    )
    beta: float | None = parameter(
        None,
        title="Smoothing (beta)",
        description="Share of the neighbours in every denoising step; the rest is the cell's own expression.",
        group=NUMBERS,
        published=published_for("beta"),
        ge=0,
        le=1,
    )
    gamma: float | None = parameter(
        None,
        title="Share of the recovered expression (gamma)",
        description="Weight of the recovered expression in the denoised output.",
        group=NUMBERS,
        published=published_for("gamma"),
        ge=0,
        le=1,
    )
    symmetrize_final: bool | None = parameter(
        None,
        title="Symmetrise the last cell graph",
        description=(
            "Make the last cell graph symmetric before denoising. The paper does so for three of its data sets and not"
            " for Baron Mouse, Zeisel and Worm Neuron."
        ),
        group=NUMBERS,
        published=published_for("symmetrize_final"),
    )
    dissociating: bool | None = parameter(
        None,
        title="Dissociating gene relations",
        description="Let genes that avoid each other inform each other too (the paper's signed relations).",
        group=NUMBERS,
        published=published_for("dissociating"),
    )
    standardize: bool | None = parameter(
        None,
        title="Standardise genes",
        description="Standardise every gene before relating genes, so that their similarity is Pearson's correlation.",
        group=NUMBERS,
        published=published_for("standardize"),
    )

    # --- output
    write: Literal["denoised", "recovered", "both", "embedding"] = parameter(
        "denoised",
        title="What to write",
        description=(
            "denoised: the layer for clustering; recovered: expression before denoising "
            f"({', '.join(METHODS[name].title for name in _having('recovered'))} only); both; or embedding: no layer, "
            "only the principal components and the gene relations, which are written in any case."
        ),
        group=OUTPUT,
    )
    n_components: int = parameter(
        50,
        title="Principal components",
        description="How many principal components of the imputed genes go to obsm['X_' + NAME].",
        group=OUTPUT,
        ge=1,
    )

    # --- record and report
    report: str | None = parameter(
        None,
        title="Report",
        description="Write the report of the run: one self-contained HTML page.",
        group=REPORTING,
        affects_result=False,
        metavar="FILE",
        min_length=1,
    )
    multiqc: str | None = parameter(
        None,
        title="MultiQC content",
        description="Write MultiQC custom content into this folder.",
        group=REPORTING,
        affects_result=False,
        metavar="DIR",
        min_length=1,
    )
    label_key: str | None = parameter(
        None,
        title="Label column",
        description="Column of obs that colours the report's embeddings, such as a cell type.",
        group=REPORTING,
        affects_result=False,
        metavar="COLUMN",
        min_length=1,
    )

    # --- running
    dry_run: bool = parameter(
        False,
        title="Dry run",
        description="Check input and parameters, print the estimate of memory and time, and write nothing.",
        group=RUNNING,
        affects_result=False,
    )

    @model_validator(mode="after")
    def _no_contradictions(self) -> ImputeParameters:
        given = {name for name in self.model_fields_set if getattr(self, name) is not None}
        for name, methods in methods_by_setting().items():
            if name in given and self.method not in methods:
                having = ", ".join(methods)
                raise ValueError(f"--method {self.method} has no {flag(name)} (it belongs to: {having})")
        if self.layer is not None and self.layer in (self.key_added, f"{self.key_added}_recovered"):
            raise ValueError(
                f"--key-added {self.key_added} would replace the layer to impute: name the result otherwise"
            )
        if self.wants_recovered and self.method not in _having("recovered"):
            having = " or ".join(_having("recovered"))
            raise ValueError(f"--write {self.write} needs --method {having}: {self.method} has one output only")
        return self

    @property
    def outputs(self) -> tuple[Output, ...]:
        """The matrices that the method is to make; the principal components are always of the denoised one."""
        return outputs_of(self.write)

    @property
    def wants_recovered(self) -> bool:
        """Whether the recovered expression is among the outputs."""
        return self.write in ("recovered", "both")

    def result_keys(self) -> ResultKeys:
        """Return where the result goes."""
        relations = METHODS[self.method].relation is not None and self.batch_key is None
        return ResultKeys(self.key_added, layers_of(self.write), relations)

    def method_parameters(self) -> dict[str, Value]:
        """Return the numbers that the chosen method runs with: those given, and the defaults of the rest."""
        method = METHODS[self.method]
        return method.complete({name: getattr(self, name) for name in method.settings})

    def effective_parameters(self) -> dict[str, Any]:
        """Return the parameters that a run has, as its record has them."""
        values = self.model_dump(mode="json") | self.method_parameters()
        return {name: value for name, value in values.items() if not self._only_follows(name)}

    def _only_follows(self, name: str) -> bool:
        """Return whether a parameter was not given and has another one's value, which is recorded."""
        return "follows" in extra_of(type(self).model_fields[name]) and getattr(self, name) is None

    def result_parameters(self) -> dict[str, Any]:
        """Return the parameters that the written data depend on, as ``uns`` records them, without those left unset."""
        values = {name: getattr(self, name) for name in type(self).model_fields} | self.method_parameters()
        return noted_parameters({name: value for name, value in values.items() if not self._only_follows(name)})


def layers_of(write: str) -> tuple[Output, ...]:
    """Return the outputs that become layers, by ``--write``."""
    layers: dict[str, tuple[Output, ...]] = {"both": ("denoised", "recovered"), "embedding": ()}
    return layers.get(write, ("recovered",) if write == "recovered" else ("denoised",))


def outputs_of(write: str) -> tuple[Output, ...]:
    """Return what a method is asked for, by ``--write``: principal components need the denoised expression always."""
    return ("denoised", "recovered") if write in ("recovered", "both") else ("denoised",)


def noted_parameters(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return, of complete parameters, those that a result depends on, as ``uns`` records them."""
    noted = {
        name: values[name]
        for name, field in ImputeParameters.model_fields.items()
        if extra_of(field)["affects_result"] and values.get(name) is not None
    }
    if noted["genes"] != "top-variance":
        noted.pop("n_top_genes", None)
    if noted["genes"] not in GENE_CHOICES:
        noted["genes"] = "file"  # where the file lay says nothing about the result
    return noted


def methods_by_setting() -> dict[str, list[str]]:
    """Return, for every number of the methods, the names of the methods that have it."""
    settings = dict.fromkeys(setting for method in METHODS.values() for setting in method.settings)
    return {setting: [name for name, method in METHODS.items() if setting in method.settings] for setting in settings}


def published_defaults() -> dict[str, dict[str, Value]]:
    """Return, for every number of the methods with a published default, that of each method that has it."""
    return {
        name: extra["published_defaults"]
        for name, field in ImputeParameters.model_fields.items()
        if "published_defaults" in (extra := extra_of(field))
    }
