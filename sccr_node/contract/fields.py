"""How a parameter is declared: one pydantic field that also carries what help pages, forms and tables need."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ByteSize, Field, WithJsonSchema

from sccr_node.contract.methods import Value


def parameter(
    default: Any = ...,
    *,
    title: str,
    description: str,
    group: str,
    affects_result: bool = True,
    published: Mapping[str, Value] | None = None,
    follows: str | None = None,
    metavar: str | None = None,
    expects: str | None = None,
    path: Literal["read", "written"] | None = None,
    **bounds: Any,
) -> Any:
    """Declare one parameter: a pydantic field that also carries what help pages, forms and tables need.

    Parameters
    ----------
    default
        Value if none is given.
    title
        Label in forms.
    description
        One or two sentences for somebody who knows single-cell analysis but not this program.
    group
        Heading under which help pages and forms show the parameter.
    affects_result
        Whether the written data depend on it; if so, it is recorded in ``uns``.
    published
        Published default per method. A method that is not listed does not have the parameter.
    follows
        Parameter whose value this one takes unless it is given.
    metavar
        Placeholder for the value in help pages.
    expects
        What a text looks like that matches ``pattern``, for messages: "should be ...".
    path
        Whether the value is a path (or paths), and what the command does with the file or folder. It can be remote.
    **bounds
        Constraints that pydantic checks (``ge``, ``le``, ``gt``, ``lt``, ``pattern``).
    """
    extra: dict[str, Any] = {"group": group, "affects_result": affects_result}
    if published is not None:
        extra["published_defaults"] = dict(published)
    if follows is not None:
        extra["follows"] = follows
    if metavar is not None:
        extra["metavar"] = metavar
    if expects is not None:
        extra["expects"] = expects
    if path is not None:
        extra["path"] = path
    return Field(default, title=title, description=description, json_schema_extra=extra, **bounds)


MemorySize = Annotated[
    ByteSize,
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": r"^\s*\d*\.?\d+\s*\w*\s*$"}, {"type": "integer"}]}),
]


MANIFEST = "Manifest"


DATA = "Input"


GENES = "Genes and normalisation"


METHOD = "Method"


NUMBERS = "Method parameters"


OUTPUT = "Output"


REPORTING = "Record and report"


SIMULATION = "Data set"


EVALUATION = "Evaluation"


RUNNING = "Running"


GROUPS = (MANIFEST, DATA, SIMULATION, GENES, METHOD, NUMBERS, EVALUATION, OUTPUT, REPORTING, RUNNING)
"""The headings, in the order of help pages, tables and forms."""


LARGEST_INTEGER = 2**63 - 1


SMALLEST_DEPTH, LARGEST_DEPTH = 1e-3, 1e30
"""Below, genes vary by so little that they are taken for constant; beyond, a gene with more counts than the cell's
depth over the selected genes would overflow."""


SMALLEST_BASE = 1.01
"""Natural logarithms are those to the base times its logarithm: of a base close to 1 they would all vanish."""


SMALLEST_SIMULATED_DEPTH, LARGEST_SIMULATED_DEPTH = 1.0, 1e8
"""Counts are drawn as int32, and some cells are several times deeper."""


def holds_yes_or_no(annotation: Any) -> bool:
    """Return whether a field of this type accepts booleans."""
    return annotation is bool or bool in get_args(annotation)


def flag(name: str) -> str:
    """Return the command-line flag of a field: its name in kebab-case."""
    return "--" + name.replace("_", "-")


def path_fields(model: type[BaseModel]) -> dict[str, str]:
    """Return the fields of a model that are paths: whether each is read or written."""
    extras = {name: extra_of(field) for name, field in model.model_fields.items()}
    return {name: extra["path"] for name, extra in extras.items() if "path" in extra}


def fields_of_result(model: type[BaseModel]) -> list[str]:
    """Return the fields of a model that what it writes depends on, in their order."""
    return [name for name, field in model.model_fields.items() if extra_of(field)["affects_result"]]


def extra_of(field: Any) -> dict[str, Any]:
    """Return what :func:`parameter` recorded about a field, in addition to pydantic's own attributes."""
    extra = field.json_schema_extra
    assert isinstance(extra, dict)
    return extra
