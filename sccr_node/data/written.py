"""The results that a data set contains: where their layers are by now, and on which scale they were written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from numpy.typing import NDArray

from sccr_node.contract.keys import OutputScale, ResultKeys, possible_keys
from sccr_node.data.guard import reading
from sccr_node.data.logs import LogsOf
from sccr_node.data.matrix import Matrix, text_of
from sccr_node.errors import InputProblem

if TYPE_CHECKING:
    from sccr_node.data.dataset import Dataset

MOVED = "moved"
"""The record in a result's ``uns`` entry of what ``sccr promote`` renamed."""

OUTPUT_SCALE = "output_scale"
"""The record in a result's ``uns`` entry of its layers' scale; logarithms, if there is none."""


def results_in(data: Dataset) -> list[str]:
    """Return the names of the results in a data set."""
    return [key for key in data.keys("uns") if data.has_key("var", ResultKeys(key).imputed)]


def places_of(data: Dataset, key: str) -> dict[str, str]:
    """Return where X and the layers of a result are by now: what was written as ``layers/sccr`` may have become X."""
    named = ["X", *(f"layers/{name}" for slot, name in possible_keys(key) if slot == "layers")]
    with reading(data.path, f"uns[{key!r}]"):
        moved = _entry(data, key, MOVED)
        # Keys of uns cannot contain the slash of layers/sccr.
        now = {str(old): _text(moved[old]) for old in moved} if hasattr(moved, "keys") else {}
    return {name: now.get(name.removeprefix("layers/"), name) for name in named}


def is_result(data: Dataset) -> bool:
    """Return whether the opened matrix is a result of ``sccr impute``."""
    return result_opened(data) is not None


def result_opened(data: Dataset) -> str | None:
    """Return the name of the result that the opened matrix is a layer of; None if it is not one."""
    own = "X" if data.layer is None else f"layers/{data.layer}"
    for key in results_in(data):
        places = places_of(data, key)
        if own in places.values() and places["X"] != own:
            return key
    return None


def moved_record(places: Mapping[str, str], renamed: Mapping[str, str]) -> dict[str, str]:
    """Return the record of what is elsewhere than it was written, after some elements were renamed.

    Parameters
    ----------
    places
        From ``places_of``.
    renamed
        The new place of each renamed element.
    """
    now = {name: renamed.get(place, place) for name, place in places.items()}
    return {name.removeprefix("layers/"): place for name, place in now.items() if place != name}


def in_logs(data: Dataset, matrix: Matrix, key: str) -> Matrix:
    """Return a layer of a result as logarithms, on whichever scale it was written.

    Parameters
    ----------
    data
        The data set.
    matrix
        The layer.
    key
        The name of the result.

    Raises
    ------
    InputProblem
        The scale is unknown, or the size factors that lead back from counts are gone.
    """
    scale = output_scale_of(data, key)
    if scale == "log1p":
        return matrix
    return LogsOf(matrix, _factors(data, key) if scale == "counts" else np.ones(data.n_cells))


def output_scale_of(data: Dataset, key: str) -> OutputScale:
    """Return the scale on which the layers of a result were written."""
    with reading(data.path, f"uns[{key!r}]"):
        stored = _entry(data, key, OUTPUT_SCALE)
        named = "log1p" if stored is None else _text(stored)
    scales: tuple[OutputScale, ...] = get_args(OutputScale)
    for scale in scales:
        if named == scale:
            return scale
    raise InputProblem(
        f"{data.path} is inconsistent: uns[{key!r}][{OUTPUT_SCALE!r}] is {named!r}, not one of {', '.join(scales)}"
    )


def _entry(data: Dataset, key: str, name: str) -> Any:
    """Return one element of a result's ``uns`` entry, not yet read; None if there is none.

    The entry is not read as a whole: that takes anndata, a second to load.
    """
    about = data.root["uns"][key] if data.is_stored else data.root.uns[key]
    return about[name] if hasattr(about, "keys") and name in about else None


def _text(stored: Any) -> str:
    return text_of(np.asarray(stored[()]).item() if hasattr(stored, "dtype") else stored)


def _factors(data: Dataset, key: str) -> NDArray[np.float64]:
    column = ResultKeys(key).size_factor
    if not data.has_key("obs", column):
        raise InputProblem(
            f"cannot read the result {key!r} of {data.path}: its layers are counts, and obs[{column!r}], by which they "
            "become logarithms again, is gone; impute again"
        )
    with reading(data.path, f"obs[{column!r}]"):
        size_factors = np.asarray(data.obs_values(column), dtype=np.float64)
        if not (np.isfinite(size_factors) & (size_factors > 0)).all():
            raise ValueError("it contains values that are not positive")
    return 1 / size_factors
