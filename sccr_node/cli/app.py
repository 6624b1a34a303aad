"""The command ``sccr``: the group of all commands, and the exit codes of failures."""

from __future__ import annotations

import errno
import sys
import traceback

import click

from sccr_node import __version__
from sccr_node.cli.groups import LazyGroup
from sccr_node.cli.manner import Manner
from sccr_node.errors import OutputProblem, UsageProblem, meaning_of
from sccr_node.runtime import signals
from sccr_node.runtime.console import last_words, mute
from sccr_node.runtime.words import did_you_mean

COMMANDS = {
    "impute": ("sccr_node.cli.impute:impute", "Impute the expression of a data set."),
    "batch": ("sccr_node.cli.batch:batch", "Impute the data sets listed in a table: all, or one of a job array."),
    "tune": ("sccr_node.cli.tune:tune", "Tune scCR's parameters for a data set, and say whether imputing it helps."),
    "evaluate": (
        "sccr_node.cli.evaluate:evaluate",
        "Evaluate imputation by any tool: mask, split-molecules, score, cluster, relations.",
    ),
    "benchmark": ("sccr_node.cli.benchmark:benchmark", "Compare imputation methods on a data set."),
    "report": ("sccr_node.cli.report:report", "Write an HTML report on an imputation."),
    "export": ("sccr_node.cli.export:export", "Export the imputed genes as text: a 10x folder, or a table."),
    "split": ("sccr_node.cli.scatter:split", "Split a data set into batches, to impute each on a different machine."),
    "gather": ("sccr_node.cli.scatter:gather", "Gather imputed batches into one data set."),
    "promote": ("sccr_node.cli.promote:promote", "Move an imputed layer to X."),
    "copy": ("sccr_node.cli.copy:copy", "Copy a file or folder, from or to a remote address."),
    "simulate": ("sccr_node.cli.simulate:simulate", "Write a simulated data set with known ground truth."),
    "schema": ("sccr_node.cli.schema:schema", "Print the JSON Schema of a command or of the run record."),
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
        The arguments after the command's name.
    """
    manner, streams = Manner.of(arguments), (sys.stdout, sys.stderr)
    try:
        result = cli.main(args=arguments, prog_name="sccr", standalone_mode=False, obj=manner)
        return result if isinstance(result, int) else 0
    except click.exceptions.NoArgsIsHelpError as help_page:
        click.echo(help_page.format_message(), err=True)
        return UsageProblem.exit_code
    except click.ClickException as problem:
        context = getattr(problem, "ctx", None)
        where = context.command_path if context is not None else "sccr"
        message = f"{_told(problem).removesuffix('.')} (see {where} --help)"
        last_words(message, UsageProblem.exit_code, as_json=manner.as_json, seconds=manner.seconds)
        return UsageProblem.exit_code
    except SystemExit:
        # Click's way out if the reader of the output has seen enough: 1, which would fail a pipeline. It wraps the
        # streams then, and does not say so in any other way (its wrapper is private since Click 8.5).
        if sys.stdout is streams[0]:
            raise
        sys.stdout, sys.stderr = streams
        mute(sys.stdout)
        return 0
    except BrokenPipeError:
        # The reader of the output (head, say) has seen enough; Python must not complain about it at exit either.
        mute(sys.stdout)
        return 0
    except signals.Interrupted as interruption:
        last_words(
            f"{interruption}; {interruption.left}",
            interruption.exit_code,
            as_json=manner.as_json,
            seconds=manner.seconds,
            prefix="sccr: ",
        )
        return interruption.exit_code
    except Exception as failure:  # noqa: BLE001 - the last resort: users get one line, not a traceback
        if manner.debug:
            traceback.print_exc()
        if isinstance(failure, OSError) and failure.errno == errno.EBADF:  # see __main__.open_standard_streams
            mute(sys.stdout)
            failure = OutputProblem("cannot write standard output: it is closed")
        message, exit_code = meaning_of(failure)
        last_words(message, exit_code, as_json=manner.as_json, seconds=manner.seconds)
        return exit_code


def _told(problem: click.ClickException) -> str:
    """Return click's message; of an unknown option, our own: of those that may have been meant, only the closest."""
    if not isinstance(problem, click.NoSuchOption):
        return problem.format_message()
    names = [] if problem.ctx is None else [name for each in problem.ctx.command.params for name in each.opts]
    return f"No such option '{problem.option_name}'{did_you_mean(problem.option_name, names)}"
