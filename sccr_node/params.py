"""The contract: every parameter of the step is one field of a pydantic model here, and every face derives from it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, get_args

from pydantic import (
    BaseModel,
    ByteSize,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from sccr_node.contract.methods import DEFAULT_METHOD, METHODS, Output, Value

RELATING = tuple(name for name, method in METHODS.items() if method.relation is not None)
"""The methods that build a gene graph."""

if TYPE_CHECKING:
    MethodName = str
    RelatingMethodName = str
else:  # the type checker need not know which methods there are, pydantic must
    MethodName = Literal[tuple(METHODS)]
    RelatingMethodName = Literal[RELATING]

Mechanism = Literal["mcar", "mnar"]

GENE_CHOICES = ("top-variance", "highly-variable", "all")
"""The keywords of ``--genes``; anything else is the path of a file of gene names."""


def parameter(
    default: Any = ...,
    *,
    title: str,
    description: str,
    group: str,
    affects_result: bool = True,
    published: Mapping[str, Value] | None = None,
    follows: str | None = None,
    metavar: str | None = None,
    **bounds: Any,
) -> Any:
    """Declare one parameter: a pydantic field that also carries what the faces need to know.

    Parameters
    ----------
    default
        The value where nothing is given.
    title
        The name that a form shows.
    description
        One or two sentences for somebody who knows single-cell analysis and not this program.
    group
        The heading that the parameter stands under in help pages and forms.
    affects_result
        Whether the data written depend on it (then it is recorded in ``uns``).
    published
        The default of each method that has the parameter, as its authors published it; a method that is not named
        does not have the parameter.
    follows
        The parameter whose value this one has unless it is given.
    metavar
        What help pages show in the place of the value.
    **bounds
        Constraints that pydantic checks (``ge``, ``le``, ``gt``, ``lt``, ``pattern``).
    """
    extra: dict[str, Any] = {"group": group, "affects_result": affects_result}
    if published is not None:
        extra["published_defaults"] = dict(published)
    if follows is not None:
        extra["follows"] = follows
    if metavar is not None:
        extra["metavar"] = metavar
    return Field(default, title=title, description=description, json_schema_extra=extra, **bounds)


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


MemorySize = Annotated[
    ByteSize,
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": r"^\s*\d*\.?\d+\s*\w*\s*$"}, {"type": "integer"}]}),
]

DATA = "Input"
GENES = "Genes and normalisation"
METHOD = "Method"
NUMBERS = "Numbers of the method"
OUTPUT = "Output"
REPORTING = "Record and report"
SIMULATION = "Data set"
EVALUATION = "Evaluation"
RUNNING = "Running"
GROUPS = (DATA, SIMULATION, GENES, METHOD, NUMBERS, EVALUATION, OUTPUT, REPORTING, RUNNING)
"""The headings, in the order in which help pages, tables and forms show them."""


LARGEST_INTEGER = 2**63 - 1
LARGEST_DEPTH = 1e30
LARGEST_SIMULATED_DEPTH = 1e8  # counts are drawn as int32, and some cells are several times deeper


def holds_yes_or_no(annotation: Any) -> bool:
    """Return whether a field of this type may be yes or no."""
    return annotation is bool or bool in get_args(annotation)


class Parameters(BaseModel):
    """What all parameter models share: unknown names are errors and a validated model does not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    _sources: dict[str, str] = PrivateAttr(default_factory=dict)
    _config: Path | None = PrivateAttr(default=None)

    def settled(self, sources: Mapping[str, str], config: Path | None) -> Self:
        """Note, once, by which name the user knows each value that was given, and which config file was read."""
        self._sources, self._config = dict(sources), config
        return self

    def source_of(self, name: str) -> str:
        """Return the name by which the user knows a value: a flag, a variable or a key of the config file."""
        return self._sources.get(name, flag(name))

    def from_config(self, name: str) -> bool:
        """Return whether a value was read from the config file."""
        return self._sources.get(name, "").startswith("config file")

    def files_read(self) -> list[Path]:
        """Return the files that the parameters name and a command reads: never to be written to."""
        return [] if self._config is None else [self._config]

    @field_validator("*", mode="before")
    @classmethod
    def _values_are_what_they_seem(cls, value: object, info: ValidationInfo) -> object:
        """Refuse what pydantic takes: yes for 1, numbers that no file format holds, and names that no file can have."""
        if isinstance(value, bool) and not holds_yes_or_no(cls.model_fields[str(info.field_name)].annotation):
            raise ValueError("should not be yes or no")
        if isinstance(value, str) and "\0" in value:
            raise ValueError("should be text without the character NUL")
        return value

    @field_validator("*", mode="after")
    @classmethod
    def _integers_fit(cls, value: object) -> object:
        if isinstance(value, int) and value > LARGEST_INTEGER:
            raise ValueError(f"should be at most {LARGEST_INTEGER}")
        return value


