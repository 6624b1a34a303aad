"""Files other than the output (record, report, tables, parts): each is written whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from sccr_node.errors import NotEnoughResources, writing
from sccr_node.runtime.resources import free_bytes
from sccr_node.runtime.scratch import check_scratch
from sccr_node.runtime.standins import is_stand_in
from sccr_node.storage.atomic import Staged, commit_all, staged
from sccr_node.storage.targets import PartsTarget

if TYPE_CHECKING:
    from anndata import AnnData


@contextmanager
def staged_text(path: Path, text: str, *, replace: bool) -> Iterator[Staged]:
    """Write a text file (UTF-8) next to its final path, to which ``commit`` renames it.

    Raises
    ------
    OutputProblem, NotEnoughResources
        The folder cannot be written to, or the disk is full.
    """
    with staged(path, replace=replace) as temporary:
        with writing(path):
            temporary.path.write_text(text, encoding="utf-8")
        yield temporary


@contextmanager
def staged_texts(texts: Mapping[Path, str], *, replace: bool) -> Iterator[list[Staged]]:
    """Write several text files next to their final paths and flush them.

    Missing folders are created, and removed again if nothing is committed to them.

    Raises
    ------
    OutputProblem, NotEnoughResources
        A folder cannot be written to, or the disk is full.
    """
    made = []
    with ExitStack() as opened:
        for folder in dict.fromkeys(path.parent for path in texts):
            if not folder.is_dir():
                with writing(folder), suppress(FileExistsError):  # another job of an array was faster
                    folder.mkdir()
                    made.append(folder)
        opened.callback(_remove_empty, made)
        staged_files = [opened.enter_context(staged_text(path, text, replace=replace)) for path, text in texts.items()]
        for file in staged_files:
            file.flush()
        yield staged_files


def _remove_empty(folders: Sequence[Path]) -> None:
    for folder in folders:
        with suppress(OSError):  # not empty
            folder.rmdir()


def check_room(output: Path, needed: int) -> None:
    """Raise NotEnoughResources if the disk that an output is written to has fewer bytes left than are needed."""
    if is_stand_in(output):  # for an address, and in scratch
        check_scratch(needed)
        return
    free = free_bytes(output.parent)
    if free is not None and free < needed:
        raise NotEnoughResources(
            f"cannot write {output}: not enough disk space (about {needed / 2**20:.0f} MiB needed, "
            f"{free / 2**20:.0f} MiB free); free some, or write elsewhere"
        )


def write_text_atomically(path: Path, text: str, *, replace: bool) -> None:
    """Write a text file (UTF-8), whole or not at all.

    Raises
    ------
    OutputProblem, NotEnoughResources
        The folder cannot be written to, or the disk is full.
    """
    with staged_text(path, text, replace=replace) as temporary:
        temporary.commit()


def is_named_h5ad(path: Path) -> bool:
    """Return whether a path has the extension of what :func:`write_h5ad_atomically` writes."""
    from sccr_node.storage.hdf5 import FORMAT

    return path.suffix == FORMAT.suffix


def write_h5ad_atomically(path: Path, adata: AnnData, *, replace: bool) -> None:
    """Write an AnnData object as ``.h5ad``, lightly compressed, whole or not at all.

    Raises
    ------
    OutputProblem, NotEnoughResources
        The folder cannot be written to, or the disk is full.
    """
    from sccr_node.storage.hdf5 import write_h5ad

    with staged(path, replace=replace) as temporary:
        with writing(path):
            write_h5ad(temporary.path, adata)
        commit_all([temporary])


@contextmanager
def written_folder(target: PartsTarget, *, replace: bool) -> Iterator[Path]:
    """Yield a temporary folder to fill, which becomes the target if the block ends without an exception.

    Raises
    ------
    OutputProblem, NotEnoughResources
        The parent folder cannot be written to, the disk is full, or what exists there may not be replaced.
    """
    with (
        staged(target.path, replace=replace, folder=True, check=target.check_replaceable) as temporary,
        writing(target.path),
    ):
        yield temporary.path
        commit_all([temporary])
