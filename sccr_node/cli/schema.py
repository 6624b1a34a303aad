"""The command ``sccr schema``."""

from __future__ import annotations

import click

from sccr_node.errors import UsageProblem


@click.command()
@click.argument("name", metavar="[NAME]", required=False, default="impute")
def schema(name: str) -> None:
    """Print the JSON Schema of a command's parameters (default: impute) or of the run record (provenance)."""
    from sccr_node.contract.schemas import SCHEMAS, schema_text

    if name not in SCHEMAS:
        raise UsageProblem(f"there is no schema {name!r}: choose one of {', '.join(SCHEMAS)}")
    click.echo(schema_text(name), nl=False)
