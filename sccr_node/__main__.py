"""The entry point of the command ``sccr``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from sccr_node import signals


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Parameters
    ----------
    arguments
        What follows the command's name; those of the process where none are given. A caller who gives them goes on
        after the command, and gets its signal handlers back.
    """
    handlers = signals.current() if arguments is not None else {}
    try:
        # Before the imports, which take a while: a scheduler may end the job at any moment.
        signals.install()
        from sccr_node.cli import run

        return run(sys.argv[1:] if arguments is None else list(arguments))
    except signals.Interrupted as interruption:
        print(f"sccr: {interruption}; no file was written", file=sys.stderr)
        return interruption.exit_code
    finally:
        signals.restore(handlers)


if __name__ == "__main__":
    sys.exit(main())
