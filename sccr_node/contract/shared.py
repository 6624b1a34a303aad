"""What the parameter models of several commands share."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
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
    SMALLEST_BASE,
    SMALLEST_DEPTH,
    MemorySize,
    extra_of,
    flag,
    holds_yes_or_no,
    parameter,
)
from sccr_node.contract.keys import OutputScale
from sccr_node.contract.tuned import TunedBefore
from sccr_node.errors import UsageProblem
from sccr_node.runtime.words import plural

Mechanism = Literal["mcar", "mnar"]


GENE_CHOICES = ("top-variance", "highly-variable", "all")
"""The keywords of ``--genes``; anything else is the path to a file with gene names."""


RESULT_NAME: Mapping[str, Any] = {
    "pattern": r"^[A-Za-z_][A-Za-z0-9_.\-]*$",
    "expects": "a letter or an underscore, followed by letters, digits, underscores, dots or hyphens",
}
"""What the name of a result may be: it becomes part of keys that all readers must accept."""


LAYER_NAME: Mapping[str, Any] = {
    "pattern": r"^[^./\s\x00-\x1f\x7f][^/\x00-\x1f\x7f]*$",
    "expects": "a name without slashes and control characters that does not begin with a dot or a space",
}
"""What the name of a layer may be that others chose: in a zarr store it is the name of a folder."""


def not_of_zarr(name: str) -> str:
    """Refuse the one name that passes for a key but is zarr's own file in every group of a store."""
    if name == "zarr.json":
        raise ValueError("should not be the name of a file of zarr's own")
    return name


SMALLEST_BARE_SIZE = 1_000_000
"""A size without a unit is in bytes; below this one the unit was forgotten."""


