"""What the parameter models of several commands share."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from sccr_node.contract.fields import (
    DATA,
    EVALUATION,
    GENES,
    GROUPS,
    LARGEST_DEPTH,
    LARGEST_INTEGER,
    OUTPUT,
    REPORTING,
    RUNNING,
    MemorySize,
    extra_of,
    flag,
    holds_yes_or_no,
    parameter,
)

Mechanism = Literal["mcar", "mnar"]


GENE_CHOICES = ("top-variance", "highly-variable", "all")
"""The keywords of ``--genes``; anything else is the path of a file of gene names."""


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

    def preparation(self) -> dict[str, Any]:
        """Return how counts become expression, as the keywords of ``decide_preparation``."""
        names = ("input_scale", "genes", "n_top_genes", "normalize_by", "target_sum")
        return {name: getattr(self, name) for name in names} | {"genes_from_config": self.from_config("genes")}

    def noted_preparation(self) -> dict[str, Any]:
        """Return the layer and the preparation, as a part that ``sccr split`` wrote remembers them."""
        names = ("layer", "input_scale", "genes", "n_top_genes", "normalize_by", "target_sum")
        return {name: value for name in names if (value := getattr(self, name)) is not None}

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


def _without_repeats(name: str, items: str) -> str:
    values = [float(item) if item[0] in ".0123456789" else item for item in items.split(",")]
    if len(set(values)) < len(values):
        raise ValueError(f"the {name} hold a value twice: {items}")
    return items


def fields_by_group(model: type[Parameters]) -> dict[str, dict[str, Any]]:
    """Return the fields of a model by name, under their headings, both in the order in which faces show them."""
    groups: dict[str, dict[str, Any]] = {heading: {} for heading in GROUPS}
    for name, field in model.model_fields.items():
        groups[extra_of(field)["group"]][name] = field
    return {heading: fields for heading, fields in groups.items() if fields}
