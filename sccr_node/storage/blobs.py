"""Named blobs: written whole or not at all, read, listed and removed; here in a local folder."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Protocol

from sccr_node.errors import InputMissing, InputProblem, OutputProblem, reason_of, writing
from sccr_node.runtime import signals
from sccr_node.runtime.resources import free_bytes
from sccr_node.storage.atomic import Staged, remove_stale, staged

_WRITTEN_BYTES = 4 * 2**20
"""How much is written between two looks at the signals."""

_FLUSHED_BYTES = 64 * 2**20
"""How much may wait for the disk: a process that is asked to end cannot do so before a flush is over."""

_ATTEMPTS = 10
"""To begin a file, if its folder disappears."""

_TEMPORARY = re.compile(r"\.(.+)\.[0-9a-f]{8}\.sccr-tmp", re.DOTALL)


class Blobs(Protocol):
    """A place of named blobs. A folder is one kind of place; an object store is one more class with these methods."""

    def prepare(self) -> None:
        """Make the place usable, or raise SccrError."""

    def free(self) -> int | None:
        """Return the bytes that can still be written; None if nobody knows."""

    def names(self, prefix: str) -> list[str]:
        """Return the names that begin so; none if the place cannot be read."""

    def read(self, name: str) -> AbstractContextManager[BinaryIO]:
        """Open a blob; raises InputMissing if there is none, InputProblem if it cannot be read or is none of ours."""

    def write(self, name: str, parts: Iterable[memoryview]) -> None:
        """Write a blob, which appears whole or not at all, or raise SccrError."""

    def remove(self, name: str) -> None:
        """Remove a blob; quietly if that is not possible."""

    def sweep(self, prefix: str) -> None:
        """Remove what killed processes left of blobs whose names begin so; quietly if that is not possible."""

    def close(self) -> None:
        """Remove the place, if :meth:`prepare` made it and nothing is left in it."""

    def __str__(self) -> str:
        """Return the place in the user's words, for messages."""


class FolderBlobs:
    """Blobs that are files of a folder.

    Parameters
    ----------
    folder
        The folder; it is made if it does not exist.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made: list[Path] = []

    def __str__(self) -> str:
        """Return the path."""
        return str(self._folder)

    def prepare(self) -> None:
        """Make the folder, with those above it.

        Raises
        ------
        OutputProblem, NotEnoughResources
            It cannot be made.
        """
        with writing(self._folder):
            above = [folder for folder in (self._folder, *self._folder.parents) if not os.path.lexists(folder)]
            for folder in reversed(above):
                folder.mkdir(exist_ok=True)
                if folder not in self._made:
                    self._made.append(folder)
            os.listdir(self._folder)  # it may be a file

    def free(self) -> int | None:
        """Return the bytes that are free on the folder's disk, or on that of the one that it will be made in."""
        for folder in (self._folder, *self._folder.absolute().parents):
            with suppress(OSError):
                return free_bytes(folder)
        return None

    def names(self, prefix: str) -> list[str]:
        """Return the names of what is in the folder and begins so."""
        return [name for name in self._listed() if name.startswith(prefix)]

    @contextmanager
    def read(self, name: str) -> Iterator[BinaryIO]:
        """Open a file.

        Raises
        ------
        InputMissing
            It does not exist.
        InputProblem
            It cannot be read, or it is a link, a folder, a pipe or a device.
        """
        path = self._folder / name
        try:
            # A pipe would block for ever, and a link can lead to anything.
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
        except (FileNotFoundError, NotADirectoryError):
            raise InputMissing(f"there is no {path}") from None
        except OSError as error:
            raise InputProblem("it is a link" if path.is_symlink() else reason_of(error)) from error
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise InputProblem("it is not a file")
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            yield file

    def write(self, name: str, parts: Iterable[memoryview]) -> None:
        """Write a file beside its place, flush it, and rename it; an older file of the name is replaced.

        Raises
        ------
        OutputProblem, NotEnoughResources
            The folder refuses it, or the disk is full.
        """
        target = self._folder / name
        if os.path.lexists(target) and not stat.S_ISREG(target.lstat().st_mode):
            raise OutputProblem(f"cannot write {target}: something that is not a file is in its place")
        with self._begun(target) as temporary, writing(target):
            with temporary.path.open("wb", buffering=0) as file:
                waiting = 0
                for part in parts:
                    left = part
                    while left:
                        signals.check()
                        written = file.write(left[:_WRITTEN_BYTES])
                        left, waiting = left[written:], waiting + written
                        if waiting >= _FLUSHED_BYTES:
                            os.fdatasync(file.fileno())
                            waiting = 0
            temporary.commit()

    @contextmanager
    def _begun(self, target: Path) -> Iterator[Staged]:
        """Create the temporary of a file. Another run that ends may have removed the folder, if it was empty."""
        with ExitStack() as opened:
            for attempt in range(1, _ATTEMPTS + 1):
                try:
                    if attempt > 1:
                        self.prepare()
                    temporary = opened.enter_context(staged(target, replace=True))
                    break
                except OutputProblem as problem:
                    # It may be there again by now: a third run has made it.
                    if attempt == _ATTEMPTS or not isinstance(problem.__cause__, FileNotFoundError):
                        raise
            yield temporary

    def remove(self, name: str) -> None:
        """Remove a file; anything else of the name is not ours and stays."""
        path = self._folder / name
        with suppress(OSError):
            if stat.S_ISREG(path.lstat().st_mode):
                path.unlink()

    def sweep(self, prefix: str) -> None:
        """Remove the temporaries of dead processes; those of living ones are locked."""
        for name in self._listed():
            begun = _TEMPORARY.fullmatch(name)
            if begun and begun[1].startswith(prefix):
                with suppress(OSError):
                    remove_stale(self._folder / begun[1])

    def close(self) -> None:
        """Remove the folders that were made, as far as they are empty."""
        with suppress(OSError):
            for folder in reversed(self._made):
                folder.rmdir()

    def _listed(self) -> list[str]:
        try:
            return sorted(os.listdir(self._folder))
        except OSError:
            return []
