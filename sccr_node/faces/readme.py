"""The parameter table of the README."""

from __future__ import annotations

from sccr_node.cli import default_text, option_values
from sccr_node.params import ImputeParameters, extra_of, flag

BEGIN = "<!-- parameters: written by make faces -->"
END = "<!-- end of parameters -->"


def parameter_table() -> str:
    """Return the parameters of ``sccr impute`` as Markdown tables, one for each group."""
    groups: dict[str, list[str]] = {}
    for name, field in ImputeParameters.model_fields.items():
        shown = flag(name) if not (values := option_values(field)) else f"{flag(name)} {values}"
        row = f"| `{shown}` | {_cell(default_text(field))} | {_cell(field.description or '')} |".replace("|  |", "| |")
        groups.setdefault(extra_of(field)["group"], []).append(row)
    tables = [
        "\n".join([f"**{group}**", "", "| parameter | default | what it does |", "| --- | --- | --- |", *rows])
        for group, rows in sorted(groups.items(), key=lambda item: item[0] == "Running")
    ]
    return "\n\n".join(tables)


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
