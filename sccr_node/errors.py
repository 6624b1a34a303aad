"""Everything that can go wrong: one exception class per exit code, and the one table from system errors to classes.

SccrError              70   an internal error: a bug
├── UsageProblem        2   bad usage or parameters, contradictory options, output = input
├── InputProblem       65   bad input data: not what it claims to be, or cannot be imputed
├── InputMissing       66   the input does not exist, or permission to read it is denied
├── OutputProblem      73   the output already exists, or cannot be written to that place
└── NotEnoughResources 75   not enough memory or disk; or a file system or a store failed for the moment
"""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

ISSUES = "https://github.com/sccr-node/sccr-node/issues"


class SccrError(Exception):
    """A failure that the user can act on: one line that says what is wrong, where, and what to do."""

    exit_code = 70
    passing = False
    """Whether another attempt can succeed: job definitions and workflows act on it."""


class UsageProblem(SccrError):
    """Bad usage: parameters out of range, contradictory options, a bad config file, output equal to input."""

    exit_code = 2


class InputProblem(SccrError):
    """Bad input data: not what it claims to be, a missing layer or column, an existing key, impossible values."""

    exit_code = 65


class InputMissing(SccrError):
    """The input (or the config, or a gene file named in the config) does not exist or cannot be read."""

    exit_code = 66


class OutputProblem(SccrError):
    """The output already exists, or its folder does not exist, is read-only or denies permission."""

    exit_code = 73


class NotEnoughResources(SccrError):
    """Not enough memory or disk now, or a file system that failed, or a store that was not reached: try again."""

    exit_code = 75
    passing = True


INTERRUPTED = (129, 130, 143)
"""Exit codes of a command that SIGHUP, SIGINT or SIGTERM has ended: nothing is wrong with it."""

KILLED = 137
"""What others report of a process that SIGKILL has ended, also because memory ran out."""


FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
MISSING = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP)
UNSUPPORTED = (errno.ENOSYS, errno.EOPNOTSUPP)
"""What some object-store mounts report for any rename or flush: trying again does not help."""
EXHAUSTED = (errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EAGAIN)
PASSING = (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.ECONNRESET)
"""What a network file system reports when it loses its server: the data themselves are intact."""


def error_number(error: BaseException | None) -> int:
    """Find the system error behind an exception: HDF5 reports it only in its message, zarr only as the cause."""
    while error is not None:
        if isinstance(error, OSError) and error.errno:
            return error.errno
        told = re.search(r"errno = (\d+)", str(error))
        if told:
            return int(told[1])
        if isinstance(error, RuntimeError) and "can't start new thread" in str(error):
            return errno.EAGAIN
        for code in (*FULL, *EXHAUSTED):
            if os.strerror(code) in str(error):
                return code
        error = error.__cause__ or error.__context__
    return 0


def reason_of(error: OSError) -> str:
    """Return what the system says of an error, in lower case, for the end of a message."""
    return (error.strerror or str(error)).lower()


def problem_of_reading(error: BaseException, what: str) -> SccrError | None:
    """Return what a system error means while reading; None if it is not in the table.

    Parameters
    ----------
    error
        The exception raised by a library or the system.
    what
        What was being read, for the message.
    """
    code = error_number(error)
    reason = os.strerror(code).lower()
    if code in (*FORBIDDEN, *MISSING):
        return InputMissing(f"cannot read {what}: {reason}")
    return _problem_for_now(code, f"cannot read {what}")


def problem_of_writing(error: BaseException, what: object) -> SccrError | None:
    """Return what a system error means while writing; None if it is not in the table.

    Parameters
    ----------
    error
        The exception raised by a library or the system.
    what
        What was being written, for the message.
    """
    code = error_number(error)
    reason = os.strerror(code).lower()
    if code in FULL:
        return NotEnoughResources(
            f"cannot write {what}: not enough disk space ({reason}); free some, or write elsewhere"
        )
    if code in FORBIDDEN:
        return OutputProblem(f"cannot write {what}: {reason}")
    if code in UNSUPPORTED:
        return OutputProblem(f"cannot write {what}: its file system does not support it ({reason}); write elsewhere")
    if code in MISSING:
        return OutputProblem(
            f"cannot write {what}: {reason}; check that its folder still exists and that its name is not too long"
        )
    return _problem_for_now(code, f"cannot write {what}")


@contextmanager
def writing(what: object) -> Iterator[None]:
    """Turn a system error, however a library reports it, into one line (:func:`problem_of_writing`).

    Parameters
    ----------
    what
        What is written, for the message: a path, or words.
    """
    try:
        yield
    except (SccrError, MemoryError):
        raise
    except Exception as error:
        problem = problem_of_writing(error, what)
        if problem is None:
            raise
        raise problem from error


def _problem_for_now(code: int, failed: str) -> NotEnoughResources | None:
    """Return the problem for a system error that may be gone at the next attempt; None if it is not of that kind."""
    reason = os.strerror(code).lower()
    if code in EXHAUSTED:
        return NotEnoughResources(f"{failed}: {reason}; try again later")
    if code in PASSING:
        return NotEnoughResources(f"{failed}: the file system failed ({reason}); try again")
    return None


def meaning_of(failure: Exception) -> tuple[str, int]:
    """Return what any exception that ends a command, or a row of a batch, means to the user, and its exit code."""
    if isinstance(failure, SccrError):
        return str(failure), failure.exit_code
    # If memory is short, a library may be the first that does not fit.
    if isinstance(failure, MemoryError) or (isinstance(failure, ImportError) and "map segment" in str(failure)):
        return "out of memory: provide more, or use fewer cells or genes", NotEnoughResources.exit_code
    problem = problem_of_writing(failure, "a file") if isinstance(failure, OSError | RuntimeError) else None
    if isinstance(problem, NotEnoughResources):
        return f"{problem} ({failure})", problem.exit_code
    kind = type(failure).__name__
    return (
        f"internal error ({kind}: {failure}); this is a bug in sccr-node: please report it at {ISSUES} with the output "
        "of --debug",
        SccrError.exit_code,
    )
