"""What a command shows while it runs: log lines, a progress bar on a terminal, and a clock for its stages."""

from __future__ import annotations

import json
import logging
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TextIO

from sccr_node.runtime import signals
from sccr_node.runtime.standins import as_shown
from sccr_node.runtime.words import in_one_line, shortened, time_left

if TYPE_CHECKING:
    from tqdm import tqdm

Progress = Callable[[str, float], None]
"""Called with a stage's name and the fraction done, from 0 to 1; it can raise to stop."""

LOGGER = logging.getLogger("sccr_node")
"""Every message is also a log record here, for users who attach their own handler."""

SECONDS_BETWEEN_LINES = 10.0
"""How often a long stage reports its progress if there is no terminal to draw a bar on."""

SECONDS_OF_SILENCE = 2.0
"""How long nothing was said before a log for people names the stage: those of a run in seconds say nothing to them."""

SEEN_BEFORE_TIME_LEFT = 0.1
"""What of a stage has to be done before the rest can be told: the first steps are seldom like the others."""

_LEVELS = {"info": logging.INFO, "warning": logging.WARNING}


@dataclass(frozen=True)
class Finding:
    """What a reader of the result should know: facts about data and parameters, never about clock, host or threads.

    Attributes
    ----------
    text
        One sentence.
    warning
        Whether it is shown even if the console is quiet.
    fields
        Its numbers and names, for logs that machines read.
    """

    text: str
    warning: bool = False
    fields: Mapping[str, Any] = field(default_factory=dict, compare=False)


@dataclass
class Clock:
    """Wall-clock seconds of each stage, in order, and when the command began."""

    seconds: dict[str, float] = field(default_factory=dict)
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    begin: float = field(default_factory=time.monotonic)

    @property
    def elapsed(self) -> float:
        """Seconds since the command began."""
        return time.monotonic() - self.begin

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the block, even if it fails; the seconds of stages with the same name add up."""
        begin = time.monotonic()
        try:
            yield
        finally:
            self.add(name, time.monotonic() - begin)

    def add(self, name: str, seconds: float) -> None:
        """Add seconds measured elsewhere."""
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds


def mute(stream: TextIO) -> None:
    """Redirect a stream that can no longer be written to the null device, or Python would complain at exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def last_words(message: str, exit_code: int, *, as_json: bool, seconds: float, prefix: str = "sccr: error: ") -> None:
    """Print the one line that reports a failure on standard error; if that fails, the exit code must do.

    Parameters
    ----------
    message, exit_code
        What is wrong.
    as_json
        Whether the line is for machines.
    seconds
        Time since the command began.
    prefix
        How the line for people begins.
    """
    message = shortened(as_shown(message))
    if as_json:
        line = _json_line(seconds, "error", message, exit_code=exit_code)
    else:
        line = prefix + in_one_line(" ".join(message.split()))
    try:
        print(line, file=sys.stderr, flush=True)
    except OSError:
        mute(sys.stderr)


def _json_line(seconds: float, level: str, message: str, /, **fields: Any) -> str:
    """Return a line for machines: JSON has neither numpy's numbers nor those that are not finite."""
    line = {"seconds": round(seconds, 3), "level": level, "message": message, **fields}
    return json.dumps({name: _plain(value) for name, value in line.items()})


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, str | Path):
        return as_shown(value)
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _notebook() -> bool:
    """Return whether standard error is shown by Jupyter, which prints it on red, as if something were wrong."""
    return type(sys.stderr).__module__ == "ipykernel.iostream"


@dataclass
class _Timed:
    """The stage whose progress is shown: how far it was when it was first seen, and when; and how far it is."""

    stage: str
    began: float
    first: float
    last: float = 0.0

    def left(self, stage: str, fraction: float, now: float) -> float | None:
        """Take note of the progress, and return the seconds that are left; None if that cannot be told (yet)."""
        if stage != self.stage or fraction < self.last:  # another one, or the same once more
            self.stage, self.began, self.first = stage, now, fraction
        self.last = fraction
        # A stage that goes on from a checkpoint does not begin at 0.
        done = fraction - self.first
        return (now - self.began) * (1 - fraction) / done if done >= SEEN_BEFORE_TIME_LEFT and fraction < 1 else None


