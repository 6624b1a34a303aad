"""The command ``sccr``: the group of all commands, and what becomes of a failure."""

from __future__ import annotations

import sys
import traceback

import click

from sccr_node import __version__
from sccr_node.cli.groups import LazyGroup
from sccr_node.cli.manner import Manner
from sccr_node.errors import NotEnoughResources, SccrError, UsageProblem, problem_of_writing
from sccr_node.runtime import signals
from sccr_node.runtime.console import last_words, mute

ISSUES = "https://github.com/sccr-node/sccr-node/issues"

COMMANDS = {
    "impute": ("sccr_node.cli.impute:impute", "Impute the expression of a data set."),
    "evaluate": (
        "sccr_node.cli.evaluate:evaluate",
        "Evaluate imputation by any tool: mask, score, cluster, relations.",
    ),
    "benchmark": ("sccr_node.cli.benchmark:benchmark", "Compare the methods on a data set."),
    "report": ("sccr_node.cli.report:report", "Write the page that shows what an imputation did."),
    "split": ("sccr_node.cli.scatter:split", "Split a data set into its batches, to impute each elsewhere."),
    "gather": ("sccr_node.cli.scatter:gather", "Gather imputed batches into one data set."),
    "simulate": ("sccr_node.cli.simulate:simulate", "Write a simulated data set whose truth is known."),
    "schema": ("sccr_node.cli.schema:schema", "Print a JSON Schema of the contract."),
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


def run(arguments: list[str]) -> int:
    """Run the command line and return the exit code; a failure is one line on standard error.

    Parameters
    ----------
    arguments
        What follows the command's name.
    """
    manner = Manner.of(arguments)
    try:
        result = cli.main(args=arguments, prog_name="sccr", standalone_mode=False, obj=manner)
        return result if isinstance(result, int) else 0
    except click.exceptions.NoArgsIsHelpError as help_page:
        click.echo(help_page.format_message(), err=True)
        return UsageProblem.exit_code
    except click.ClickException as problem:
        context = getattr(problem, "ctx", None)
        where = context.command_path if context is not None else "sccr"
        message = f"{problem.format_message()} (see {where} --help)"
        last_words(message, UsageProblem.exit_code, as_json=manner.as_json)
        return UsageProblem.exit_code
    except BrokenPipeError:
        # Whoever read the output (head, say) has seen enough; Python must not complain of it at exit either.
        mute(sys.stdout)
        return 0
    except signals.Interrupted as interruption:
        last_words(
            f"{interruption}; {interruption.left}", interruption.exit_code, as_json=manner.as_json, prefix="sccr: "
        )
        return interruption.exit_code
    except Exception as failure:  # noqa: BLE001 - the last resort: a user gets a line, not a traceback
        if manner.debug:
            traceback.print_exc()
        message, exit_code = _explained(failure)
        last_words(message, exit_code, as_json=manner.as_json)
        return exit_code


def _explained(failure: Exception) -> tuple[str, int]:
    """Return what a failure means to the user, and its exit code."""
    if isinstance(failure, SccrError):
        return str(failure), failure.exit_code
    if isinstance(failure, MemoryError):
        return "out of memory; give the step more, or impute by batches (--batch-key)", NotEnoughResources.exit_code
    problem = problem_of_writing(failure, "a file") if isinstance(failure, OSError) else None
    if isinstance(problem, NotEnoughResources):
        return f"{problem} ({failure})", problem.exit_code
    kind = type(failure).__name__
    return (
        f"internal failure ({kind}: {failure}); this is a bug in sccr-node: please report it at {ISSUES} with what "
        "--debug prints",
        SccrError.exit_code,
    )
