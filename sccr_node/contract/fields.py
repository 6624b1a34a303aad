"""How a parameter is declared: one pydantic field that also carries what help pages, forms and tables need."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, get_args

from pydantic import ByteSize, Field, WithJsonSchema

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
    **bounds: Any,
) -> Any:
    """Declare one parameter: a pydantic field that also carries what the faces need to know.

    Parameters
    ----------
    default
        The value where nothing is given.
    title
        The name that a form shows.
    description
        One or two sentences for somebody who knows single-cell analysis and not this program.
    group
        The heading that the parameter stands under in help pages and forms.
    affects_result
        Whether the data written depend on it (then it is recorded in ``uns``).
    published
        The default of each method that has the parameter, as its authors published it; a method that is not named
        does not have the parameter.
    follows
        The parameter whose value this one has unless it is given.
    metavar
        What help pages show in the place of the value.
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
    return Field(default, title=title, description=description, json_schema_extra=extra, **bounds)


MemorySize = Annotated[
    ByteSize,
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": r"^\s*\d*\.?\d+\s*\w*\s*$"}, {"type": "integer"}]}),
]


DATA = "Input"


GENES = "Genes and normalisation"


METHOD = "Method"


NUMBERS = "Numbers of the method"


OUTPUT = "Output"


REPORTING = "Record and report"


SIMULATION = "Data set"


EVALUATION = "Evaluation"


RUNNING = "Running"


GROUPS = (DATA, SIMULATION, GENES, METHOD, NUMBERS, EVALUATION, OUTPUT, REPORTING, RUNNING)
"""The headings, in the order in which help pages, tables and forms show them."""


LARGEST_INTEGER = 2**63 - 1


LARGEST_DEPTH = 1e30


LARGEST_SIMULATED_DEPTH = 1e8  # counts are drawn as int32, and some cells are several times deeper


def holds_yes_or_no(annotation: Any) -> bool:
    """Return whether a field of this type may be yes or no."""
    return annotation is bool or bool in get_args(annotation)


def flag(name: str) -> str:
    """Return the command-line flag of a field: its name in kebab-case."""
    return "--" + name.replace("_", "-")


def extra_of(field: Any) -> dict[str, Any]:
    """Return what :func:`parameter` noted of a field beside pydantic's own attributes."""
    extra = field.json_schema_extra
    assert isinstance(extra, dict)
    return extra
