"""Side files of a run (provenance, report, MultiQC folder): checked first, then written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sccr_node.anndata_io.staging import Staged, staged, writing
from sccr_node.errors import OutputProblem, UsageProblem

if TYPE_CHECKING:
    from anndata import AnnData


def check_target(path: Path, *, force: bool, others: Iterable[Path] = ()) -> None:
    """Refuse, before any work, a target that could not be written at the end.

    Parameters
    ----------
    path
        File or folder to be written.
    force
        Whether one that exists may be replaced.
    others
        Input and other outputs, which it may not be.

    Raises
    ------
    UsageProblem
        Where it is one of the others.
    OutputProblem
        Where it exists, or its folder is missing or does not permit writing.
    """
    with writing(path):  # a name too long, or a working folder that is gone
        _check_target(path, force, others)


def _check_target(path: Path, force: bool, others: Iterable[Path]) -> None:
    for other in others:
        if same_place(path, other):
            raise UsageProblem(f"{path} is named twice: as input and output, or as two outputs; name another file")
    folder = path.parent
    if not folder.is_dir():
        raise OutputProblem(f"{path} cannot be written: there is no folder {folder}; make it first")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputProblem(f"{path} cannot be written: the folder {folder} is read-only or not permitted")
    if os.path.lexists(path) and not force:
        raise OutputProblem(f"{path} exists already: give --force to replace it, or another name")
    if path.exists() and not path.is_file() and not path.is_dir():
        raise OutputProblem(f"{path} is a device or a pipe, which is not replaced by a file: name another file")


def same_place(first: Path, second: Path) -> bool:
    """Whether two paths lead to the same file or folder, through links of any kind."""
    try:
        return first.samefile(second)
    except OSError:
        return os.path.realpath(first) == os.path.realpath(second)


def check_side_file(path: Path, *, force: bool, others: Iterable[Path] = ()) -> None:
    """Refuse a side file that could not be written at the end (``check_target``), or that would replace a folder."""
    check_target(path, force=force, others=others)
    if path.is_dir():
        raise OutputProblem(f"{path} is a folder: name a file")


def check_side_folder(path: Path, *, force: bool, others: Iterable[Path] = ()) -> None:
    """Refuse a side folder that could not be written at the end (``check_target``), or that would replace a file."""
    check_target(path, force=force, others=others)
    if os.path.lexists(path) and not path.is_dir():
        raise OutputProblem(f"{path} is a file: name a folder")


@contextmanager
def staged_text(path: Path, text: str) -> Iterator[Staged]:
    """Write a text (UTF-8) beside a path, in whose place ``commit`` puts it.

    Raises
    ------
    OutputProblem, NotEnoughResources
        Where the folder does not permit it, or the disk is full.
    """
    with staged(path) as temporary:
        with writing(path):
            temporary.path.write_text(text, encoding="utf-8")
        yield temporary


def write_text_atomically(path: Path, text: str) -> None:
    """Write a text file (UTF-8) whole or not at all.

    Raises
    ------
    OutputProblem, NotEnoughResources
        Where the folder does not permit it, or the disk is full.
    """
    with staged_text(path, text) as temporary:
        temporary.commit()


def write_h5ad_atomically(path: Path, adata: AnnData) -> None:
    """Write an AnnData object as ``.h5ad``, lightly compressed, whole or not at all.

    Raises
    ------
    OutputProblem, NotEnoughResources
        Where the folder does not permit it, or the disk is full.
    """
    from sccr_node.anndata_io.storage import write_h5ad

    with staged(path) as temporary, writing(path):
        write_h5ad(temporary.path, adata)
        temporary.commit()


@contextmanager
def replace_folder_atomically(path: Path) -> Iterator[Path]:
    """Give a temporary folder to fill, which takes the path's place when the block ends without an exception.

    Raises
    ------
    OutputProblem, NotEnoughResources
        Where the folder above does not permit it, or the disk is full.
    """
    with staged(path, folder=True) as temporary, writing(path):
        yield temporary.path
        temporary.commit()
