"""Errors of libraries on damaged data, as one line each; lists of names for messages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sccr_node.errors import InputProblem, SccrError, problem_of_reading

READ_FAILURES = (OSError, RuntimeError, ValueError, KeyError, IndexError, TypeError, AttributeError, EOFError)


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
        if type(error).__name__ == "IORegistryError":
            raise InputProblem(
                f"cannot read {what} of {path}: it is stored in a way that this version of anndata does not know; "
                "write it with another version, or remove it"
            ) from error
        raise InputProblem(
            f"cannot read {what} of {path}: damaged or incomplete ({one_line(error)}); copy or create the file again"
        ) from error


def one_line(error: BaseException) -> str:
    """Return the first line of a library's message, short enough for one of our error lines."""
    text = str(error).strip().strip("'\"")
    first = text.splitlines()[0] if text else type(error).__name__
    return first if len(first) <= 160 else first[:157] + "..."


def listing(names: Sequence[str], most: int = 10) -> str:
    """Return names for a message: the first few, and how many more there are."""
    if not len(names):
        return "none"
    shown = ", ".join(repr(str(name)) for name in names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")
