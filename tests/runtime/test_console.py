"""What is printed: text and JSON lines, quiet, stages, and the messages worth recording."""

import io
import json
import logging
from pathlib import Path

import numpy as np
import pytest

from sccr_node.runtime.console import SECONDS_OF_SILENCE, Clock, Console, Finding, last_words


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_text_lines_have_the_time():
    stream = io.StringIO()
    Console(stream=stream).say("hello")
    assert stream.getvalue().startswith("[   0.0 s] hello")


def test_json_lines_are_objects():
    stream = io.StringIO()
    console = Console(log_format="json", stream=stream)
    console.say("one")
    console.warn("two")
    console.progress("search", 0.25)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(line["level"], line["message"]) for line in lines] == [
        ("info", "one"),
        ("warning", "two"),
        ("info", "search"),
    ]
    assert lines[2]["fraction"] == 0.25


def test_a_name_of_a_file_forges_no_line_and_moves_no_cursor(capsys):
    stream = io.StringIO()
    console = Console(stream=stream)
    console.say("wrote a\nsccr: error: b.h5ad")
    console.warn("wrote \x1b[2Jc.h5ad")
    last_words("cannot write d\x1b[2J\re.h5ad", 73, as_json=False, seconds=1)
    first, second = stream.getvalue().splitlines()
    assert first.endswith("wrote a\\nsccr: error: b.h5ad") and second == "sccr: warning: wrote \\x1b[2Jc.h5ad"
    assert capsys.readouterr().err == "sccr: error: cannot write d\\x1b[2J e.h5ad\n"


def test_quiet_leaves_warnings():
    stream = io.StringIO()
    console = Console(quiet=True, stream=stream)
    console.show([Finding("left out"), Finding("kept", warning=True)])
    console.progress("stage", 0.5)
    assert stream.getvalue() == "sccr: warning: kept\n"


def test_everything_is_a_log_record_too(caplog):
    stream = io.StringIO()
    with caplog.at_level("INFO", logger="sccr_node"):
        Console(quiet=True, stream=stream).show([Finding("one"), Finding("two", warning=True)])
    assert [(record.levelname, record.message) for record in caplog.records] == [("INFO", "one"), ("WARNING", "two")]


def test_a_host_with_handlers_of_its_own_shows_the_lines_itself(caplog):
    stream = io.StringIO()
    with caplog.at_level("INFO", logger="sccr_node"):
        Console(stream=stream, redirectable=True).say("hello")
    assert stream.getvalue() == ""
    assert caplog.messages == ["hello"]


def test_without_handlers_a_library_prints(monkeypatch):
    monkeypatch.setattr(logging.getLogger("sccr_node"), "propagate", False)
    stream = io.StringIO()
    Console(stream=stream, redirectable=True).say("hello")
    assert stream.getvalue().endswith("hello\n")


def test_long_stages_report_without_a_terminal(monkeypatch):
    clock = iter(range(0, 1000, 4))
    monkeypatch.setattr("sccr_node.runtime.console.time.monotonic", lambda: float(next(clock)))
    stream = io.StringIO()
    console = Console(stream=stream)
    for step in range(11):
        console.progress("search", step / 10)
    lines = stream.getvalue().splitlines()
    assert lines[0].endswith("search …")
    assert 2 <= len(lines) <= 6
    assert "%" in lines[1]


def test_stages_of_a_run_in_seconds_are_for_machines_only(monkeypatch):
    stages = [(0.5, "scan"), (0.8, "select"), (1.2, "search"), (1.9, "write")]
    for log_format, told in (("text", []), ("json", [stage for _, stage in stages])):
        timed = Timed(monkeypatch, log_format=log_format)
        for now, stage in stages:
            timed.progress(now, 0.0, stage)
            timed.progress(now + 0.1, 1.0, stage)
        lines = timed.stream.getvalue().splitlines()
        assert [json.loads(line)["stage"] for line in lines] == told


def test_a_stage_is_named_once_nothing_was_said_for_a_while(monkeypatch):
    timed = Timed(monkeypatch)
    timed.console.say("hello")
    timed.progress(SECONDS_OF_SILENCE - 0.1, 0.0, "scan")
    timed.progress(SECONDS_OF_SILENCE, 0.02, "scan")
    timed.progress(SECONDS_OF_SILENCE + 1, 0.0, "search")
    timed.progress(2 * SECONDS_OF_SILENCE, 0.0, "search")
    timed.progress(20, 1.0, "write")
    assert timed.lines() == ["hello", "scan: 2%", "search …"]


def test_a_stage_that_begins_again_has_no_line_of_nothing(monkeypatch):
    clock = iter(range(0, 1000, 20))
    monkeypatch.setattr("sccr_node.runtime.console.time.monotonic", lambda: float(next(clock)))
    stream = io.StringIO()
    console = Console(stream=stream)
    for fraction in (0.0, 1.0, 0.0, 0.001, 1.0):
        console.progress("scan", fraction)
    assert [line.split("] ")[1] for line in stream.getvalue().splitlines()] == ["scan …"]