class Console:
    """Log lines on standard error, and progress of long stages. It shows; it carries nothing.

    Parameters
    ----------
    log_format
        Plain lines, or one JSON object per line.
    quiet
        Show only warnings.
    stream
        Where to print (default: standard error; standard output if a notebook shows the lines).
    redirectable
        Print nothing if the host program has attached handlers to the logger ``sccr_node`` or to the root logger:
        showing the messages is then up to them.
    about
        What the lines are about, if a command does several things one after the other; every message begins with it.
    """

    def __init__(
        self,
        *,
        log_format: Literal["text", "json"] = "text",
        quiet: bool = False,
        stream: TextIO | None = None,
        redirectable: bool = False,
        about: str = "",
    ) -> None:
        self._about = f"{about}: " if about else ""
        self._json = log_format == "json"
        self._quiet = quiet
        self._stream = stream or (sys.stdout if redirectable and _notebook() else sys.stderr)
        self._redirectable = redirectable
        self._heard = True
        self._bar: tqdm[Any] | None = None
        self._begin, self._started = time.monotonic(), datetime.now(UTC)
        self._stage, self._stage_said = "", False
        self._line_at = self._said_at = self._begin
        self._timed = _Timed("", 0.0, 0.0)

    def say(self, message: str, /, **fields: Any) -> None:
        """Show a line; its numbers and names are fields in logs that machines read."""
        self._line("info", message, **fields)

    def done(self, message: str, total: float, /, **fields: Any) -> None:
        """Show a line that says what a run has written, at the time of the run's total: a line has one time.

        The record and the report have this total, and must be complete before they can be moved into place.
        """
        self._line("info", message, at=total, total_seconds=round(total, 3), **fields)

    def warn(self, message: str, /, **fields: Any) -> None:
        """Show a warning, even if the console is quiet."""
        self._line("warning", shortened(as_shown(message)), **fields)

    def fail(self, message: str, exit_code: int) -> None:
        """Show an error that does not end the command, as the one that does is shown."""
        self.close_bar()
        seconds = time.monotonic() - self._begin
        last_words(f"{self._about}{message}", exit_code, as_json=self._json, seconds=seconds)

    def show(self, findings: Iterable[Finding]) -> None:
        """Show findings in the order in which they were made."""
        for finding in findings:
            self._line("warning" if finding.warning else "info", shortened(as_shown(finding.text)), **finding.fields)

    def clock(self) -> Clock:
        """Return a clock that began when the console did."""
        return Clock(started=self._started, begin=self._begin)

    def progress(self, stage: str, fraction: float) -> None:
        """Show how far a stage has got, from 0 to 1; a new name begins a new stage."""
        signals.check()
        if self._quiet or (self._redirectable and LOGGER.hasHandlers()):
            return
        if self._json or not self._stream.isatty():
            self._progress_line(stage, fraction)
        else:
            self._progress_bar(stage, fraction)

    def close_bar(self) -> None:
        """Remove the progress bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _progress_bar(self, stage: str, fraction: float) -> None:
        stage = f"{self._about}{stage}"
        if self._bar is not None and self._bar.desc != stage:
            self.close_bar()
        if self._bar is None:
            from tqdm import tqdm

            self._bar = tqdm(
                total=1.0,
                desc=stage,
                file=self._stream,
                leave=False,
                bar_format="{desc} {percentage:3.0f} %|{bar:30}| {elapsed}{postfix}",
            )
            self._bar.desc = stage  # tqdm appends ": "
        left = self._timed.left(stage, fraction, time.monotonic())
        self._bar.set_postfix_str("" if left is None else time_left(left), refresh=False)
        self._bar.update(min(fraction, 1.0) - self._bar.n)

    def _progress_line(self, stage: str, fraction: float) -> None:
        now = time.monotonic()
        left = self._timed.left(stage, fraction, now)
        if stage != self._stage:
            self._stage, self._stage_said = stage, False
        if not self._stage_said:
            # Machines are told of every stage; people of those that they would wait for without a word.
            due = self._json or (fraction < 1.0 and now - self._said_at >= SECONDS_OF_SILENCE)
        else:
            due = 0.005 <= fraction < 1.0 and now - self._line_at >= SECONDS_BETWEEN_LINES
        if not due:
            return
        begins, self._stage_said, self._line_at = not self._stage_said, True, now
        fields: dict[str, Any] = {"stage": stage, "fraction": round(fraction, 3)}
        if begins and (self._json or fraction < 0.005):
            message = stage if self._json else f"{stage} …"
        elif left is None:
            message = f"{stage}: {fraction:.0%}"
        else:
            message = f"{stage}: {fraction:.0%}, {time_left(left)}"
            fields["seconds_left"] = round(left, 1)
        self._line("info", message, **fields)

    def _line(
        self, level: Literal["info", "warning"], message: str, /, *, at: float | None = None, **fields: Any
    ) -> None:
        signals.check()
        message = as_shown(f"{self._about}{message}")
        if LOGGER.hasHandlers():
            LOGGER.log(_LEVELS[level], message, extra={"sccr": fields})
            if self._redirectable:
                return
        if level == "info" and self._quiet:
            return
        self._said_at = time.monotonic()
        seconds = self._said_at - self._begin if at is None else at
        if self._json:
            self._print(_json_line(seconds, level, message, **fields))
        elif level == "info":
            self._print(f"[{seconds:6.1f} s] {in_one_line(message)}")
        else:
            self._print(f"sccr: {level}: {in_one_line(message)}")

    def _print(self, text: str) -> None:
        if not self._heard:
            return
        if self._bar is not None:
            self._bar.clear()
        try:
            print(text, file=self._stream, flush=True)
        except OSError:
            # The reader of the log is gone, or its disk is full: no reason to give up the run.
            self._heard = False
            mute(self._stream)
            self.close_bar()
        if self._bar is not None:
            self._bar.refresh()
