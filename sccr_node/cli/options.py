"""The options and the help page of a command, derived from its parameter model."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import click

from sccr_node.cli.manner import Manner
from sccr_node.contract.fields import OUTPUT, RUNNING, extra_of, flag
from sccr_node.contract.settings import merge, unknown_variables
from sccr_node.contract.shared import Parameters, RunningParameters, fields_by_group
from sccr_node.runtime.console import Console
from sccr_node.runtime.resources import check_address_space
from sccr_node.runtime.standins import as_shown
from sccr_node.storage.places.address import Address, is_remote


class GivenPath(click.Path):
    """A path that click does not check: missing files and denied permissions have their own exit codes."""

    written = False
    """Whether the command writes to it."""

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> Any:
        """Return the path; an empty one, of a shell variable that is not set, say, is not the current folder.

        A remote address is none: in a path, its two slashes would become one.
        """
        if not os.fspath(value):
            self.fail("it is empty; give a path", param, context)
        if isinstance(value, str) and is_remote(value):
            return Address.of(value)
        return super().convert(value, param, context)


class OutputPath(GivenPath):
    """A path that is written to."""

    written = True


class WrittenPath(OutputPath):
    """A file to be written, of which ``-`` is never the name: it stands for standard output, if that is possible."""

    def __init__(self, *, or_standard_output: bool) -> None:
        super().__init__(readable=False, path_type=Path)
        self._or_standard_output = or_standard_output

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> Any:
        """Return the path, or None for standard output."""
        if os.fspath(value) != "-":
            return super().convert(value, param, context)
        if not self._or_standard_output:
            self.fail("this cannot be written to standard output (-); give a file, or ./- for one of that name")
        return None


PATH = GivenPath(readable=False, path_type=Path)
OUTPUT_PATH = OutputPath(readable=False, path_type=Path)


class ContractOption(click.Option):
    """An option that stands for one field of a parameter model."""

    def __init__(self, *arguments: Any, group: str, default_text: str, **attributes: Any) -> None:
        super().__init__(*arguments, **attributes)
        self.group = group
        self.default_text = default_text

    def get_help_record(self, context: click.Context) -> tuple[str, str] | None:
        """Return the option's entry in the help page, with its default."""
        record = super().get_help_record(context)
        if record is None or not self.default_text:
            return record
        return record[0], f"{record[1]}  [default: {self.default_text}]"