def test_numbers_are_fields_for_machines():
    stream = io.StringIO()
    console = Console(log_format="json", stream=stream)
    console.say("300 cells", n_cells=np.int64(300), zeros=np.float32(0.5), keys=["layers/sccr"], recall=float("nan"))
    console.warn("a path", path=Path("x"))
    console.show([Finding("a depth", fields={"target_sum": 10.5})])
    first, second, third = (json.loads(line) for line in stream.getvalue().splitlines())
    del first["seconds"]
    told = {"n_cells": 300, "zeros": 0.5, "keys": ["layers/sccr"], "recall": None}
    assert first == {"level": "info", "message": "300 cells", **told}
    assert second["path"] == "x" and third["target_sum"] == 10.5
    stream = io.StringIO()
    Console(stream=stream).say("300 cells", n_cells=300)
    assert stream.getvalue().endswith("] 300 cells\n")


def test_a_notebook_shows_lines_on_standard_output(monkeypatch, capsys):
    monkeypatch.setattr(logging.getLogger("sccr_node"), "propagate", False)
    shown_in_red = type("OutStream", (io.StringIO,), {"__module__": "ipykernel.iostream"})()
    monkeypatch.setattr("sys.stderr", shown_in_red)
    Console(redirectable=True).say("hello")
    assert capsys.readouterr().out.endswith("] hello\n") and shown_in_red.getvalue() == ""
    # The command keeps to standard error, wherever it runs.
    Console().say("hello")
    assert shown_in_red.getvalue().endswith("] hello\n")


def test_a_terminal_gets_a_bar_and_whole_lines():
    stream = Terminal()
    console = Console(stream=stream)
    console.progress("search", 0.5)
    console.say("a line in between")
    console.progress("search", 1.0)
    console.close_bar()
    assert "search" in stream.getvalue()
    assert "50 %" in stream.getvalue()
    assert "] a line in between\n" in stream.getvalue()


def test_stages_add_up_also_when_they_fail():
    clock = Clock()
    with clock.stage("read"):
        pass
    with pytest.raises(ValueError, match="x"), clock.stage("read"):
        raise ValueError("x")
    clock.add("impute: search", 2.5)
    assert list(clock.seconds) == ["read", "impute: search"]
    assert clock.seconds["read"] >= 0
    assert clock.elapsed >= 0


def test_nobody_reads_what_is_endless(capsys):
    console = Console()
    last_words(f"no gene {'g' * 100_000!r}; give another", 65, as_json=False, seconds=1)
    console.warn(f"no gene {'g' * 100_000!r}; give another")
    console.show([Finding(f"no gene {'g' * 100_000!r}; give another")])
    lines = capsys.readouterr().err.splitlines()
    assert all(len(line) < 400 and "no gene 'ggg" in line and "ggg'; give another" in line for line in lines)
    assert len(lines) == 3


@pytest.mark.parametrize("as_json", [False, True])
def test_last_words_are_one_line(capsys, as_json):
    last_words("what\nwent  wrong", 65, as_json=as_json, seconds=1.23456)
    line = capsys.readouterr().err
    if as_json:
        told = {"seconds": 1.235, "level": "error", "message": "what\nwent  wrong", "exit_code": 65}
        assert json.loads(line) == told
    else:
        assert line == "sccr: error: what went wrong\n"


class Timed:
    """A console whose clock is set by hand."""

    def __init__(self, monkeypatch, **how):
        self.now, self.stream = 0.0, how.pop("stream", None) or io.StringIO()
        monkeypatch.setattr("sccr_node.runtime.console.time.monotonic", lambda: self.now)
        self.console = Console(stream=self.stream, **how)

    def progress(self, now, fraction, stage="search"):
        self.now = now
        self.console.progress(stage, fraction)

    def lines(self):
        return [line.split("] ")[-1] for line in self.stream.getvalue().splitlines()]


def test_the_time_left_is_said_after_a_tenth(monkeypatch):
    timed = Timed(monkeypatch)
    for now, fraction in ((0, 0.0), (11, 0.05), (22, 0.1), (33, 0.5), (34, 0.51), (60, 1.0)):
        timed.progress(now, fraction)
    said = ["search: 5%", "search: 10%, about 3 min left in this stage", "search: 50%, about 35 s left in this stage"]
    assert timed.lines() == said


def test_machines_are_told_the_time_left_in_seconds(monkeypatch):
    timed = Timed(monkeypatch, log_format="json")
    for now, fraction in ((0, 0.0), (20, 0.05), (40, 0.2)):
        timed.progress(now, fraction)
    lines = [json.loads(line) for line in timed.stream.getvalue().splitlines()]
    assert [line.get("seconds_left") for line in lines] == [None, None, 160.0]


def test_a_stage_that_goes_on_or_begins_again_is_timed_from_there(monkeypatch):
    timed = Timed(monkeypatch)
    for now, fraction in ((0, 0.6), (20, 0.65), (40, 0.8)):  # from a checkpoint
        timed.progress(now, fraction)
    assert timed.lines() == ["search: 65%", "search: 80%, about 40 s left in this stage"]
    for now, fraction in ((100, 0.0), (120, 0.5)):
        timed.progress(now, fraction)
    assert timed.lines()[-1] == "search: 50%, about 20 s left in this stage"


def test_a_terminal_is_told_the_time_left(monkeypatch):
    timed = Timed(monkeypatch, stream=Terminal())
    for now, fraction in ((0, 0.0), (5, 0.05)):
        timed.progress(now, fraction)
    timed.console._bar.refresh()
    assert "left" not in timed.stream.getvalue()
    timed.progress(30, 0.5)
    timed.console._bar.refresh()
    assert "about 30 s left in this stage" in timed.stream.getvalue()
    timed.console.close_bar()
