"""What computations need but results do not depend on: threads, progress, cancelling, large buffers, kept stages."""

import contextlib
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from sccr_node.runtime import signals
from sccr_node.runtime.console import Progress
from sccr_node.runtime.resources import usable_cpus
from sccr_node.runtime.scratch import ScratchFile

Item = TypeVar("Item")
Made = TypeVar("Made")

_POLL_SECONDS = 0.1  # how often the calling thread reports progress, and how soon it sees a signal


class KeptStage(Protocol):
    """What was kept of a stage: JSON, how long the stage took, and arrays."""

    value: Any
    seconds: float

    def array(self, number: int, into: NDArray[np.float32] | None = None) -> NDArray[Any]:
        """Return an array, read into the beginning of a buffer if one is given; raises ValueError if it cannot be."""


class StageKeeper(Protocol):
    """The interface of what keeps finished stages for another attempt: :mod:`sccr_node.storage.checkpoints`."""

    def found(self, key: str) -> AbstractContextManager[KeptStage | None]:
        """Give what was kept for a stage, if it can be believed."""

    def resumed(self, seconds: float) -> None:
        """Count a stage that was not repeated."""

    def refused(self, key: str) -> None:
        """Take note that what was kept for a stage is of another type than it returns."""

    def keep(self, key: str, stage: str, value: Any, arrays: Sequence[NDArray[Any]], seconds: float) -> None:
        """Keep what a stage returned, if that is possible."""


class Workspace:
    """Threads that work through the blocks of a stage while the calling thread waits, reports and handles signals.

    Blocks are handed out in turn, so which thread gets a block is random: a block must only write what is its own (or
    what does not depend on the thread, such as candidates that are verified afterwards).

    Parameters
    ----------
    threads
        Number of threads (default: all available CPUs). Does not affect the result.
    progress
        Called with the stage's name and the fraction done, from the calling thread; it can raise to stop.
    keep
        Whether results of `kept` are kept for later runs in the same workspace. Large arrays are then never
        overwritten, so each stage has its own.
    on_disk
        How many buffers, the first ones, are kept in scratch because memory does not suffice: slower, the same results.
    checkpoints
        Keeps finished stages for another attempt, should this process be killed; None if nothing does.

    Attributes
    ----------
    seconds
        Seconds per stage, over all runs in this workspace.
    cancelled
        One int32 that the kernels read: non-zero once work was stopped. A stopped workspace accepts no more work,
        because a buffer may contain half a result.
    """

    def __init__(
        self,
        threads: int | None = None,
        progress: Progress | None = None,
        *,
        keep: bool = False,
        on_disk: int = 0,
        checkpoints: StageKeeper | None = None,
    ) -> None:
        if threads is not None and threads < 1:
            raise ValueError(f"threads is {threads}: it must be at least 1")
        self.threads = threads or usable_cpus()
        self.seconds: dict[str, float] = {}
        self.cancelled = np.zeros(1, np.int32)
        self.keep = keep
        self.checkpoints = checkpoints
        self._progress = progress
        self._on_disk = on_disk
        self._stage = ""
        self._kept: dict[Hashable, object] = {}

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Name and time the block."""
        self._stage, started = name, time.perf_counter()
        self.report(0.0)
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started
        self.report(1.0)

    def buffer(self, n_values: int) -> NDArray[np.float32]:
        """Return a buffer for `n_values` float32 values: every array of cells x genes is allocated here."""
        if self._on_disk:
            self._on_disk -= 1
            return ScratchFile(n_values * np.dtype(np.float32).itemsize).mapped()
        return np.empty(n_values, np.float32)

    def over(self, buffer: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return a buffer that can overwrite `buffer`: the same memory, or a new one if its contents are kept."""
        return self.buffer(len(buffer)) if self.keep else buffer

    def kept(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """Return the result of `make`; a workspace that keeps results calls it once per key."""
        if not self.keep:
            return make()
        if key not in self._kept:
            self._kept[key] = make()
        return cast(Made, self._kept[key])

    def run(self, work: Callable[[int, Item], None], items: Sequence[Item]) -> None:
        """Call `work(worker, item)` for every item, on at most `threads` threads; workers are numbered from 0.

        An exception in a worker, in the progress report or in a signal handler stops all workers within one block and
        is raised here.
        """
        if self.cancelled[0]:
            raise RuntimeError("this workspace was stopped: create a new one")
        queue = iter(items)
        lock = threading.Lock()
        finished = threading.Event()
        failures: list[BaseException] = []
        n_workers = min(self.threads, len(items))
        done = idle = 0

        def labour(worker: int) -> None:
            nonlocal done, idle
            try:
                while not self.cancelled[0]:
                    with lock:
                        item = next(queue, None)
                    if item is None:
                        break
                    work(worker, item)
                    done += 1
            except BaseException as failure:  # noqa: BLE001 -- raised again in the calling thread
                failures.append(failure)
                self.cancelled[0] = 1
            finally:
                with lock:
                    idle += 1
                    if idle == n_workers:
                        finished.set()

        crew = [threading.Thread(target=labour, args=(worker,), daemon=True) for worker in range(n_workers)]
        try:
            for thread in crew:
                thread.start()
            while crew and not finished.wait(_POLL_SECONDS):
                self.report(done / len(items))
        except BaseException:
            self.cancelled[0] = 1
            raise
        finally:
            for thread in crew:
                if thread.ident is not None:
                    thread.join()
        if failures:
            raise failures[0]

    def report(self, fraction: float) -> None:
        """Report how much of the stage is done, and handle signals."""
        signals.check()
        if self._progress is not None and self._stage:
            self._progress(self._stage, fraction)
