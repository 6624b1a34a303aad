"""Matrices as text, written cell by cell: a folder as 10x writes it, or one table.

Files that are packed are the same in every run: gzip would note the time.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

MTX, FEATURES, BARCODES = "matrix.mtx.gz", "features.tsv.gz", "barcodes.tsv.gz"

GZIPPED = ".gz"

_LEVEL = 4
"""Of gzip: beyond, digits of imputed values take much more time and hardly less space."""

_DENSE_VALUES = 1 << 18
"""Values of a table that are made text at a time."""

BREAKING = frozenset('\t\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"')
"""Characters that end a field or a line, or quote it, for some readers of tables."""


def write_mtx(
    folder: Path,
    cells: Sequence[str],
    features: Iterable[Sequence[str]],
    blocks: Iterable[tuple[int, Any]],
    counted: tuple[int, int],
    remark: str,
) -> None:
    """Write a folder as 10x does, genes x cells, by columns.

    Parameters
    ----------
    folder
        An empty folder.
    cells
        Their names.
    features
        The fields of each gene: id, name, type.
    blocks
        The first cell and the CSR matrix of each block of cells, in order.
    counted
        The number of genes and of entries in all blocks.
    remark
        A line for the head of the matrix.
    """
    n_genes, n_entries = counted
    with _opened(folder / BARCODES) as file:
        file.writelines(f"{cell}\n".encode() for cell in cells)
    with _opened(folder / FEATURES) as file:
        file.writelines(("\t".join(fields) + "\n").encode() for fields in features)
    with _opened(folder / MTX) as file:
        head = f"%%MatrixMarket matrix coordinate real general\n%{remark}\n{n_genes} {len(cells)} {n_entries}\n"
        file.write(head.encode())
        for first, block in blocks:
            number = _number(block.dtype)
            for row in range(block.shape[0]):
                own = slice(block.indptr[row], block.indptr[row + 1])
                entries: list[Any] = [None] * (2 * (own.stop - own.start))
                entries[::2] = (block.indices[own] + 1).tolist()
                entries[1::2] = block.data[own].tolist()
                line = f"%d {first + row + 1} {number}\n"
                file.write((line * (len(entries) // 2) % tuple(entries)).encode())


def write_table(path: Path, cells: Sequence[str], genes: Sequence[str], blocks: Iterable[tuple[int, Any]]) -> None:
    """Write a table with a line per cell and a column per gene; packed if the name of the file says so.

    Parameters
    ----------
    path
        An existing file of ours, to be filled.
    cells, genes
        Their names.
    blocks
        The first cell and the CSR matrix of each block of cells, in order.
    """
    with _opened(path) as file:
        file.write(("\t".join(["cell", *genes]) + "\n").encode())
        for first, block in blocks:
            line = "%s" + f"\t{_number(block.dtype)}" * len(genes) + "\n"
            step = max(1, _DENSE_VALUES // len(genes))
            for start in range(0, block.shape[0], step):
                for row, values in enumerate(block[start : start + step].toarray().tolist(), first + start):
                    file.write((line % (cells[row], *values)).encode())


def _number(dtype: np.dtype[Any]) -> str:
    """Return the format in which every number of a type is read back as it was."""
    return "%.9g" if dtype.itemsize <= np.dtype(np.float32).itemsize else "%.17g"


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    with path.open("wb", buffering=1 << 20) as raw:
        if GZIPPED not in path.suffixes:
            yield raw
            return
        with gzip.GzipFile("", "wb", _LEVEL, raw, mtime=0) as packed:
            yield cast(BinaryIO, packed)
