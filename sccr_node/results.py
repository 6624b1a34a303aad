"""The result of a run: everything there is to write, the one way to write it, the one way to read it back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal, Protocol, cast

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from sccr_node import __version__
from sccr_node.contract.keys import OutputScale, ResultKeys, possible_keys
from sccr_node.contract.methods import Output
from sccr_node.contract.record import BatchRecord, SearchRecord
from sccr_node.contract.tuned import TUNING_KEY
from sccr_node.data.dataset import Dataset, open_dataset, wrap_anndata
from sccr_node.data.features import choose_features
from sccr_node.data.guard import among, listing, reading
from sccr_node.data.logs import from_logs, prepare_block
from sccr_node.data.matrix import Matrix
from sccr_node.data.preparation import Normalization, Preparation, take_columns, with_imputed
from sccr_node.data.scale import recorded_scaling
from sccr_node.data.summary import scan
from sccr_node.data.written import OUTPUT_SCALE, in_logs, places_of, results_in
from sccr_node.errors import InputProblem
from sccr_node.numerics.row_store import ImputedRows
from sccr_node.runtime.console import Finding, Progress
from sccr_node.runtime.words import quantity

WRITE_ROWS = 1024
"""Cells whose imputed and other genes are merged at a time; few, because the imputed genes are dense."""

READ_BYTES = 32 * 2**20

SPARSE_BELOW = 0.5
"""A layer is stored sparse if at least half of it is zero, as the CELLxGENE schema requires."""


@dataclass(frozen=True)
class Imputation:
    """The imputed arrays of a run, and what was counted on the way.

    Attributes
    ----------
    preparation, normalization
        How the matrix became expression; genes that were not imputed are scaled in the same way.
    expression
        Expression before imputation: cells x imputed genes, CSR.
    rows
        Per output, cells x imputed genes.
    n_nonzero
        Per output, the number of non-zero entries.
    components
        Principal components of the denoised, imputed genes (cells x components).
    relations
        The gene graph of the imputed genes; None if there is none.
    n_cells_used, n_genes_used
        Number of cells and genes with any expression.
    batches
        One record per batch; empty without batches.
    searches
        One record per search for the nearest cells that did not compare all of them.
    method, noted
        The method, and the parameters that affect the result.
    findings
        What a reader of the result should know, in order.
    output_scale
        The scale of the layers; everything here is logarithms.
    tuning
        What the result says about the tuning of its numbers; None if they were not tuned.
    """

    preparation: Preparation
    normalization: Normalization
    expression: sparse.csr_matrix
    rows: Mapping[Output, ImputedRows]
    n_nonzero: Mapping[Output, int]
    components: NDArray[np.float32]
    relations: sparse.csr_matrix | None
    n_cells_used: int
    n_genes_used: int
    batches: tuple[BatchRecord, ...]
    searches: tuple[SearchRecord, ...]
    method: str
    noted: Mapping[str, Any]
    findings: tuple[Finding, ...]
    output_scale: OutputScale
    tuning: Mapping[str, Any] | None = None

    def about(self, layer: str | None) -> dict[str, Any]:
        """Return the run's entry in ``uns``.

        Only facts about data and parameters, so that equal runs write equal files.

        Parameters
        ----------
        layer
            The layer that was imputed; None for X.
        """
        return {
            "version": __version__,
            "method": self.method,
            "params": dict(self.noted),
            OUTPUT_SCALE: self.output_scale,
            "input": {
                **self.preparation.scaling.noted(),
                "layer": "X" if layer is None else layer,
                "genes": self.noted["genes"],
            },
            "n_cells": self.n_cells_used,
            "n_genes": self.n_genes_used,
            "messages": [finding.text for finding in self.findings],
            **searches_noted(self.searches),
            **({} if self.tuning is None else {TUNING_KEY: dict(self.tuning)}),
        }

    def is_sparse(self, output: Output) -> bool:
        """Return whether an output, together with the genes that were not imputed, is stored sparse."""
        summary = self.preparation.summary
        n_nonzero = summary.n_nonzeros - self.expression.nnz + self.n_nonzero[output]
        return n_nonzero <= SPARSE_BELOW * summary.n_cells * summary.n_genes

    def blocks(self, data: Dataset, output: Output, progress: Callable[[float], None]) -> Iterator[sparse.csr_matrix]:
        """Yield an output over all genes in blocks of cells; genes that were not imputed are scaled in the same way."""
        genes, imputed = self.preparation.genes, self.rows[output]
        for first, block in data.blocks(READ_BYTES):
            self.preparation.scaling.convert(block)
            for start in range(0, block.shape[0], WRITE_ROWS):
                part = block[start : start + WRITE_ROWS]
                cells = slice(first + start, first + start + part.shape[0])
                others = prepare_block(part, self._factors(cells), self.output_scale)
                yield with_imputed(others, genes, self._scaled(imputed.rows(cells.start, cells.stop), cells))
                progress(cells.stop / data.n_cells)

    def _factors(self, cells: slice) -> NDArray[np.float64] | None:
        return None if self.normalization.factors is None else self.normalization.factors[cells]

    def _scaled(self, logs: NDArray[np.float32], cells: slice) -> NDArray[np.float32]:
        """Bring imputed values to the scale of the layers."""
        if self.output_scale == "log1p":
            return logs
        factors = self._factors(cells) if self.output_scale == "counts" else None
        return from_logs(logs, None if factors is None else factors[:, None])


def searches_noted(searches: Sequence[SearchRecord]) -> dict[str, Any]:
    """Return what ``uns`` says about searches: a list per field; nothing if all cells were compared."""
    if not searches:
        return {}
    return {"searches": {name: [getattr(search, name) for search in searches] for name in SearchRecord.model_fields}}


def searches_in(about: Mapping[str, Any]) -> list[SearchRecord]:
    """Return the searches that a result's ``uns`` entry describes."""
    noted = about.get("searches")
    if noted is None:
        return []
    columns = [np.asarray(noted[name]).ravel().tolist() for name in SearchRecord.model_fields]
    return [
        SearchRecord(**dict(zip(SearchRecord.model_fields, row, strict=True))) for row in zip(*columns, strict=True)
    ]


