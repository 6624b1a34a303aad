"""Write whole or not at all: a locked, hidden temporary beside the target, flushed, then renamed into place."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import glob
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sccr_node.errors import SccrError, problem_of_writing

_TEMPORARY = ".sccr-tmp"
_FORMER = ".sccr-old"
# Room in a file name of 255 bytes for the dot, the token and the ending.
_LONGEST_STEM = 220


@contextmanager
def writing(target: Path) -> Iterator[None]:
    """Turn a system error, however a library reports it, into one line (``errors.problem_of_writing``)."""
    try:
        yield
    except (SccrError, MemoryError):
        raise
    except Exception as error:
        problem = problem_of_writing(error, target)
        if problem is None:
            raise
        raise problem from error


class Staged:
    """A temporary file or folder that will take the target's place.

    Attributes
    ----------
    path
        Where to write until ``commit``.
    target
        What the user asked for.
    """

    def __init__(
        self, target: Path, path: Path, lock: int, is_folder: bool, check: Callable[[], None] | None = None
    ) -> None:
        self.target, self.path = target, path
        self._lock, self._is_folder, self._check = lock, is_folder, check
        self.committed = self._flushed = False

    def flush(self) -> None:
        """Have everything written to the disk, so that nothing is left to fail but the renaming."""
        with writing(self.target):
            flush_tree(self.path)
        self._flushed = True

    def commit(self) -> None:
        """Flush the temporary, put it in the target's place, flush the folder's entry.

        A folder that stood there is set aside first and removed once the new one stands.
        """
        with writing(self.target):
            if not self._flushed:
                flush_tree(self.path)
            former = None
            if self._is_folder and os.path.lexists(self.target):
                if self._check is not None:
                    self._check()  # hours may have passed since it was allowed
                former = self.path.with_suffix(_FORMER)
                former_lock = lock_of(self.target) if not self.target.is_symlink() else None
                self.target.rename(former)
            try:
                self.path.replace(self.target)
            except BaseException:
                if former is not None:
                    former.rename(self.target)
                raise
            self.committed = True
            flush(self.target.parent)
        if former is not None:
            remove(former)
            if former_lock is not None:
                os.close(former_lock)

    def close(self) -> None:
        """Release the lock, and remove what was not committed."""
        if not self.committed:
            remove(self.path)
        os.close(self._lock)


@contextmanager
def staged(target: Path, *, folder: bool = False, check: Callable[[], None] | None = None) -> Iterator[Staged]:
    """Make a temporary beside the target; without ``commit`` it is removed at the end.

    What runs that were killed left behind for the same target is removed first: their locks died with them. ``check``
    refuses to replace a folder that may not be, at the commit.

    Raises
    ------
    OutputProblem, NotEnoughResources
        Where the folder does not permit it, or has no room.
    """
    with writing(target):
        remove_stale(target)
        path, lock = _new_temporary(target, folder)
    made = Staged(target, path, lock, folder, check)
    try:
        yield made
    finally:
        made.close()


def _stem(target: Path) -> str:
    return os.fsdecode(os.fsencode(target.name)[:_LONGEST_STEM])


def _new_temporary(target: Path, folder: bool) -> tuple[Path, int]:
    while True:
        path = target.parent / f".{_stem(target)}.{secrets.token_hex(4)}{_TEMPORARY}"
        if folder:
            path.mkdir()
        else:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        lock = os.open(path, os.O_RDONLY)
        with suppress(OSError):  # a file system without locks: nobody can take this for abandoned there
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Another run may have swept it away between its making and its locking.
        if path.exists():
            return path, lock
        os.close(lock)


def lock_of(path: Path) -> int | None:
    """Lock a file or folder; nothing where another process holds it, or the file system has no locks."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def remove_stale(target: Path) -> None:
    """Remove what dead runs left for a target; a folder that one set aside comes back if nothing took its place."""
    for path in sorted(target.parent.glob(f".{glob.escape(_stem(target))}.*")):
        if path.suffix not in (_TEMPORARY, _FORMER):
            continue
        lock = lock_of(path)
        if lock is None:
            continue
        with suppress(OSError):
            if path.suffix == _FORMER and not os.path.lexists(target):
                path.rename(target)
            else:
                remove(path)
        os.close(lock)


def remove(path: Path) -> None:
    """Remove a file, a link or a folder with what is in it, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Have a file or a folder's entries written to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems do not flush folders: the data are as safe as they get there.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def flush_tree(path: Path) -> None:
    """Have a file, or a folder with all that is in it, written to the disk."""
    if not path.is_dir():
        flush(path)
        return
    # A zarr store is thousands of small files: one call for the file system beats one for each of them by far.
    syncfs = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    if syncfs is not None:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            if syncfs(descriptor) != 0:
                code = ctypes.get_errno()
                raise OSError(code, os.strerror(code))
        finally:
            os.close(descriptor)
        return
    for folder, _, names in os.walk(path):
        for name in [*names, "."]:
            flush(Path(folder, name))