class RunningParameters(Parameters):
    """How a command runs and talks; nothing here changes a result."""

    log_format: Literal["text", "json"] = parameter(
        "text",
        title="Log format",
        description="Plain lines for people, or one JSON object a line for machines.",
        group=RUNNING,
        affects_result=False,
    )
    quiet: bool = parameter(
        False,
        title="Quiet",
        description="Print warnings and errors only.",
        group=RUNNING,
        affects_result=False,
    )
    debug: bool = parameter(
        False,
        title="Debug",
        description="Show the Python traceback with an error.",
        group=RUNNING,
        affects_result=False,
    )


class WritingParameters(RunningParameters):
    """What the commands share that write files."""

    force: bool = parameter(
        False,
        title="Overwrite output files",
        description="Replace outputs that exist already.",
        group=OUTPUT,
        affects_result=False,
    )


class ThreadedParameters(RunningParameters):
    """What the commands share that work in threads."""

    threads: int | None = parameter(
        None,
        title="Threads",
        description=(
            "Threads to use; all the CPUs that the process may use where none are given. The result does not depend on"
            " it."
        ),
        group=RUNNING,
        affects_result=False,
        ge=1,
        le=4096,
    )


class AppendingParameters(WritingParameters, ThreadedParameters):
    """What the commands share that append a result to a data set, and how much memory they may take for it."""

    key_added: str = parameter(
        "sccr",
        title="Name of the result",
        description=(
            "The result goes to layers[NAME], obsm['X_' + NAME], varp[NAME + '_relations'], var[NAME + '_imputed'] and"
            " uns[NAME]."
        ),
        group=OUTPUT,
        metavar="NAME",
        pattern=r"^[A-Za-z_][A-Za-z0-9_.\-]*$",
    )
    compression: Literal["auto", "gzip", "none"] = parameter(
        "auto",
        title="Compression",
        description=(
            "How the appended arrays are compressed: auto is gzip in an .h5ad file, which every reader knows, and zstd "
            "in a .zarr folder."
        ),
        group=OUTPUT,
        affects_result=False,
    )
    overwrite_keys: bool = parameter(
        False,
        title="Overwrite keys",
        description="Replace the result of an earlier run under the same name instead of refusing.",
        group=OUTPUT,
        affects_result=False,
    )
    provenance: str | None = parameter(
        None,
        title="Run record",
        description="Write what was run, on what, with which versions, in how much time and memory, as JSON.",
        group=REPORTING,
        affects_result=False,
        metavar="FILE",
        min_length=1,
    )
    max_memory: MemorySize | None = parameter(
        None,
        title="Memory limit",
        description=(
            "Stop before starting where the estimate is above this, for example 8GB; the limit of the container or the"
            " machine where none is given."
        ),
        group=RUNNING,
        affects_result=False,
        metavar="SIZE",
        gt=0,
    )

    @field_validator("max_memory", mode="before")
    @classmethod
    def _sizes_are_plain(cls, size: object) -> object:
        # ByteSize alone reads "6.GB" as six bytes.
        if isinstance(size, str) and not re.fullmatch(r"\s*\d+(\.\d+)?\s*[A-Za-z]*\s*", size):
            raise ValueError("a size is a number and a unit, such as 8GB or 512MiB")
        return size.strip() if isinstance(size, str) else size


