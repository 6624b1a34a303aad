"""The parameters of ``sccr evaluate mask|score|cluster|relations``."""

from __future__ import annotations

from pydantic import model_validator

from sccr_node.contract.fields import DATA, EVALUATION, METHOD, parameter
from sccr_node.contract.impute import RELATING, RelatingMethodName
from sccr_node.contract.shared import (
    ClusteringParameters,
    Mechanism,
    PreparationParameters,
    ThreadedParameters,
    WritingParameters,
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