class Parameters(BaseModel):
    """What all parameter models share: unknown names are errors, and a validated model is immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, defer_build=True)

    _sources: dict[str, str] = PrivateAttr(default_factory=dict)
    _config: Path | None = PrivateAttr(default=None)
    _tuned_before: TunedBefore | None = PrivateAttr(default=None)

    def settled(self, sources: Mapping[str, str], config: Path | None, tuned_before: TunedBefore | None) -> Self:
        """Record, once, what the user typed for each value, which config file was read, and what it says of tuning."""
        self._sources, self._config, self._tuned_before = dict(sources), config, tuned_before
        return self

    @property
    def tuned_before(self) -> TunedBefore | None:
        """What the config file says of the tuning of its parameters."""
        return self._tuned_before

    def source_of(self, name: str) -> str:
        """Return what the user typed for a value: a flag, a variable or a key in the config file."""
        return self._sources.get(name, flag(name))

    def from_config(self, name: str) -> bool:
        """Return whether a value comes from the config file."""
        return self._sources.get(name, "").startswith("config file")

    def without_effect(self, names: Collection[str]) -> list[str]:
        """Return, of the parameters that a run ignores, those that were given, as the user typed them.

        Defaults do not count, even if given: forms pass all values, including those that nobody changed.
        """
        return [
            self.source_of(name)
            for name, field in type(self).model_fields.items()
            if name in names and name in self.model_fields_set and getattr(self, name) != field.default
        ]

    def refuse_without_effect(self, names: Collection[str], why: str) -> None:
        """Raise UsageProblem if any of the parameters that a run ignores was given."""
        if idle := self.without_effect(names):
            raise UsageProblem(f"{', '.join(idle)} would have no effect: {why}; omit {plural(len(idle), 'it', 'them')}")

    def files_read(self) -> list[Path]:
        """Return the files named by the parameters that the command reads, and must not write to."""
        return [] if self._config is None else [self._config]

    def contradictions(self) -> Iterator[str]:
        """Yield what contradicts each other among the values, each of which is right by itself."""
        yield from ()

    @model_validator(mode="after")
    def _no_contradictions(self) -> Self:
        if found := list(self.contradictions()):
            raise ValueError(*found)
        return self

    @field_validator("*", mode="before")
    @classmethod
    def _values_are_what_they_seem(cls, value: object, info: ValidationInfo) -> object:
        """Refuse what pydantic accepts: booleans as numbers, and NUL, which no file name can contain."""
        if isinstance(value, bool) and not holds_yes_or_no(cls.model_fields[str(info.field_name)].annotation):
            raise ValueError("should not be true or false")
        if isinstance(value, str) and "\0" in value:
            raise ValueError("should not contain the NUL character")
        return value

    @field_validator("*", mode="after")
    @classmethod
    def _integers_fit(cls, value: object) -> object:
        if isinstance(value, int) and value > LARGEST_INTEGER:
            raise ValueError(f"should be at most {LARGEST_INTEGER}")
        return value


class RunningParameters(Parameters):
    """How a command runs and logs; nothing here affects the result."""

    work_dir: str | None = parameter(
        None,
        title="Folder for temporary files",
        description=(
            "Folder for temporary files (default: TMPDIR). If it is given, an imputation for which memory does not "
            "suffice keeps its largest matrices there: the same result, but slower."
        ),
        group=RUNNING,
        affects_result=False,
        metavar="DIR",
        min_length=1,
    )

    @field_validator("work_dir")
    @classmethod
    def _work_dir_is_local(cls, given: str | None) -> str | None:
        if given is not None and re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", given):
            raise ValueError("should be a folder of this machine: temporary files cannot be kept at an address")
        return given

    log_format: Literal["text", "json"] = parameter(
        "text",
        title="Log format",
        description="Plain lines for people, or one JSON object per line for machines.",
        group=RUNNING,
        affects_result=False,
    )
    quiet: bool = parameter(
        False,
        title="Quiet",
        description="Print only warnings and errors.",
        group=RUNNING,
        affects_result=False,
    )
    debug: bool = parameter(
        False,
        title="Debug",
        description="Print the Python traceback of an error.",
        group=RUNNING,
        affects_result=False,
    )


class WritingParameters(RunningParameters):
    """Parameters of all commands that write files."""

    force: bool = parameter(
        False,
        title="Overwrite output files",
        description="Replace outputs that already exist.",
        group=OUTPUT,
        affects_result=False,
    )


class ThreadedParameters(RunningParameters):
    """Parameters of all commands that use threads."""

    threads: int | None = parameter(
        None,
        title="Threads",
        description="Number of threads (default: all available CPUs). Does not affect the result.",
        group=RUNNING,
        affects_result=False,
        ge=1,
        le=4096,
    )


class ResumableParameters(RunningParameters):
    """Parameters of all commands that keep finished stages, to go on from there after they were killed."""

    checkpoint_dir: str | None = parameter(
        None,
        title="Folder for checkpoints",
        description=(
            "Keep every finished stage in this folder, local or at s3://, gs:// or az://, until the command has "
            "succeeded: run again after it was killed, it goes on from there, to the same result."
        ),
        group=RUNNING,
        affects_result=False,
        metavar="DIR",
        min_length=1,
    )

    @field_validator("checkpoint_dir")
    @classmethod
    def _checkpoints_can_be_written(cls, given: str | None) -> str | None:
        if given is not None and re.match(r"(?!(s3|gs|az)://)[A-Za-z][A-Za-z0-9+.-]*://", given):
            raise ValueError("should be a local folder, or one at s3://, gs:// or az://")
        return given


class BoundedParameters(RunningParameters):
    """Parameters of all commands that estimate their memory before they begin."""

    max_memory: MemorySize | None = parameter(
        None,
        title="Memory limit",
        description=(
            "Do not start if the run would need more memory than this, e.g. 8GB (default: the container's or machine's "
            "limit)."
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
            raise ValueError("should be a number and a unit, such as 8GB or 512MiB")
        size = size.strip() if isinstance(size, str) else size
        is_number = isinstance(size, int | float) and not isinstance(size, bool)
        bare = re.fullmatch(r"\d+(\.\d+)?", size) if isinstance(size, str) else is_number
        if bare and 0 < float(str(size)) < SMALLEST_BARE_SIZE:
            raise ValueError("should have a unit, such as 8GB or 512MiB: nothing runs in so few bytes")
        return size


class AppendingParameters(WritingParameters, BoundedParameters, ThreadedParameters):
    """Parameters of all commands that append a result to a data set."""

    key_added: str = parameter(
        "sccr",
        title="Name of the result",
        description=(
            "Name under which the result is stored: layers['NAME'], obsm['X_NAME'], varp['NAME_relations'], "
            "var['NAME_imputed'] and uns['NAME']."
        ),
        group=OUTPUT,
        metavar="NAME",
        **RESULT_NAME,
    )
    output_scale: OutputScale = parameter(
        "log1p",
        title="Scale of the layers",
        description=(
            "Scale of the expression that is written: log1p: ln(normalised counts + 1); normalized: normalised counts; "
            "counts: these, scaled back to each cell's own depth (requires counts as input). All else, from principal "
            "components to scores, is computed on logarithms."
        ),
        group=OUTPUT,
    )
    compression: Literal["auto", "gzip", "none"] = parameter(
        "auto",
        title="Compression",
        description=(
            "Compression of the appended arrays. auto: zstd in .zarr folders, and in .h5ad files gzip, which every "
            "reader supports."
        ),
        group=OUTPUT,
        affects_result=False,
    )
    overwrite_keys: bool = parameter(
        False,
        title="Overwrite keys",
        description="Replace an earlier result of the same name instead of refusing.",
        group=OUTPUT,
        affects_result=False,
    )
    provenance: str | None = parameter(
        None,
        title="Run record",
        description="Write a JSON record of the run: parameters, input, software versions, time and memory.",
        group=REPORTING,
        affects_result=False,
        metavar="FILE",
        path="written",
        min_length=1,
    )

    @field_validator("key_added")
    @classmethod
    def _keys_are_free(cls, key: str) -> str:
        return not_of_zarr(key)


PLACE = ("modality", "layer")
"""The parameters that tell which matrix of a file is read."""

_PREPARATION = (
    "feature_type", "input_scale", "log_base", "genes", "genes_missing", "n_top_genes", "normalize_by", "target_sum",
)  # fmt: skip


class ModalityParameters(RunningParameters):
    """Parameters of all commands that read one modality of a MuData file."""

    modality: str | None = parameter(
        None,
        title="Modality",
        description="Modality of a MuData file (.h5mu) to use (default: the only one in the file).",
        group=DATA,
        metavar="NAME",
        min_length=1,
    )


class PreparationParameters(ModalityParameters):
    """Parameters of all commands that prepare a matrix: which layer, which genes, how counts become expression."""

    # --- input
    layer: str | None = parameter(
        None,
        title="Layer",
        description="Layer to use as input; raw is raw.X (default: X).",
        group=DATA,
        metavar="NAME",
        min_length=1,
    )
    feature_type: str | None = parameter(
        None,
        title="Feature types",
        description=(
            "Feature types to use, by their labels in var['feature_types'], separated by commas (default: gene "
            "expression, under its usual labels: Gene Expression, GEX, RNA, or biotypes such as protein_coding)."
        ),
        group=DATA,
        metavar="LABEL,...",
        min_length=1,
    )
    input_scale: Literal["auto", "counts", "log1p"] = parameter(
        "auto",
        title="Input scale",
        description=(
            "counts: normalise and log-transform (fractional counts are accepted, e.g. after ambient RNA removal); "
            "log1p: use as they are; auto: decide from the values."
        ),
        group=DATA,
    )
    log_base: Literal["e"] | Annotated[float, Field(ge=SMALLEST_BASE)] | None = parameter(
        None,
        title="Base of the logarithm",
        description=(
            "Base of the logarithm in log-normalised input (default: the one in uns['log1p'], or e). The result is in "
            "natural logarithms."
        ),
        group=DATA,
        metavar="e|NUMBER",
    )

    # --- genes and normalisation
    genes: str = parameter(
        "top-variance",
        title="Genes to impute",
        description=(
            "top-variance: the genes with the highest variance of the counts (of the values, if these are logarithms); "
            "highly-variable: those marked in var['highly_variable']; all: every gene; or the path to a file with one "
            "gene name per line."
        ),
        group=GENES,
        metavar="top-variance|highly-variable|all|FILE",
        path="read",
        min_length=1,
    )
    genes_missing: Literal["error", "skip"] = parameter(
        "error",
        title="Listed genes that are missing",
        description="For a list of genes: stop if any of them is not in the data (error), or use the others (skip).",
        group=GENES,
    )
    n_top_genes: int = parameter(
        2000,
        title="Number of genes",
        description="Number of genes for top-variance; all genes if there are fewer.",
        group=GENES,
        ge=1,
    )
    normalize_by: Literal["selected", "all"] = parameter(
        "selected",
        title="Sequencing depth over",
        description=(
            "Genes whose counts are summed to a cell's sequencing depth: the selected ones (as published) or all."
        ),
        group=GENES,
    )
    target_sum: Literal["median"] | Annotated[float, Field(ge=SMALLEST_DEPTH, le=LARGEST_DEPTH)] = parameter(
        "median",
        title="Target depth",
        description=("Depth to which each cell's counts are normalised: the median over non-empty cells, or a number."),
        group=GENES,
        metavar="median|NUMBER",
    )

    @field_validator("feature_type")
    @classmethod
    def _labels_are_there(cls, labels: str | None) -> str | None:
        if labels is not None and not labels.replace(",", " ").strip():
            raise ValueError("should be labels, separated by commas")
        return labels

    def preparation(self) -> dict[str, Any]:
        """Return how counts become expression, as keywords for ``decide_preparation``."""
        return {name: getattr(self, name) for name in _PREPARATION}

    def noted_preparation(self) -> dict[str, Any]:
        """Return the modality, the layer and the preparation, as ``sccr split`` records them in each part."""
        return {name: value for name in (*PLACE, *_PREPARATION) if (value := getattr(self, name)) is not None}

    def files_read(self) -> list[Path]:
        """Return the config file and the gene file."""
        return [*super().files_read(), *([] if self.genes in GENE_CHOICES else [Path(self.genes)])]

    def contradictions(self) -> Iterator[str]:
        """Yield what does not fit to how the genes are chosen, or to the scale of the input."""
        yield from super().contradictions()
        given = {name for name in self.model_fields_set if getattr(self, name) is not None}
        if "n_top_genes" in given and self.genes != "top-variance":
            yield f"--n-top-genes requires --genes top-variance, not --genes {self.genes}"
        if self.genes_missing == "skip" and self.genes in GENE_CHOICES:
            yield f"--genes-missing requires a list of genes, not --genes {self.genes}"
        if self.input_scale == "counts" and "log_base" in given:
            yield "--log-base applies only to logarithms: it contradicts --input-scale counts"
        if self.input_scale == "log1p":
            for name in ("normalize_by", "target_sum"):
                if name in given:
                    yield f"{flag(name)} applies only to counts: it contradicts --input-scale log1p"


class SeedsParameters(WritingParameters):
    """Parameters of all commands that repeat their random steps with several seeds."""

    seeds: str = parameter(
        "0,1,2",
        title="Seeds",
        description="Random seeds, separated by commas; every random step is repeated with each.",
        group=EVALUATION,
        metavar="SEED,SEED,...",
        pattern=r"^\d{1,9}(,\d{1,9})*$",
        expects="whole numbers of up to 9 digits, separated by commas, such as 0,1,2",
    )

    @field_validator("seeds")
    @classmethod
    def _seeds_differ(cls, seeds: str) -> str:
        return _without_repeats("seeds", seeds)

    def seed_list(self) -> list[int]:
        """Return the seeds as numbers."""
        return [int(seed) for seed in self.seeds.split(",")]


class ClusteringParameters(SeedsParameters):
    """How cells are clustered for comparison with their labels."""

    n_restarts: int = parameter(
        20,
        title="k-means restarts",
        description="Number of k-means restarts; the best one is kept (20 in the papers).",
        group=EVALUATION,
        ge=1,
    )
    n_neighbors: int = parameter(
        15,
        title="Neighbours for Leiden",
        description="Number of neighbours per cell in the graph for Leiden clustering, including the cell itself.",
        group=EVALUATION,
        ge=2,
    )
    resolution: float = parameter(
        1.0,
        title="Leiden resolution",
        description="Resolution of Leiden clustering; higher values give more clusters.",
        group=EVALUATION,
        gt=0,
    )
    n_components: int = parameter(
        50,
        title="Principal components",
        description="Number of principal components for Leiden's graph and the silhouette scores.",
        group=EVALUATION,
        ge=1,
    )


def _without_repeats(name: str, items: str) -> str:
    values = [float(item) if item[0] in ".0123456789" else item for item in items.split(",")]
    if len(set(values)) < len(values):
        raise ValueError(f"the {name} contain the same value twice: {items}")
    return items


def fields_by_group(model: type[Parameters]) -> dict[str, dict[str, Any]]:
    """Return the fields of a model by name, under their headings, both in the order of help pages and forms."""
    groups: dict[str, dict[str, Any]] = {heading: {} for heading in GROUPS}
    for name, field in model.model_fields.items():
        groups[extra_of(field)["group"]][name] = field
    return {heading: fields for heading, fields in groups.items() if fields}
