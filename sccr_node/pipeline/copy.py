"""Copy a file or folder as it is; whether one of the two places is remote is dealt with before (``remote.py``)."""

from __future__ import annotations

from pathlib import Path

from sccr_node.contract.copy import CopyParameters
from sccr_node.errors import InputMissing, InputProblem, reason_of, writing
from sccr_node.runtime.console import Console
from sccr_node.storage.atomic import commit_all, staged
from sccr_node.storage.copying import copy_file, copy_tree, size_on_disk, tree
from sccr_node.storage.files import check_room
from sccr_node.storage.targets import StoreTarget, Target, check_targets


def copy_whole(source: Path, output: Path, asked: CopyParameters, *, console: Console) -> None:
    """Copy a file or folder, whole or not at all.

    Parameters
    ----------
    source
        Any file or folder.
    output
        The copy.
    asked
        Whether an existing output is replaced.
    console
        Shows what was written.

    Raises
    ------
    SccrError
        Any failure that the user can act on; nothing is written in that case.
    """
    check_readable(source)
    is_folder = source.is_dir()
    target = StoreTarget(output) if is_folder else Target(output)
    check_targets([target], [source, *asked.files_read()], force=asked.force)
    size = size_on_disk(source)
    check_room(output, size)
    with (
        staged(output, replace=asked.force, folder=is_folder, check=target.check_replaceable) as copy,
        writing(output),
    ):
        (copy_tree if is_folder else copy_file)(source, copy.path)
        commit_all([copy])
    console.say(f"wrote {output}: {size:,} bytes", output=str(output), bytes=size)


def check_readable(source: Path) -> None:
    """Refuse a source that is missing, or of which a part cannot be read.

    Raises
    ------
    InputMissing, InputProblem
        It does not exist or denies permission; it is, or contains, something that is neither a file nor a folder.
    """
    try:
        if source.is_dir():
            files = [Path(folder, name) for folder, _, names in tree(source) for name in names]
        elif source.is_file() or not source.exists():
            files = [source]
        else:  # opening a pipe could block forever
            raise InputProblem(f"cannot read {source}: it is neither a file nor a folder")
        for file in files:
            file.open("rb").close()
    except OSError as failure:
        named = failure.filename or source
        raise InputMissing(f"cannot read {named}: {reason_of(failure)}") from failure
