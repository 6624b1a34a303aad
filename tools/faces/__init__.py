"""The files that are derived from the contract: where they are, and what they contain."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path


def derived_files(root: Path) -> dict[Path, str]:
    """Return the derived files and the text that each should have.

    Parameters
    ----------
    root
        The repository's folder.
    """
    from sccr_node.contract import schemas
    from tools.faces import batch, galaxy, nextflow, reference

    texts: dict[str, Callable[[], str]] = {
        "docs/reference/cli.md": reference.cli_page,
        "docs/reference/schemas.md": reference.schemas_page,
        "galaxy/parameter_macros.xml": galaxy.macros_text,
    }
    for name in schemas.SCHEMAS:
        texts[f"schemas/{name}.schema.json"] = lambda name=name: schemas.schema_text(name)  # type: ignore[misc]
    derived = {path: text() for path, text in texts.items()} | {**nextflow.derived_texts(), **batch.derived_texts()}
    return {root / path: text for path, text in derived.items()}
