"""Every help page as text: compared by the tests, updated by ``python -m tests.cli.snapshots``."""

import contextlib
import io
import os
from pathlib import Path
from unittest import mock

import click

from sccr_node.__main__ import main
from sccr_node.cli.app import cli

FOLDER = Path(__file__).parent / "help"
COLUMNS = "100"


def commands(group=cli, path=()):
    """Yield the words of every command and group, the program itself first."""
    yield path
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name)


def help_page(words):
    """Return the help page of a command as a terminal of 100 columns shows it."""
    shown = io.StringIO()
    with mock.patch.dict(os.environ, {"COLUMNS": COLUMNS}), contextlib.redirect_stdout(shown):
        assert main([*words, "--help"]) == 0
    return shown.getvalue()


def snapshot(words):
    """Return the file of a command's help page."""
    return FOLDER / ("_".join(("sccr", *words)) + ".txt")


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for old in FOLDER.glob("*.txt"):
        old.unlink()
    for words in commands():
        snapshot(words).write_text(help_page(words), encoding="utf-8")
