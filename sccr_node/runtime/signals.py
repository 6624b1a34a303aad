"""End the process cleanly on SIGINT, SIGTERM and SIGHUP: the signal becomes an exception in the main thread."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


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
        self.left = "no file was written"


def _interrupt(number: int, frame: FrameType | None) -> None:
    # Only the first signal counts: a second one must not interrupt the clean-up that the first one began.
    _set_all(signal.SIG_IGN)
    raise Interrupted(number)


def _set_all(handler: signal.Handlers) -> None:
    for number in ENDING:
        signal.signal(number, handler)


def install() -> None:
    """Turn the ending signals into :class:`Interrupted`, except those that the caller ignores (nohup)."""
    for number in ENDING:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _interrupt)


def current() -> dict[signal.Signals, Any]:
    """Return the handlers of the ending signals."""
    return {number: signal.getsignal(number) for number in ENDING}


def restore(handlers: Mapping[signal.Signals, Any]) -> None:
    """Give the ending signals back the handlers that :func:`current` returned."""
    for number, handler in handlers.items():
        signal.signal(number, handler)


@contextmanager
def held() -> Iterator[None]:
    """Ignore the ending signals from here to the end of the process, unless the block fails.

    For the moment at which a finished result is moved into place: from then on the run has succeeded, and a signal
    must not make the caller believe otherwise. Does nothing if :func:`install` was not called (in a notebook, say).
    """
    ours = [number for number in ENDING if signal.getsignal(number) is _interrupt]
    for number in ours:
        signal.signal(number, signal.SIG_IGN)
    try:
        yield
    except BaseException:
        for number in ours:
            signal.signal(number, _interrupt)
        raise
