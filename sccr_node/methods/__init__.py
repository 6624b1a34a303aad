"""The methods on arrays: a module for each entry of the catalogue, with its stages in the paper's words and its cost.

A module has ``impute(data, work, outputs, settings)`` and ``cost(shape, settings, outputs, threads)``, which the step
and the benchmark find by `load`, and a function of its own name for arrays, with real keywords.
"""

from collections.abc import Collection, Mapping
from importlib import import_module
from typing import Protocol, cast

from sccr_node.contract.methods import METHODS, Output, Value
from sccr_node.methods.expression import Expression, Imputed
from sccr_node.methods.scbfp import scbfp
from sccr_node.methods.sccr import sccr
from sccr_node.methods.scfp import scfp
from sccr_node.numerics import Workspace
from sccr_node.numerics.costs import Cost, Shape

__all__ = ["Cost", "Expression", "Imputed", "MethodModule", "Shape", "load", "scbfp", "sccr", "scfp"]


class MethodModule(Protocol):
    """What every method's module has."""

    def impute(
        self, data: Expression, work: Workspace, outputs: Collection[Output], settings: Mapping[str, Value]
    ) -> Imputed:
        """Impute; `settings` are complete, `outputs` are some of those that the catalogue names."""

    def cost(self, shape: Shape, settings: Mapping[str, Value], outputs: Collection[Output], threads: int) -> Cost:
        """Estimate what `impute` takes."""


def load(name: str) -> MethodModule:
    """Return the module of a method in the catalogue."""
    return cast(MethodModule, import_module(f"{__name__}.{METHODS[name].name}"))
