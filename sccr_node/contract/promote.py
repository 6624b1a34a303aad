"""The parameters of ``sccr promote``."""

from __future__ import annotations

from pydantic import model_validator

from sccr_node.contract.fields import DATA, OUTPUT, parameter
from sccr_node.contract.shared import WritingParameters


class PromoteParameters(WritingParameters):
    """Parameters of ``sccr promote``."""

    layer: str = parameter(
        "sccr", title="Layer", description="Layer that becomes X.", group=DATA, metavar="NAME", min_length=1
    )
    former: str = parameter(
        "unimputed",
        title="Layer for the former X",
        description="Layer to which the former X moves.",
        group=OUTPUT,
        metavar="NAME",
        min_length=1,
    )

    @model_validator(mode="after")
    def _layers_differ(self) -> PromoteParameters:
        if self.layer == self.former:
            raise ValueError(f"--former {self.former} is the layer that becomes X: give another name")
        if "/" in self.former:
            raise ValueError(f"--former {self.former} contains a slash: give another name")
        return self
