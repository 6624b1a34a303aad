"""What a command says while it works: log lines, a progress bar on a terminal, and the messages worth recording."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, TextIO

if TYPE_CHECKING:
    from tqdm import tqdm

SECONDS_BETWEEN_LINES = 10.0
"""How often a long stage says how far it is where there is no terminal to draw a bar on."""


def mute(stream: TextIO) -> None:
    """Let a stream that can no longer be written lead nowhere, or Python would complain of it at its exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def last_words(line: str) -> None:
    """Print a line on standard error; where it cannot be written, the exit code must do."""
    try:
        print(line, file=sys.stderr, flush=True)
    except OSError:
        mute(sys.stderr)


class Feedback:
    """Log lines on standard error, progress of long stages, and the seconds of each stage.

    Parameters
    ----------
    log_format
        Plain lines, or one JSON object a line.
    quiet
        Leave out everything but warnings.
    stream
        Where lines go; standard error where none is given.

    Attributes
    ----------
    messages
        What a reader of the result should know, in the order in which it was said. Facts of the data and the
        parameters only: nothing that depends on the clock, the host or the number of threads.
    seconds
        Wall-clock seconds of each stage, in order.
    started
        When the command began.
    """

    def __init__(
        self, *, log_format: Literal["text", "json"] = "text", quiet: bool = False, stream: TextIO | None = None
    ) -> None:
        self._json = log_format == "json"
        self._quiet = quiet
        self._stream = sys.stderr if stream is None else stream
        self._heard = True
        self._bar: tqdm[Any] | None = None
        self.started = datetime.now(UTC)
        self._clock = time.monotonic()
        self._stage_said = ""
        self._line_at = 0.0
        self.messages: list[str] = []
        self.seconds: dict[str, float] = {}

    @property
    def elapsed(self) -> float:
        """Seconds since the command began to talk."""
        return time.monotonic() - self._clock

    def say(self, message: str, *, record: bool = False) -> None:
        """Print a line; with ``record`` it also belongs to the result's messages."""
        if record:
            self.messages.append(message)
        if not self._quiet:
            self._line("info", message)

    def warn(self, message: str, *, record: bool = False) -> None:
        """Print a warning, also when quiet; with ``record`` it also belongs to the result's messages."""
        if record:
            self.messages.append(message)
        self._line("warning", message)

    def progress(self, stage: str, fraction: float) -> None:
        """Show how far a stage is, from 0 to 1; a new name begins a new stage."""
        if self._quiet:
            return
        if self._json or not self._stream.isatty():
            self._progress_line(stage, fraction)
        else:
            self._progress_bar(stage, fraction)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage: its seconds are added up under its name."""
        begin = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - begin
            self.close_bar()

    def close_bar(self) -> None:
        """Take the progress bar away."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _progress_bar(self, stage: str, fraction: float) -> None:
        if self._bar is not None and self._bar.desc != stage:
            self.close_bar()
        if self._bar is None:
            from tqdm import tqdm

            self._bar = tqdm(
                total=1.0,
                desc=stage,
                file=self._stream,
                leave=False,
                bar_format="{desc} {percentage:3.0f} %|{bar:30}| {elapsed}<{remaining}",
            )
            self._bar.desc = stage  # tqdm appends ": "
        self._bar.update(min(fraction, 1.0) - self._bar.n)

    def _progress_line(self, stage: str, fraction: float) -> None:
        now = time.monotonic()
        if stage != self._stage_said:
            self._stage_said, self._line_at = stage, now
            self._line("info", f"{stage} …" if not self._json else stage, stage=stage, fraction=round(fraction, 3))
        elif fraction < 1.0 and now - self._line_at >= SECONDS_BETWEEN_LINES:
            self._line_at = now
            self._line("info", f"{stage}: {fraction:.0%}", stage=stage, fraction=round(fraction, 3))

    def _line(self, level: str, message: str, **fields: Any) -> None:
        if not self._heard:
            return
        seconds = self.elapsed
        if self._json:
            text = json.dumps({"seconds": round(seconds, 3), "level": level, "message": message, **fields})
        elif level == "info":
            text = f"[{seconds:6.1f} s] {message}"
        else:
            text = f"sccr: {level}: {message}"
        if self._bar is not None:
            self._bar.clear()
        try:
            print(text, file=self._stream, flush=True)
        except OSError:
            # Whoever read the lines has gone, or the log's disk is full: no reason to give up the run.
            self._heard = False
            mute(self._stream)
            self.close_bar()
        if self._bar is not None:
            self._bar.refresh()
