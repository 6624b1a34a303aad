"""The methods on arrays: one module per entry of the catalogue, with its stages in the paper's words and its cost.

A module has ``impute(data, work, outputs, settings)`` and ``cost(shape, settings, outputs, threads)``, which the
commands find by `load`, and a function of its own name for arrays, with explicit keywords.
"""

from collections.abc import Collection, Mapping
from importlib import import_module
from typing import Protocol, cast

from sccr_node.contract.methods import METHODS, Output, Value
from sccr_node.methods.blend import Blend, blend, blend_in_place
from sccr_node.methods.expression import Expression, Imputed
from sccr_node.methods.scbfp import scbfp
from sccr_node.methods.sccr import sccr
from sccr_node.methods.scfp import scfp
from sccr_node.numerics import Workspace
from sccr_node.numerics.costs import Cost, Shape

__all__ = [
    "Blend",
    "Cost",
    "Expression",
    "Imputed",
    "MethodModule",
    "Shape",
    "blend",
    "blend_in_place",
    "load",
    "scbfp",
    "sccr",
    "scfp",
]


class MethodModule(Protocol):
    """The interface of a method's module."""

    def impute(
        self, data: Expression, work: Workspace, outputs: Collection[Output], settings: Mapping[str, Value]
    ) -> Imputed:
        """Impute; `settings` are complete, `outputs` are among those that the catalogue lists."""

    def cost(self, shape: Shape, settings: Mapping[str, Value], outputs: Collection[Output], threads: int) -> Cost:
        """Estimate the memory and operations that `impute` needs."""


def load(name: str) -> MethodModule:
    """Return the module of a method in the catalogue."""
    return cast(MethodModule, import_module(f"{__name__}.{METHODS[name].name}"))
