"""Keep what numba compiles for scanpy's neighbour graphs, and find what the image has compiled: nobody waits twice."""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

COMPILED = Path("share", "sccr-node", "numba")
"""Where the image keeps its compiled functions, under the environment's prefix; an ordinary installation has none."""

UNCACHED = {"umap.umap_": ("smooth_knn_dist", "compute_membership_strengths")}
"""Functions that umap-learn would compile again in every process, which takes several seconds."""


def use_compiled_functions() -> None:
    """Have scanpy's neighbour graphs (umap-learn's) use functions compiled earlier; call this before importing it."""
    prepare_numba()
    if find_spec("umap") is None:
        return
    for module, names in UNCACHED.items():
        for name in names:
            function = getattr(import_module(module), name, None)
            # RuntimeError: numba has no place to write to
            with suppress(AttributeError, OSError, RuntimeError):
                function.enable_caching()  # type: ignore[union-attr]


def prepare_numba() -> None:
    """Let numba find what is compiled, and a place to write to; call this before importing what imports it."""
    _copy_compiled_functions()
    spec = find_spec("numba") if "numba" not in sys.modules else None
    if spec is not None:
        _find_a_place_to_write(Path(spec.origin or ".").parent)


def _find_a_place_to_write(package: Path) -> None:
    """Give numba a temporary folder if it can write neither to the package nor to the user's cache: it would fail."""
    if os.environ.get("NUMBA_CACHE_DIR"):
        return
    user = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser())
    if os.access(package, os.W_OK) or os.access(next(p for p in (user, *user.parents) if p.exists()), os.W_OK):
        return
    with suppress(OSError):
        folder = tempfile.mkdtemp(prefix="sccr-numba-")
        os.environ["NUMBA_CACHE_DIR"] = folder
        atexit.register(shutil.rmtree, folder, ignore_errors=True)


def _copy_compiled_functions() -> None:
    """Give numba a writable copy of the image's functions, the only kind that it accepts.

    The copy goes to ``NUMBA_CACHE_DIR`` if that is set and does not exist yet, otherwise to a temporary folder that is
    removed with the process.
    """
    compiled = Path(sys.prefix) / COMPILED
    given = os.environ.get("NUMBA_CACHE_DIR")
    if "numba" in sys.modules or not compiled.is_dir() or (given and Path(given).exists()):
        return
    with suppress(OSError):  # a run must not fail because of its cache
        parent = Path(given).parent if given else Path(tempfile.gettempdir())
        parent.mkdir(parents=True, exist_ok=True)
        copy = tempfile.mkdtemp(prefix="sccr-numba-", dir=parent)
        shutil.copytree(compiled, copy, dirs_exist_ok=True, copy_function=shutil.copyfile)
        if given:
            os.rename(copy, given)  # as a whole; fails if another process was first
        else:
            os.environ["NUMBA_CACHE_DIR"] = copy
            atexit.register(shutil.rmtree, copy, ignore_errors=True)
