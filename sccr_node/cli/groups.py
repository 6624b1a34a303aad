"""Groups of commands that start fast: a command's module is imported only when the command is called."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import click

from sccr_node.runtime.words import did_you_mean


class LazyGroup(click.Group):
    """A group that imports a command's module only when the command is called."""

    def __init__(self, *arguments: Any, lazy: dict[str, tuple[str, str]], **attributes: Any) -> None:
        super().__init__(*arguments, **attributes)
        self._lazy = lazy

    def list_commands(self, context: click.Context) -> list[str]:
        """Return the names of the commands, in the order in which users need them."""
        return list(self._lazy)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """Import and return a command."""
        if name not in self._lazy:
            return None
        module, attribute = self._lazy[name][0].split(":")
        command = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, context: click.Context, arguments: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a command, or name the one that may have been meant."""
        name = arguments[0]
        if name not in self._lazy and not name.startswith("-"):
            context.fail(f"No such command {name!r}{did_you_mean(name, self._lazy)}")
        return super().resolve_command(context, arguments)

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing any of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in self._lazy.items()])
