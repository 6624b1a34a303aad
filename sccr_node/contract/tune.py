"""The parameters of ``sccr tune``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sccr_node.contract.fields import EVALUATION, METHOD, parameter
from sccr_node.contract.imputing import MethodName, MethodParameters
from sccr_node.contract.methods import COMMON_SETTINGS, METHODS
from sccr_node.contract.shared import (
    BoundedParameters,
    PreparationParameters,
    ResumableParameters,
    ThreadedParameters,
    WritingParameters,
)

MOST_DENOISING_ITERATIONS = 200

CELLS_TO_TUNE_ON = 20_000
"""So many cells are tuned on at most, unless another number is given."""

TUNABLE = tuple(name for name, method in METHODS.items() if method.tuned)
"""The methods that can be tuned; the first is the default."""

TUNED = tuple(dict.fromkeys(name for method in METHODS.values() for name in method.tuned))
"""The parameters that are tuned, of whichever method, unless they are given."""


class TuneParameters(
    MethodParameters,
    WritingParameters,
    BoundedParameters,
    ThreadedParameters,
    ResumableParameters,
    PreparationParameters,
):
    """Parameters of ``sccr tune``."""

    method: MethodName = parameter(
        TUNABLE[0],
        title="Method",
        description=f"Method to tune: only {' or '.join(TUNABLE)} can be tuned.",
        group=METHOD,
    )
    max_cells: int = parameter(
        CELLS_TO_TUNE_ON,
        title="Cells to tune on",
        description=(
            "Maximum number of cells to tune on, sampled at random in proportion to batch size (0: all). The tuned "
            "parameters apply to all cells."
        ),
        group=EVALUATION,
        ge=0,
    )
    seed: int = parameter(
        0,
        title="Seed",
        description="Random seed: which cells, molecules and genes are drawn.",
        group=EVALUATION,
        ge=0,
        le=2**32 - 1,
    )

    @property
    def _tunes(self) -> bool:
        return True

    def contradictions(self) -> Iterator[str]:
        """Yield why this cannot be tuned."""
        yield from super().contradictions()
        yield from untunable(self)


def untunable(asked: MethodParameters) -> Iterator[str]:
    """Yield why a method cannot be tuned with these numbers."""
    if asked.method not in TUNABLE:
        yield f"tuning requires --method {' or '.join(TUNABLE)}: {asked.method} cannot be tuned"
    elif int(asked.method_parameters()["n_denoising_iterations"]) > MOST_DENOISING_ITERATIONS:
        yield f"tuning requires at most {MOST_DENOISING_ITERATIONS} iterations for denoising: it keeps every step"


def given_numbers(asked: MethodParameters) -> dict[str, Any]:
    """Return the numbers that were given, which tuning leaves as they are."""
    tuned = METHODS[asked.method].tuned
    given = [name for name in tuned if name in asked.model_fields_set and getattr(asked, name) is not None]
    return {name: getattr(asked, name) for name in given}


def config_numbers(asked: MethodParameters, tuned: dict[str, Any]) -> dict[str, Any]:
    """Return the method and its numbers, those given and those tuned, as a config file for ``sccr impute``."""
    method = METHODS[asked.method]
    numbers = {name: getattr(asked, name) for name in method.settings if name not in method.tuned}
    given = {name: value for name, value in numbers.items() if value not in (None, COMMON_SETTINGS.get(name))}
    return {"method": asked.method, **given, **tuned}
