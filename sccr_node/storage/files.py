"""Files beside a run's output (record, report, tables, parts): each is written whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from sccr_node.storage.atomic import Staged, staged, writing
from sccr_node.storage.targets import PartsTarget

if TYPE_CHECKING:
    from anndata import AnnData


@contextmanager
def staged_text(path: Path, text: str, *, replace: bool) -> Iterator[Staged]:
    """Write a text (UTF-8) beside a path, in whose place ``commit`` puts it.

    Raises
    ------
    OutputProblem, NotEnoughResources
        Where the folder does not permit it, or the disk is full.
    """
    with staged(path, replace=replace) as temporary:
        with writing(path):
            temporary.path.write_text(text, encoding="utf-8")
        yield temporary


@contextmanager
def staged_texts(texts: Mapping[Path, str], *, replace: bool) -> Iterator[list[Staged]]:
    """Write several texts beside their places, flushed; folders that are missing are made, and go if nothing is kept.

    Raises
    ------
    OutputProblem, NotEnoughResources
        Where a folder does not permit it, or the disk is full.
    """
    made = []
    with ExitStack() as opened:
        for folder in dict.fromkeys(path.parent for path in texts):
            if not folder.is_dir():
                with writing(folder):
                    folder.mkdir()
                made.append(folder)
        opened.callback(_remove_empty, made)
        staged_files = [opened.enter_context(staged_text(path, text, replace=replace)) for path, text in texts.items()]
        for file in staged_files:
            file.flush()
        yield staged_files


def _remove_empty(folders: Sequence[Path]) -> None:
    for folder in folders:
        with suppress(OSError):  # something is in it
            folder.rmdir()


def write_text_atomically(path: Path, text: str, *, replace: bool) -> None:
    """Write a text file (UTF-8) whole or not at all.

    Raises
    ------
    OutputProblem, NotEnoughResources
        Where the folder does not permit it, or the disk is full.
    """
    with staged_text(path, text, replace=replace) as temporary:
        temporary.commit()


def write_h5ad_atomically(path: Path, adata: AnnData, *, replace: bool) -> None:
    """Write an AnnData object as ``.h5ad``, lightly compressed, whole or not at all.

    Raises
    ------
    OutputProblem, NotEnoughResources
        Where the folder does not permit it, or the disk is full.
    """
    from sccr_node.storage.hdf5 import write_h5ad

    with staged(path, replace=replace) as temporary, writing(path):
        write_h5ad(temporary.path, adata)
        temporary.commit()


@contextmanager
def written_folder(target: PartsTarget, *, replace: bool) -> Iterator[Path]:
    """Give a temporary folder to fill, which takes the target's place when the block ends without an exception.

    Raises
    ------
    OutputProblem, NotEnoughResources
        Where the folder above does not permit it, the disk is full, or what stands there may not be replaced.
    """
    with (
        staged(target.path, replace=replace, folder=True, check=target.check_replaceable) as temporary,
        writing(target.path),
    ):
        yield temporary.path
        temporary.commit()