class PreparationParameters(RunningParameters):
    """Which matrix is taken, which genes of it, and how counts become expression."""

    # --- input
    layer: str | None = parameter(
        None,
        title="Layer",
        description="The layer that holds the matrix to impute; X where none is named.",
        group=DATA,
        metavar="NAME",
        min_length=1,
    )
    input_scale: Literal["auto", "counts", "log1p"] = parameter(
        "auto",
        title="Scale of the input",
        description=(
            "Whether the matrix holds counts (normalised and log-transformed before imputation) or log-normalised "
            "values (used as they are). auto looks at every stored value and says what it found; counts also accepts "
            "fractional counts, as ambient-RNA removers write them."
        ),
        group=DATA,
    )

    # --- genes and normalisation
    genes: str = parameter(
        "top-variance",
        title="Genes to impute",
        description=(
            "top-variance: the genes of highest variance of the counts; highly-variable: those that "
            "var['highly_variable'] marks; all: every gene; or the path of a file with one gene name a line."
        ),
        group=GENES,
        metavar="top-variance|highly-variable|all|FILE",
        min_length=1,
    )
    n_top_genes: int = parameter(
        2000,
        title="Number of genes",
        description="How many genes top-variance takes; more than there are means all of them.",
        group=GENES,
        ge=1,
    )
    normalize_by: Literal["selected", "all"] = parameter(
        "selected",
        title="Sequencing depth from",
        description=(
            "A cell's sequencing depth is its total over the genes to impute (as published), or over all genes."
        ),
        group=GENES,
    )
    target_sum: Literal["median"] | Annotated[float, Field(gt=0)] = parameter(
        "median",
        title="Target depth",
        description=(
            "Every cell of counts is scaled to this depth: the median depth of the cells that are not empty, or a "
            "number."
        ),
        group=GENES,
        metavar="median|NUMBER",
    )

    @field_validator("target_sum")
    @classmethod
    def _depths_are_possible(cls, depth: str | float) -> str | float:
        # Beyond, genes that are larger than a cell's depth over the chosen ones would overflow.
        if isinstance(depth, float) and depth > LARGEST_DEPTH:
            raise ValueError(f"should be at most {LARGEST_DEPTH:g}")
        return depth

    def files_read(self) -> list[Path]:
        """Return the config file and the gene file."""
        return [*super().files_read(), *([] if self.genes in GENE_CHOICES else [Path(self.genes)])]

    @model_validator(mode="after")
    def _preparation_fits(self) -> PreparationParameters:
        given = {name for name in self.model_fields_set if getattr(self, name) is not None}
        if "n_top_genes" in given and self.genes != "top-variance":
            raise ValueError(f"--n-top-genes goes with --genes top-variance, not with --genes {self.genes}")
        if self.input_scale == "log1p":
            for name in ("normalize_by", "target_sum"):
                if name in given:
                    raise ValueError(f"{flag(name)} is for counts: it contradicts --input-scale log1p")
        return self


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
        return ("recovered", "denoised") if self.wants_recovered else ("denoised",)

    @property
    def wants_recovered(self) -> bool:
        """Whether the recovered expression is among the outputs."""
        return self.write in ("recovered", "both")

    def added_keys(self) -> list[tuple[str, str]]:
        """Return the (slot, key) pairs that a run with these parameters adds to its output."""
        name = self.key_added
        left_out = set()
        if self.write in ("recovered", "embedding"):
            left_out.add(("layers", name))
        if not self.wants_recovered:
            left_out.add(("layers", f"{name}_recovered"))
        if METHODS[self.method].relation is None or self.batch_key is not None:
            left_out.add(("varp", f"{name}_relations"))
        return [key for key in result_keys(name) if key not in left_out]

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
        numbers = self.method_parameters()
        values: dict[str, Any] = {}
        for name, field in type(self).model_fields.items():
            if not extra_of(field)["affects_result"] or self._only_follows(name):
                continue
            value = numbers.get(name, getattr(self, name))
            if value is not None:
                values[name] = value
        if self.genes != "top-variance":
            del values["n_top_genes"]
        if self.genes not in GENE_CHOICES:
            values["genes"] = "file"  # where the file lay says nothing about the result
        return values


