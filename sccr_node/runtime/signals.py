"""End the command cleanly on SIGINT, SIGTERM and SIGHUP, without an exception from a signal handler.

An exception raised by a signal handler is dropped, or crashes the process, wherever C calls back into Python: in
numba's compiler, in weakref callbacks, in HDF5's file object. So no handler raises. The signals are blocked in every
thread but one, which waits for them (``sigwait``) and notes the first. The work checks at safe points (:func:`check`)
and unwinds; if it has not done so after a grace period, the waiting thread removes the temporaries itself and ends the
process. If it cannot, as a library keeps the interpreter's lock, C code ends it (watchdog.c). A second signal ends it
at once. Moving results into place (:func:`committing`) is not interrupted; after it, the command has succeeded.

Only the command does this. As a library we leave the host's handlers and its signal mask alone.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sccr_node.errors import NotEnoughResources

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

GRACE_SECONDS = 5.0
"""How long the work may take to unwind. Schedulers send SIGKILL after 10 to 30 seconds."""

ANSWER_SECONDS = 8
"""After how long the process ends if no Python code can run at all."""


class Interrupted(BaseException):
    """A signal asked the process to end; staged files are removed on the way out.

    Attributes
    ----------
    exit_code
        128 plus the signal's number.
    left
        What the command leaves behind, for the last line that it prints.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"interrupted by {signal.Signals(number).name}")
        self.exit_code = 128 + number
        self.left = _left


_left = "no file was written"


@contextmanager
def leaving(left: str) -> Iterator[None]:
    """Say of a command that ends inside the block what it leaves behind."""
    global _left
    before, _left = _left, left
    try:
        yield
    finally:
        _left = before


def _watchdog() -> ctypes.CDLL:
    """Return the compiled waiting (watchdog.c)."""
    path = Path(__file__).with_name("_watchdog.so")
    if not path.exists():
        raise ImportError(f"a compiled part is missing ({path.name}): reinstall the package (pip install)")
    return ctypes.CDLL(str(path))


