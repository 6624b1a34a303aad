"""What stages return is taken apart and put together again, for every stage of every method."""

import inspect
import json
import re
from dataclasses import dataclass
from importlib import import_module
from typing import get_type_hints

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.typing import NDArray

from sccr_node.contract.methods import METHODS
from sccr_node.methods.pieces import Assembly, take_apart
from sccr_node.numerics.graphs import CellGraph
from sccr_node.numerics.neighbors import DenseRows, SearchSummary


@dataclass(frozen=True)
class Everything:
    number: float
    whole: int
    yes: bool
    text: str
    vector: NDArray[np.float64]
    pair: tuple[NDArray[np.int64], sp.csr_matrix]
    graph: CellGraph
    nothing: CellGraph | None


class InMemory:
    """What a checkpoint would give back."""

    seconds = 0.0

    def __init__(self, value, arrays):
        self.value, self.arrays = json.loads(json.dumps(value)), [array.copy() for array in arrays]

    def array(self, number, into=None):
        if into is None:
            return self.arrays[number]
        into[: self.arrays[number].size] = self.arrays[number].ravel()
        return into[: self.arrays[number].size].reshape(self.arrays[number].shape)


def again(kind, made, buffer=None):
    arrays = []
    stored = InMemory(take_apart(kind, made, arrays), arrays)
    return Assembly(stored, buffer).of(kind, stored.value)


def graph(order=None, search=None):
    return CellGraph(sp.random(9, 9, 0.4, format="csr", random_state=0, dtype=np.float32), order, search)


def assert_same(one, other):
    assert type(one) is type(other)
    if sp.issparse(one):
        for name in ("data", "indices", "indptr"):
            assert_same(getattr(one, name), getattr(other, name))
    elif isinstance(one, np.ndarray):
        assert one.dtype == other.dtype and np.array_equal(one, other)
    elif isinstance(one, tuple):
        for pair in zip(one, other, strict=True):
            assert_same(*pair)
    elif hasattr(one, "__dataclass_fields__"):
        for name in one.__dataclass_fields__:
            assert_same(getattr(one, name), getattr(other, name))
    else:
        assert one == other


@pytest.mark.parametrize("search", [None, SearchSummary(3, 1.5, float(np.nextafter(0.9, 1)), 0.1)])
@pytest.mark.parametrize("order", [None, np.arange(9)[::-1].copy()])
def test_a_graph_comes_back_bit_by_bit(search, order):
    assert_same(again(CellGraph, graph(order, search)), graph(order, search))


def test_every_kind_of_part_comes_back():
    made = Everything(0.1, 3, True, "ä", np.linspace(0, 1, 3), (np.arange(4), graph().adjacency), graph(), None)
    assert_same(again(Everything, made), made)


def test_rows_come_back_in_the_buffer_that_the_stage_would_have_filled():
    buffer, other = np.arange(32, dtype=np.float32), np.zeros(32, np.float32)
    rows = again(DenseRows, DenseRows(buffer, 4, 5), other)
    assert rows.buffer is other and (rows.n_rows, rows.n_columns) == (4, 5)
    assert np.array_equal(other[:20], buffer[:20]) and not other[20:].any()


def test_unknown_types_are_refused():
    for kind, made in ((dict, {}), (list[int], [1]), (set, set()), (int | str, 1), (object, object())):
        with pytest.raises(TypeError, match="cannot be kept"):
            take_apart(kind, made, [])


def stages():
    """Return every stage of every method: what is passed to its stages with a name."""
    found = {}
    for name in METHODS:
        module = import_module(f"sccr_node.methods.{name}")
        source = inspect.getsource(module)
        for called in re.findall(r'stage(?:\.last)?\(\s*"[^"]+", (\w+)', source):
            found[called] = getattr(module, called)
    return found


def check(kind):
    """Raise TypeError if a type cannot be kept: made of nothing, every part of it is looked at."""
    from sccr_node.methods import pieces

    optional = pieces._optional(kind)
    if optional is not None:
        return check(optional)
    if kind in pieces.PLAIN or kind is DenseRows or kind is sp.csr_matrix or pieces._is_array(kind):
        return None
    parts = pieces._parts(kind)
    if not parts:
        raise TypeError(kind)
    for part in parts:
        check(part)
    return None


def test_what_every_stage_returns_can_be_kept():
    found = stages()
    assert len(found) >= 14 and {"denoising", "smoothing", "observed_cell_graph"} <= found.keys()
    for function in found.values():
        hints = get_type_hints(function)
        check(hints["return"])
        # Rows come back in a buffer: the stage must name it.
        kind = hints["return"]
        if kind is DenseRows or DenseRows in getattr(kind, "__args__", ()):
            assert "buffer" in inspect.signature(function).parameters, function
    with pytest.raises(TypeError):
        check(dict[str, int])
