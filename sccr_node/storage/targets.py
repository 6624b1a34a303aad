"""The targets of a command: all are checked together, against everything that it reads, before any work.

``--force`` lets a file replace a file, a zarr store a zarr store with nothing else in it, and a folder of
``sccr split`` or ``sccr export`` such a folder with nothing but the files listed in its marker; nothing else is ever
replaced.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from sccr_node.errors import OutputProblem, UsageProblem, writing
from sccr_node.runtime.standins import as_shown
from sccr_node.runtime.words import quantity
from sccr_node.storage.claims import Claim, Meeting, as_path, collisions, within
from sccr_node.storage.places.address import BEGINS_LIKE_URL, is_remote

MARKER = ".sccr-split.json"
"""Lists what ``sccr split`` wrote to its folder: only those files are ever removed with the folder."""

EXPORTED = ".sccr-export.json"
"""The same of ``sccr export``."""

MARKERS = (MARKER, EXPORTED)

METADATA = {".zgroup", ".zattrs", ".zmetadata", ".zarray", "zarr.json"}
"""What zarr itself stores in the folder of a group or array."""
ZARR_NODES = {".zgroup", ".zarray", "zarr.json"}
"""Of these, what makes it one."""
_CHUNK_KEY = re.compile(r"c|(c\.)?\d+(\.\d+)*")


class Target:
    """A file to be written.

    Parameters
    ----------
    path
        The path given by the user.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def paths(self) -> Sequence[Path]:
        """The files and folders that are written, or replaced with all their contents."""
        return [self.path]

    @property
    def own_files(self) -> Sequence[Path]:
        """Those of the paths that nobody else may write, even at another time."""
        return self.paths

    def check(self, *, force: bool) -> None:
        """Refuse a target that could not be written at the end, or that would replace something it must not.

        Raises
        ------
        OutputProblem
            The target exists and ``force`` is false, it is something else than expected, or its folder does not exist
            or cannot be written to.
        """
        with writing(self.path):  # a name that is too long, or a working directory that no longer exists
            check_folder(self.path)
            if not os.path.lexists(self.path):
                return
            self.check_replaceable()  # first, as --force would not help
            if not force:
                raise OutputProblem(f"{self.path} already exists: give --force to replace it, or another name")

    def check_replaceable(self) -> None:
        """Refuse to replace something of a different kind; checked again at the commit, last of all."""
        if _is_folder(self.path):
            raise OutputProblem(f"cannot replace {self.path} by a file: it is a folder; give another name")
        _refuse_devices(self.path)


class StoreTarget(Target):
    """A zarr folder to be written; it can replace only a zarr store."""

    def check_replaceable(self) -> None:
        """Refuse to replace anything but a zarr store without foreign files."""
        if self.path.is_symlink():
            return  # the link is replaced; what it points to is not touched
        _refuse_devices(self.path)
        if not self.path.is_dir():
            raise OutputProblem(f"cannot replace {self.path} by a folder: it is a file; give another name")
        if not has_zarr_group(self.path):
            raise OutputProblem(f"cannot replace {self.path}: it is not a zarr store; give another name")
        foreign = next(foreign_in_zarr(self.path), None)
        if foreign is not None:
            raise OutputProblem(
                f"cannot replace {self.path}: it contains {foreign.relative_to(self.path)}, which is not part of a "
                "zarr store; move that elsewhere, or give another name"
            )
        _refuse_current_folder(self.path)


class PartsTarget(Target):
    """The folder of ``sccr split``; it can replace only an empty folder or one written by ``sccr split``."""

    marker = MARKER
    command = "sccr split"

    def mark(self, folder: Path, names: Sequence[str]) -> None:
        """List in a folder that will become the target what is written to it."""
        text = json.dumps({"files": list(names)}, indent=1) + "\n"
        (folder / self.marker).write_text(text, encoding="utf-8")

    def check_replaceable(self) -> None:
        """Refuse to replace anything but what the command wrote."""
        if not _is_folder(self.path):
            raise OutputProblem(f"cannot replace {self.path} by a folder: it is a file or a link; give another name")
        own = {self.marker, *self._listed()}
        foreign = sorted(name for name in os.listdir(self.path) if name not in own or _is_folder(self.path / name))
        if foreign:
            raise OutputProblem(
                f"cannot replace {self.path}: it contains {foreign[0]}"
                + (f" and {quantity(len(foreign) - 1, 'more file')}" if len(foreign) > 1 else "")
                + f" not written by {self.command}; move that elsewhere, or give another name"
            )
        _refuse_current_folder(self.path)

    def _listed(self) -> list[str]:
        marker = self.path / self.marker
        try:  # reading a pipe would block forever
            names = json.loads(marker.read_text(encoding="utf-8"))["files"] if marker.is_file() else []
        except (OSError, ValueError, KeyError, TypeError):
            return []
        return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


class ExportTarget(PartsTarget):
    """The folder of ``sccr export``; it can replace only an empty folder or one written by ``sccr export``."""

    marker = EXPORTED
    command = "sccr export"