class Sink(Protocol):
    """A destination for results: a store, or an AnnData object."""

    def write_layer(self, key: str, shape: tuple[int, int], blocks: Iterator[Any], *, sparse: bool) -> None:
        """Write a float32 layer from CSR blocks of whole cells, in order."""

    def write_obsm(self, key: str, values: NDArray[Any]) -> None:
        """Write an array of cells x components."""

    def write_varp(self, key: str, matrix: Any) -> None:
        """Write a sparse matrix of genes x genes."""

    def write_var_column(self, key: str, values: NDArray[Any]) -> None:
        """Write a column of ``var``."""

    def write_obs_column(self, key: str, values: NDArray[Any]) -> None:
        """Write a column of ``obs``."""

    def write_uns(self, key: str, record: dict[str, Any]) -> None:
        """Write a nested record of numbers, strings, booleans and lists."""


def write(imputation: Imputation, keys: ResultKeys, data: Dataset, sink: Sink, progress: Progress) -> None:
    """Write a result: the only writer.

    Parameters
    ----------
    imputation
        The result.
    keys
        The keys to write it under.
    data
        The data set that was imputed; genes that were not imputed are read from it.
    sink
        A store, or an AnnData object.
    progress
        Called with the stage's name and the fraction done.
    """
    genes, n_genes = imputation.preparation.genes, data.n_genes
    for output in keys.layers:
        key = keys.layer(output)
        blocks = imputation.blocks(data, output, partial(progress, f"write {key}"))
        sink.write_layer(key, (data.n_cells, n_genes), blocks, sparse=imputation.is_sparse(output))
    sink.write_obsm(keys.components, imputation.components)
    if keys.relations:
        assert imputation.relations is not None
        sink.write_varp(keys.gene_graph, over_all_genes(imputation.relations, genes, n_genes))
    imputed = np.zeros(n_genes, dtype=bool)
    imputed[genes] = True
    sink.write_var_column(keys.imputed, imputed)
    if keys.size_factors:
        assert imputation.normalization.factors is not None
        sink.write_obs_column(keys.size_factor, 1 / imputation.normalization.factors)
    sink.write_uns(keys.name, imputation.about(data.layer))


