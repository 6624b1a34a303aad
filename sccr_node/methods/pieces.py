"""Take apart what stages return, into JSON and arrays, and put it together again: by their annotations, without pickle.

A stage can return arrays, CSR matrices, rows in its buffer, numbers, and tuples and dataclasses of these.
"""

import dataclasses
import types
import typing
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from sccr_node.numerics.neighbors import DenseRows
from sccr_node.numerics.workspace import KeptStage

PLAIN = (bool, int, float, str)


def take_apart(kind: Any, made: Any, arrays: list[NDArray[Any]]) -> Any:
    """Return what is not in arrays as JSON, and append the arrays.

    Parameters
    ----------
    kind
        The type that the stage is annotated with.
    made
        What it returned.
    arrays
        Where to append.

    Raises
    ------
    TypeError
        A type cannot be kept.
    """
    optional = _optional(kind)
    if optional is not None:
        return None if made is None else [take_apart(optional, made, arrays)]
    if kind in PLAIN:
        return kind(made)
    if kind is DenseRows:
        assert not made.packed and not made.signed  # as the propagations leave them
        arrays.append(made.matrix)
        return None
    if _is_array(kind):
        arrays.append(made)
        return None
    if kind is sp.csr_matrix:
        arrays += [made.data, made.indices, made.indptr]
        return list(made.shape)
    if parts := _parts(kind):
        own = made if typing.get_origin(kind) is tuple else [getattr(made, field) for field in _fields(kind)]
        return [take_apart(part, value, arrays) for part, value in zip(parts, own, strict=True)]
    raise TypeError(f"what a stage returns cannot be kept: {kind}")


class Assembly:
    """Puts together what a stage returned, from what was kept.

    Parameters
    ----------
    stored
        What was kept.
    buffer
        The buffer that the stage would have filled in; None if it has none.
    """

    def __init__(self, stored: KeptStage, buffer: NDArray[np.float32] | None) -> None:
        self._stored, self._buffer = stored, buffer
        self._number = 0

    def of(self, kind: Any, value: Any) -> Any:
        """Return an object of a type.

        Raises
        ------
        TypeError, ValueError, LookupError
            What was kept is of another type.
        """
        optional = _optional(kind)
        if optional is not None:
            return None if value is None else self.of(optional, value[0])
        if kind in PLAIN:
            return kind(value)
        if kind is DenseRows:
            if self._buffer is None:
                raise TypeError("there is no buffer for rows")
            n_rows, n_columns = self._array(self._buffer).shape
            return DenseRows(self._buffer, n_rows, n_columns)
        if _is_array(kind):
            return self._array()
        if kind is sp.csr_matrix:
            data, indices, indptr = self._array(), self._array(), self._array()
            return sp.csr_matrix((data, indices, indptr), shape=tuple(value))
        own = [self.of(part, each) for part, each in zip(_parts(kind), value, strict=True)]
        return tuple(own) if typing.get_origin(kind) is tuple else kind(*own)

    def _array(self, into: NDArray[np.float32] | None = None) -> NDArray[Any]:
        self._number += 1
        return self._stored.array(self._number - 1, into)


def _is_array(kind: Any) -> bool:
    # An alias of NumPy's: a type of its own from 2.5 on, np.ndarray before.
    return typing.get_origin(kind) in (np.ndarray, NDArray)


def _optional(kind: Any) -> Any:
    """Return X of an annotation "X | None"; None of any other."""
    if not isinstance(kind, types.UnionType) and typing.get_origin(kind) is not typing.Union:
        return None
    others = [other for other in typing.get_args(kind) if other is not type(None)]
    return others[0] if len(others) == 1 else None


def _parts(kind: Any) -> list[Any]:
    """Return the types of the parts of a tuple or a dataclass; none of anything else."""
    if typing.get_origin(kind) is tuple:
        return list(typing.get_args(kind))
    return list(_fields(kind).values()) if dataclasses.is_dataclass(kind) else []


def _fields(kind: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}
