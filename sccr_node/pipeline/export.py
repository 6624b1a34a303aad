"""The imputed genes of a result as text: a folder as 10x writes it, or a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sccr_node import __version__
from sccr_node.contract.export import ExportParameters
from sccr_node.contract.methods import Output
from sccr_node.data.preparation import take_columns
from sccr_node.data.written import output_scale_of
from sccr_node.errors import InputProblem, UsageProblem, writing
from sccr_node.results import Result, open_result
from sccr_node.runtime.console import Console
from sccr_node.runtime.words import quantity
from sccr_node.storage.atomic import commit_all, staged
from sccr_node.storage.files import check_room, written_folder
from sccr_node.storage.targets import ExportTarget, Target, check_targets
from sccr_node.storage.text_matrix import BARCODES, BREAKING, FEATURES, MTX, write_mtx, write_table

TABLES = (".tsv.gz", ".tsv")
"""The ends of names that stand for a table; other names are those of folders."""

NAMES_OF_FILES = (".csv", ".gz", ".h5", ".h5ad", ".h5mu", ".loom", ".mtx", ".rds", ".txt", ".xlsx", ".zarr")
"""Ends of names that nobody gives to a folder of text files."""

EXPORT_BLOCK_BYTES = 4 * 2**20
"""Values that are made text take many times as much memory, and time between looking for signals."""

PACKED_ENTRY_BYTES = 8
"""About what an entry takes when it is packed."""


def export_file(source: Path, output: Path, asked: ExportParameters, *, console: Console) -> None:
    """Write the imputed genes of a result as text.

    Parameters
    ----------
    source
        An output of ``sccr impute``.
    output
        A folder, or a table that is named ``.tsv.gz`` or ``.tsv``.
    asked
        Which result, and what of it.
    console
        Shows progress.

    Raises
    ------
    SccrError
        Any failure that the user can act on; nothing is written in that case.
    """
    is_table = output.name.endswith(TABLES)
    if not is_table and output.name.lower().endswith(NAMES_OF_FILES):
        raise UsageProblem(
            f"cannot write {output}: give a folder, or a name that ends in {' or '.join(TABLES)} for a table"
        )
    folder = ExportTarget(output)
    check_targets([Target(output) if is_table else folder], [source, *asked.files_read()], force=asked.force)
    with open_result(source, asked.key_added, modality=asked.modality) as result:
        chosen = _chosen(result, asked)
        genes = np.arange(result.data.n_genes) if asked.all_genes else result.genes
        _check_names(result, genes)
        for note in result.data.notes:
            console.warn(note)
        exported = _Exported(result, chosen, genes, console)
        if is_table:
            check_room(output, PACKED_ENTRY_BYTES * result.data.n_cells * len(genes) // 2)
            with staged(output, replace=asked.force) as temporary:
                with writing(output):
                    exported.write_table(temporary.path)
                commit_all([temporary])
        else:
            n_entries = exported.n_entries()
            check_room(output, PACKED_ENTRY_BYTES * n_entries)
            with written_folder(folder, replace=asked.force) as made:
                folder.mark(made, (MTX, FEATURES, BARCODES))
                exported.write_folder(made, n_entries)
        console.close_bar()
        console.say(f"wrote {output}: {exported.said()}", output=str(output))


def _chosen(result: Result, asked: ExportParameters) -> Output:
    """Return the expression to export."""
    chosen: Output | None = asked.expression or result.shown
    if chosen is None:
        raise InputProblem(
            f"cannot export {result.data.path}: the result {result.key!r} contains no expression (it was written with "
            "--write embedding)"
        )
    if not result.has_layer(chosen):
        raise InputProblem(
            f"cannot export {result.data.path}: the result {result.key!r} contains no {chosen} expression; leave out "
            f"{asked.source_of('expression')}, or impute with --write both"
        )
    return chosen


def _check_names(result: Result, genes: NDArray[np.intp]) -> None:
    """Refuse names that would shift the columns or the lines of a table."""
    for what, names in (("cell", result.data.cell_names), ("gene", result.data.gene_names[genes])):
        broken = next((name for name in names.tolist() if not name.strip() or BREAKING & set(name)), None)
        if broken is not None:
            raise InputProblem(
                f"cannot export {result.data.path}: the {what} name {broken!r} is empty or contains a tab, a line "
                f"break or a quotation mark, which tables of text cannot contain; rename the {what}"
            )


class _Exported:
    """What is exported of a result."""

    def __init__(self, result: Result, output: Output, genes: NDArray[np.intp], console: Console) -> None:
        self._result, self._output, self._genes, self._console = result, output, genes, console
        self._scale = output_scale_of(result.data, result.key)

    def said(self) -> str:
        """Describe it in a few words."""
        size = f"{quantity(self._result.data.n_cells, 'cell')} × {quantity(len(self._genes), 'gene')}"
        return f"{size}, {self._result.place(self._output)} ({self._scale})"

    def n_entries(self) -> int:
        """Return the number of values that are not zero: Matrix Market has it at the beginning of the file."""
        return sum(int(block.nnz) for _, block in self._blocks("count values"))

    def write_folder(self, folder: Path, n_entries: int) -> None:
        """Fill an empty folder."""
        data = self._result.data
        remark = f"sccr-node {__version__}: {self._output} expression, {self._scale}"
        write_mtx(
            folder,
            data.cell_names.tolist(),
            self._features(),
            self._blocks("write values"),
            (len(self._genes), n_entries),
            remark,
        )

    def write_table(self, path: Path) -> None:
        """Fill an empty file."""
        data = self._result.data
        names = data.gene_names[self._genes].tolist()
        write_table(path, data.cell_names.tolist(), names, self._blocks("write values"))

    def _features(self) -> Iterator[Sequence[str]]:
        """Yield id, name and type of each gene, as far as they are known from 10x."""
        names = self._result.data.gene_names[self._genes].tolist()
        ids = self._column("gene_ids") or names
        types = self._column("feature_types") or ["Gene Expression"] * len(names)
        return zip(ids, names, types, strict=True)

    def _column(self, name: str) -> list[str] | None:
        """Return a column of ``var``, if there is one whose texts all fit in a table."""
        data = self._result.data
        if not data.has_key("var", name):
            return None
        values: list[Any] = data.var_column(name).to_numpy(dtype=object)[self._genes].tolist()
        known = all(isinstance(value, str) and value.strip() and not BREAKING & set(value) for value in values)
        return values if known else None

    def _blocks(self, stage: str) -> Iterator[tuple[int, Any]]:
        """Read the values in blocks of cells."""
        n_cells = self._result.data.n_cells
        for first, block in self._result.written(self._output, EXPORT_BLOCK_BYTES):
            self._console.progress(stage, first / n_cells)
            chosen = take_columns(block, self._genes)
            if not np.isfinite(chosen.data).all():
                raise InputProblem(
                    f"cannot export {self._result.place(self._output)} of {self._result.data.path}: it contains NaN or "
                    "infinite values; impute again"
                )
            yield first, chosen
        self._console.progress(stage, 1.0)