def over_all_genes(relations: sparse.csr_matrix, genes: NDArray[np.intp], n_genes: int) -> sparse.csr_matrix:
    """Return the gene graph of the imputed genes as a matrix over all genes (sorted ``genes`` keep their order)."""
    counts = np.zeros(n_genes, dtype=relations.indptr.dtype)
    counts[genes] = np.diff(relations.indptr)
    indptr = np.concatenate([[0], np.cumsum(counts)]).astype(relations.indptr.dtype)
    indices = genes[relations.indices].astype(relations.indices.dtype)
    return sparse.csr_matrix((relations.data, indices, indptr), shape=(n_genes, n_genes))


class InMemory:
    """Keeps a result in memory until it is complete: the AnnData object then gets all of it, or nothing."""

    def __init__(self) -> None:
        self._made: dict[tuple[str, str], Any] = {}

    def write_layer(self, key: str, shape: tuple[int, int], blocks: Iterator[Any], *, sparse: bool) -> None:
        """Keep a layer, sparse or dense."""
        from scipy.sparse import vstack

        if sparse:
            self._made["layers", key] = vstack(list(blocks), format="csr")
            return
        values = np.empty(shape, np.float32)
        first = 0
        for block in blocks:
            block.toarray(out=values[first : first + block.shape[0]])
            first += block.shape[0]
        self._made["layers", key] = values

    def write_obsm(self, key: str, values: NDArray[Any]) -> None:
        """Keep an array of cells x components."""
        self._made["obsm", key] = values

    def write_varp(self, key: str, matrix: Any) -> None:
        """Keep a matrix of genes x genes."""
        self._made["varp", key] = matrix

    def write_var_column(self, key: str, values: NDArray[Any]) -> None:
        """Keep a column of ``var``."""
        self._made["var", key] = values

    def write_obs_column(self, key: str, values: NDArray[Any]) -> None:
        """Keep a column of ``obs``."""
        self._made["obs", key] = values

    def write_uns(self, key: str, record: dict[str, Any]) -> None:
        """Keep a record."""
        self._made["uns", key] = record

    def attach(self, adata: Any, name: str) -> None:
        """Attach everything kept, replacing an earlier result of the same name."""
        for slot, key in possible_keys(name):
            if key in getattr(adata, slot):
                del getattr(adata, slot)[key]
        for (slot, key), value in self._made.items():
            getattr(adata, slot)[key] = value


