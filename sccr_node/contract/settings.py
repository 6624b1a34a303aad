"""Turns defaults, config file, environment and flags, in rising precedence, into one validated parameter model."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from pydantic import ValidationError

from sccr_node.contract.fields import flag
from sccr_node.contract.shared import Parameters
from sccr_node.errors import InputMissing, UsageProblem

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


@dataclass(frozen=True)
class Merged(Generic[Model]):
    """What all sources of parameters give together, not validated yet.

    Attributes
    ----------
    model
        The parameter model of the command.
    values
        The values that were given.
    sources
        The name by which the user knows each of them: a flag, a variable, a key of the config file.
    config
        The config file, if there is one.
    """

    model: type[Model]
    values: dict[str, Any]
    sources: dict[str, str]
    config: Path | None

    def validated(self) -> Model:
        """Return the parameters.

        Raises
        ------
        UsageProblem
            A parameter is unknown, out of range, or contradicts another; the message names it as its user wrote it.
        """
        for name in self.values:
            if name not in self.model.model_fields:
                close = _closest(name, self.model)
                raise UsageProblem(
                    f"config file {self.config}: unknown key {name!r}" + (f"; did you mean {close}?" if close else "")
                )
        try:
            return self.model(**self.values).settled(self.sources, self.config)
        except ValidationError as failure:
            raise UsageProblem(first_problem(failure, self.sources)) from None


def merge(
    model: type[Model],
    flags: Mapping[str, Any],
    *,
    config: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> Merged[Model]:
    """Merge the sources of parameters: config file, then environment, then flags, each above the one before.

    Parameters
    ----------
    model
        The parameter model of the command.
    flags
        The options given on the command line; None for those that were not.
    config
        The config file, if there is one.
    environ
        The environment (default: that of the process).

    Raises
    ------
    UsageProblem, InputMissing
        The config file is not a table of parameters, or cannot be read.
    """
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}

    def take(source: Mapping[str, Any], name_of: Callable[[str], str]) -> None:
        for name, value in source.items():
            values[name] = value
            sources[name] = name_of(name)

    if config is not None:
        take(read_config(config), lambda name: f"config file {config}: {name}")
    take(environment_values(model, os.environ if environ is None else environ), environment_name)
    take({name: value for name, value in flags.items() if value is not None}, flag)
    return Merged(model, values, sources, config)


def settle(
    model: type[Model],
    flags: Mapping[str, Any],
    *,
    config: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> Model:
    """Merge the sources of parameters and validate the result; see :func:`merge` and :meth:`Merged.validated`."""
    return merge(model, flags, config=config, environ=environ).validated()


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
