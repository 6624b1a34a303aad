"""The command ``sccr schema``."""

from __future__ import annotations

import click

from sccr_node.errors import UsageProblem


@click.command()
@click.argument("name", metavar="[NAME]", required=False, default="impute")
def schema(name: str) -> None:
    """Print a JSON Schema of the contract: of a command (impute where none is named) or of the run record."""
    from sccr_node.contract.schemas import SCHEMAS, schema_text

    if name not in SCHEMAS:
        raise UsageProblem(f"there is no schema {name!r}; there are: {', '.join(SCHEMAS)}")
    click.echo(schema_text(name), nl=False)
