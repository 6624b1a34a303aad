"""Files beside a run's output (record, report, tables, parts): each is written whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sccr_node.anndata_io.staging import Staged, staged, writing
from sccr_node.anndata_io.targets import PartsTarget

if TYPE_CHECKING:
    from anndata import AnnData


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
def replace_folder_atomically(target: PartsTarget) -> Iterator[Path]:
    """Give a temporary folder to fill, which takes the target's place when the block ends without an exception.

    Raises
    ------
    OutputProblem, NotEnoughResources
        Where the folder above does not permit it, the disk is full, or what stands there may not be replaced.
    """
    with staged(target.path, folder=True, check=target.check_replaceable) as temporary, writing(target.path):
        yield temporary.path
        temporary.commit()
