"""The parameters of ``sccr impute``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from sccr_node.contract.fields import METHOD, OUTPUT, REPORTING, RUNNING, fields_of_result, parameter
from sccr_node.contract.imputing import MethodParameters
from sccr_node.contract.keys import ResultKeys, possible_keys
from sccr_node.contract.methods import METHODS, Output, Value
from sccr_node.contract.shared import GENE_CHOICES, AppendingParameters, PreparationParameters, ResumableParameters
from sccr_node.contract.tune import untunable


def _having(output: Output) -> list[str]:
    """Return the names of the methods with an output."""
    return [name for name, method in METHODS.items() if output in method.outputs]


class ImputeParameters(MethodParameters, AppendingParameters, ResumableParameters, PreparationParameters):
    """Parameters of ``sccr impute``."""

    # --- method
    tune: bool = parameter(
        False,
        title="Tune first",
        description=(
            "First tune smoothing and the share and number of principal components on held-out molecules (as sccr tune "
            "does), and say whether imputation helps. Takes about three times as long; requires counts and --method "
            "sccr."
        ),
        group=METHOD,
    )

    # --- output
    write: Literal["denoised", "recovered", "both", "embedding"] = parameter(
        "denoised",
        title="What to write",
        description=(
            "denoised: the result; recovered: expression before denoising "
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
        path="written",
        min_length=1,
    )
    multiqc: str | None = parameter(
        None,
        title="MultiQC content",
        description="Write MultiQC custom content to this folder.",
        group=REPORTING,
        affects_result=False,
        metavar="DIR",
        path="written",
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

    def contradictions(self) -> Iterator[str]:
        """Yield what does not fit to what is written, or to tuning."""
        yield from super().contradictions()
        if self.tune:
            yield from untunable(self)
            if self.write == "recovered":
                yield "--tune has no effect on --write recovered: it tunes the denoised expression"
        if self.output_scale != "log1p" and self.write == "embedding":
            yield "--output-scale has no effect on --write embedding: no expression is written"
        if self.output_scale == "counts" and self.input_scale == "log1p":
            yield "--output-scale counts requires counts: it contradicts --input-scale log1p"
        if ("layers", self.layer) in possible_keys(self.key_added):
            yield f"--key-added {self.key_added} would replace the layer to impute: choose another name"
        if "recovered" in self.outputs and self.method not in _having("recovered"):
            having = " or ".join(_having("recovered"))
            yield f"--write {self.write} requires --method {having}: {self.method} has only one output"

    @property
    def _tunes(self) -> bool:
        return self.tune

    @property
    def outputs(self) -> tuple[Output, ...]:
        """The matrices that the method must produce; the principal components are always those of the denoised one."""
        return outputs_of(self.write)

    def result_keys(self) -> ResultKeys:
        """Return the keys of the result."""
        relations = METHODS[self.method].relation is not None and self.batch_key is None
        return ResultKeys(self.key_added, layers_of(self.write), relations, self.output_scale == "counts")

    def effective_parameters(self, settings: Mapping[str, Value]) -> dict[str, Any]:
        """Return the parameters of a run, whose method has these settings, as its record has them."""
        values = self.model_dump(mode="json") | dict(settings) | self.blend_parameters()
        return {name: value for name, value in values.items() if not self._only_follows(name)}

    def result_parameters(self, settings: Mapping[str, Value]) -> dict[str, Any]:
        """Return the parameters that affect the written data, as ``uns`` records them, without those left unset.

        Parameters
        ----------
        settings
            All settings of the method.
        """
        values = {name: getattr(self, name) for name in type(self).model_fields}
        values |= dict(settings) | self.blend_parameters()
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
    noted = {name: values[name] for name in fields_of_result(ImputeParameters) if values.get(name) is not None}
    if noted["genes"] != "top-variance":
        noted.pop("n_top_genes", None)
    if noted.get("genes_missing") == "error":
        noted.pop("genes_missing")  # then all of them are there
    if noted.get("neighbor_search") == "auto":
        noted.pop("neighbor_search")  # what it came to is recorded with the searches
    for name in ("tune", "low_rank_share"):
        if not noted.get(name):
            noted.pop(name, None)
    if noted["genes"] not in GENE_CHOICES:
        noted["genes"] = "file"  # where the file was says nothing about the result
    return noted