class SplitParameters(PreparationParameters, WritingParameters):
    """Parameters of ``sccr split``."""

    batch_key: str = parameter(
        title="Batch column",
        description="Column of obs that names each cell's batch or sample: one file is written for each.",
        group=DATA,
        metavar="COLUMN",
        min_length=1,
    )
    outdir: str = parameter(
        title="Output folder",
        description="Folder for the parts, genes.txt and target_sum.txt; it is made, and must not exist.",
        group=OUTPUT,
        affects_result=False,
        metavar="DIR",
        min_length=1,
    )


class GatherParameters(AppendingParameters):
    """Parameters of ``sccr gather``."""

    n_components: int | None = parameter(
        None,
        title="Principal components",
        description="How many principal components are computed over all cells; the parts' number where none is given.",
        group=OUTPUT,
        ge=1,
    )


class SimulateParameters(WritingParameters):
    """Parameters of ``sccr simulate``."""

    n_cells: int = parameter(600, title="Cells", description="How many cells to simulate.", group=SIMULATION, ge=1)
    n_genes: int = parameter(2400, title="Genes", description="How many genes to simulate.", group=SIMULATION, ge=1)
    n_types: int = parameter(
        5, title="Cell types", description="How many cell types the cells belong to.", group=SIMULATION, ge=1
    )
    n_batches: int = parameter(
        1, title="Batches", description="How many batches the cells come from, in obs['batch'].", group=SIMULATION, ge=1
    )
    depth: float = parameter(
        3000.0,
        title="Depth",
        description="Median number of molecules of a cell before dropout.",
        group=SIMULATION,
        gt=0,
    )
    dropout: float = parameter(
        0.5,
        title="Dropout",
        description="Share of the expressed entries that are lost, low expression more often than high.",
        group=SIMULATION,
        ge=0,
        lt=1,
    )
    seed: int = parameter(
        0, title="Seed", description="The same seed gives the same data set.", group=SIMULATION, ge=0, le=2**32 - 1
    )

    @model_validator(mode="after")
    def _enough_cells(self) -> SimulateParameters:
        for name in ("n_types", "n_batches"):
            if getattr(self, name) > self.n_cells:
                raise ValueError(f"{flag(name)} {getattr(self, name)} is more than there are cells ({self.n_cells})")
        if self.depth > LARGEST_SIMULATED_DEPTH:
            raise ValueError(f"--depth {self.depth:g} is more than can be drawn: at most {LARGEST_SIMULATED_DEPTH:g}")
        return self


class SeedsParameters(WritingParameters):
    """The seeds that a command repeats its random parts with."""

    seeds: str = parameter(
        "0,1,2",
        title="Seeds",
        description="Seeds to repeat with, separated by commas.",
        group=EVALUATION,
        metavar="SEED,SEED,...",
        pattern=r"^\d{1,9}(,\d{1,9})*$",
    )

    @field_validator("seeds")
    @classmethod
    def _seeds_differ(cls, seeds: str) -> str:
        return _without_repeats("seeds", seeds)

    def seed_list(self) -> list[int]:
        """Return the seeds as numbers."""
        return [int(seed) for seed in self.seeds.split(",")]


