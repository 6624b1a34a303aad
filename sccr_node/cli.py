"""The command line: click commands whose options are derived from the parameter models."""

from __future__ import annotations

import errno
import json
import os
import sys
import traceback
from collections.abc import Callable
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import click

from sccr_node import __version__
from sccr_node.errors import NotEnoughResources, SccrError, UsageProblem
from sccr_node.feedback import Feedback, last_words, mute
from sccr_node.params import (
    RUNNING,
    GatherParameters,
    ImputeParameters,
    Parameters,
    RunningParameters,
    SimulateParameters,
    SplitParameters,
    extra_of,
    fields_by_group,
    flag,
)
from sccr_node.settings import environment_name, settle, unknown_variables

ISSUES = "https://github.com/sccr-node/sccr-node/issues"


PATH = click.Path(readable=False, path_type=Path)
"""A path, of which click checks nothing: what is missing or not permitted has exit codes of its own."""


class ContractOption(click.Option):
    """An option that stands for one field of a parameter model."""

    def __init__(self, *arguments: Any, group: str, default_text: str, **attributes: Any) -> None:
        super().__init__(*arguments, **attributes)
        self.group = group
        self.default_text = default_text

    def get_help_record(self, context: click.Context) -> tuple[str, str] | None:
        """Return the option's line in the help page, with its default."""
        record = super().get_help_record(context)
        if record is None or not self.default_text:
            return record
        return record[0], f"{record[1]}  [default: {self.default_text}]"


class ContractCommand(click.Command):
    """A command whose options stand under the headings of their groups."""

    def format_options(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, one section for each group."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for option in self.get_params(context):
            record = option.get_help_record(context)
            if record is not None and isinstance(option, click.Option):
                sections.setdefault(getattr(option, "group", RUNNING), []).append(record)
        for heading, records in sections.items():
            with formatter.section(heading):
                formatter.write_dl(records)


def options_of(model: type[Parameters]) -> list[click.Option]:
    """Return one option for every field of a parameter model.

    Values are passed on as they were written: the model validates them, whichever face they came through.
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
    return ContractOption([flag(name), name], type=click.UNPROCESSED, metavar=values, **attributes)


def option_values(field: Any) -> str | None:
    """Return what help pages and tables show in the place of a field's value; None for a field that is yes or no."""
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
    """Return a field's default as help pages and tables show it; empty where leaving it out is the default."""
    if (followed := extra_of(field).get("follows")) is not None:
        return f"as {flag(followed)}"
    published = extra_of(field).get("published_defaults")
    if published is None:
        return "" if field.is_required() or field.default is None else _written(field.default)
    if len(set(published.values())) == 1:
        return _written(next(iter(published.values())))
    return ", ".join(f"{method}: {_written(value)}" for method, value in published.items())


def _written(value: Any) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def contract_command(
    model: type[RunningParameters],
    *,
    arguments: list[click.Argument],
    summary: str,
    epilog: str | None = None,
    config: bool = False,
    extra_options: tuple[click.Option, ...] = (),
) -> Callable[[Callable[..., None]], click.Command]:
    """Make a click command out of a function and a parameter model.

    Parameters
    ----------
    model
        Whose fields become the options.
    arguments
        The positional arguments; the function receives their values by name.
    summary
        The help text.
    epilog
        What the help page ends with.
    config
        Whether the command takes ``--config FILE``.
    extra_options
        Options that are no parameters; the function receives their values by name.

    Returns
    -------
    A decorator; the function is called as ``function(params, feedback, **arguments)``.
    """
    options: list[click.Parameter] = [*arguments, *options_of(model), *extra_options]
    if config:
        options.append(
            click.Option(
                ["--config"],
                type=PATH,
                metavar="FILE",
                help="Read parameters from a JSON or YAML file; variables SCCR_* and flags come before it.",
            )
        )

    def decorate(function: Callable[..., None]) -> click.Command:
        def callback(**given: Any) -> None:
            flags = {name: given.pop(name) for name in model.model_fields}
            config_file = given.pop("config", None)
            params = settle(model, flags, config=config_file)
            feedback = Feedback(log_format=params.log_format, quiet=params.quiet)
            for variable in unknown_variables(known_fields()):
                feedback.warn(f"the environment variable {variable} stands for no parameter; ignored")
            try:
                function(params, feedback, **given)
            finally:
                feedback.close_bar()

        return ContractCommand(
            name=function.__name__,
            callback=callback,
            params=options,
            help=summary,
            epilog=epilog,
            short_help=summary.split(".")[0] + ".",
        )

    return decorate


class LazyGroup(click.Group):
    """A group that imports a command's module when the command is called."""

    def __init__(self, *arguments: Any, lazy: dict[str, tuple[str, str]], **attributes: Any) -> None:
        super().__init__(*arguments, **attributes)
        self._lazy = lazy

    def list_commands(self, context: click.Context) -> list[str]:
        """Return the names of the commands, in the order of a user's work."""
        return list(self._lazy)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """Import and return a command."""
        if name not in self._lazy:
            return None
        module, attribute = self._lazy[name][0].split(":")
        command = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing any of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in self._lazy.items()])


