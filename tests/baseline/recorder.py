"""Runs commands in this process and describes what they print and write."""

import contextlib
import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import masks
import numpy as np

from sccr_node.__main__ import main

TEXT_LIMIT = 60_000


class Recorder:
    """Keeps, by the name of each run, its exit code, what it printed, and every file that it left.

    Every run has a folder of its own below ``runs``, for which ``@`` stands in its arguments. All paths are relative
    to the working folder, so that no record holds a temporary path.
    """

    def __init__(self) -> None:
        self.runs: dict[str, Any] = {}

    def run(self, name: str, *arguments: str, before: Callable[[Path], None] | None = None, **environment: str) -> None:
        """Run the command line in this process.

        Parameters
        ----------
        name
            The run's, unique.
        arguments
            What follows the command's name; ``@`` at the beginning of a path is the run's folder.
        before
            Called with the run's folder before the command: lays out what the run shall find there.
        **environment
            Variables for this run only.
        """
        folder, command = self._begin(name, arguments, before)
        old = sys.argv, dict(os.environ)
        # A run record holds the command line of the process.
        sys.argv = ["sccr", *command]
        os.environ.update(environment)
        out, err = io.StringIO(), io.StringIO()
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), warnings.catch_warnings():
                show_warnings()
                code: Any = main(command)
        except SystemExit as end:
            code = f"SystemExit({end.code!r})"
        finally:
            sys.argv = old[0]
            for variable in environment:
                del os.environ[variable]
            os.environ.update(old[1])
        self._end(name, folder, command, code, out.getvalue(), err.getvalue(), environment)

    def without_order(self, name: str) -> None:
        """Forget the whole hashes of a run's HDF5 files, whose parts lie in another order each time."""
        for file, entry in self.runs[name]["files"].items():
            if file.endswith(".h5ad"):
                del entry["sha256"]

    def process(self, name: str, *arguments: str, **environment: str) -> None:
        """Run ``python ARGUMENTS`` as a process of its own."""
        folder, command = self._begin(name, arguments, None)
        done = subprocess.run(
            [sys.executable, *command], capture_output=True, text=True, env=os.environ | environment, check=False
        )
        self._end(name, folder, command, done.returncode, done.stdout, done.stderr, environment)

    def _begin(
        self, name: str, arguments: tuple[str, ...], before: Callable[[Path], None] | None
    ) -> tuple[Path, list[str]]:
        assert name not in self.runs, name
        folder = folder_of(name)
        folder.mkdir(parents=True)
        if before is not None:
            before(folder)
        return folder, [re.sub("^@", str(folder), argument) for argument in arguments]

    def _end(
        self, name: str, folder: Path, command: list[str], code: Any, out: str, err: str, environment: dict[str, str]
    ) -> None:
        keep_limit = "--max-memory" in command
        self.runs[name] = {
            "command": " ".join(command),
            "exit": code,
            "stdout": shown(masks.table(masks.log(out, keep_limit=keep_limit))),
            "stderr": shown(masks.log(err, keep_limit=keep_limit)),
            "files": files_in(folder),
        }
        if environment:
            self.runs[name]["environment"] = environment


def show_warnings() -> None:
    """Print the warnings that a user sees: in each run, not in the first only, and without where they come from."""
    warnings.simplefilter("always")
    for hidden in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
        warnings.simplefilter("ignore", hidden)

    def show(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        print(f"{category.__name__}: {message}", file=sys.stderr)

    warnings.showwarning = show


def folder_of(name: str) -> Path:
    """Return the folder of a run."""
    return Path("runs", re.sub(r"[^\w.-]+", "-", name))


def result(name: str, file: str = "out.h5ad") -> str:
    """Return the path of a file that a run wrote."""
    return str(folder_of(name) / file)


def copied(*paths: str) -> Callable[[Path], None]:
    """Return what lays copies of files out in a run's folder."""

    def copy(folder: Path) -> None:
        for path in paths:
            shutil.copyfile(path, folder / Path(path).name)

    return copy


def shown(text: str) -> list[str]:
    """Return a text as lines, which a JSON document shows one below the other."""
    return text.split("\n")


def files_in(folder: Path) -> dict[str, Any]:
    """Describe every file and zarr store below a folder, hidden ones too: a run may leave none of its own behind."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_dir() and (path.suffix != ".zarr" or path.name.startswith(".")):
            if not any(path.iterdir()):
                found[f"{path.relative_to(folder)}/"] = "empty folder"
        elif not any(parent.suffix == ".zarr" for parent in path.relative_to(folder).parents):
            found[str(path.relative_to(folder))] = described(path)
    return found


def described(path: Path) -> dict[str, Any]:
    """Describe a file by its mode and its hash, and by its text, masked, where it is one."""
    entry: dict[str, Any] = {"mode": oct(path.stat().st_mode & 0o777)}
    if path.is_symlink():
        entry["link"] = str(path.readlink())
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
        parts = {str(file.relative_to(path)): digest(masks.packed(file.read_bytes())) for file in files}
        return entry | {"sha256": digest(repr(sorted(parts.items())).encode()), "parts": parts}
    content = path.read_bytes()
    if path.suffix == ".json":
        indent, text = masks.json_text(content.decode())
        return entry | {"indent": indent, "text": shown(text)}
    if path.suffix == ".html":
        return entry | page(content.decode())
    if path.suffix == ".tsv":
        return entry | {"text": shown(masks.table(content.decode()))}
    if path.suffix in (".txt", ".yaml") and len(content) < TEXT_LIMIT:
        return entry | {"text": shown(content.decode())}
    entry["sha256"] = digest(content)
    if path.suffix == ".h5ad" and h5py.is_hdf5(path):
        # The hash says that something changed, the parts say where.
        with contextlib.suppress(OSError, RuntimeError), h5py.File(path, "r", locking=False) as file:
            entry["parts"] = hdf5_parts(file)
    return entry


def page(text: str) -> dict[str, Any]:
    """Describe a report by the hash of its masked text, and by those of its sections."""
    masked = masks.page(text)
    sections = dict(re.findall(r'(?s)<section id="(\w+)"(.*?)</section>', masked))
    return {
        "sha256": digest(masked.encode()),
        "parts": {name: digest(section.encode()) for name, section in sections.items()},
    }


def hdf5_parts(file: h5py.File) -> dict[str, str]:
    """Return a hash for every group and dataset: storage, values and attributes."""
    parts = {"": digest(attributes(file).encode())}

    def visit(name: str, element: h5py.Group | h5py.Dataset) -> None:
        text = attributes(element)
        values = b""
        if isinstance(element, h5py.Dataset):
            text += repr((element.dtype, element.shape, element.chunks, element.compression, element.compression_opts))
            content = element[()] if element.shape is not None else None
            values = bytes_of(np.asarray(content))
        parts[name] = digest(text.encode() + values)

    file.visititems(visit)
    return parts


def attributes(element: Any) -> str:
    """Return the attributes of an HDF5 element as a text; of references only that they are there."""
    plain = {
        name: "a reference" if isinstance(value, h5py.Reference) else np.asarray(value).tolist()
        for name, value in element.attrs.items()
    }
    return repr(sorted(plain.items()))


def bytes_of(values: np.ndarray) -> bytes:
    """Return the content of an array, which may hold Python objects."""
    return repr(values.tolist()).encode() if values.dtype.hasobject else np.ascontiguousarray(values).tobytes()


def digest(content: bytes) -> str:
    """Return a SHA-256."""
    return hashlib.sha256(content).hexdigest()
