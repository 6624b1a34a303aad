"""Turns defaults, config file, environment and flags, in rising precedence, into one validated parameter model."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from pydantic import ValidationError

from sccr_node.errors import InputMissing, UsageProblem
from sccr_node.params import Parameters, flag

ENVIRONMENT_PREFIX = "SCCR_"

Model = TypeVar("Model", bound=Parameters)


def environment_name(name: str) -> str:
    """Return the environment variable of a field."""
    return ENVIRONMENT_PREFIX + name.upper()


def read_config(path: Path) -> dict[str, Any]:
    """Read a JSON or YAML file of parameters.

    Raises
    ------
    InputMissing
        There is no such file, or it may not be read.
    UsageProblem
        It is not a flat table of parameters.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise UsageProblem(f"config file {path}: not a text file; expected JSON or YAML") from None
    except OSError as failure:
        raise InputMissing(f"config file {path}: {failure.strerror or failure}") from None
    if path.suffix == ".json":
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as failure:
            raise UsageProblem(f"config file {path}: not JSON: {failure}") from None
    else:
        import yaml

        try:
            values = yaml.safe_load(text)
        except (yaml.YAMLError, ValueError, RecursionError) as failure:  # ValueError: impossible dates, endless numbers
            raise UsageProblem(f"config file {path}: not YAML: {' '.join(str(failure).split())}") from None
    if values is None:
        return {}
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        raise UsageProblem(f"config file {path}: expected one table of parameters, such as 'n_top_genes: 3000'")
    return values


def environment_values(model: type[Parameters], environ: Mapping[str, str]) -> dict[str, str]:
    """Return the fields of a model that the environment sets; an empty variable counts as not set."""
    return {name: value for name in model.model_fields if (value := environ.get(environment_name(name), ""))}


def unknown_variables(known: set[str], environ: Mapping[str, str] | None = None) -> list[str]:
    """Return the ``SCCR_*`` variables that belong to no parameter, sorted."""
    names = {environment_name(name) for name in known}
    variables = os.environ if environ is None else environ
    return sorted(name for name in variables if name.startswith(ENVIRONMENT_PREFIX) and name not in names)


def settle(
    model: type[Model],
    flags: Mapping[str, Any],
    *,
    config: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> Model:
    """Merge the sources of parameters and validate the result.

    Parameters
    ----------
    model
        The parameter model of the command.
    flags
        The options given on the command line; None where one was not given.
    config
        The config file, if there is one.
    environ
        The environment; that of the process where none is given.

    Returns
    -------
    The parameters, which know by which name the user gave each of them (a flag, a variable, a config key).

    Raises
    ------
    UsageProblem
        A parameter is unknown, out of range, or contradicts another; the message names it as its user wrote it.
    InputMissing
        The config file cannot be read.
    """
    values: dict[str, Any] = {}
    origin: dict[str, str] = {}

    def take(source: Mapping[str, Any], name_of: Any) -> None:
        for name, value in source.items():
            values[name] = value
            origin[name] = name_of(name)

    if config is not None:
        from_config = read_config(config)
        for name in from_config:
            if name not in model.model_fields:
                close = _closest(name, model)
                raise UsageProblem(
                    f"config file {config}: unknown key {name!r}" + (f"; did you mean {close}?" if close else "")
                )
        take(from_config, lambda name: f"config file {config}: {name}")
    take(environment_values(model, os.environ if environ is None else environ), environment_name)
    take({name: value for name, value in flags.items() if value is not None}, flag)
    try:
        return model(**values).settled(origin, config)
    except ValidationError as failure:
        raise UsageProblem(first_problem(failure, origin)) from None


def _closest(name: str, model: type[Parameters]) -> str | None:
    from difflib import get_close_matches

    return next(iter(get_close_matches(name.replace("-", "_"), model.model_fields, 1)), None)


def first_problem(failure: ValidationError, origin: Mapping[str, str] = MappingProxyType({})) -> str:
    """Return the first complaint of a validation as one line.

    Parameters
    ----------
    failure
        What pydantic raised.
    origin
        The name by which the user knows each parameter; its flag where there is none.
    """
    problems = failure.errors(include_url=False)
    first = problems[0]
    if first["type"] == "value_error" and not first["loc"]:
        return str(first["ctx"]["error"])
    name = str(first["loc"][0])
    if first["type"] == "missing":
        return f"{flag(name)} is required"
    # A parameter of several kinds (median|NUMBER) has one complaint for each: all of them belong to the answer.
    complaints = [_plain(problem["msg"]) for problem in problems if problem["loc"][:1] == (name,)]
    return f"{origin.get(name, flag(name))}: {', or '.join(dict.fromkeys(complaints))} (given: {first['input']!r})"


def _plain(message: str) -> str:
    message = message.removeprefix("Value error, ").replace("Input should be", "should be")
    return message[:1].lower() + message[1:]
