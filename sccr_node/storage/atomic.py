"""Write whole or not at all: a locked, hidden temporary next to the target, flushed, then renamed into place."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import hashlib
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Protocol

from sccr_node.errors import OutputProblem, writing
from sccr_node.runtime import signals

_TEMPORARY = ".sccr-tmp"
_FORMER = ".sccr-old"
# Leaves room in a file name of 255 bytes for the dot, the token and the suffix.
_LONGEST_STEM = 220

_AT_FDCWD = -100
_RENAME_NOREPLACE = 1

Check = Callable[[], None] | None


class Staged:
    """A temporary file or folder that will replace the target.

    Attributes
    ----------
    path
        Where to write until ``commit``.
    committed
        Whether it has been moved to the target.
    """

    def __init__(self, target: Path, path: Path, lock: int, is_folder: bool, replace: bool, check: Check) -> None:
        self._target, self.path = target, path
        self._lock, self._is_folder, self._replace, self._check = lock, is_folder, replace, check
        self.committed = self._flushed = False

    @property
    def target(self) -> Path:
        """The path given by the user."""
        return self._target

    def flush(self) -> None:
        """Flush everything to disk, so that only the renaming can still fail."""
        with writing(self.target):
            flush_tree(self.path)
        self._flushed = True

    def commit(self) -> None:
        """Flush the temporary and rename it to the target; no signal interrupts this.

        An existing folder is set aside first, and removed once the new one is in place.

        Raises
        ------
        OutputProblem
            The target exists and may not be replaced, or has appeared in the meantime.
        """
        if not self._flushed:
            self.flush()
        with signals.uninterrupted(), writing(self.target):
            if not self._replace:
                rename_new(self.path, self.target)
            elif self._is_folder and os.path.lexists(self.target):
                self._swap()
            else:
                self.path.replace(self.target)
            self.committed = True
            with suppress(OSError):  # the output is in place: failing to flush its folder is harmless
                flush(self.target.parent)

    def withdraw(self) -> None:
        """Undo the commit, if the target did not exist before."""
        if self.committed and not self._replace:
            signals.remove(self.target)

    def close(self) -> None:
        """Remove the temporary if it was not committed, and release the lock."""
        if not self.committed:
            signals.remove(self.path)
        os.close(self._lock)

    def _swap(self) -> None:
        if self._check is not None:
            self._check()  # hours may have passed since the first check
        former = self.path.with_suffix(_FORMER)
        former_lock = lock_of(self.target) if not self.target.is_symlink() else None
        self.target.rename(former)
        try:
            self.path.replace(self.target)
        except BaseException:
            former.rename(self.target)
            raise
        signals.remove(former)
        if former_lock is not None:
            os.close(former_lock)


class Committable(Protocol):
    """Something staged that can be moved to its target, and back."""

    @property
    def target(self) -> Path:
        """Where it is moved to."""

    def commit(self) -> None:
        """Move it to its target."""

    def withdraw(self) -> None:
        """Undo the commit, if the target did not exist before."""


Delivery = Callable[[Sequence[Committable]], AbstractContextManager[Sequence[Committable]]]
_delivery: ContextVar[Delivery | None] = ContextVar("delivery", default=None)


def commit_all(parts: Sequence[Committable]) -> None:
    """Commit several things in order, uninterrupted by signals: all or none of them if nothing is replaced."""
    deliver = _delivery.get()
    done: list[Committable] = []
    with nullcontext(parts) if deliver is None else deliver(parts) as ready, signals.committing():
        try:
            for part in ready:
                part.commit()
                done.append(part)
        except BaseException:
            for part in done:
                part.withdraw()
            raise


@contextmanager
def delivering(deliver: Delivery) -> Iterator[None]:
    """Have what is committed inside the block sent further, from its target to where that stands for.

    Parameters
    ----------
    deliver
        Called with what is committed; a context manager that yields what is to be committed instead.
    """
    before = _delivery.set(deliver)
    try:
        yield
    finally:
        _delivery.reset(before)


def rename_new(path: Path, target: Path) -> None:
    """Rename a file or folder to a target that must not exist, atomically if the file system can.

    Raises
    ------
    OutputProblem
        The target has appeared in the meantime.
    """
    try:
        if _renameat2(path, target):
            return
        if not path.is_dir():
            try:
                os.link(path, target)
            except OSError as error:
                if error.errno not in (errno.EPERM, errno.EMLINK, errno.ENOSYS, errno.EOPNOTSUPP):
                    raise
            else:
                path.unlink()
                return
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
        path.rename(target)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise
        raise OutputProblem(
            f"cannot write {target}: it has appeared in the meantime; use --force to replace it, or another name"
        ) from error


def _renameat2(path: Path, target: Path) -> bool:
    """Rename without replacing, by the dedicated system call; return False if that is not available."""
    names = _AT_FDCWD, os.fsencode(path), _AT_FDCWD, os.fsencode(target)
    return _system_call("renameat2", *names, _RENAME_NOREPLACE, about=target)


def _system_call(name: str, *arguments: int | bytes, about: Path) -> bool:
    """Make a system call that Python does not offer; return False if there is none, or it is not supported here."""
    call = getattr(ctypes.CDLL(None, use_errno=True), name, None)
    if call is None:
        return False
    if call(*arguments) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
        return False
    raise OSError(code, os.strerror(code), str(about))


@contextmanager
def staged(target: Path, *, replace: bool, folder: bool = False, check: Check = None) -> Iterator[Staged]:
    """Create a temporary next to the target; without ``commit`` it is removed at the end.

    Leftovers of killed runs for the same target are removed first: their locks died with them.

    Parameters
    ----------
    target
        The file or folder to write.
    replace
        Whether an existing target is replaced.
    folder
        Whether it is a folder.
    check
        Called at the commit; must raise if an existing folder may not be replaced.

    Raises
    ------
    OutputProblem, NotEnoughResources
        The folder cannot be written to, or has no space left.
    """
    signals.check()
    with writing(target):
        remove_stale(target)
    path = target.parent / f".{_stem(target)}.{secrets.token_hex(4)}{_TEMPORARY}"
    with signals.temporary(path):
        with writing(target):
            lock = _make(path, folder)
        made = Staged(target, path, lock, folder, replace, check)
        try:
            yield made
        finally:
            made.close()


def _stem(target: Path) -> str:
    """Return the name of a target; a very long one is cut, and made unique by a digest."""
    name = os.fsencode(target.name)
    if len(name) <= _LONGEST_STEM:
        return target.name
    return os.fsdecode(name[: _LONGEST_STEM - 9]) + "-" + hashlib.sha256(name).hexdigest()[:8]


def _make(path: Path, folder: bool) -> int:
    if folder:
        path.mkdir()
    else:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    try:
        lock = os.open(path, os.O_RDONLY)
    except BaseException:
        signals.remove(path)
        raise
    with suppress(OSError):  # a file system without locks: nobody can mistake this for abandoned there
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return lock


def lock_of(path: Path) -> int | None:
    """Lock a file or folder; return None if it is locked, is neither, or locks are not supported."""
    try:
        mode = path.lstat().st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # a pipe would block forever
            return None
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def remove_stale(target: Path) -> None:
    """Remove the leftovers of dead runs for a target; a folder set aside is put back if nothing replaced it."""
    ours = re.compile(rf"\.{re.escape(_stem(target))}\.[0-9a-f]{{8}}({_TEMPORARY}|{_FORMER})", re.DOTALL)
    for path in sorted(target.parent.iterdir()):
        if not ours.fullmatch(path.name):
            continue
        lock = lock_of(path)
        if lock is None:
            continue
        with suppress(OSError):
            if path.suffix == _FORMER and not os.path.lexists(target):
                path.rename(target)
            else:
                signals.remove(path)
        os.close(lock)


def flush(path: Path) -> None:
    """Flush a file, or the entries of a folder, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems do not flush folders: the data are then as safe as they can be there.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def flush_tree(path: Path) -> None:
    """Flush a file, or a folder with all its contents, to disk."""
    if not path.is_dir():
        flush(path)
    # A zarr store is thousands of small files: one call for the whole file system is far faster than one per file.
    elif not _flush_file_system(path):
        for folder, _, names in os.walk(path):
            for name in [*names, "."]:
                flush(Path(folder, name))


def _flush_file_system(path: Path) -> bool:
    """Flush the whole file system to disk; return False if there is no such call, or it is not supported."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return _system_call("syncfs", descriptor, about=path)
    finally:
        os.close(descriptor)