class ClusteringParameters(SeedsParameters):
    """How cells are clustered to be compared with their labels."""

    n_restarts: int = parameter(
        20,
        title="Restarts of k-means",
        description="How many times k-means starts, to keep the best; the papers' number.",
        group=EVALUATION,
        ge=1,
    )
    n_neighbors: int = parameter(
        15,
        title="Neighbours for Leiden",
        description="How many nearest cells each cell is joined to in the graph that Leiden divides.",
        group=EVALUATION,
        ge=2,
    )
    resolution: float = parameter(
        1.0,
        title="Resolution of Leiden",
        description="Higher values give more clusters.",
        group=EVALUATION,
        gt=0,
    )
    n_components: int = parameter(
        50,
        title="Principal components",
        description="How many principal components Leiden's graph and the silhouettes are computed in.",
        group=EVALUATION,
        ge=1,
    )


class EvaluateMaskParameters(PreparationParameters, WritingParameters):
    """Parameters of ``sccr evaluate mask``."""

    rate: float = parameter(
        0.4,
        title="Rate",
        description="Share of the observed entries that is set to zero.",
        group=EVALUATION,
        gt=0,
        lt=1,
    )
    mechanism: Mechanism = parameter(
        "mcar",
        title="Mechanism",
        description=(
            "mcar: every observed entry is as likely to be dropped as another; mnar: entries of low expression are "
            "dropped more often, with a probability of exp(-lambda x^2) for the log value x."
        ),
        group=EVALUATION,
    )
    seed: int = parameter(
        0,
        title="Seed",
        description="The same seed drops the same entries.",
        group=EVALUATION,
        ge=0,
        le=2**32 - 1,
    )


class EvaluateScoreParameters(WritingParameters):
    """Parameters of ``sccr evaluate score``."""

    layer: str | None = parameter(
        None,
        title="Layer",
        description="The layer of the candidate that holds the imputed log expression; X where none is named.",
        group=DATA,
        metavar="NAME",
        min_length=1,
    )


class EvaluateClusterParameters(PreparationParameters, ClusteringParameters):
    """Parameters of ``sccr evaluate cluster``."""

    label_key: str = parameter(
        title="Label column",
        description="Column of obs with the known cell types (always needed); cells without one are left out.",
        group=DATA,
        metavar="COLUMN",
        min_length=1,
    )
    layer: str | None = parameter(
        None,
        title="Layer",
        description="The layer with the log expression to cluster; X where none is named.",
        group=DATA,
        metavar="NAME",
        min_length=1,
    )
    obsm: str | None = parameter(
        None,
        title="Embedding",
        description="Cluster these coordinates of the cells (a key of obsm) instead of expression.",
        group=DATA,
        metavar="KEY",
        min_length=1,
    )

    @model_validator(mode="after")
    def _one_matrix(self) -> EvaluateClusterParameters:
        if self.layer is not None and self.obsm is not None:
            raise ValueError("--layer and --obsm name two matrices: choose one")
        return self


class EvaluateRelationsParameters(PreparationParameters, WritingParameters, ThreadedParameters):
    """Parameters of ``sccr evaluate relations``."""

    method: RelatingMethodName = parameter(
        RELATING[0],
        title="Method",
        description="Which method's gene graph is built where the input does not hold one.",
        group=METHOD,
    )
    key: str = parameter(
        "sccr",
        title="Name of the result",
        description=("A graph in the input, varp[NAME + '_relations'], is read; without one it is built."),
        group=DATA,
        metavar="NAME",
        pattern=r"^[A-Za-z_][A-Za-z0-9_.\-]*$",
    )
    n_pairs: int = parameter(
        50,
        title="Number of pairs",
        description="How many of the strongest pairs of each kind are listed.",
        group=EVALUATION,
        ge=1,
    )


