"""Ends the command cleanly on SIGINT, SIGTERM and SIGHUP, without an exception from a signal handler.

An exception that a handler raises is dropped, or crashes, wherever C calls Python back: in numba's compiler, in weakref
callbacks, in HDF5's file object. So no handler raises. The signals are blocked in every thread but one, which waits
for them (``sigwait``) and notes the first. The work asks at safe places (:func:`check`) and unwinds; if it has not done
so after a grace, the waiting thread removes the temporaries itself and ends the process. A second signal ends it at
once. The moment in which results are put in their places (:func:`committing`) is not interrupted, and is success.

Only the command does so. As a library we leave the host's handlers and its signal mask alone.
"""

from __future__ import annotations

import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

GRACE_SECONDS = 5.0
"""How long the work may take to unwind. Schedulers send SIGKILL after 10 to 30 seconds."""


class Interrupted(BaseException):
    """A signal asked the process to end; whatever was staged is removed on the way out.

    Attributes
    ----------
    exit_code
        128 and the signal's number.
    left
        What the command leaves behind, for the last line that it prints.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"ended by {signal.Signals(number).name}")
        self.exit_code = 128 + number
        self.left = "no file was written"


class _Watch:
    """The thread that waits for the ending signals, and what it knows of the command."""

    def __init__(self, numbers: set[signal.Signals], farewell: Callable[[Interrupted], None]) -> None:
        self.numbers = numbers
        self.farewell = farewell
        self.received: int | None = None
        self.committed = False
        self.commit_lock = threading.RLock()
        self.depth = 0
        self._stopped = False
        # A thread that was there before, of a caller's numpy say, has not blocked them: what it gets is noted alike.
        self._handlers = {number: signal.signal(number, lambda number, frame: self._note(number)) for number in numbers}
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
        self._thread = threading.Thread(target=self._wait, name="signals", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop waiting, and give the signals back to whoever had them."""
        self._stopped = True
        if self._thread.is_alive():
            signal.pthread_kill(self._thread.ident or 0, min(self.numbers))
            self._thread.join()
        while signal.sigpending() & self.numbers:  # what came too late to end the command must not end its caller
            signal.sigwait(self.numbers)
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _wait(self) -> None:
        while True:
            number = signal.sigwait(self.numbers)
            if self._stopped:
                return
            self._note(number)

    def _note(self, number: int) -> None:
        if self.received is not None:
            self._end()
            return
        self.received = number
        timer = threading.Timer(GRACE_SECONDS, self._end)
        timer.daemon = True
        timer.start()

    def _end(self) -> None:
        """End the process without the main thread, unless its results stand: then it has succeeded."""
        with self.commit_lock:
            if self.committed or self._stopped or self.received is None:
                return
            for _ in range(2):  # another thread may be writing just now
                remove_temporaries()
            with suppress(Exception):
                self.farewell(Interrupted(self.received))
            os._exit(128 + self.received)


_watch: _Watch | None = None
_temporaries: set[Path] = set()


@contextmanager
def watched(farewell: Callable[[Interrupted], None], *, to_the_end: bool) -> Iterator[None]:
    """Watch for the ending signals inside, but for those that the caller ignores (nohup).

    Parameters
    ----------
    farewell
        Prints the last line of a command that is ended.
    to_the_end
        Whether the process ends with the block: then a signal must not spoil the exit code on the way out.
    """
    global _watch
    numbers = {number for number in ENDING if signal.getsignal(number) != signal.SIG_IGN}
    if _watch is not None or threading.current_thread() is not threading.main_thread() or not numbers:
        yield
        return
    _watch = _Watch(numbers, farewell)
    try:
        yield
    finally:
        if not to_the_end:
            _watch.stop()
            _watch = None


def check() -> None:
    """Raise :class:`Interrupted` if a signal has asked the command to end; to be called at safe places."""
    if _watch is not None and _watch.received is not None and not _watch.committed and not _watch.depth:
        raise Interrupted(_watch.received)


@contextmanager
def committing() -> Iterator[None]:
    """Put results in their places inside: not interrupted, and from then on the command has succeeded."""
    watch = _watch
    if watch is None:
        yield
        return
    check()
    with watch.commit_lock:
        watch.depth += 1
        try:
            yield
            watch.committed = True
        finally:
            watch.depth -= 1


@contextmanager
def temporary(path: Path) -> Iterator[None]:
    """Have a file or folder removed if the process is ended inside without unwinding."""
    _temporaries.add(path)
    try:
        yield
    finally:
        _temporaries.discard(path)


def remove_temporaries() -> None:
    """Remove all temporaries that there are."""
    for path in list(_temporaries):
        with suppress(OSError):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def unblock() -> None:
    """Have the ending signals end this process as usual: for child processes, which inherit the mask."""
    for number in ENDING:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
