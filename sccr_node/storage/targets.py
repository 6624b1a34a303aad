"""What a command is about to write: all of it is checked together, against all that it reads, before any work.

``--force`` lets a file take the place of a file, a zarr store that of a zarr store with nothing else in it, and the
folder of ``sccr split`` that of such a folder with nothing but what its marker lists; nothing else is ever replaced.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from sccr_node.errors import OutputProblem, UsageProblem
from sccr_node.storage.atomic import writing

MARKER = ".sccr-split.json"
"""Lists, in the folder that ``sccr split`` made, what it wrote there: nothing but that is ever removed with it."""

_ZARR_METADATA = {".zgroup", ".zattrs", ".zmetadata", ".zarray", "zarr.json"}
_ZARR_NODES = {".zgroup", ".zarray", "zarr.json"}
_CHUNK_KEY = re.compile(r"c|(c\.)?\d+(\.\d+)*")


class Target:
    """A file to be written.

    Parameters
    ----------
    path
        Where; what the user gave.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def paths(self) -> Sequence[Path]:
        """The files and folders that are written, or replaced with all that is in them."""
        return [self.path]

    def check(self, *, force: bool) -> None:
        """Refuse a target that could not be written at the end, or that would replace what it may not.

        Raises
        ------
        OutputProblem
            It exists and ``force`` is false, or it is of another kind, or its folder is missing or not permitted.
        """
        with writing(self.path):  # a name too long, or a working folder that is gone
            check_folder(self.path)
            if not os.path.lexists(self.path):
                return
            if not force:
                raise OutputProblem(f"{self.path} exists already: give --force to replace it, or another name")
            self.check_replaceable()

    def check_replaceable(self) -> None:
        """Refuse to replace what is there if it is not what this target is: also checked last of all, at the commit."""
        if self.path.is_dir() and not self.path.is_symlink():
            raise OutputProblem(f"{self.path} is a folder: it is not replaced by a file; name another file")
        _refuse_devices(self.path)


class StoreTarget(Target):
    """A zarr folder to be written; takes the place of a zarr store only."""

    def check_replaceable(self) -> None:
        """Refuse to replace anything but a zarr store without foreign files."""
        if self.path.is_symlink():
            return  # the link is replaced; what it leads to stays
        _refuse_devices(self.path)
        if not self.path.is_dir():
            raise OutputProblem(f"{self.path} is a file: it is not replaced by a folder; name another output")
        if not any((self.path / name).exists() for name in (".zgroup", "zarr.json")):
            raise OutputProblem(f"{self.path} exists and is not a zarr store: it is not replaced; name another output")
        foreign = next(foreign_in_zarr(self.path), None)
        if foreign is not None:
            raise OutputProblem(
                f"{self.path} is not replaced: it contains {foreign.relative_to(self.path)}, which is not part of a "
                "zarr store; move that elsewhere, or name another output"
            )
        _refuse_current_folder(self.path)


class PartsTarget(Target):
    """The folder of ``sccr split``; takes the place of an empty folder or of one that ``sccr split`` made."""

    def check_replaceable(self) -> None:
        """Refuse to replace anything but what ``sccr split`` wrote."""
        if self.path.is_symlink() or not self.path.is_dir():
            raise OutputProblem(f"{self.path} is a file or a link: it is not replaced by a folder; name another folder")
        own = {MARKER, *self._listed()}
        foreign = sorted(name for name in os.listdir(self.path) if name not in own or _is_folder(self.path / name))
        if foreign:
            raise OutputProblem(
                f"{self.path} is not replaced: it contains {foreign[0]}"
                + (f" and {len(foreign) - 1} more" if len(foreign) > 1 else "")
                + " that sccr split did not write there; move that elsewhere, or name another folder"
            )
        _refuse_current_folder(self.path)

    def _listed(self) -> list[str]:
        try:
            names = json.loads((self.path / MARKER).read_text(encoding="utf-8"))["files"]
        except (OSError, ValueError, KeyError, TypeError):
            return []
        return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


class SharedFolder(Target):
    """A folder that others write to as well: only our own files in it are written or replaced.

    Parameters
    ----------
    path
        The folder; made if there is none.
    names
        The files that may be written in it.
    """

    def __init__(self, path: Path, names: Iterable[str]) -> None:
        super().__init__(path)
        self._files = [Target(path / name) for name in names]

    @property
    def paths(self) -> Sequence[Path]:
        """The files, and the folder itself if it has to be made."""
        files = [file.path for file in self._files]
        return files if self.path.is_dir() else [self.path, *files]

    def check(self, *, force: bool) -> None:
        """Refuse the folder, or one of our files in it, as :meth:`Target.check` does."""
        if self.path.is_dir():
            for file in self._files:
                file.check(force=force)
            return
        if os.path.lexists(self.path):
            raise OutputProblem(f"{self.path} is not a folder: name a folder")
        super().check(force=force)