class _Watch:
    """The thread that waits for the ending signals, and the state of the command."""

    def __init__(self, numbers: set[signal.Signals], farewell: Callable[[Interrupted], None]) -> None:
        self.numbers = numbers
        self.farewell = farewell
        self.received: int | None = None
        self.committed = False
        self.goes_on = False
        self.remote = False
        self.commit_lock = threading.RLock()
        self.depth = 0
        self._stopped = False
        self._watchdog = _watchdog()
        # Threads started earlier, e.g. by a caller's numpy, have not blocked them: signals that they get are noted too.
        self._handlers = {number: signal.signal(number, lambda number, frame: self._note(number)) for number in numbers}
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
        self._thread = threading.Thread(target=self._wait, name="signals", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:
            signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
            raise NotEnoughResources("cannot start a thread: the system allows no more; try again later") from error

    def stop(self) -> None:
        """Stop waiting, and restore the previous handlers and mask."""
        self._stopped = True
        if self._thread.is_alive():
            signal.pthread_kill(self._thread.ident or 0, min(self.numbers))
            self._thread.join()
        while signal.sigpending() & self.numbers:  # a signal too late to end the command must not end its caller
            signal.sigwait(self.numbers)
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _wait(self) -> None:
        numbers = (ctypes.c_int * len(self.numbers))(*self.numbers)
        while True:
            seconds = ANSWER_SECONDS if self.received is None else 0
            number = self._watchdog.wait_for_signal(numbers, len(numbers), seconds)
            if self._stopped or self.committed:
                self._watchdog.answer()
            if self._stopped:
                return
            if number in self.numbers:
                self._note(number)

    def _note(self, number: int) -> None:
        if self.committed:
            return
        if self.received is not None:
            self._end()
            return
        self.received = number
        timer = threading.Timer(GRACE_SECONDS, self._end)
        timer.daemon = True
        with suppress(RuntimeError):  # the interpreter is on its way out: no thread can start any more
            timer.start()

    def _end(self) -> None:
        """End the process without the main thread, unless its results are in place: then it has succeeded."""
        self._watchdog.answer()
        with self._commit_over():
            if self.committed or self._stopped or self.received is None:
                return
            if "multiprocessing" in sys.modules:
                for child in sys.modules["multiprocessing"].active_children():
                    child.kill()
            for _ in range(2):  # another thread may still be writing
                remove_temporaries()
            with suppress(Exception):
                self.farewell(Interrupted(self.received))
            os._exit(128 + self.received)

    @contextmanager
    def _commit_over(self) -> Iterator[None]:
        """Wait for results to be moved into place, unless that depends on somebody else."""
        while not (held := self.commit_lock.acquire(timeout=0.1)) and not self.remote:
            pass
        try:
            yield
        finally:
            if held:
                self.commit_lock.release()


_watch: _Watch | None = None
_temporaries: set[Path] = set()
_reserve: list[int] = []

_RESERVED = 4
"""Descriptors kept back from the first temporary on: removing a folder takes one per level, even if they ran out."""


@contextmanager
def watched(farewell: Callable[[Interrupted], None], *, to_the_end: bool) -> Iterator[None]:
    """Watch for the ending signals inside the block, except those that the caller ignores (nohup).

    Parameters
    ----------
    farewell
        Prints the last line of an interrupted command.
    to_the_end
        Whether the process ends with the block: a signal must not change the exit code on the way out.
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
    """Raise :class:`Interrupted` if a signal has asked the command to end; called at safe points."""
    if _watch is not None and _watch.received is not None and not _watch.committed and not _watch.depth:
        raise Interrupted(_watch.received)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold signals back inside the block, for what must not be interrupted, such as a rename."""
    watch = _watch
    if watch is None:
        yield
        return
    check()
    with watch.commit_lock:
        watch.depth += 1
        try:
            yield
        finally:
            watch.depth -= 1


@contextmanager
def remote(left: str) -> Iterator[None]:
    """Have signals end the process after the grace period, even while nothing may interrupt it: another may not answer.

    Parameters
    ----------
    left
        What the command then leaves behind.
    """
    watch = _watch
    with leaving(left):
        if watch is not None:
            watch.remote = True
        try:
            yield
        finally:
            if watch is not None:
                watch.remote = False


@contextmanager
def committing() -> Iterator[None]:
    """Move results into place inside the block: it is not interrupted, and after it the command has succeeded."""
    with uninterrupted():
        yield
        if _watch is not None and not _watch.goes_on:
            _watch.committed = True


@contextmanager
def going_on() -> Iterator[None]:
    """Have the command go on after results were moved into place inside the block: signals still end it."""
    watch = _watch
    if watch is None:
        yield
        return
    watch.goes_on = True
    try:
        yield
    finally:
        watch.goes_on = False


@contextmanager
def temporary(path: Path) -> Iterator[None]:
    """Have a file or folder removed if the process ends inside the block without unwinding."""
    if not _reserve:
        _reserve.extend(os.open(os.devnull, os.O_RDONLY) for _ in range(_RESERVED))
    _temporaries.add(path)
    try:
        yield
    finally:
        _temporaries.discard(path)


REMOVAL_WAITS = (0.0, 0.05, 0.2, 0.5)
"""Seconds before each attempt to remove a folder: threads of a library may write there, or hold all descriptors."""


def remove_temporaries() -> None:
    """Remove all registered temporaries."""
    for path in list(_temporaries):
        with suppress(OSError):
            remove(path)


def remove(path: Path) -> None:
    """Remove a file, a link or a folder with its contents, if it exists."""
    import shutil  # slow to import, and a signal that comes before we watch for it ends in a traceback

    while _reserve:
        os.close(_reserve.pop())
    if path.is_dir() and not path.is_symlink():
        for wait in REMOVAL_WAITS:
            time.sleep(wait)
            shutil.rmtree(path, ignore_errors=True)
            if not os.path.lexists(path):
                break
    else:
        path.unlink(missing_ok=True)


def block_again() -> None:
    """Block the ending signals once more: starting a process, multiprocessing unblocks them in the calling thread."""
    if _watch is not None:
        signal.pthread_sigmask(signal.SIG_BLOCK, _watch.numbers)


def unblock() -> None:
    """Restore the default effect of the ending signals: for child processes, which inherit the mask."""
    for number in ENDING:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
