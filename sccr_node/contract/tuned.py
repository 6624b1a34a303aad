"""What ``sccr tune`` found, as its config file carries it to the commands that impute."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

TUNING_KEY = "tuning"
"""The key in the config file. It is no parameter: it changes what is said of a run, not its result."""

TUNING_DESCRIPTION = (
    "Only in config files, as sccr tune writes it: what it found, and for which data and parameters that holds. A run "
    "with these says and reports it."
)


Text = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f-\x9f]+$")]
"""One line: it is shown in logs and pages."""


class _Found(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class Curve(_Found):
    """What is explained by each strength of smoothing, alone and with the best blend; NaN where it was not tried."""

    beta: list[float] = Field(min_length=1)
    denoised: list[float]
    blend: list[float]

    @model_validator(mode="after")
    def _lines_are_as_long(self) -> Self:
        if not len(self.beta) == len(self.denoised) == len(self.blend):
            raise ValueError("lines of different lengths")
        return self


class TunedBefore(_Found):
    """What tuning found, and for which data and parameters that holds.

    Attributes
    ----------
    data, parameters
        Digests of the data that were tuned on, as they were prepared, and of the parameters that were found.
    seed, n_cells
        How the cells were drawn, and how many.
    explained, explained_by
        The share of the predictable variation that the tuned parameters explain, and that other ways do.
    curve
        The same for every strength of smoothing.
    neighbors_change, n_averaged
        How the neighbourhoods of cells compare before and after imputation.
    values, neighborhoods, verdicts
        The names of the two answers, and the sentences that explain them.
    """

    data: str = Field(pattern="^[0-9a-f]{64}$")
    parameters: str = Field(pattern="^[0-9a-f]{64}$")
    seed: int = Field(ge=0)
    n_cells: int = Field(ge=1)
    explained: float
    explained_by: dict[Text, float]
    curve: Curve
    neighbors_change: float
    n_averaged: float
    values: Text
    neighborhoods: Text
    verdicts: tuple[Text, Text]

    def noted(self) -> dict[str, Any]:
        """Return what the run record says about the tuning, in the form that tuning itself notes it."""
        return self.model_dump(mode="json", exclude={"data", "parameters"})