COMMANDS = {
    "impute": ("sccr_node.cli:impute", "Impute the expression of a data set."),
    "evaluate": (
        "sccr_node.evaluation.commands:evaluate",
        "Evaluate imputation by any tool: mask, score, cluster, relations.",
    ),
    "benchmark": ("sccr_node.evaluation.commands:benchmark", "Compare the methods on a data set."),
    "report": ("sccr_node.report.commands:report", "Write the page that shows what an imputation did."),
    "split": ("sccr_node.cli:split", "Split a data set into its batches, to impute each elsewhere."),
    "gather": ("sccr_node.cli:gather", "Gather imputed batches into one data set."),
    "simulate": ("sccr_node.cli:simulate", "Write a simulated data set whose truth is known."),
    "schema": ("sccr_node.cli:schema", "Print a JSON Schema of the contract."),
}


@click.command(
    cls=LazyGroup,
    lazy=COMMANDS,
    invoke_without_command=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(__version__, message="%(version)s")
def cli() -> None:
    """Impute single-cell RNA-seq expression with scCR, as a step between quality control and clustering."""


def known_fields() -> set[str]:
    """Return the names of all fields of all commands' models: what ``SCCR_*`` variables may stand for."""
    import sccr_node.params as contract

    models = [value for value in vars(contract).values() if isinstance(value, type) and issubclass(value, Parameters)]
    return {name for model in models for name in model.model_fields}


def path_argument(name: str) -> click.Argument:
    """Return a positional argument that is a path; whether it exists is for the step to say."""
    return click.Argument([name], type=PATH)


@contract_command(
    ImputeParameters,
    arguments=[path_argument("input"), path_argument("output")],
    config=True,
    summary=(
        "Impute the expression of a data set. INPUT is an .h5ad or .zarr file, a 10x .h5 file or a 10x folder with "
        "matrix.mtx(.gz); OUTPUT, .h5ad or .zarr, is INPUT with what the step adds and nothing else changed."
    ),
    epilog=(
        "Imputed values are for clustering, embedding and looking at; not for tests of differential expression or of "
        "co-expression, which take them for measurements. The counts stay where they were."
    ),
)
def impute(params: ImputeParameters, feedback: Feedback, input: Path, output: Path) -> None:
    """Run the step."""
    from sccr_node.step import impute_file

    impute_file(input, output, params, feedback=feedback, command=["sccr", *sys.argv[1:]])


@contract_command(
    SplitParameters,
    arguments=[path_argument("input")],
    config=True,
    summary=(
        "Split a data set into its batches, to impute each on another machine. Genes and target depth are chosen over "
        "all cells; INPUT need not fit in memory."
    ),
    epilog="Impute each part with --genes DIR/genes.txt and the --target-sum in DIR/target_sum.txt, then gather.",
)
def split(params: SplitParameters, feedback: Feedback, input: Path) -> None:
    """Split a data set."""
    from sccr_node.scatter import split_file

    split_file(input, params, feedback=feedback)


@contract_command(
    GatherParameters,
    arguments=[
        path_argument("input"),
        path_argument("output"),
        click.Argument(["parts"], type=PATH, nargs=-1, required=True),
    ],
    summary=(
        "Gather the imputed parts of a data set. INPUT is what was split, PARTS what sccr impute made of every part; "
        "OUTPUT is the same file, byte for byte, as one run of sccr impute --batch-key writes."
    ),
)
def gather(params: GatherParameters, feedback: Feedback, input: Path, output: Path, parts: tuple[Path, ...]) -> None:
    """Gather imputed parts."""
    from sccr_node.scatter import gather_files

    gather_files(input, output, parts, params, feedback=feedback, command=["sccr", *sys.argv[1:]])


@contract_command(
    SimulateParameters,
    arguments=[path_argument("output")],
    summary="Write a simulated data set whose truth is known. OUTPUT is an .h5ad file with counts in X.",
)
def simulate(params: SimulateParameters, feedback: Feedback, output: Path) -> None:
    """Simulate a data set."""
    from sccr_node.simulation import simulate_file

    simulate_file(output, params, feedback=feedback)


@click.command()
@click.argument("name", metavar="[NAME]", required=False, default="impute")
def schema(name: str) -> None:
    """Print a JSON Schema of the contract: of a command (impute where none is named) or of the run record."""
    from sccr_node.faces.schemas import SCHEMAS, schema_text

    if name not in SCHEMAS:
        raise UsageProblem(f"there is no schema {name!r}; there are: {', '.join(SCHEMAS)}")
    click.echo(schema_text(name), nl=False)


def run(arguments: list[str]) -> int:
    """Run the command line and return the exit code; a failure is one line on standard error.

    Parameters
    ----------
    arguments
        What follows the command's name.
    """
    debug = "--debug" in arguments or os.environ.get(environment_name("debug"), "").lower() in (
        "1",
        "true",
        "yes",
        "on",
    )
    try:
        result = cli.main(args=arguments, prog_name="sccr", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except click.exceptions.NoArgsIsHelpError as help_page:
        click.echo(help_page.format_message(), err=True)
        return UsageProblem.exit_code
    except click.ClickException as problem:
        context = getattr(problem, "ctx", None)
        where = context.command_path if context is not None else "sccr"
        return _failed(f"{problem.format_message()} (see {where} --help)", UsageProblem.exit_code, arguments)
    except BrokenPipeError:
        # Whoever read the output (head, say) has seen enough; Python must not complain of it at exit either.
        mute(sys.stdout)
        return 0
    except Exception as failure:  # noqa: BLE001 - the last resort: a user gets a line, not a traceback
        if debug:
            traceback.print_exc()
        return _failed(*_explained(failure), arguments)


def _explained(failure: Exception) -> tuple[str, int]:
    """Return what a failure means to the user, and its exit code."""
    if isinstance(failure, SccrError):
        return str(failure), failure.exit_code
    if isinstance(failure, MemoryError):
        return "out of memory; give the step more, or impute by batches (--batch-key)", NotEnoughResources.exit_code
    if isinstance(failure, OSError) and failure.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"not enough disk: {failure}", NotEnoughResources.exit_code
    kind = type(failure).__name__
    return (
        f"internal failure ({kind}: {failure}); this is a bug in sccr-node: please report it at {ISSUES} with what "
        "--debug prints",
        SccrError.exit_code,
    )


def _failed(message: str, exit_code: int, arguments: list[str]) -> int:
    # Read off the arguments themselves: they may be what is wrong.
    formats = [value for name, value in pairwise(arguments) if name == "--log-format"]
    if (
        "json" in formats
        or "--log-format=json" in arguments
        or os.environ.get(environment_name("log_format")) == "json"
    ):
        line = json.dumps({"level": "error", "message": message, "exit_code": exit_code})
    else:
        line = f"sccr: error: {' '.join(message.split())}"
    last_words(line)
    return exit_code