@dataclass
class Result:
    """A result, read back from a file or straight from the run that is about to write it.

    Attributes
    ----------
    data
        The data set, opened at the matrix that was imputed.
    key
        The name of the result.
    about
        Its ``uns`` entry.
    genes
        Sorted column indices of the imputed genes.
    places
        Where X and the layers of the result are by now, if ``sccr promote`` renamed them.
    """

    data: Dataset
    key: str
    about: Mapping[str, Any]
    genes: NDArray[np.intp]
    places: Mapping[str, str] = field(default_factory=dict)
    _made: tuple[ResultKeys, Imputation] | None = field(default=None, repr=False)
    _prepared: Preparation | None = field(default=None, init=False, repr=False)

    @classmethod
    def of_run(cls, data: Dataset, keys: ResultKeys, imputation: Imputation) -> Result:
        """Return the result of a run from memory, without reading the input again."""
        return cls(data, keys.name, imputation.about(data.layer), imputation.preparation.genes, {}, (keys, imputation))

    @property
    def keys(self) -> ResultKeys:
        """The keys under which it is stored."""
        return ResultKeys(self.key)

    @property
    def params(self) -> Mapping[str, Any]:
        """The parameters that affect it."""
        return cast(Mapping[str, Any], self.about["params"])

    @property
    def shown(self) -> Output | None:
        """The output to show: denoised if there is such a layer, else recovered; None without a layer."""
        outputs: tuple[Output, ...] = ("denoised", "recovered")
        return next((output for output in outputs if self.has_layer(output)), None)

    def has_layer(self, output: Output) -> bool:
        """Return whether an output was written as a layer."""
        if self._made is not None:
            return output in self._made[0].layers
        place = self.place(output)
        return place == "X" or self.data.has_key("layers", place.removeprefix("layers/"))

    def place(self, output: Output) -> str:
        """Return where an output is: "X" or "layers/NAME"."""
        written = f"layers/{self.keys.layer(output)}"
        return self.places.get(written, written)

    def expression(self, progress: Progress | None = None) -> sparse.csr_matrix:
        """Return the expression before imputation: cells x imputed genes, float32."""
        if self._made is not None:
            return self._made[1].expression
        return sparse.csr_matrix(self.preparation(progress).read(self.data, progress).expression)

    def preparation(self, progress: Progress | None = None) -> Preparation:
        """Return how the matrix that was imputed became expression; the first time, every value is read."""
        if self._made is not None:
            return self._made[1].preparation
        if self._prepared is None:
            self._prepared = self._read_preparation(progress)
        return self._prepared

    def _read_preparation(self, progress: Progress | None) -> Preparation:
        with reading(self.data.path, f"uns[{self.key!r}]"):
            target = str(self.params.get("target_sum", "median"))
            target_sum: float | Literal["median"] = "median" if target == "median" else float(target)
            scaling = recorded_scaling(self.about["input"])
        features = choose_features(self.data, self.params.get("feature_type"))
        summary = scan(self.data, progress, counted=features.counted, convert=scaling.convert)
        return Preparation(
            summary=summary,
            scaling=scaling,
            genes=self.genes,
            genes_choice="",
            gene_messages=(),
            normalize_by=self.params.get("normalize_by", "selected"),
            target_sum=target_sum,
            findings=(),
        )

    def blocks(self, output: Output, max_bytes: int) -> Iterator[tuple[int, sparse.csr_matrix]]:
        """Yield the first cell and the imputed genes of each block of cells, as CSR."""
        if self._made is None:
            for first, block in self._read(output, self._layer(output), max_bytes):
                yield first, take_columns(block, self.genes)
            return
        n_rows = max(1, max_bytes // (4 * max(1, len(self.genes))))
        for first in range(0, self.data.n_cells, n_rows):
            last = min(first + n_rows, self.data.n_cells)
            yield first, sparse.csr_matrix(self._made[1].rows[output].rows(first, last))

    def written(self, output: Output, max_bytes: int) -> Iterator[tuple[int, sparse.csr_matrix]]:
        """Yield the first cell and all genes of each block of cells, as CSR, on the scale on which they were written.

        Only for results that are read from a file or an object.
        """
        return self._read(output, self._stored(output), max_bytes)

    def _read(self, output: Output, layer: Matrix, max_bytes: int) -> Iterator[tuple[int, sparse.csr_matrix]]:
        blocks = layer.blocks(max_bytes)
        while True:
            with reading(self.data.path, f"layer {self.keys.layer(output)!r}"):
                item = next(blocks, None)
            if item is None:
                return
            yield item

    def dense(self, output: Output) -> NDArray[np.float32]:
        """Return the imputed genes of all cells, dense."""
        blocks = [block.toarray() for _, block in self.blocks(output, READ_BYTES)]
        return np.concatenate(blocks).astype(np.float32, copy=False)

    def rows(self, output: Output, cells: NDArray[np.intp]) -> sparse.csr_matrix:
        """Return the imputed genes of some cells (sorted row indices), as CSR."""
        if self._made is None:
            with reading(self.data.path, f"layer {self.keys.layer(output)!r}"):
                return sparse.csr_matrix(take_columns(self._layer(output).rows(cells), self.genes))
        rows = self._made[1].rows[output]
        return sparse.csr_matrix(np.concatenate([rows.rows(cell, cell + 1) for cell in cells.tolist()]))

    def _layer(self, output: Output) -> Matrix:
        return in_logs(self.data, self._stored(output), self.key)

    def _stored(self, output: Output) -> Matrix:
        place = self.place(output)
        name = place if place == "X" else f"layer {place.removeprefix('layers/')!r}"
        matrix = self.data.matrix_at(place)
        if matrix.shape != (self.data.n_cells, self.data.n_genes):
            raise InputProblem(
                f"{self.data.path} is inconsistent: {name} is {matrix.shape[0]} × {matrix.shape[1]}, but it has "
                f"{quantity(self.data.n_cells, 'cell')} and {quantity(self.data.n_genes, 'gene')}"
            )
        return matrix

    @cached_property
    def components(self) -> NDArray[np.float32] | None:
        """The principal components, cells x components; None if there are none."""
        if self._made is not None:
            found = self._made[1].components
        elif self.data.has_key("obsm", self.keys.components):
            with reading(self.data.path, f"obsm[{self.keys.components!r}]"):
                slot = self.data.root["obsm"] if self.data.is_stored else self.data.root.obsm
                found = np.asarray(slot[self.keys.components][:], dtype=np.float32)
                if found.ndim != 2 or len(found) != self.data.n_cells:
                    raise ValueError(f"its shape is {found.shape}, but there are {self.data.n_cells} cells")
        else:
            return None
        return found if found.size else None

    @cached_property
    def relations(self) -> sparse.csr_matrix | None:
        """The gene graph over all genes; None if there is none."""
        if self._made is not None:
            keys, imputation = self._made
            if not keys.relations or imputation.relations is None:
                return None
            return over_all_genes(imputation.relations, self.genes, self.data.n_genes)
        if not self.data.has_key("varp", self.keys.gene_graph):
            return None
        return self.data.gene_graph(self.keys.gene_graph)


@contextmanager
def open_result(path: Path, key: str | None = None, *, modality: str | None = None) -> Iterator[Result]:
    """Open a file that contains a result.

    Parameters
    ----------
    path
        An output of ``sccr impute``.
    key
        The name of the result (default: the only one in the file).
    modality
        The modality of a MuData file (default: the only one in it).

    Raises
    ------
    InputProblem
        The file contains no result, not the one asked for, or several if none was asked for.
    """
    with open_dataset(path, or_any=True, modality=modality) as data:
        key = _the_result(data, key)
        layer = _layer_imputed(data, key)
    with open_dataset(path, layer, modality=modality) as data:
        yield _result(data, key)


def result_in(adata: Any, key: str | None = None) -> Result:
    """Return a result in an AnnData object.

    Parameters
    ----------
    adata
        An object with a result of :func:`sccr_node.impute`, or read from an output of ``sccr impute``.
    key
        The name of the result (default: the only one).

    Raises
    ------
    InputProblem
        As for :func:`open_result`.
    """
    # Without X, which may not be what was imputed, any layer will do until that is known.
    data = wrap_anndata(adata, None if adata.X is not None else next(iter(adata.layers), None))
    key = _the_result(data, key)
    return _result(wrap_anndata(adata, _layer_imputed(data, key)), key)


def _layer_imputed(data: Dataset, key: str) -> str | None:
    """Return the layer that a result was made from; None for X."""
    layer: str | None = about_result(data, key)["params"].get("layer")
    now = places_of(data, key)["X"]
    return now.removeprefix("layers/") if layer is None and now != "X" else layer


def _result(data: Dataset, key: str) -> Result:
    genes = imputed_genes(data, key)
    if not len(genes):
        raise InputProblem(f"var['{key}_imputed'] of {data.path} marks no genes: this is not a result of sccr impute")
    return Result(data, key, about_result(data, key), genes, places_of(data, key))


def imputed_genes(data: Dataset, key: str) -> NDArray[np.intp]:
    """Return the column indices of the genes that a result imputed."""
    return np.flatnonzero(np.asarray(data.var_column(ResultKeys(key).imputed), dtype=bool))


def about_result(data: Dataset, key: str) -> dict[str, Any]:
    """Return the ``uns`` entry of a result.

    Raises
    ------
    InputProblem
        It was not written by ``sccr impute``.
    """
    about = data.element("uns", key)
    with reading(data.path, f"uns[{key!r}]"):
        missing = [name for name in ("version", "method", "params", "input") if name not in about]
    if missing:
        raise InputProblem(f"uns[{key!r}] of {data.path} was not written by sccr impute: {listing(missing)} missing")
    return plain(about)


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record with numpy scalars converted to Python's."""
    return {
        name: plain(value) if isinstance(value, Mapping) else value.item() if isinstance(value, np.generic) else value
        for name, value in values.items()
    }


def _the_result(data: Dataset, key: str | None) -> str:
    path = data.path
    if data.format.startswith("10x"):
        raise InputProblem(f"{path} is 10x output, not a result of sccr impute")
    found = results_in(data)
    if key is not None and key not in found:
        raise InputProblem(f"{path} contains no result {key!r} of sccr impute; its results: {among(key, found)}")
    if not found:
        raise InputProblem(f"{path} contains no result of sccr impute (no uns entry with a column *_imputed in var)")
    if key is None and len(found) > 1:
        raise InputProblem(f"{path} contains several results: {listing(found)}; choose one with --key-added")
    return found[0] if key is None else key
