"""The methods on arrays: one module per entry of the catalogue, with its stages in the paper's words and its cost.

A module has ``impute(data, work, outputs, settings)`` and ``cost(shape, settings, outputs, threads)``, which the
commands find by `load`, and a function of its own name for arrays, with explicit keywords. The module of a method that
can be tuned also has the two halves of its imputation, ``before_denoising`` and ``denoising``, for `load_tunable`.
"""

from collections.abc import Collection, Mapping
from importlib import import_module
from typing import Protocol, cast

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from sccr_node.contract.methods import METHODS, Output, Value
from sccr_node.methods.blend import Blend, blend, blend_in_place
from sccr_node.methods.expression import Expression, Imputed
from sccr_node.methods.scbfp import scbfp
from sccr_node.methods.sccr import sccr
from sccr_node.methods.scfp import scfp
from sccr_node.numerics import Workspace
from sccr_node.numerics.costs import Cost, Shape
from sccr_node.numerics.graphs import CellGraph
from sccr_node.numerics.neighbors import DenseRows

__all__ = [
    "Blend",
    "Cost",
    "Expression",
    "Imputed",
    "MethodModule",
    "Shape",
    "TunableModule",
    "blend",
    "blend_in_place",
    "load",
    "load_tunable",
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


class TunableModule(MethodModule, Protocol):
    """The interface of the module of a method that can be tuned."""

    def before_denoising(
        self, data: Expression, work: Workspace, settings: Mapping[str, Value]
    ) -> tuple[DenseRows, CellGraph]:
        """Return R and the last cell graph, from which every strength of denoising starts."""

    def denoising(
        self,
        x: sp.csr_matrix,
        r: DenseRows,
        graph: CellGraph,
        buffer: NDArray[np.float32],
        work: Workspace,
        *,
        n_denoising_iterations: int,
        beta: float,
        gamma: float,
    ) -> DenseRows:
        """Return the denoised matrix, in `buffer`: soft propagation of X over the graph, mixed with R."""


def load(name: str) -> MethodModule:
    """Return the module of a method in the catalogue."""
    return cast(MethodModule, import_module(f"{__name__}.{METHODS[name].name}"))


def load_tunable(name: str) -> TunableModule:
    """Return the module of a method that can be tuned."""
    assert METHODS[name].tuned, name
    return cast(TunableModule, load(name))
