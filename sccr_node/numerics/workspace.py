"""What work needs and no result depends on: threads, progress, cancelling, large buffers, and stages that are kept."""

import contextlib
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from sccr_node.runtime import signals
from sccr_node.runtime.resources import usable_cpus

Item = TypeVar("Item")
Made = TypeVar("Made")
Progress = Callable[[str, float], None]

_POLL_SECONDS = 0.1  # how often the calling thread reports progress, and how soon it sees a signal


class Workspace:
    """Threads that work through the blocks of a stage while the calling thread waits, reports and hears signals.

    Blocks are handed out in turn, so which thread does one is chance: a block may only write what is its own (or what
    does not depend on the thread, such as candidates that are proved afterwards).

    Parameters
    ----------
    threads
        Number of threads (default: all CPUs that the process may use). No value depends on it.
    progress
        Called with the stage's name and the fraction of it that is done, from the calling thread; it may raise to stop.
    keep
        Keep what `kept` makes, for later runs in the same workspace. Its large arrays are then never overwritten, so
        each stage has one of its own.

    Attributes
    ----------
    seconds
        What each stage took, over all runs in this workspace.
    cancelled
        One int32 that the kernels read: not 0 once the work was stopped. A stopped workspace takes no more work, since
        a buffer may hold half of a result.
    """

    def __init__(self, threads: int | None = None, progress: Progress | None = None, *, keep: bool = False) -> None:
        if threads is not None and threads < 1:
            raise ValueError(f"threads is {threads}: it must be at least 1")
        self.threads = threads or usable_cpus()
        self.seconds: dict[str, float] = {}
        self.cancelled = np.zeros(1, np.int32)
        self.keep = keep
        self._progress = progress
        self._stage = ""
        self._kept: dict[Hashable, object] = {}

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Name and time what runs inside."""
        self._stage, started = name, time.perf_counter()
        self._report(0.0)
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started
        self._report(1.0)

    def buffer(self, n_values: int) -> NDArray[np.float32]:
        """Return room for `n_values` float32 values: every array of cells x genes is made here."""
        return np.empty(n_values, np.float32)

    def over(self, buffer: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return room for what may overwrite `buffer`: the same memory, or other where what it holds is kept."""
        return self.buffer(len(buffer)) if self.keep else buffer

    def kept(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """Return what `make` gives; a workspace that keeps calls it once per key."""
        if not self.keep:
            return make()
        if key not in self._kept:
            self._kept[key] = make()
        return cast(Made, self._kept[key])

    def run(self, work: Callable[[int, Item], None], items: Sequence[Item]) -> None:
        """Call `work(worker, item)` for every item, on at most `threads` threads; workers count from 0.

        Whatever is raised by a worker, by the progress report or by a signal handler stops all within one block and is
        raised here.
        """
        if self.cancelled[0]:
            raise RuntimeError("this workspace was stopped: make another one")
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
                self._report(done / len(items))
        except BaseException:
            self.cancelled[0] = 1
            raise
        finally:
            for thread in crew:
                if thread.ident is not None:
                    thread.join()
        if failures:
            raise failures[0]

    def _report(self, fraction: float) -> None:
        signals.check()
        if self._progress is not None:
            self._progress(self._stage, fraction)
