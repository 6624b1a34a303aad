"""Turn defaults, config file, environment and flags, in rising precedence, into one validated parameter model."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from sccr_node.contract.environment import ENVIRONMENT_PREFIX, environment_name
from sccr_node.contract.fields import extra_of, flag
from sccr_node.contract.impute import ImputeParameters
from sccr_node.contract.imputing import MethodParameters
from sccr_node.contract.report import ReportParameters
from sccr_node.contract.shared import Parameters
from sccr_node.contract.tuned import TUNING_KEY, TunedBefore
from sccr_node.errors import InputMissing, UsageProblem, reason_of
from sccr_node.runtime.texts import read_small

LARGEST_CONFIG = 2**20
"""Bytes; a real one has a few hundred."""

DEEPEST_CONFIG = 4
"""Levels of a real one: the mapping, and mappings of mappings of lists as its values."""

Model = TypeVar("Model", bound=Parameters)


def read_config(path: Path) -> dict[str, Any]:
    """Read a JSON or YAML file of parameters.

    Raises
    ------
    InputMissing
        The file does not exist or cannot be read.
    UsageProblem
        It does not contain a flat mapping of parameters.
    """
    try:
        text = read_small(path, LARGEST_CONFIG).decode("utf-8")
    except UnicodeDecodeError:
        raise UsageProblem(f"cannot read config file {path}: not a text file; expected JSON or YAML") from None
    except OSError as failure:
        if failure.errno == errno.EFBIG:
            raise UsageProblem(
                f"config file {path} is larger than {LARGEST_CONFIG // 2**20} MiB: not a list of parameters"
            ) from None
        raise InputMissing(f"cannot read config file {path}: {reason_of(failure)}") from None
    values = _json(text, path) if path.suffix == ".json" else _yaml(text, path)
    if values is None:
        return {}
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        raise UsageProblem(f"config file {path}: expected parameter names with values, such as 'n_top_genes: 3000'")
    return values


def _json(text: str, path: Path) -> Any:
    def mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        _refuse_repeated([name for name, _ in pairs], path)
        return dict(pairs)

    try:
        return json.loads(text, object_pairs_hook=mapping)
    except (ValueError, RecursionError) as failure:
        raise UsageProblem(f"config file {path} is not valid JSON: {failure}") from None


def _yaml(text: str, path: Path) -> Any:
    import yaml

    try:
        depth = 0
        for event in yaml.parse(text, yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent):  # a few nested ones stand for billions of values
                raise UsageProblem(f"config file {path} contains YAML aliases (*{event.anchor}): write the values out")
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > DEEPEST_CONFIG:  # the scanner takes minutes for thousands of brackets
                where = "" if event.start_mark is None else f" (line {event.start_mark.line + 1})"
                raise UsageProblem(
                    f"config file {path} is nested too deeply{where}: expected parameter names with values, such as "
                    "'n_top_genes: 3000'"
                )
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        _refuse_repeated_in(node, path)
        return None if node is None else loader.construct_document(node)
    except (yaml.YAMLError, ValueError, RecursionError) as failure:  # ValueError: impossible dates, endless numbers
        raise UsageProblem(f"config file {path} is not valid YAML: {' '.join(str(failure).split())}") from None


def _refuse_repeated_in(node: Any, path: Path) -> None:
    """Refuse keys that occur twice in a mapping of YAML, of which its reader would keep the last."""
    import yaml

    if isinstance(node, yaml.MappingNode):
        _refuse_repeated([key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)], path)
        for _, value in node.value:
            _refuse_repeated_in(value, path)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            _refuse_repeated_in(value, path)


def _refuse_repeated(names: list[str], path: Path) -> None:
    if len(set(names)) < len(names):
        repeated = next(name for name in names if names.count(name) > 1)
        raise UsageProblem(f"config file {path}: the key {repeated!r} occurs more than once; keep one of them")


def environment_values(model: type[Parameters], environ: Mapping[str, str]) -> dict[str, str]:
    """Return the fields of a model that the environment sets; an empty variable counts as unset."""
    return {name: value for name in model.model_fields if (value := environ.get(environment_name(name), ""))}


def unknown_variables(known: set[str], environ: Mapping[str, str] | None = None) -> list[str]:
    """Return the ``SCCR_*`` variables that belong to no parameter, sorted."""
    names = {environment_name(name) for name in known}
    variables = os.environ if environ is None else environ
    return sorted(name for name in variables if name.startswith(ENVIRONMENT_PREFIX) and name not in names)


@dataclass(frozen=True)
class Merged(Generic[Model]):
    """The parameters from all sources, merged but not yet validated.

    Attributes
    ----------
    model
        The parameter model of the command.
    values
        The values given.
    sources
        What the user typed for each of them: a flag, a variable, a key in the config file.
    config
        The config file, if there is one.
    tuned_before
        What it says of the tuning of its parameters.
    warnings
        What the user should know all the same.
    """

    model: type[Model]
    values: dict[str, Any]
    sources: dict[str, str]
    config: Path | None
    tuned_before: TunedBefore | None = None
    warnings: tuple[str, ...] = ()

    def validated(self) -> Model:
        """Return the validated parameters.

        Raises
        ------
        UsageProblem
            A parameter is unknown, out of range, or contradicts another; the message names it as the user typed it.
        """
        for name in self.values:
            if name not in self.model.model_fields:
                close = closest_field(name, self.model)
                raise UsageProblem(
                    f"config file {self.config}: unknown key {name!r}" + (f"; did you mean {close}?" if close else "")
                )
        try:
            return self._made()
        except ValidationError as failure:
            raise UsageProblem(first_problem(failure, self.model, self.sources)) from None

    def problems(self) -> list[str]:
        """Return all that is wrong with the values, one line each; contradictions only if each value is right."""
        try:
            self._made()
        except ValidationError as failure:
            return all_problems(failure, self.model, self.sources)
        return []

    def _made(self) -> Model:
        return self.model(**self.values).settled(self.sources, self.config, self.tuned_before)


def merge(
    model: type[Model],
    flags: Mapping[str, Any],
    *,
    config: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> Merged[Model]:
    """Merge the sources of parameters: config file, then environment, then flags; later sources take precedence.

    Parameters
    ----------
    model
        The parameter model of the command.
    flags
        The options of the command line; None for those not given.
    config
        The config file, if there is one.
    environ
        The environment (default: that of the process).

    Raises
    ------
    UsageProblem, InputMissing
        The config file is not a mapping of parameters, or cannot be read.
    """
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}

    def take(source: Mapping[str, Any], name_of: Callable[[str], str]) -> None:
        for name, value in source.items():
            values[name] = value
            sources[name] = name_of(name)

    tuned_before = None
    warnings: tuple[str, ...] = ()
    if config is not None:
        read = read_config(config)
        if not read:
            warnings = (f"config file {config} sets no parameter: was it cut off?",)
        if issubclass(model, MethodParameters | ReportParameters) and TUNING_KEY in read:
            tuned_before = _tuned_before(read.pop(TUNING_KEY), config)
            if issubclass(model, ReportParameters):  # what else the file has, the result was made with
                of_result = ImputeParameters.model_fields.keys() - model.model_fields.keys()
                read = {name: value for name, value in read.items() if name not in of_result}
        take(read, lambda name: f"config file {config}: {name}")
    take(environment_values(model, os.environ if environ is None else environ), environment_name)
    take({name: value for name, value in flags.items() if value is not None}, flag)
    return Merged(model, values, sources, config, tuned_before, warnings)


def _tuned_before(found: object, config: Path) -> TunedBefore:
    try:
        return TunedBefore.model_validate(found)
    except ValidationError as failure:
        where = ".".join(map(str, (TUNING_KEY, *failure.errors()[0]["loc"])))
        raise UsageProblem(
            f"config file {config}: {where} is not as sccr tune writes it: tune again, or delete {TUNING_KEY!r}"
        ) from None


def closest_field(name: str, model: type[Parameters]) -> str | None:
    """Return the field of a model that was probably meant; None if none is close."""
    from difflib import get_close_matches

    return next(iter(get_close_matches(name.replace("-", "_"), model.model_fields, 1)), None)


def first_problem(
    failure: ValidationError, model: type[Parameters], origin: Mapping[str, str] = MappingProxyType({})
) -> str:
    """Return the first error of a validation as one line.

    Parameters
    ----------
    failure
        What pydantic raised.
    model
        The model that was validated.
    origin
        What the user typed for each parameter (default: its flag).
    """
    return all_problems(failure, model, origin)[0]


def all_problems(failure: ValidationError, model: type[Parameters], origin: Mapping[str, str]) -> list[str]:
    """Return all errors of a validation, one line for each parameter or contradiction, as :func:`first_problem`."""
    # A parameter of several types (median|NUMBER) has one error per type: the message needs all of them.
    by_name: dict[str, list[ErrorDetails]] = {}
    for problem in failure.errors(include_url=False):
        by_name.setdefault(str(problem["loc"][0]) if problem["loc"] else "", []).append(problem)
    # Contradictions are found only if every value is right: then there is one error, which has all of them.
    contradictions = [str(each) for problem in by_name.pop("", ()) for each in problem["ctx"]["error"].args]
    return [*contradictions, *(_problem(name, problems, model, origin) for name, problems in by_name.items())]


def _problem(name: str, problems: list[ErrorDetails], model: type[Parameters], origin: Mapping[str, str]) -> str:
    first = problems[0]
    if first["type"] == "missing":
        return f"{flag(name)} is required"
    complaints = [_plain(problem, model) for problem in problems]
    where, what = origin.get(name, flag(name)), ", or ".join(dict.fromkeys(complaints))
    return f"{where}: {what} (given: {_given(first['input'])})"


def _given(value: object) -> str:
    try:
        return repr(value)
    except ValueError:  # Python writes no number of more than 4,300 digits
        return "a number of thousands of digits"


def _plain(problem: ErrorDetails, model: type[Parameters]) -> str:
    if problem["type"] == "string_pattern_mismatch":
        return f"should be {extra_of(model.model_fields[str(problem['loc'][0])])['expects']}"
    if problem["type"] == "string_too_short":
        return "should not be empty"
    message = problem["msg"].removeprefix("Value error, ").replace("Input should be", "should be")
    return message[:1].lower() + message[1:]
