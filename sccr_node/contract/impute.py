"""The parameters of ``sccr impute``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import model_validator

from sccr_node.contract.fields import DATA, METHOD, NUMBERS, OUTPUT, REPORTING, RUNNING, extra_of, flag, parameter
from sccr_node.contract.keys import ResultKeys, possible_keys
from sccr_node.contract.methods import DEFAULT_METHOD, METHODS, Output, Value
from sccr_node.contract.shared import GENE_CHOICES, AppendingParameters, PreparationParameters

RELATING = tuple(name for name, method in METHODS.items() if method.relation is not None)
"""The methods that build a gene graph."""


if TYPE_CHECKING:
    MethodName = str
    RelatingMethodName = str
else:  # pydantic must know which methods exist, the type checker need not
    MethodName = Literal[tuple(METHODS)]
    RelatingMethodName = Literal[RELATING]


def published_for(setting: str) -> dict[str, Value]:
    """Return the published default of a setting per method that has it."""
    return {name: method.defaults[setting] for name, method in METHODS.items() if setting in method.defaults}


def followed_by(setting: str) -> str:
    """Return the setting whose value another one takes unless it is given."""
    return next(method.follows[setting] for method in METHODS.values() if setting in method.follows)


def _described() -> str:
    """Return the methods in one sentence: the first, then the related ones."""
    first, *others = (f"{method.title} ({method.summary})" for method in METHODS.values())
    return f"{first}, or a related method: {', '.join(others[:-1])} or {others[-1]}."


def _having(output: Output) -> list[str]:
    """Return the names of the methods with an output."""
    return [name for name, method in METHODS.items() if output in method.outputs]


class ImputeParameters(AppendingParameters, PreparationParameters):
    """Parameters of ``sccr impute``."""

    # --- input
    batch_key: str | None = parameter(
        None,
        title="Batch column",
        description=(
            "Column of obs with each cell's batch or sample. Each batch is imputed separately: no expression crosses "
            "from one to another. Genes and target depth are chosen once, over all cells."
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
        title="Neighbours per cell",
        description="Number of nearest neighbours per cell.",
        group=NUMBERS,
        published=published_for("k_cell"),
        ge=1,
    )
    k_gene: int | None = parameter(
        None,
        title="Neighbours per gene",
        description="Number of nearest neighbours per gene.",
        group=NUMBERS,
        published=published_for("k_gene"),
        ge=1,
    )
    k_denoising: int | None = parameter(
        None,
        title="Neighbours for denoising",
        description="Number of nearest neighbours per cell in the cell graph used for denoising.",
        group=NUMBERS,
        follows=followed_by("k_denoising"),
        ge=1,
    )
    n_iterations: int | None = parameter(
        None,
        title="Iterations on cell graphs",
        description="Number of propagation steps over each cell graph. The published number is part of the method.",
        group=NUMBERS,
        published=published_for("n_iterations"),
        ge=1,
    )
    n_gene_iterations: int | None = parameter(
        None,
        title="Iterations on the gene graph",
        description="Number of propagation steps over the gene graph.",
        group=NUMBERS,
        published=published_for("n_gene_iterations"),
        ge=1,
    )
    n_denoising_iterations: int | None = parameter(
        None,
        title="Iterations for denoising",
        description="Number of propagation steps over the cell graph used for denoising.",
        group=NUMBERS,
        follows=followed_by("n_denoising_iterations"),
        ge=1,
    )
    alpha: float | None = parameter(
        None,
        title="Weight of the pre-imputation (alpha)",
        description=(
            "Weight of the values after the first cell graph in the recovered expression; the rest comes by way of the"
            " gene graph."
        ),
        group=NUMBERS,
        published=published_for("alpha"),
        ge=0,
        le=1,
    )
    beta: float | None = parameter(
        None,
        title="Smoothing (beta)",
        description="Weight of the neighbours in each denoising step; the rest is the cell's own expression.",
        group=NUMBERS,
        published=published_for("beta"),
        ge=0,
        le=1,
    )
    gamma: float | None = parameter(
        None,
        title="Weight of the recovered expression (gamma)",
        description="Weight of the recovered expression (before denoising) in the denoised output.",
        group=NUMBERS,
        published=published_for("gamma"),
        ge=0,
        le=1,
    )
    symmetrize_final: bool | None = parameter(
        None,
        title="Symmetrise the last cell graph",
        description=(
            "Make the last cell graph symmetric before denoising. The paper does so for three of its data sets, but "
            "not for Baron Mouse, Zeisel and Worm Neuron."
        ),
        group=NUMBERS,
        published=published_for("symmetrize_final"),
    )
    dissociating: bool | None = parameter(
        None,
        title="Dissociating gene relations",
        description="Also connect negatively correlated genes (the paper's signed relations).",
        group=NUMBERS,
        published=published_for("dissociating"),
    )
    standardize: bool | None = parameter(
        None,
        title="Standardise genes",
        description="Standardise each gene before relating genes, so that their similarity is Pearson's correlation.",
        group=NUMBERS,
        published=published_for("standardize"),
    )

    # --- output
    write: Literal["denoised", "recovered", "both", "embedding"] = parameter(
        "denoised",
        title="What to write",
        description=(
            "denoised: the layer for clustering; recovered: expression before denoising "
            f"({', '.join(METHODS[name].title for name in _having('recovered'))} only); both; embedding: only the "
            "principal components and gene relations, which the other choices write as well."
        ),
        group=OUTPUT,
    )
    n_components: int = parameter(
        50,
        title="Principal components",
        description="Number of principal components of the imputed genes in obsm['X_NAME'].",
        group=OUTPUT,
        ge=1,
    )

    # --- record and report
    report: str | None = parameter(
        None,
        title="Report",
        description="Write an HTML report on the run, as one self-contained file.",
        group=REPORTING,
        affects_result=False,
        metavar="FILE",
        min_length=1,
    )
    multiqc: str | None = parameter(
        None,
        title="MultiQC content",
        description="Write MultiQC custom content to this folder.",
        group=REPORTING,
        affects_result=False,
        metavar="DIR",
        min_length=1,
    )
    label_key: str | None = parameter(
        None,
        title="Label column",
        description="Column of obs that colours the embeddings in the report, e.g. cell type.",
        group=REPORTING,
        affects_result=False,
        metavar="COLUMN",
        min_length=1,
    )

    # --- running
    dry_run: bool = parameter(
        False,
        title="Dry run",
        description="Check input and parameters, print the estimated memory and time, and write nothing.",
        group=RUNNING,
        affects_result=False,
    )

    @model_validator(mode="after")
    def _no_contradictions(self) -> ImputeParameters:
        given = {name for name in self.model_fields_set if getattr(self, name) is not None}
        for name, methods in methods_by_setting().items():
            if name in given and self.method not in methods:
                having = " or ".join(methods)
                raise ValueError(f"{flag(name)} requires --method {having}: {self.method} does not have it")
        if ("layers", self.layer) in possible_keys(self.key_added):
            raise ValueError(f"--key-added {self.key_added} would replace the layer to impute: choose another name")
        if "recovered" in self.outputs and self.method not in _having("recovered"):
            having = " or ".join(_having("recovered"))
            raise ValueError(f"--write {self.write} requires --method {having}: {self.method} has only one output")
        return self

    @property
    def outputs(self) -> tuple[Output, ...]:
        """The matrices that the method must produce; the principal components are always those of the denoised one."""
        return outputs_of(self.write)

    def result_keys(self) -> ResultKeys:
        """Return the keys of the result."""
        relations = METHODS[self.method].relation is not None and self.batch_key is None
        return ResultKeys(self.key_added, layers_of(self.write), relations)

    def method_parameters(self) -> dict[str, Value]:
        """Return the method's parameters: those given, and the defaults of the rest."""
        method = METHODS[self.method]
        return method.complete({name: getattr(self, name) for name in method.settings})

    def effective_parameters(self) -> dict[str, Any]:
        """Return the parameters of a run as its record has them."""
        values = self.model_dump(mode="json") | self.method_parameters()
        return {name: value for name, value in values.items() if not self._only_follows(name)}

    def _only_follows(self, name: str) -> bool:
        """Return whether a parameter was not given and takes the value of another, which is recorded."""
        return "follows" in extra_of(type(self).model_fields[name]) and getattr(self, name) is None

    def result_parameters(self) -> dict[str, Any]:
        """Return the parameters that affect the written data, as ``uns`` records them, without those left unset."""
        values = {name: getattr(self, name) for name in type(self).model_fields} | self.method_parameters()
        return noted_parameters({name: value for name, value in values.items() if not self._only_follows(name)})


