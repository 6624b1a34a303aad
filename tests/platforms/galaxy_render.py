"""Run by planemo's Python: fill in a tool's templates as Galaxy does. Reads {"tool", "states"}, writes the results.

A state is the nested form as Galaxy's API has it. What Galaxy does to a value on its way into a template is done by
Galaxy's own sanitizer and by the rules of its parameter types; the template engine is Galaxy's.
"""

import json
import sys
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

from galaxy.tool_util.loader import load_tool
from galaxy.util import sanitize_param, xml_to_string
from galaxy.util.template import fill_template
from lxml import etree


class Value:
    """A parameter in a template: text that Galaxy has cleaned, and the raw value behind it."""

    element_identifier: str

    def __init__(self, raw: Any, text: str) -> None:
        self.value = raw
        self._text = text

    def __str__(self) -> str:
        return self._text

    def __bool__(self) -> bool:
        return bool(self.value)

    def __eq__(self, other: object) -> bool:
        return self._text == str(other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = None  # type: ignore[assignment]


def wrapped(element: Element, state: dict[str, Any]) -> dict[str, Any]:
    """Return what a template sees of a form, a section or a branch; what the state leaves out has its default."""
    seen: dict[str, Any] = {}
    for child in element:
        name = child.get("name") or child.get("argument", "").lstrip("-").replace("-", "_")
        if child.tag == "section":
            seen[name] = wrapped(child, state.get(name, {}))
        elif child.tag == "conditional":
            inner = state.get(name, {})
            branch = wrapped(child, inner)
            chosen = str(next(iter(branch.values())))
            (when,) = (when for when in child.findall("when") if when.get("value") == chosen)
            seen[name] = branch | wrapped(when, inner)
        elif child.tag == "param":
            seen[name] = parameter(child, state, name)
    return seen


def parameter(element: Element, state: dict[str, Any], name: str) -> Value:
    kind = element.get("type")
    if kind == "select":
        options = [option.get("value") for option in element.findall("option")]
        selected = [option.get("value") for option in element.findall("option") if option.get("selected") == "true"]
        raw = state.get(name, selected if element.get("multiple") else (selected or options)[0])
        chosen = raw if isinstance(raw, list) else [raw]
        assert set(chosen) <= set(options), (name, raw)
        return Value(raw, ",".join(chosen) or "None")
    if kind == "boolean":
        raw = state.get(name, element.get("checked") == "true")
        return Value(raw, element.get("truevalue", "true") if raw else element.get("falsevalue", "false"))
    if kind == "data":
        dataset = Value(f"/data/{name}.dat", f"/data/{name}.dat")
        dataset.element_identifier = state.get(name, "cells.h5ad")
        return dataset
    raw = state.get(name, element.get("value"))
    assert element.find("sanitizer") is None, "only Galaxy's own sanitizer is known here"
    return Value(raw, sanitize_param("" if raw is None else str(raw)))


def main() -> None:
    request = json.load(sys.stdin)
    tool = load_tool(request["tool"]).getroot()
    command = tool.find("command").text
    (free_text,) = tool.find("configfiles").findall("configfile")
    rendered = []
    for state in request["states"]:
        context = wrapped(tool.find("inputs"), state)
        rendered.append(
            {
                "command": fill_template(command, context=dict(context)),
                "free_text": json.loads(fill_template(free_text.text, context=dict(context))),
            }
        )
    # The same file as Galaxy's loader gives it, checked against the schema that Galaxy publishes.
    import galaxy.tool_util

    schema = etree.XMLSchema(etree.parse(str(Path(galaxy.tool_util.__file__).parent / "xsd" / "galaxy.xsd")))
    expanded = etree.fromstring(xml_to_string(tool).encode())
    schema.validate(expanded)
    json.dump({"rendered": rendered, "schema_errors": [str(error) for error in schema.error_log]}, sys.stdout)


if __name__ == "__main__":
    main()