class ContractCommand(click.Command):
    """A command whose options are listed under the headings of their groups."""

    def format_options(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, one section per group."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for option in self.get_params(context):
            record = option.get_help_record(context)
            if record is not None and isinstance(option, click.Option):
                sections.setdefault(getattr(option, "group", RUNNING), []).append(record)
        for heading, records in sections.items():
            with formatter.section(heading):
                formatter.write_dl(records)


def options_of(model: type[Parameters]) -> list[click.Option]:
    """Return one option per field of a parameter model.

    Values are passed on as typed: the model validates them, whichever interface they came through.
    """
    return [_option(name, field) for fields in fields_by_group(model).values() for name, field in fields.items()]


def _option(name: str, field: Any) -> ContractOption:
    extra = extra_of(field)
    attributes: dict[str, Any] = {
        "default": None,
        "help": field.description,
        "group": extra["group"],
        "default_text": default_text(field),
        "show_default": False,
    }
    values = option_values(field)
    if values is None:
        return ContractOption([f"{flag(name)}/--no-{flag(name)[2:]}", name], **attributes)
    repeated = get_origin(field.annotation) is dict
    return ContractOption([flag(name), name], type=click.UNPROCESSED, metavar=values, multiple=repeated, **attributes)


def as_given(value: Any) -> Any:
    """Return the value of an option; None if it was not given, however often it can be."""
    return (list(value) or None) if isinstance(value, tuple) else value


def option_values(field: Any) -> str | None:
    """Return the placeholder for a field's value in help pages and tables; None for a boolean field."""
    kinds = _kinds(field.annotation)
    if bool in kinds:
        return None
    choices = [str(choice) for kind in kinds if get_origin(kind) is Literal for choice in get_args(kind)]
    return extra_of(field).get("metavar") or "|".join(choices) or ("INTEGER" if int in kinds else "NUMBER")


def _kinds(annotation: Any) -> list[Any]:
    """Return the alternatives of a field's type, without None and without pydantic's constraints."""
    origin = get_origin(annotation)
    if origin is Literal or origin is None:
        return [] if annotation is type(None) else [annotation]
    arguments = get_args(annotation)
    if hasattr(annotation, "__metadata__"):
        return _kinds(arguments[0])
    return [kind for argument in arguments for kind in _kinds(argument)]


def default_text(field: Any) -> str:
    """Return a field's default as help pages and tables show it; empty if the field is required or unset by default."""
    if (followed := extra_of(field).get("follows")) is not None:
        return f"as {flag(followed)}"
    published = extra_of(field).get("published_defaults")
    if published is None:
        return "" if field.is_required() or field.default in (None, {}) else _value_text(field.default)
    if len(set(published.values())) == 1:
        return _value_text(next(iter(published.values())))
    return ", ".join(f"{method}: {_value_text(value)}" for method, value in published.items())


def _value_text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


CONFIG = click.Option(
    ["--config"],
    type=PATH,
    metavar="FILE",
    help="Read parameters from a JSON or YAML file. SCCR_* variables and flags take precedence.",
)


def contract_command(
    model: type[RunningParameters],
    *,
    arguments: list[click.Argument],
    summary: str,
    epilog: str | None = None,
    extra_options: tuple[click.Option, ...] = (),
    near: Collection[str] | None = None,
) -> Callable[[Callable[..., int | None]], click.Command]:
    """Make a click command from a function and a parameter model.

    Parameters
    ----------
    model
        The model whose fields become the options.
    arguments
        The positional arguments; the function receives their values by name.
    summary
        The help text.
    epilog
        The end of the help page.
    extra_options
        Options that are not parameters; the function receives their values by name.
    near
        The parameters whose remote files are brought near for the function (default: all); it does so with the others.

    Returns
    -------
    A decorator; the function is called as ``function(params, console, **arguments)``, and may return an exit code.
    """
    options: list[click.Parameter] = [*arguments, *options_of(model), *extra_options, CONFIG]
    written = {option.name for option in options if isinstance(option.type, GivenPath) and option.type.written}

    def decorate(function: Callable[..., int | None]) -> click.Command:
        def callback(**given: Any) -> int | None:
            flags = {name: as_given(given.pop(name)) for name in model.model_fields}
            with _near_config(given.pop("config", None)) as config_file:
                merged = merge(model, flags, config=config_file)
            manner = click.get_current_context().find_object(Manner)
            if manner is not None:
                manner.take(merged.values)
            params = merged.validated()
            console = Console(log_format=params.log_format, quiet=params.quiet)
            for warning in merged.warnings:
                console.warn(warning)
            for variable in unknown_variables(known_fields()):
                console.warn(f"ignoring the environment variable {variable}: there is no such parameter")
            check_address_space()
            from sccr_node.pipeline.remote import brought_near  # only now, because they load numpy
            from sccr_node.runtime.scratch import work_dir

            try:
                with (
                    work_dir(params.work_dir),
                    brought_near(params, given, written, console, only=near) as (asked, paths),
                ):
                    return function(asked, console, **paths)
            finally:
                console.close_bar()

        return ContractCommand(
            name=function.__name__.replace("_", "-"),
            callback=callback,
            params=options,
            help=summary,
            epilog=epilog,
            short_help=summary.split(".")[0] + ".",
        )

    return decorate


@contextmanager
def _near_config(config: Path | Address | None) -> Iterator[Path | None]:
    """Fetch a config file that is remote."""
    if not isinstance(config, Address):
        yield config
        return
    from sccr_node.pipeline.remote import fetched

    with fetched(config) as path:
        yield path


def command_line() -> list[str]:
    """Return the command line that is being run, for records: without secrets."""
    manner = click.get_current_context().find_object(Manner)
    return ["sccr", *(() if manner is None else map(as_shown, manner.arguments))]


def path_argument(name: str, *, written: bool = False) -> click.Argument:
    """Return a positional argument that is a path, to be read or written; whether it exists is checked later."""
    return click.Argument([name], type=OUTPUT_PATH if written else PATH)


def file_option(
    *names: str, help_text: str, group: str = OUTPUT, multiple: bool = False, or_standard_output: bool = False
) -> click.Option:
    """Return an option for a file that is not a parameter: one to be written, or several to be read."""
    kind = PATH if multiple else WrittenPath(or_standard_output=or_standard_output)
    return ContractOption(
        [*names], type=kind, metavar="FILE", help=help_text, group=group, default_text="", multiple=multiple
    )


def known_fields() -> set[str]:
    """Return the names of all fields of all commands' models: those that ``SCCR_*`` variables can set."""
    from sccr_node.contract.schemas import SCHEMAS

    models = [model for model in SCHEMAS.values() if issubclass(model, Parameters)]
    return {name for model in models for name in model.model_fields}


TABLE_OPTIONS = (
    file_option(
        "--output",
        "-o",
        help_text="Write the table (TSV) to this file instead of standard output.",
        or_standard_output=True,
    ),
    file_option("--json", "json_file", help_text="Also write the table, with any further details, to this JSON file."),
)
