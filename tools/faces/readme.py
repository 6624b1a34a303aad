"""The parameter table of the README."""

from __future__ import annotations

from typing import Any

from sccr_node.cli.options import default_text, option_values
from sccr_node.contract.fields import flag
from sccr_node.contract.impute import ImputeParameters
from sccr_node.contract.shared import fields_by_group

BEGIN = "<!-- parameters: written by make faces -->"
END = "<!-- end of parameters -->"


def parameter_table() -> str:
    """Return the parameters of ``sccr impute`` as Markdown tables, one per group."""
    tables = [
        "\n".join(
            [
                f"**{group}**",
                "",
                "| parameter | default | what it does |",
                "| --- | --- | --- |",
                *(_row(name, field) for name, field in fields.items()),
            ]
        )
        for group, fields in fields_by_group(ImputeParameters).items()
    ]
    return "\n\n".join(tables)


def _row(name: str, field: Any) -> str:
    values = option_values(field)
    shown = flag(name) if values is None else f"{flag(name)} {values}"
    return f"| `{_cell(shown)}` | {_cell(default_text(field))} | {_cell(field.description)} |".replace("|  |", "| |")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def with_parameter_table(readme: str) -> str:
    """Return the README with its parameter table brought up to date.

    Parameters
    ----------
    readme
        The README's text, with the two markers.
    """
    before, rest = readme.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n\n{parameter_table()}\n\n{END}{after}"
