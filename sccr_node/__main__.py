"""The entry point of the command ``sccr``."""

from __future__ import annotations

import logging
import os
import sys
import time
import warnings
from collections.abc import Callable, Sequence

from sccr_node.errors import NotEnoughResources
from sccr_node.runtime import signals


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Parameters
    ----------
    arguments
        Arguments after the command's name (default: those of the process). A caller who passes them carries on
        after the command, so its signal handlers are restored.
    """
    begin = time.monotonic()
    words = sys.argv[1:] if arguments is None else list(arguments)
    if arguments is None and "--debug" not in words:
        silence_libraries()

    def farewell(interruption: signals.Interrupted) -> None:
        from sccr_node.runtime.console import last_words

        message = f"{interruption}; {interruption.left}"
        as_json = "--log-format=json" in words or "json" in words
        seconds = time.monotonic() - begin
        last_words(message, interruption.exit_code, as_json=as_json, seconds=seconds, prefix="sccr: ")

    try:
        return watched_run(words, farewell, to_the_end=arguments is None)
    except NotEnoughResources as failure:
        from sccr_node.runtime.console import last_words

        last_words(str(failure), failure.exit_code, as_json=False, seconds=time.monotonic() - begin)
        return failure.exit_code


def watched_run(words: list[str], farewell: Callable[[signals.Interrupted], None], *, to_the_end: bool) -> int:
    """Run the command line while signals are watched for."""
    # Before the imports, which take a while: a scheduler may end the job at any moment.
    with signals.watched(farewell, to_the_end=to_the_end):
        try:
            open_standard_streams()
            from sccr_node.cli.app import run

            signals.check()
            return run(words)
        except signals.Interrupted as interruption:
            farewell(interruption)
            return interruption.exit_code


def silence_libraries() -> None:
    """Keep what libraries print of their own troubles off the user's terminal: our lines say what matters."""
    warnings.simplefilter("ignore")
    # zarr's tasks that nobody waits for any more, once one of them has failed; objects that cannot be taken apart.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL + 1)
    sys.unraisablehook = lambda _: None


def open_standard_streams() -> None:
    """Point closed standard streams at the null device, or the next file opened (an output, say) takes their place."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            # open() returns the lowest free descriptor: in this order, that is the stream's own.
            # Standard output must still fail if a result is written to it, which would be lost.
            descriptor = os.open(os.devnull, os.O_WRONLY if name == "stderr" else os.O_RDONLY)
            if descriptor != number:
                os.dup2(descriptor, number)
                os.close(descriptor)
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))


if __name__ == "__main__":
    sys.exit(main())
