"""What can go wrong in the step: one exception class per exit code, and the one table from system errors to classes.

SccrError              70   an internal failure
├── UsageProblem        2   bad usage or parameters, contradictory options, output = input
├── InputProblem       65   bad input data: not what it claims to be, or not what can be imputed
├── InputMissing       66   the input is missing or not permitted
├── OutputProblem      73   the output exists, or its place does not take it
└── NotEnoughResources 75   not enough memory or disk now, or a passing failure: a scheduler may try again
"""

import errno
import os
import re


class SccrError(Exception):
    """A failure that the user can act on: its text is one line that says what is wrong, where, and what to do."""

    exit_code = 70


class UsageProblem(SccrError):
    """Bad usage: parameters out of range, contradictory options, a bad config file, output equal to input."""

    exit_code = 2


class InputProblem(SccrError):
    """Bad input data: unreadable as what it claims to be, missing layer or column, existing key, impossible values."""

    exit_code = 65


class InputMissing(SccrError):
    """The input (or the config, or a gene file that the config names) is missing or may not be read."""

    exit_code = 66


class OutputProblem(SccrError):
    """The output exists already, or its folder is missing, read-only or not permitted."""

    exit_code = 73


class NotEnoughResources(SccrError):
    """Not enough memory or disk now, or a file system that fails for the moment: a scheduler may try again."""

    exit_code = 75


FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
MISSING = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP)
UNSUPPORTED = (errno.ENOSYS, errno.EOPNOTSUPP)
"""What some object-store mounts say to a rename or a flush, today and always."""
EXHAUSTED = (errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EAGAIN)
PASSING = (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.ECONNRESET)
"""What a network file system says when it loses its server: the data are as sound as before."""


def error_number(error: BaseException | None) -> int:
    """Find the system error behind an exception; HDF5 tells it only in its text, zarr only as the cause."""
    while error is not None:
        if isinstance(error, OSError) and error.errno:
            return error.errno
        told = re.search(r"errno = (\d+)", str(error))
        if told:
            return int(told[1])
        for code in FULL:
            if os.strerror(code) in str(error):
                return code
        error = error.__cause__ or error.__context__
    return 0


def problem_of_reading(error: BaseException, what: str) -> SccrError | None:
    """Return what a system error means while something is read; None if it is not one of the table.

    Parameters
    ----------
    error
        What a library or the system raised.
    what
        What was read, for the message.
    """
    code = error_number(error)
    reason = os.strerror(code).lower()
    if code in FORBIDDEN:
        return InputMissing(f"cannot read {what}: {reason}")
    if code in EXHAUSTED:
        return NotEnoughResources(f"cannot read {what} now: {reason}")
    if code in PASSING:
        return NotEnoughResources(f"cannot read {what}: the file system failed ({reason}); try again")
    return None


def problem_of_writing(error: BaseException, what: object) -> SccrError | None:
    """Return what a system error means while something is written; None if it is not one of the table.

    Parameters
    ----------
    error
        What a library or the system raised.
    what
        What was to be written, for the message.
    """
    code = error_number(error)
    reason = os.strerror(code).lower()
    if code in FULL:
        return NotEnoughResources(
            f"not enough disk space to write {what} ({os.strerror(code)}): free some, or write elsewhere"
        )
    if code in EXHAUSTED:
        return NotEnoughResources(f"cannot write {what} now: {reason}")
    if code in PASSING:
        return NotEnoughResources(f"cannot write {what}: the file system failed ({reason}); try again")
    if code in FORBIDDEN:
        return OutputProblem(f"{what} cannot be written: {reason}")
    if code in UNSUPPORTED:
        return OutputProblem(f"{what} cannot be written: its file system refuses ({reason}); write elsewhere")
    if code in MISSING:
        return OutputProblem(
            f"{what} cannot be written: {reason}; is its folder still there, and its name no longer than the file "
            "system takes?"
        )
    return None