class ReportParameters(WritingParameters):
    """Parameters of ``sccr report``."""

    key_added: str | None = parameter(
        None,
        title="Name of the result",
        description="Which result to report, where the file holds several.",
        group=DATA,
        metavar="NAME",
        min_length=1,
    )
    provenance: str | None = parameter(
        None,
        title="Run record",
        description="The record that the run wrote with --provenance: adds versions, input, time and memory.",
        group=DATA,
        metavar="FILE",
        min_length=1,
    )
    label_key: str | None = parameter(
        None,
        title="Label column",
        description=(
            "Column of obs that colours the cells and groups the markers, such as a cell type; clusters are found "
            "where no column is given."
        ),
        group=REPORTING,
        metavar="COLUMN",
        min_length=1,
    )
    batch_key: str | None = parameter(
        None,
        title="Batch column",
        description="Column of obs that colours the cells a second time, such as a sample.",
        group=REPORTING,
        metavar="COLUMN",
        min_length=1,
    )
    multiqc: str | None = parameter(
        None,
        title="MultiQC content",
        description="Write MultiQC custom content into this folder too; samples may share one.",
        group=REPORTING,
        affects_result=False,
        metavar="DIR",
        min_length=1,
    )

    def files_read(self) -> list[Path]:
        """Return the config file and the run record."""
        return [*super().files_read(), *([] if self.provenance is None else [Path(self.provenance)])]


class BenchmarkParameters(PreparationParameters, ClusteringParameters, ThreadedParameters):
    """Parameters of ``sccr benchmark``."""

    methods: str = parameter(
        ",".join(("none", *METHODS)),
        title="Methods",
        description="Methods to compare, separated by commas; none leaves the masked data as they are.",
        group=EVALUATION,
        metavar="METHOD,METHOD,...",
        pattern="^({0})(,({0}))*$".format("|".join(("none", *METHODS))),
    )
    rates: str = parameter(
        "0.2,0.4,0.8",
        title="Rates",
        description="Shares of the observed entries to drop, separated by commas.",
        group=EVALUATION,
        metavar="RATE,RATE,...",
        pattern=r"^0?\.\d+(,0?\.\d+)*$",
    )
    mechanism: Mechanism = parameter(
        "mcar",
        title="Mechanism",
        description="mcar: drop observed entries at random; mnar: entries of low expression more often.",
        group=EVALUATION,
    )
    label_key: str | None = parameter(
        None,
        title="Label column",
        description="Column of obs with the known cell types: with it, the clustering of every method is compared too.",
        group=DATA,
        metavar="COLUMN",
        min_length=1,
    )

    @field_validator("methods", "rates")
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

    def rate_list(self) -> list[float]:
        """Return the rates as numbers."""
        return [float(rate) for rate in self.rates.split(",")]


def _without_repeats(name: str, items: str) -> str:
    values = [float(item) if item[0] in ".0123456789" else item for item in items.split(",")]
    if len(set(values)) < len(values):
        raise ValueError(f"the {name} hold a value twice: {items}")
    return items


def result_keys(name: str) -> list[tuple[str, str]]:
    """Return every (slot, key) pair that a run may add under a name; with leave, all of them are replaced together."""
    return [
        ("layers", name),
        ("layers", f"{name}_recovered"),
        ("obsm", f"X_{name}"),
        ("varp", f"{name}_relations"),
        ("var", f"{name}_imputed"),
        ("uns", name),
    ]


def flag(name: str) -> str:
    """Return the command-line flag of a field: its name in kebab-case."""
    return "--" + name.replace("_", "-")


def extra_of(field: Any) -> dict[str, Any]:
    """Return what :func:`parameter` noted of a field beside pydantic's own attributes."""
    extra = field.json_schema_extra
    assert isinstance(extra, dict)
    return extra


def fields_by_group(model: type[Parameters]) -> dict[str, dict[str, Any]]:
    """Return the fields of a model by name, under their headings, both in the order in which faces show them."""
    groups: dict[str, dict[str, Any]] = {heading: {} for heading in GROUPS}
    for name, field in model.model_fields.items():
        groups[extra_of(field)["group"]][name] = field
    return {heading: fields for heading, fields in groups.items() if fields}


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
