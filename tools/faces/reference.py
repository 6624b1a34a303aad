"""The reference pages of the documentation that are derived: the command line, and the list of schemas."""

from __future__ import annotations

from collections.abc import Iterator

import click

from sccr_node.cli.app import cli
from sccr_node.cli.options import ContractOption
from sccr_node.contract.fields import RUNNING
from sccr_node.contract.schemas import SCHEMAS

CLI_PAGE = """\
# Command line

<!-- written by make faces (tools/faces/reference.py) -->

`sccr COMMAND --help` prints the same. [What the exit codes mean](exit-codes.md); [what is written](keys.md).

**Settings**, from lowest to highest precedence: defaults, `--config FILE` (YAML or JSON; the names below, with
underscores), environment variables (`SCCR_` and the name in capitals, e.g. `SCCR_BATCH_KEY`), flags. A switch has an
opposite: `--force`, `--no-force`.

`sccr --version` prints the version.
"""

SCHEMAS_PAGE = """\
# Schemas

<!-- written by make faces (tools/faces/reference.py) -->

Every command's parameters, and the record that `--provenance` writes, are described by a JSON Schema (draft 2020-12):
for forms, editors and workflow systems, and to check a config file before a run. `sccr schema NAME` prints one; they
are also in the repository.

| `sccr schema` | describes |
| --- | --- |
"""


def cli_page() -> str:
    """Return the reference of all commands, as Markdown."""
    return "\n".join([CLI_PAGE, *(_section(words, command) for words, command in _commands(cli, ()))])


def schemas_page() -> str:
    """Return the list of schemas, as Markdown."""
    rows = [
        f"| [`{name}`](../../schemas/{name}.schema.json) | "
        + ("the run record (`--provenance`)" if name == "provenance" else f"`sccr {_command_of(name)}`")
        + " |"
        for name in SCHEMAS
    ]
    return SCHEMAS_PAGE + "\n".join(rows) + "\n"


def _command_of(schema: str) -> str:
    """Return the words of a schema's command: those of a group have its name in front."""
    group, _, rest = schema.partition("-")
    return f"{group} {rest}" if rest else schema


def _commands(group: click.Group, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from _commands(command, (*path, name))
        else:
            yield (*path, name), command


def _section(words: tuple[str, ...], command: click.Command) -> str:
    name = " ".join(("sccr", *words))
    # The command keeps the help option that it makes now: with the names that it has in the program.
    context = click.Context(command, parent=click.Context(cli, **cli.context_settings), info_name=name)
    parts = [
        f"## {name}",
        f"```text\n{name} {' '.join(command.collect_usage_pieces(context))}\n```",
        _sentence(command.help),
    ]
    for heading, options in _by_heading(command).items():
        rows = [_row(option) for option in options]
        parts.append(
            "\n".join([f"**{heading}**", "", "| option | default | what it does |", "| --- | --- | --- |", *rows])
        )
    if command.epilog:
        parts.append(_sentence(command.epilog))
    return "\n\n".join(parts) + "\n"


def _by_heading(command: click.Command) -> dict[str, list[click.Option]]:
    """Return the options under the headings of the help page."""
    found: dict[str, list[click.Option]] = {}
    for option in command.params:
        if isinstance(option, click.Option):
            found.setdefault(getattr(option, "group", RUNNING), []).append(option)
    return found


def _row(option: click.Option) -> str:
    flags = ", ".join(f"`{_cell(flag)}`" for flag in sorted(option.opts, key=len))
    if not option.is_flag:
        flags = f"{flags[:-1]} {_cell(str(option.metavar))}`"
    default = option.default_text if isinstance(option, ContractOption) else ""
    return f"| {flags} | {_cell(default)} | {_cell(_sentence(option.help))} |".replace("|  |", "| |")


def _sentence(text: str | None) -> str:
    """Return a text in one line."""
    return " ".join((text or "").split())


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
