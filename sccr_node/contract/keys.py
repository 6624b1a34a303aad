"""The keys under which a result is stored in a data set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sccr_node.contract.methods import Output

Slot = str
"""A part of AnnData: "layers", "obsm", "varp", "var", "obs" or "uns"."""

OutputScale = Literal["log1p", "normalized", "counts"]
"""The scale of the layers of a result."""


MASK_KEY = "sccr_mask"
"""Key of ``uns`` that records how a data set was masked."""

MOLECULES_KEY = "sccr_molecules"
"""Key of ``uns`` that records how the molecules of a data set were split."""


@dataclass(frozen=True)
class ResultKeys:
    """The keys of a result with a given name.

    Parameters
    ----------
    name
        The name of the result, ``--key-added``.
    layers
        The outputs written as layers: "denoised", "recovered".
    relations
        Whether a gene graph is written.
    size_factors
        Whether the size factors are written, without which layers of counts could not become logarithms again.
    """

    name: str
    layers: tuple[Output, ...] = ("denoised", "recovered")
    relations: bool = True
    size_factors: bool = False

    def layer(self, output: Output) -> str:
        """Return the name of an output's layer."""
        return self.name if output == "denoised" else f"{self.name}_{output}"

    @property
    def components(self) -> str:
        """The key in ``obsm``."""
        return f"X_{self.name}"

    @property
    def gene_graph(self) -> str:
        """The key in ``varp``."""
        return f"{self.name}_relations"

    @property
    def imputed(self) -> str:
        """The column in ``var``."""
        return f"{self.name}_imputed"

    @property
    def size_factor(self) -> str:
        """The column in ``obs``: by what normalised values are multiplied to become a cell's counts."""
        return f"{self.name}_size_factor"

    def all(self) -> list[tuple[Slot, str]]:
        """Return the (slot, key) pairs of the result, in the order of writing."""
        return [
            *(("layers", self.layer(output)) for output in self.layers),
            ("obsm", self.components),
            *([("varp", self.gene_graph)] if self.relations else []),
            ("var", self.imputed),
            *([("obs", self.size_factor)] if self.size_factors else []),
            ("uns", self.name),
        ]


def possible_keys(name: str) -> list[tuple[Slot, str]]:
    """Return every (slot, key) pair that a run can write under a name; --overwrite-keys replaces them all together."""
    return ResultKeys(name, size_factors=True).all()
