"""Lets numba find the functions that the container image compiled when it was built, so that no user waits for them."""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

COMPILED = Path("share", "sccr-node", "numba")
"""Where the image keeps them, below the environment's prefix; nothing is there in an ordinary installation."""


def use_compiled_functions() -> None:
    """Give numba a writable copy of the image's compiled functions; call it before anything imports numba.

    numba takes no cache that it cannot write to, and an image is read-only to most who run it. The copy goes to
    ``NUMBA_CACHE_DIR`` where that is set and not there yet, else to a temporary folder that goes with the process.
    """
    compiled = Path(sys.prefix) / COMPILED
    given = os.environ.get("NUMBA_CACHE_DIR")
    if "numba" in sys.modules or not compiled.is_dir() or (given and Path(given).exists()):
        return
    with suppress(OSError):  # a cache is worth nobody's run
        parent = Path(given).parent if given else Path(tempfile.gettempdir())
        parent.mkdir(parents=True, exist_ok=True)
        copy = tempfile.mkdtemp(prefix="sccr-numba-", dir=parent)
        shutil.copytree(compiled, copy, dirs_exist_ok=True, copy_function=shutil.copyfile)
        if given:
            os.rename(copy, given)  # whole, or another process was first
        else:
            os.environ["NUMBA_CACHE_DIR"] = copy
            atexit.register(shutil.rmtree, copy, ignore_errors=True)
