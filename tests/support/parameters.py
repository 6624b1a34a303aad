"""Parameters as a command gets them, and what the contract publishes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sccr_node.contract.fields import extra_of
from sccr_node.contract.impute import ImputeParameters
from sccr_node.contract.methods import Value
from sccr_node.contract.settings import Model, merge


def settle(
    model: type[Model],
    flags: Mapping[str, Any],
    *,
    config: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> Model:
    """Merge the sources of parameters and validate the result, in one step."""
    return merge(model, flags, config=config, environ=environ).validated()


def published_defaults() -> dict[str, dict[str, Value]]:
    """Return, for every method parameter with a published default, that default per method."""
    return {
        name: extra["published_defaults"]
        for name, field in ImputeParameters.model_fields.items()
        if "published_defaults" in (extra := extra_of(field))
    }
