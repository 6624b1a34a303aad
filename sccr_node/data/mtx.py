"""Text files of sparse matrices: Matrix Market files read in pieces, and the lists of names beside them."""

from __future__ import annotations

import gzip
import re
import warnings
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

import numpy as np
from scipy import sparse

from sccr_node.data.guard import one_line, reading
from sccr_node.errors import InputProblem
from sccr_node.runtime import signals
from sccr_node.runtime.words import quantity

LINES_AT_A_TIME = 1 << 18
MOST_ENTRIES_A_BYTE = 260
"""The shortest entry has four characters, of which deflate makes at best 1/1032."""


def open_text(path: Path) -> BinaryIO:
    """Open a text file, unpacking it if its content (whatever its name) is gzip's."""
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return cast(BinaryIO, gzip.open(path, "rb")) if packed else path.open("rb")


def read_lines(path: Path) -> list[list[str]]:
    """Read a file of names: the fields of each line, without quotes and without blank lines at the end."""
    with reading(path, "the names"), open_text(path) as file:
        content = file.read()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputProblem(f"cannot read {path}: it is not text in UTF-8; save it as UTF-8") from error
    lines = text.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n").split("\n") if text.strip() else []
    return [[_unquoted(field.strip()) for field in line.split("\t")] for line in lines]


def _unquoted(field: str) -> str:
    return field[1:-1] if len(field) > 1 and field[0] == field[-1] == '"' else field


class Header(NamedTuple):
    """What a Matrix Market file says about itself."""

    shape: tuple[int, int]
    n_entries: int
    has_values: bool


class MatrixText:
    """An open Matrix Market file, positioned at its first entry.

    Parameters
    ----------
    path
        The file, packed by gzip or not.
    file
        The same, opened by :func:`open_text`.
    """

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path, self._file = path, file
        self.header = self._read_header()

    def _read_header(self) -> Header:
        words = self._file.readline(1000).decode("utf-8", "replace").lower().split()
        if not words or words[0] != "%%matrixmarket":
            raise InputProblem(f"{self.path} is not a Matrix Market file: its first line is not %%MatrixMarket …")
        # STARsolo writes "float", which the format does not know, for "real".
        if words[1:3] != ["matrix", "coordinate"] or words[3:] not in [
            [field, "general"] for field in ("integer", "real", "float", "double", "unsigned-integer", "pattern")
        ]:
            raise InputProblem(
                f"cannot read {self.path}: it is a Matrix Market file of the kind {' '.join(words[1:])!r}, not 'matrix "
                "coordinate integer general'; write it as a sparse matrix of real numbers without symmetry"
            )
        sizes = b"%"
        while sizes.startswith(b"%") or (sizes and not sizes.strip()):
            sizes = self._file.readline()
        numbers = sizes.split()
        if len(numbers) != 3 or not all(re.fullmatch(rb"\d{1,18}", number) for number in numbers):
            found = sizes[:40].decode("utf-8", "replace").strip()
            raise InputProblem(
                f"cannot read {self.path}: the line after its comments is {found!r}, not the numbers of rows, columns "
                "and entries; copy or create the file again"
            )
        n_rows, n_columns, n_entries = map(int, numbers)
        return Header((n_rows, n_columns), n_entries, words[3] != "pattern")

    def read(self, *, cells_first: bool) -> Any:
        """Read the entries as a CSR matrix of cells × genes, float32, with stored zeros and duplicates.

        Requires little more memory than the matrix if the entries are in the order of the cells, as the field's
        programs write them, and two and a half times as much if not.

        Parameters
        ----------
        cells_first
            Whether the rows of the file are cells; else its columns are.
        """
        import pandas as pd

        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # a line with more than three numbers
            return self._read(cells_first)

    def _read(self, cells_first: bool) -> Any:
        shape = self.header.shape if cells_first else self.header.shape[::-1]
        n_entries = self.header.n_entries
        if n_entries > MOST_ENTRIES_A_BYTE * self.path.stat().st_size:
            raise self._incomplete("fewer")
        genes, values = np.empty(n_entries, np.int32), np.empty(n_entries, np.float32)
        cells: np.ndarray | None = None  # only if they are out of order
        per_cell = np.zeros(shape[0], np.int64)
        n = last_cell = 0
        for rows, columns, counts in self._pieces():
            own_cells, own_genes = (rows, columns) if cells_first else (columns, rows)
            end = n + len(counts)
            if end > n_entries:
                raise InputProblem(
                    f"cannot read {self.path}: it has more than the {quantity(n_entries, 'entry', 'entries')} that its "
                    "header says; create the file again"
                )
            genes[n:end], values[n:end] = own_genes, counts
            if cells is None and (own_cells[0] < last_cell or (np.diff(own_cells) < 0).any()):
                cells = np.empty(n_entries, np.int32)
                cells[:n] = np.repeat(np.arange(shape[0], dtype=np.int32), per_cell)
            if cells is not None:
                cells[n:end] = own_cells
            last_cell = own_cells[-1]
            per_cell += np.bincount(own_cells, minlength=shape[0])
            n = end
        if n < n_entries:
            raise self._incomplete(f"{n:,}")
        if cells is not None:
            return sparse.coo_matrix((values, (cells, genes)), shape=shape).tocsr()
        return sparse.csr_matrix((values, genes, np.concatenate([[0], np.cumsum(per_cell)])), shape=shape)

    def _pieces(self) -> Any:
        """Yield rows and columns, counted from 0, and values of a few entries at a time."""
        import pandas as pd

        types: dict[str, Any] = {"row": np.int64, "column": np.int64, "value": np.float64}
        if not self.header.has_values:
            del types["value"]
        if not self.header.n_entries:
            return
        try:
            pieces = pd.read_csv(
                self._file, sep=r"\s+", header=None, names=list(types), index_col=False, dtype=types, comment="%",
                na_filter=False, chunksize=LINES_AT_A_TIME,
            )  # fmt: skip
            for piece in pieces:
                signals.check()
                if piece.empty:
                    return
                places = [piece[side].to_numpy() for side in ("row", "column")]
                for place, side, name in zip(places, self.header.shape, ("row", "column"), strict=True):
                    if place.min() < 1 or place.max() > side:
                        wrong = int(place.min() if place.min() < 1 else place.max())
                        raise InputProblem(
                            f"cannot read {self.path}: it has an entry in {name} {wrong}, but its {name}s are numbered "
                            f"from 1 to {side}; create the file again"
                        )
                # The places are not counted from 0 in place: what pandas 3 gives is read-only.
                values = piece["value"].to_numpy() if self.header.has_values else np.ones(len(piece))
                yield *(place - 1 for place in places), values
        except pd.errors.EmptyDataError:
            return
        except (ValueError, OverflowError, pd.errors.ParserWarning) as error:
            raise InputProblem(
                f"cannot read {self.path}: it has a line that is not an entry of row, column and value "
                f"({one_line(error)}); copy or create the file again"
            ) from error

    def _incomplete(self, found: str) -> InputProblem:
        announced = quantity(self.header.n_entries, "entry", "entries")
        return InputProblem(
            f"cannot read {self.path}: damaged or incomplete (its header says {announced}, but it has {found}); copy "
            "or create the file again"
        )
