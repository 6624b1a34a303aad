"""The parameters of ``sccr promote``."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import field_validator

from sccr_node.contract.fields import DATA, OUTPUT, parameter
from sccr_node.contract.shared import LAYER_NAME, ModalityParameters, WritingParameters, not_of_zarr


class PromoteParameters(ModalityParameters, WritingParameters):
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
        **LAYER_NAME,
    )

    @field_validator("former")
    @classmethod
    def _former_is_free(cls, former: str) -> str:
        return not_of_zarr(former)

    def contradictions(self) -> Iterator[str]:
        """Yield that two layers are one."""
        yield from super().contradictions()
        if self.layer == self.former:
            yield "--former and --layer must be different layers"
