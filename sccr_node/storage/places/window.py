"""A remote file seen through a window: only the blocks that are read are fetched, and each of them once."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path

from sccr_node.runtime.scratch import in_scratch

BLOCK = 2**18
"""Bytes fetched at least: a store takes longer to answer than to send so many."""

LARGEST_READ = 2**24
"""Bytes fetched at most, where one block after the other is read."""


class Window(io.RawIOBase):
    """A remote file, to read at any position; what was fetched is kept in a file full of holes.

    Parameters
    ----------
    fetch
        Returns the bytes from a position up to another one.
    size
        Of the file.
    kept
        The file for what was fetched; made here.

    Attributes
    ----------
    fetched
        Bytes fetched so far.
    failure
        What fetching failed with: a library that reads may not pass it on.
    """

    def __init__(self, fetch: Callable[[int, int], bytes], size: int, kept: Path) -> None:
        super().__init__()
        self.fetched = 0
        self.failure: BaseException | None = None
        self._fetch, self._size, self._position = fetch, size, 0
        self._have: set[int] = set()
        self._ahead, self._next = 1, 0
        with in_scratch():
            kept.parent.mkdir(parents=True, exist_ok=True)
            self._kept = kept.open("w+b", buffering=0)
            self._kept.truncate(size)

    def readable(self) -> bool:
        """Return that it is."""
        return True

    def seekable(self) -> bool:
        """Return that it is."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a position."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def readinto(self, buffer: object) -> int:
        """Read as many bytes as there is room for; fewer only at the end.

        Raises
        ------
        OSError
            Fetching failed, now or before.
        """
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        end = min(self._position + len(view), self._size)
        if end <= self._position:
            return 0
        try:
            if self.failure is None:
                self._have_blocks(self._position // BLOCK, -(-end // BLOCK))
                with in_scratch():
                    self._kept.seek(self._position)
                    count = self._kept.readinto(view[: end - self._position])
        except BaseException as failure:  # noqa: BLE001 - also a signal: it must not end within a library
            self.failure = _alone(failure)
        if self.failure is not None:
            # HDF5 takes a short read for a whole one, and works with whatever was in its memory.
            raise OSError("fetching failed") from None
        self._position += count
        return count

    def close(self) -> None:
        """Close what was kept."""
        self._kept.close()
        super().close()

    def _have_blocks(self, first: int, end: int) -> None:
        """Fetch those of some blocks that are missing; the further reading goes on, the more at once."""
        while first < end:
            if first in self._have:
                first += 1
                continue
            self._ahead = min(2 * self._ahead, LARGEST_READ // BLOCK) if first == self._next else 1
            last = first + 1
            most = min(max(end, first + self._ahead), first + LARGEST_READ // BLOCK, -(-self._size // BLOCK))
            while last < most and last not in self._have:
                last += 1
            content = self._fetch(first * BLOCK, min(last * BLOCK, self._size))
            with in_scratch():
                self._kept.seek(first * BLOCK)
                self._kept.write(content)
            self.fetched += len(content)
            self._have.update(range(first, last))
            first = self._next = last


def _alone(failure: BaseException) -> BaseException:
    """Return an exception without what it was raised from: frames, kept, would keep what HDF5 has open to the end.

    The library is taken down first then, and the process crashes.
    """
    failure.__cause__ = failure.__context__ = None
    return failure.with_traceback(None)
