"""Errors of libraries on damaged data, as one line each; lists of names for messages."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sccr_node.errors import InputProblem, SccrError, problem_of_reading
from sccr_node.runtime.words import did_you_mean
from sccr_node.storage.hdf5 import FORMAT as HDF5
from sccr_node.storage.hdf5 import missing_filters

DAMAGE = (OSError, EOFError, RuntimeError, zlib.error, json.JSONDecodeError)
"""What the libraries raise where bytes are missing or checksums fail."""


@contextmanager
def reading(path: Path, what: str) -> Iterator[None]:
    """Turn whatever the storage libraries raise on damaged data into one line that names the file.

    Raises
    ------
    InputProblem
        The data cannot be decoded.
    InputMissing, NotEnoughResources
        The system refuses to read them, permanently or for now.
    """
    try:
        yield
    except (SccrError, MemoryError):
        raise
    except Exception as error:
        problem = problem_of_reading(error, f"{what} of {path}")
        if problem is not None:
            raise problem from error
        raise InputProblem(f"cannot read {what} of {path}: {_reason(error, path)}") from error


def _reason(error: BaseException, path: Path) -> str:
    """Return why data cannot be decoded, and how to go on."""
    told = one_line(error)
    if type(error).__name__ == "IORegistryError":
        return (
            "it is stored in a way that this version of anndata does not know; write it with another version, or "
            "remove it"
        )
    # As numcodecs and zarr before 3.2, and zarr since then, say it.
    if codec := re.search(r"(?:codec not available:|Unknown codec:|implementation for codec) \W*([\w.-]+)", told):
        return (
            f"it is compressed with {codec[1]!r}, which is not installed here; install a package with this "
            "codec for zarr, or write the store with another compression"
        )
    if re.search("filter|plugin", told) and (filters := _missing_filters(path)):
        return (
            f"it is compressed with {listing(filters)}, an HDF5 filter that is not installed here; "
            "pip install hdf5plugin, or write the file with compression='gzip'"
        )
    # HDF5's own failures come as KeyError too, and numpy's complaint about a cut chunk as ValueError.
    if isinstance(error, DAMAGE) or re.search(r"[Uu]nable to (?!.*doesn't exist)|reshape|buffer", told):
        return f"damaged or incomplete ({told}); copy or create the file again"
    return f"it is not stored as expected ({told}); create the file again, e.g. with anndata"


def _missing_filters(path: Path) -> list[str]:
    try:
        with HDF5.opened(path) as file:
            return missing_filters(file)
    except (OSError, RuntimeError):
        return []


def one_line(error: BaseException) -> str:
    """Return the first line of a library's message, short enough for one of our error lines."""
    # A KeyError's own text is its argument in quotes, and quotes in it escaped.
    told = error.args[0] if isinstance(error, KeyError) and error.args else error
    text = str(told).strip()
    first = text.splitlines()[0] if text else type(error).__name__
    return first if len(first) <= 160 else first[:157] + "..."


def listing(names: Sequence[str], most: int = 10) -> str:
    """Return names for a message: the first few, and how many more there are."""
    if not len(names):
        return "none"
    shown = ", ".join(repr(str(name)) for name in names[:most])
    return shown + (f" and {len(names) - most:,} more" if len(names) > most else "")


def among(name: str, names: Sequence[str]) -> str:
    """Return the names among which a name was not found, and the one that may have been meant."""
    return listing(names) + did_you_mean(name, [str(known) for known in names])
