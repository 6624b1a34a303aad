"""The stages of a method: each is a function, identified by the settings that it uses and the stages before it."""

import inspect
from collections.abc import Callable, Hashable, Mapping
from typing import Any, get_type_hints

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from sccr_node.contract.methods import Value
from sccr_node.methods.cells import joined_cells
from sccr_node.methods.expression import Expression
from sccr_node.methods.pieces import Assembly, take_apart
from sccr_node.numerics import Workspace
from sccr_node.numerics.graphs import CellGraph
from sccr_node.numerics.neighbors import SearchSummary, SparseRows
from sccr_node.numerics.workspace import Made


class Stages:
    """Runs the stages of an imputation in order, and lets the workspace keep their results.

    A stage is a function of the results of earlier stages, of the workspace, and of the settings that it uses, which
    are its keyword-only parameters. Its result depends on those settings, on the data and on the stages before it, so
    these are its key: in a workspace that keeps results, a run that differs only in later settings starts where they
    are used, and so does one whose workspace has checkpoints of an earlier attempt.

    Parameters
    ----------
    data
        The expression.
    work
        The workspace.
    settings
        All settings of the method.

    Attributes
    ----------
    seconds
        Seconds per stage of this run, without stages whose result was kept.
    searches
        Per stage, what its search left out; without stages that searched everything, or nothing.
    """

    def __init__(self, data: Expression, work: Workspace, settings: Mapping[str, Value]) -> None:
        self._work, self._settings = work, settings
        self._key: tuple[Hashable, ...] = (data.digest,) if work.keep or work.checkpoints else ()
        self.seconds: dict[str, float] = {}
        self.searches: dict[str, SearchSummary] = {}

    def __call__(self, name: str, stage: Callable[..., Made], *inputs: object) -> Made:
        """Return the result of a stage, ``stage(*inputs, work, **settings)``."""
        own = self._begun(stage)
        made = self._work.kept(self._key, lambda: self._made(name, stage, inputs, own))
        if isinstance(made, CellGraph) and made.search is not None:
            self.searches[name] = made.search
        return made

    def last(self, name: str, stage: Callable[..., Made], *inputs: object) -> Made:
        """Return the result of the last stage, which the workspace does not keep: no other stage needs it."""
        return self._made(name, stage, inputs, self._begun(stage))

    def _begun(self, stage: Callable[..., object]) -> dict[str, Value]:
        """Add a stage to the key of all that follows; return its settings."""
        own = {setting: self._settings[setting] for setting in uses(stage)}
        self._key = (*self._key, (stage.__module__, stage.__qualname__, *own.items()))
        return own

    def _made(
        self, name: str, stage: Callable[..., Made], inputs: tuple[object, ...], own: Mapping[str, Value]
    ) -> Made:
        kind = get_type_hints(stage)["return"]
        buffer = inspect.signature(stage).bind(*inputs, self._work, **own).arguments.get("buffer")
        made, self.seconds[name] = resumable(
            self._work, name, repr(self._key), kind, lambda: self._timed(name, stage, inputs, own), buffer
        )
        return made

    def _timed(
        self, name: str, stage: Callable[..., Made], inputs: tuple[object, ...], own: Mapping[str, Value]
    ) -> Made:
        with self._work.stage(name):
            return stage(*inputs, self._work, **own)


def resumable(
    work: Workspace,
    name: str,
    key: str,
    kind: Any,
    make: Callable[[], Made],
    buffer: NDArray[np.float32] | None = None,
) -> tuple[Made, float]:
    """Return what `make` returns, and its seconds: from a checkpoint if there is one, or else anew, and then kept.

    Parameters
    ----------
    work
        The workspace, with or without checkpoints.
    name
        The name of the stage that `make` is timed as.
    key
        Everything that the result depends on.
    kind
        Its type.
    make
        Computes it.
    buffer
        What `make` fills in, if its result is rows in a buffer.
    """
    checkpoints = work.checkpoints
    if checkpoints is not None:
        with checkpoints.found(key) as stored:
            if stored is not None:
                try:
                    with work.stage(name):
                        kept: Made = Assembly(stored, buffer).of(kind, stored.value)
                except (TypeError, ValueError, LookupError, AttributeError):
                    checkpoints.refused(key)
                else:
                    checkpoints.resumed(stored.seconds)
                    return kept, stored.seconds
    before = work.seconds.get(name, 0.0)
    made = make()
    seconds = work.seconds[name] - before
    if checkpoints is not None:
        arrays: list[NDArray[Any]] = []
        value = take_apart(kind, made, arrays)
        checkpoints.keep(key, name, value, arrays, seconds)
    return made, seconds


def uses(stage: Callable[..., object]) -> list[str]:
    """Return the settings that a stage uses: the names of its keyword-only parameters."""
    parameters = inspect.signature(stage).parameters.values()
    return [parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]


def observed_cell_graph(x: sp.csr_matrix, work: Workspace, *, k_cell: int, neighbor_search: str) -> CellGraph:
    """Return the graph of cells that are similar in the observed values: the first stage of scCR and of scFP."""
    return joined_cells(SparseRows.of(x), k_cell + 1, work, neighbor_search)