_LAYERS: Mapping[str, tuple[Output, ...]] = {
    "denoised": ("denoised",),
    "recovered": ("recovered",),
    "both": ("denoised", "recovered"),
    "embedding": (),
}


def layers_of(write: str) -> tuple[Output, ...]:
    """Return the outputs that ``--write`` makes layers."""
    return _LAYERS[write]


def outputs_of(write: str) -> tuple[Output, ...]:
    """Return the outputs that ``--write`` needs; the denoised one always, for the principal components."""
    return ("denoised", "recovered") if "recovered" in _LAYERS[write] else ("denoised",)


def noted_parameters(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of all parameters that affect the result, as ``uns`` records them."""
    noted = {
        name: values[name]
        for name, field in ImputeParameters.model_fields.items()
        if extra_of(field)["affects_result"] and values.get(name) is not None
    }
    if noted["genes"] != "top-variance":
        noted.pop("n_top_genes", None)
    if noted.get("genes_missing") == "error":
        noted.pop("genes_missing")  # then all of them are there
    if noted["genes"] not in GENE_CHOICES:
        noted["genes"] = "file"  # where the file was says nothing about the result
    return noted


def methods_by_setting() -> dict[str, list[str]]:
    """Return, for every method parameter, the names of the methods that have it."""
    settings = dict.fromkeys(setting for method in METHODS.values() for setting in method.settings)
    return {setting: [name for name, method in METHODS.items() if setting in method.settings] for setting in settings}


def published_defaults() -> dict[str, dict[str, Value]]:
    """Return, for every method parameter with a published default, that default per method."""
    return {
        name: extra["published_defaults"]
        for name, field in ImputeParameters.model_fields.items()
        if "published_defaults" in (extra := extra_of(field))
    }
