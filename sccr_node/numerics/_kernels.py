"""Bindings to the compiled kernels (kernels.c)."""

import contextlib
import ctypes
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

PANEL, TILE, DEPTH, LISTED_ROWS = 32, 512, 128, 16  # as in kernels.c; checked when it is loaded

WIDTHS = (64, 32, 16)
"""Columns of a block that are worked on together, the fastest first: an edge is looked up once for all of them."""

# From the plainest to the best, one library each, built from the same source; aarch64 has only the baseline.
LEVELS = ("baseline", "avx2", "avx512")


def _array_of(dtype: type) -> type:
    """Return an argument type for contiguous arrays of one type (or None, for NULL), passed as addresses."""

    class Pointer:
        @classmethod
        def from_param(cls, array: NDArray[Any] | None) -> ctypes.c_void_p | None:
            if array is None:
                return None
            if array.dtype != dtype or not array.flags.c_contiguous:
                raise TypeError(f"a contiguous array of {np.dtype(dtype)} is required, not one of {array.dtype}")
            return ctypes.c_void_p(array.ctypes.data)

    return Pointer


_TYPES: dict[str, Any] = {
    "f": _array_of(np.float32),
    "d": _array_of(np.float64),
    "i": _array_of(np.int32),
    "l": _array_of(np.int64),
    "b": _array_of(np.int8),
    "n": ctypes.c_int64,
    "F": ctypes.c_float,
    "D": ctypes.c_double,
}

# One letter per argument, in the order of kernels.c: lower case for arrays, n for an integer, F and D for numbers.
_SIGNATURES = {
    "propagate_hard": "lifnnfffni",
    "propagate_soft": "lifnnfFffni",
    "dense_to_block": "fnlnnnnf",
    "sparse_to_block": "liflnnnFf",
    "block_to_dense": "flnnnnFffn",
    "column_statistics": "fnnndd",
    "cells_to_block": "flifnnnnddff",
    "block_to_cells": "fnnnnddf",
    "spread": "flnlnnnf",
    "reorder_rows": "fnnlnnfb",
    "merge_candidates": "fifinnn",
    "rows_to_panel": "fnnf",
    "panel_to_rows": "fnnf",
    "genes_to_panel": "fnnnnddf",
    "panel_norms": "fnd",
    "search_dense": "fnnnnnfnfinfi",
    "sparse_times": "lifnnfnnnf",
    "search_sparse": "lifnlnnnnffinffi",
    "rank_dense": "fnnndinfinDndib",
    "rank_sparse": "lifnndifinndibf",
    "scan_dense": "flnnindinndii",
    "scan_sparse": "liflnndindif",
}


def _library_path(level: str) -> Path:
    return Path(__file__).with_name(f"_kernels_{level}.so")


def _open(level: str) -> ctypes.CDLL:
    path = _library_path(level)
    if not path.exists():
        raise ImportError(f"the compiled kernels are missing ({path.name}): reinstall the package (pip install)")
    library = ctypes.CDLL(str(path))
    for name, letters in _SIGNATURES.items():
        function = getattr(library, name)
        function.argtypes = [_TYPES[letter] for letter in letters]
        function.restype = None
    names = "panel_rows", "tile_rows", "summed_depth", "listed_rows"
    if [ctypes.c_int32.in_dll(library, name).value for name in names] != [PANEL, TILE, DEPTH, LISTED_ROWS]:
        raise ImportError(f"the compiled kernels ({path.name}) belong to a different version: reinstall the package")
    return library


@functools.cache
def usable_levels() -> dict[str, ctypes.CDLL]:
    """Return the libraries that this CPU supports, from the plainest to the best."""
    baseline = _open("baseline")
    best = baseline.supported_level()
    return {
        level: _open(level) if level != "baseline" else baseline
        for number, level in enumerate(LEVELS)
        if number <= best and (number == 0 or _library_path(level).exists())
    }


_forced: list[str] = []


@contextlib.contextmanager
def forced_level(level: str) -> Iterator[None]:
    """Run the block on the kernels of one level: for tests and benchmarks."""
    _forced.append(level)
    try:
        yield
    finally:
        _forced.pop()


def level() -> str:
    """Return the instruction level in use: baseline, avx2 or avx512."""
    return _forced[-1] if _forced else list(usable_levels())[-1]


def kernels() -> ctypes.CDLL:
    """Return the compiled kernels for this CPU."""
    return usable_levels()[level()]