def check_targets(targets: Sequence[Target], inputs: Iterable[Path], *, force: bool) -> None:
    """Refuse, before any work, targets that could not be written, or that would cost what is read or written beside.

    Parameters
    ----------
    targets
        All that the command writes.
    inputs
        All that it reads.
    force
        Whether targets that exist may be replaced.

    Raises
    ------
    UsageProblem
        A target is, contains or lies in an input or another target, links resolved.
    OutputProblem
        A target exists already, is something that is not replaced, or its folder is missing or not permitted.
    """
    inputs = list(inputs)
    for number, target in enumerate(targets):
        others = [taken for other in targets[:number] for taken in other.paths]
        with writing(target.path):  # a working folder that is gone
            for path in target.paths:
                for source in inputs:
                    _keep_apart(path, source, "the input")
                for taken in others:
                    _keep_apart(path, taken, "the output")
    for target in targets:
        target.check(force=force)


def _keep_apart(path: Path, other: Path, what: str) -> None:
    if same_place(path, other):
        again = "it is the input" if what == "the input" else "it is named twice, as two outputs"
        raise UsageProblem(f"cannot write {path}: {again} ({other}); name another file")
    if contains(other, path):
        raise UsageProblem(f"cannot write {path}: it lies in {what} {other}, which is not to be changed; name another")
    if contains(path, other):
        raise UsageProblem(f"cannot write {path}: it contains {what} {other}; name another")


def same_place(first: Path, second: Path) -> bool:
    """Return whether two paths lead to the same file or folder, through links of any kind."""
    try:
        return first.samefile(second)
    except (OSError, ValueError):
        return os.path.realpath(first) == os.path.realpath(second)


def contains(outer: Path, inner: Path) -> bool:
    """Return whether a folder contains a path at any depth, links resolved; the path need not exist."""
    real = Path(os.path.realpath(inner))
    # The entry itself counts beside what it leads to: replacing a folder also removes the links in it.
    entry = Path(os.path.realpath(inner.parent)) / inner.name
    return any(same_place(outer, folder) for path in {real, entry} for folder in path.parents)


def check_folder(path: Path) -> None:
    """Refuse a target whose folder is missing or does not permit writing.

    Raises
    ------
    OutputProblem
        There is no such folder, or it is read-only or not permitted.
    """
    folder = path.parent
    if not folder.is_dir():
        raise OutputProblem(f"{path} cannot be written: there is no folder {folder}; make it first")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputProblem(f"{path} cannot be written: the folder {folder} is read-only or not permitted")


def foreign_in_zarr(store: Path) -> Iterator[Path]:
    """Yield what is in a zarr folder (version 2 or 3) and belongs to no group or array of it."""
    with os.scandir(store) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    is_array = (store / ".zarray").exists() or _is_v3_array(store)
    for entry in found:
        path = Path(entry.path)
        if entry.is_dir(follow_symlinks=False):
            if is_array and _CHUNK_KEY.fullmatch(entry.name):
                yield from _foreign_among_chunks(path)
            elif not is_array and any((path / name).exists() for name in _ZARR_NODES):
                yield from foreign_in_zarr(path)
            else:
                yield path
        elif entry.name not in _ZARR_METADATA and not (is_array and _CHUNK_KEY.fullmatch(entry.name)):
            yield path


def _foreign_among_chunks(folder: Path) -> Iterator[Path]:
    with os.scandir(folder) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        if not _CHUNK_KEY.fullmatch(entry.name):
            yield Path(entry.path)
        elif entry.is_dir(follow_symlinks=False):
            yield from _foreign_among_chunks(Path(entry.path))


def _is_v3_array(folder: Path) -> bool:
    try:
        return bool(json.loads((folder / "zarr.json").read_text(encoding="utf-8")).get("node_type") == "array")
    except (OSError, ValueError, AttributeError):
        return False


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _refuse_devices(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except OSError:
        return  # a link that leads nowhere
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise OutputProblem(f"{path} is a device or a pipe, which is not replaced by a file: name another file")


def _refuse_current_folder(path: Path) -> None:
    here = Path.cwd()
    if same_place(path, here) or contains(path, here):
        raise OutputProblem(f"{path} is not replaced: it is or contains the current folder; name another output")