class SharedFolder(Target):
    """A folder that others also write to: only our own files in it are written or replaced.

    Parameters
    ----------
    path
        The folder; created if it does not exist.
    names
        The files that may be written to it.
    """

    def __init__(self, path: Path, names: Iterable[str]) -> None:
        super().__init__(path)
        self._files = [Target(path / name) for name in names]

    @property
    def paths(self) -> Sequence[Path]:
        """The files, and the folder itself if it has to be created."""
        return self.own_files if self.path.is_dir() else [self.path, *self.own_files]

    @property
    def own_files(self) -> Sequence[Path]:
        """The files."""
        return [file.path for file in self._files]

    def check(self, *, force: bool) -> None:
        """Refuse the folder, or one of our files in it, as :meth:`Target.check` does."""
        if self.path.is_dir():
            for file in self._files:
                file.check(force=force)
            return
        if os.path.lexists(self.path):
            raise OutputProblem(f"{self.path} is not a folder: give a folder")
        super().check(force=force)


def check_targets(
    targets: Sequence[Target], inputs: Iterable[Path], *, force: bool, checkpoint_dir: str | None = None
) -> None:
    """Refuse, before any work, targets that could not be written, or that would overwrite an input or each other.

    Parameters
    ----------
    targets
        Everything that the command writes.
    inputs
        Everything that it reads.
    force
        Whether existing targets may be replaced.
    checkpoint_dir
        The folder for checkpoints, if there is one.

    Raises
    ------
    UsageProblem
        A target is the same as, contains or is inside an input or another target, with links resolved; or the folder
        for checkpoints is, or is inside, one of them.
    OutputProblem
        A target already exists, must not be replaced, or its folder does not exist or cannot be written to.
    """
    read = [Claim(path, "the input") for path in inputs]
    written = [Claim(path, "the output", number) for number, target in enumerate(targets) for path in target.paths]
    with writing(targets[0].path if targets else Path()):  # a working directory that no longer exists
        _keep_apart(read, written)
        if checkpoint_dir is not None:
            own = [Claim(path, "the output") for target in targets for path in target.own_files]
            _check_checkpoint_dir(checkpoint_dir, [*read, *own])
    for target in targets:
        target.check(force=force)


def _keep_apart(read: Sequence[Claim], written: Sequence[Claim]) -> None:
    for claim, meeting, other in collisions(read, written):
        if meeting is not Meeting.IS:
            found = f"{meeting.value} {other.by} {other.path}"
        else:
            found = "it is the input" if other in read else "it is given as two different outputs"
            found += f" ({other.path})" if str(other.path) != str(claim.path) else ""
        raise UsageProblem(f"cannot write {claim.path}: {found}; give another name")


def _check_checkpoint_dir(folder: str, taken: Sequence[Claim]) -> None:
    """Refuse a folder for checkpoints that is, or is inside, a file or folder that is read or written."""
    asked = as_path(folder)
    # What is remote has a stand-in by now; the folder has not.
    addressed = [replace(claim, path=as_path(as_shown(claim.path))) for claim in taken] if is_remote(folder) else taken
    for _, meeting, other in within([Claim(asked, "")], addressed):
        shown = next(claim.path for claim, each in zip(taken, addressed, strict=True) if each == other)
        raise UsageProblem(
            f"cannot keep checkpoints in {folder}: {meeting.value} {other.by} {shown}; give another folder"
        )


def check_folder(path: Path) -> None:
    """Refuse a target whose folder does not exist or cannot be written to.

    Raises
    ------
    OutputProblem
        The folder does not exist, is read-only or denies permission.
    """
    folder = path.parent
    if not folder.is_dir():
        if url := BEGINS_LIKE_URL.match(str(path)):
            raise OutputProblem(
                f"cannot write {url[1]}://{url[2]}: only s3://, gs:// and az:// (in lower case) can be written to"
            )
        raise OutputProblem(f"cannot write {path}: the folder {folder} does not exist; create it first")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputProblem(f"cannot write {path}: the folder {folder} is read-only or permission is denied")


def has_zarr_group(folder: Path) -> bool:
    """Return whether a folder is a zarr group (version 2) or node (version 3)."""
    return any((folder / name).exists() for name in (".zgroup", "zarr.json"))


def foreign_in_zarr(store: Path) -> Iterator[Path]:
    """Yield the contents of a zarr folder (version 2 or 3) that belong to none of its groups and arrays."""
    with os.scandir(store) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    is_array = (store / ".zarray").exists() or _is_v3_array(store)
    for entry in found:
        path = Path(entry.path)
        if entry.is_dir(follow_symlinks=False):
            if is_array and _CHUNK_KEY.fullmatch(entry.name):
                yield from _foreign_among_chunks(path)
            elif not is_array and any((path / name).exists() for name in ZARR_NODES):
                yield from foreign_in_zarr(path)
            else:
                yield path
        elif entry.name not in METADATA and not (is_array and _CHUNK_KEY.fullmatch(entry.name)):
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
    node = folder / "zarr.json"
    try:  # reading a pipe would block forever
        return node.is_file() and json.loads(node.read_text(encoding="utf-8")).get("node_type") == "array"
    except (OSError, ValueError, AttributeError):
        return False


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _refuse_devices(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except OSError:
        return  # a broken link
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise OutputProblem(f"cannot replace {path}: it is a device or a pipe; give another name")


def _refuse_current_folder(path: Path) -> None:
    here = Path.cwd()
    if any(within([Claim(here, "")], [Claim(path, "")])):
        raise OutputProblem(f"cannot replace {path}: it is or contains the current directory; give another name")
