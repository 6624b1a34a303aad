"""What is said: text and JSON lines, quiet, stages, and the messages worth recording."""

import io
import json

import pytest

from sccr_node.feedback import Feedback


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_text_lines_have_the_time():
    stream = io.StringIO()
    Feedback(stream=stream).say("hello")
    assert stream.getvalue().startswith("[   0.0 s] hello")


def test_json_lines_are_objects():
    stream = io.StringIO()
    feedback = Feedback(log_format="json", stream=stream)
    feedback.say("one")
    feedback.warn("two")
    feedback.progress("search", 0.25)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(line["level"], line["message"]) for line in lines] == [
        ("info", "one"),
        ("warning", "two"),
        ("info", "search"),
    ]
    assert lines[2]["fraction"] == 0.25


def test_quiet_leaves_warnings():
    stream = io.StringIO()
    feedback = Feedback(quiet=True, stream=stream)
    feedback.say("left out", record=True)
    feedback.progress("stage", 0.5)
    feedback.warn("kept")
    assert stream.getvalue() == "sccr: warning: kept\n"
    assert feedback.messages == ["left out"]


def test_long_stages_report_without_a_terminal(monkeypatch):
    clock = iter(range(0, 1000, 4))
    monkeypatch.setattr("sccr_node.feedback.time.monotonic", lambda: float(next(clock)))
    stream = io.StringIO()
    feedback = Feedback(stream=stream)
    for step in range(11):
        feedback.progress("search", step / 10)
    lines = stream.getvalue().splitlines()
    assert lines[0].endswith("search …")
    assert 2 <= len(lines) <= 6
    assert "%" in lines[1]


def test_a_terminal_gets_a_bar_and_whole_lines():
    stream = Terminal()
    feedback = Feedback(stream=stream)
    feedback.progress("search", 0.5)
    feedback.say("a line in between")
    feedback.progress("search", 1.0)
    feedback.close_bar()
    assert "search" in stream.getvalue()
    assert "50 %" in stream.getvalue()
    assert "] a line in between\n" in stream.getvalue()


def test_stages_add_up_also_when_they_fail():
    feedback = Feedback(quiet=True)
    with feedback.stage("read"):
        pass
    with pytest.raises(ValueError, match="x"), feedback.stage("read"):
        raise ValueError("x")
    assert list(feedback.seconds) == ["read"]
    assert feedback.seconds["read"] >= 0
