"""The parameters of ``sccr evaluate mask|split-molecules|score|cluster|relations``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from sccr_node.contract.fields import DATA, EVALUATION, METHOD, parameter
from sccr_node.contract.imputing import RELATING, RelatingMethodName
from sccr_node.contract.shared import (
    RESULT_NAME,
    ClusteringParameters,
    Mechanism,
    ModalityParameters,
    PreparationParameters,
    ThreadedParameters,
    WritingParameters,
)


class EvaluateMaskParameters(PreparationParameters, WritingParameters):
    """Parameters of ``sccr evaluate mask``."""

    rate: float = parameter(
        0.4,
        title="Rate",
        description="Fraction of the observed (non-zero) entries to set to zero.",
        group=EVALUATION,
        gt=0,
        lt=1,
    )
    mechanism: Mechanism = parameter(
        "mcar",
        title="Mechanism",
        description=(
            "mcar: drop observed entries at random; mnar: drop low expression more often, with probability "
            "exp(-lambda x^2) for a log value x, lambda set so that --rate is met."
        ),
        group=EVALUATION,
    )
    seed: int = parameter(
        0,
        title="Seed",
        description="Random seed; the same seed drops the same entries.",
        group=EVALUATION,
        ge=0,
        le=2**32 - 1,
    )


class EvaluateSplitMoleculesParameters(PreparationParameters, WritingParameters):
    """Parameters of ``sccr evaluate split-molecules``."""

    input_scale: Literal["auto", "counts"] = parameter(
        "auto",
        title="Input scale",
        description="Only integer counts are accepted; log-normalised and corrected counts are refused.",
        group=DATA,
    )

    fraction: float = parameter(
        0.5,
        title="Training fraction",
        description=(
            "Fraction of the molecules that the tool gets. The noise floor and the explained share are known only for "
            "0.5."
        ),
        group=EVALUATION,
        gt=0,
        lt=1,
    )
    seed: int = parameter(
        0,
        title="Seed",
        description="Random seed; the same seed holds out the same molecules.",
        group=EVALUATION,
        ge=0,
        le=2**32 - 1,
    )

    def contradictions(self) -> Iterator[str]:
        """Yield what only logarithms have."""
        yield from super().contradictions()
        if self.log_base is not None:
            yield "--log-base does not apply: only counts can be split"


class EvaluateScoreParameters(ModalityParameters, WritingParameters):
    """Parameters of ``sccr evaluate score``."""

    layer: str | None = parameter(
        None,
        title="Layer",
        description="Layer of CANDIDATE with the imputed log expression (default: X).",
        group=DATA,
        metavar="NAME",
        min_length=1,
    )


class EvaluateClusterParameters(PreparationParameters, ClusteringParameters):
    """Parameters of ``sccr evaluate cluster``."""

    label_key: str = parameter(
        title="Label column",
        description="Column of obs with the known cell types (required). Cells without a type are excluded.",
        group=DATA,
        metavar="COLUMN",
        min_length=1,
    )
    layer: str | None = parameter(
        None,
        title="Layer",
        description="Layer with the expression to cluster (default: X).",
        group=DATA,
        metavar="NAME",
        min_length=1,
    )
    obsm: str | None = parameter(
        None,
        title="Embedding",
        description="Key of obsm: cluster these coordinates instead of expression.",
        group=DATA,
        metavar="KEY",
        min_length=1,
    )

    def contradictions(self) -> Iterator[str]:
        """Yield that two matrices are named."""
        yield from super().contradictions()
        if self.layer is not None and self.obsm is not None:
            yield "--layer and --obsm each name a matrix to cluster: give only one of them"


class EvaluateRelationsParameters(PreparationParameters, WritingParameters, ThreadedParameters):
    """Parameters of ``sccr evaluate relations``."""

    layer: str | None = parameter(
        None,
        title="Layer",
        description="Layer with the matrix to analyse (default: the one that was imputed, or else X).",
        group=DATA,
        metavar="NAME",
        min_length=1,
    )
    method: RelatingMethodName = parameter(
        RELATING[0],
        title="Method",
        description="Method whose gene graph is built if INPUT does not contain one.",
        group=METHOD,
    )
    key: str = parameter(
        "sccr",
        title="Name of the result",
        description="Read the gene graph of the result with this name (varp['NAME_relations']), if there is one.",
        group=DATA,
        metavar="NAME",
        **RESULT_NAME,
    )
    n_pairs: int = parameter(
        50,
        title="Number of pairs",
        description="Number of pairs of each kind to list, strongest first.",
        group=EVALUATION,
        ge=1,
    )
