"""Scratch: what does not fit in memory for a while, in files without names in one folder (--work-dir, else TMPDIR).

Not even a killed process leaves any of it behind.
"""

from __future__ import annotations

import errno
import mmap
import os
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sccr_node.errors import NotEnoughResources, OutputProblem, writing
from sccr_node.runtime.resources import free_bytes, readable_bytes

_asked: ContextVar[Path | None] = ContextVar("work_dir", default=None)


@contextmanager
def work_dir(given: str | os.PathLike[str] | None) -> Iterator[None]:
    """Use a folder for scratch; None leaves the choice to TMPDIR, as Python's tempfile does.

    Raises
    ------
    OutputProblem
        The folder does not exist, or nothing can be written there.
    """
    folder = None if given is None else Path(given)
    # os.path's questions are answered for any name; pathlib's raise for some.
    wrong = None
    if folder is not None and not os.path.exists(folder):
        wrong = "does not exist, or cannot be reached"
    elif folder is not None and not os.path.isdir(folder):
        wrong = "is not a folder"
    elif folder is not None and not os.access(folder, os.W_OK | os.X_OK):
        wrong = "cannot be written to"
    if wrong:
        raise OutputProblem(f"cannot keep temporary files in {folder}: it {wrong}; choose another --work-dir")
    before = _asked.set(folder)
    try:
        yield
    finally:
        _asked.reset(before)


def scratch_dir() -> Path:
    """Return the folder for scratch.

    Raises
    ------
    OutputProblem
        None was asked for, and nothing can be written to those that are usual.
    """
    folder = _asked.get()
    if folder is not None:
        return folder
    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError as error:
        raise OutputProblem("there is no folder for temporary files; choose one (--work-dir)") from error


def check_scratch(needed: int) -> None:
    """Refuse a run whose scratch would not fit on its disk.

    Raises
    ------
    NotEnoughResources
        There are fewer bytes left than are needed.
    """
    if not needed:
        return
    free = free_bytes(scratch_dir())
    if free is not None and free < needed:
        raise NotEnoughResources(
            f"not enough disk space for temporary files in {scratch_dir()}: about {readable_bytes(needed)} needed, "
            f"{readable_bytes(free)} free; free some, or choose another folder (--work-dir)"
        )


def in_scratch() -> AbstractContextManager[None]:
    """Turn a system error inside a block into one line about the folder for temporary files."""
    return writing(f"temporary files in {scratch_dir()} (--work-dir)")


class ScratchFile:
    """A file without a name, of fixed size, whose space is reserved: zeros that can be overwritten.

    Parameters
    ----------
    size
        Bytes.

    Raises
    ------
    NotEnoughResources, OutputProblem
        The disk is full, or the folder refuses files.
    """

    def __init__(self, size: int) -> None:
        with in_scratch():
            self._file = tempfile.TemporaryFile(dir=scratch_dir(), buffering=0)
            _reserve(self._file.fileno(), size)
        self.size = size

    def write(self, offset: int, values: NDArray[Any]) -> None:
        """Write the bytes of an array."""
        left = np.ascontiguousarray(values).reshape(-1).view(np.uint8).data
        with in_scratch():
            while len(left):
                written = os.pwrite(self._file.fileno(), left, offset)
                left, offset = left[written:], offset + written

    def read(self, offset: int, count: int, dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return `count` values of a type from a byte on."""
        values = np.empty(count, dtype)
        if count:
            left = values.data.cast("B")
            with in_scratch():
                while left:
                    got = os.preadv(self._file.fileno(), [left], offset)
                    left, offset = left[got:], offset + got
        return values

    def mapped(self) -> NDArray[np.float32]:
        """Return the whole file as an array of float32, which the system moves to memory and back as it can."""
        if not self.size:
            return np.empty(0, np.float32)
        with in_scratch():
            return np.frombuffer(mmap.mmap(self._file.fileno(), self.size), np.float32)


class ScratchArray:
    """A one-dimensional array in scratch, read and written by ranges.

    Parameters
    ----------
    size
        Number of values.
    dtype
        Their type.
    """

    def __init__(self, size: int, dtype: np.dtype[Any]) -> None:
        self.shape, self.dtype = (size,), np.dtype(dtype)
        self._file = ScratchFile(size * self.dtype.itemsize)

    def __getitem__(self, where: slice) -> NDArray[Any]:
        """Return a range of the values."""
        first, last, _ = where.indices(self.shape[0])
        return self._file.read(first * self.dtype.itemsize, max(0, last - first), self.dtype)

    def put(self, first: int, values: NDArray[Any]) -> None:
        """Replace the values from one on."""
        self._file.write(first * self.dtype.itemsize, values.astype(self.dtype, copy=False))


def _reserve(descriptor: int, size: int) -> None:
    """Take the room for a file: what cannot be stored must fail here, not as a SIGBUS when memory is written out."""
    if not size:
        return
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(descriptor, 0, size)
            return
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):
                raise
    block = bytes(min(size, 1 << 24))
    left = size
    while left:
        left -= os.pwrite(descriptor, block[: min(left, len(block))], size - left)
