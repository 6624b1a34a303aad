"""An opened data set in any supported format: its names, its tables, and its matrix in blocks of whole cells."""

from __future__ import annotations

import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
from scipy import sparse

from sccr_node.data import foreign, tenx
from sccr_node.data.frames import MemoryTable, RowsOfTable, StoredTable, Table, legacy_table
from sccr_node.data.guard import among, listing, one_line, reading
from sccr_node.data.matrix import BLOCK_BYTES, ColumnsOf, CsrMatrix, DenseMatrix, Matrix, open_matrix, text_of
from sccr_node.data.views import Half, HalfOf
from sccr_node.data.written import in_logs, result_opened
from sccr_node.errors import InputMissing, InputProblem, problem_of_reading, reason_of
from sccr_node.runtime import signals
from sccr_node.runtime.words import plural, quantity
from sccr_node.storage.formats import FORMATS
from sccr_node.storage.places.address import BEGINS_LIKE_URL
from sccr_node.storage.store import StoreFormat

if TYPE_CHECKING:
    import pandas as pd

RAW = "raw"
"""The name that stands for ``.raw.X``, unless a layer has it."""


_BARCODE = re.compile(r"(?:^|[^A-Za-z])[ACGT]{8,}(?:$|[^A-Za-z])")
_GENE_ID = re.compile(r"^ENS[A-Z]*G\d{6,}")
"""How the names of cells and of genes look that cannot be mistaken."""

_COUNT_LAYERS = ("counts", "count", "raw", "raw_counts", "raw_count", "umi", "umis", "umi_counts")


_PEEKED = 100_000
"""Values that are looked at to tell whether another matrix contains counts."""


def _share(pattern: re.Pattern[str], names: np.ndarray) -> float:
    """Return the share of the first names that match a pattern."""
    first = names[:1000].tolist()
    return sum(bool(pattern.search(str(name))) for name in first) / max(1, len(first))


def _stamp(path: Path) -> tuple[int, ...] | None:
    """Return what identifies a version of a file; None for folders and for objects in memory."""
    try:
        state = path.stat()
    except OSError:
        return None
    return None if stat.S_ISDIR(state.st_mode) else (state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns)


class Dataset:
    """An opened input: its names, its tables, and its matrix in blocks.

    Parameters
    ----------
    path
        The path given by the user.
    format
        The format found: the name of a store's format, or "10x_h5", "10x_mtx", "anndata".
    layer
        The layer to read; None for X.
    root
        The open HDF5 or zarr group, or the AnnData object that a 10x reader returned.
    matrix, obs, var
        Its parts.
    store
        The format of its store; None for an object in memory.
    """

    def __init__(
        self,
        path: Path,
        format: str,
        layer: str | None,
        root: Any,
        matrix: Matrix,
        obs: Table,
        var: Table,
        store: StoreFormat | None = None,
    ) -> None:
        self.path, self.format, self.layer, self.root = path, format, layer, root
        self.store = store
        self._matrix, self._obs, self._var = matrix, obs, var
        self.n_cells, self.n_genes = matrix.shape
        self.n_stored, self.in_memory_bytes = matrix.n_stored, matrix.in_memory_bytes
        self.remarks: list[str] = []
        self._stamp = _stamp(path)
        self._part = ""
        self.of_raw = layer == RAW and not self.has_key("layers", RAW)

    def check_unchanged(self) -> None:
        """Raise InputProblem if the file was changed or replaced since it was opened."""
        if _stamp(self.path) != self._stamp:
            raise InputProblem(f"{self.path} was changed or replaced while it was read: run again once it is complete")

    def of_cells(self, cells: np.ndarray) -> Dataset:
        """Return some cells (sorted row indices) as a data set of their own, with their matrix in memory."""
        rows = self.rows(cells)
        matrix = CsrMatrix(rows.data, rows.indices, rows.indptr, rows.shape)
        return self._seen(matrix, RowsOfTable(self._obs, cells))

    def half(self, which: Half, *, share: float, seed: int, convert: Callable[[Any], Any] | None = None) -> Dataset:
        """Return a view of one half of the molecules (:class:`~sccr_node.data.views.HalfOf`)."""
        seen = self._seen(HalfOf(self._matrix, share, seed, which, convert), self._obs)
        seen._part = f"the {which.replace(' ', '-')} half of "
        return seen

    def _as_logs(self) -> Dataset:
        """Return the data set with a matrix of logarithms, if it is a result that was written on another scale."""
        key = result_opened(self)
        if key is not None:
            self._matrix = in_logs(self, self._matrix, key)
        return self

    def _seen(self, matrix: Matrix, obs: Table) -> Dataset:
        seen = Dataset(self.path, self.format, self.layer, self.root, matrix, obs, self._var, self.store)
        seen._stamp = self._stamp
        return seen

    @property
    def modality(self) -> str | None:
        """The modality of a MuData file that is read; None for other files."""
        return None if self.store is None else self.store.modality

    @property
    def source(self) -> str:
        """The name of the matrix, for messages."""
        layer = "raw.X" if self.of_raw else "X" if self.layer is None else f"layer {self.layer!r}"
        modality = "" if self.modality is None else f"modality {self.modality!r} of "
        return f"{self._part}{layer} of {modality}{self.path}"

    @cached_property
    def cell_names(self) -> np.ndarray:
        """Names of the cells (n_cells strings)."""
        with reading(self.path, "the cell names"):
            return self._obs.names()

    @cached_property
    def gene_names(self) -> np.ndarray:
        """Names of the genes (n_genes strings), including duplicates."""
        with reading(self.path, "the gene names"):
            return self._var.names()

    def obs_column(self, name: str) -> pd.Series[Any]:
        """Read a column of ``obs``, indexed by cell names; raise InputProblem, listing its columns, if missing."""
        return self._column("obs", self._obs, name, self.cell_names)

    def var_column(self, name: str) -> pd.Series[Any]:
        """Read a column of ``var``, indexed by gene names; raise InputProblem, listing its columns, if missing."""
        return self._column("var", self._var, name, self.gene_names)

    def obs_values(self, name: str) -> Any:
        """Return the values of a column of ``obs`` that is there, without pandas if they are stored as an array."""
        return self._obs.column(name)

    def _column(self, slot: str, frame: Table, name: str, names: np.ndarray) -> pd.Series[Any]:
        columns = self.keys(slot)
        if name not in columns:
            raise InputProblem(f"{slot} of {self.path} has no column {name!r}; it has {among(name, columns)}")
        with reading(self.path, f"{slot}[{name!r}]"):
            import pandas as pd

            values = pd.Series(frame.column(name), index=names, name=name)
            if pd.api.types.infer_dtype(values, skipna=True) == "bytes":
                values = values.str.decode("utf-8")
            return values

    @cached_property
    def notes(self) -> list[str]:
        """What is unusual, but accepted, about the file and the names: one sentence each."""
        found = list(self.remarks)
        for what, names in (("gene", self.gene_names), ("cell", self.cell_names)):
            distinct, how_often = np.unique(names, return_counts=True)
            repeated = distinct[how_often > 1]
            if len(repeated):
                n = len(repeated)
                found.append(
                    f"{quantity(n, f'{what} name')} {plural(n, 'occurs', 'occur')} more than once "
                    f"(first: {str(repeated[0])!r}); {plural(n, 'it is', 'they are')} kept"
                )
        if _share(_BARCODE, self.gene_names) > 0.5 or _share(_GENE_ID, self.cell_names) > 0.5:
            found.append(
                f"genes and cells seem to be swapped (gene {str(self.gene_names[0])!r}, cell "
                f"{str(self.cell_names[0])!r}): the matrix should be cells × genes; transpose it"
            )
        if self.layer == RAW and not self.of_raw and self._has_raw:
            found.append("--layer raw is the layer of that name, not .raw")
        return found

    @property
    def _has_raw(self) -> bool:
        if not self.is_stored:
            return self.root.raw is not None
        return hasattr(self.root.get(RAW), "keys")

    def counts_elsewhere(self) -> list[str]:
        """Return the values of --layer under which there seem to be counts: layers with a usual name, and raw."""
        names = [name for name in self.keys("layers") if name.casefold() in _COUNT_LAYERS and name != self.layer]
        if self._has_raw and self.layer != RAW and RAW not in names:
            names.append(RAW)
        return [name for name in names if self._is_counts(name)]

    def counts_seem(self, what: str) -> str:
        """Return the end of a message that names where there seem to be counts, called `what`; empty if nowhere."""
        places = self.counts_elsewhere()
        return f"; {matrix_name(places[0])} seems to contain {what}: give --layer {places[0]}" if places else ""

    def _is_counts(self, layer: str) -> bool:
        """Return whether the first values of another matrix are counts."""
        root = self.root
        if layer in self.keys("layers"):
            element = root["layers"][layer] if self.is_stored else root.layers[layer]
        else:
            element = root[RAW]["X"] if self.is_stored else root.raw.X
        with reading(self.path, f"layer {layer!r}"):
            if hasattr(element, "keys"):
                values = np.asarray(element["data"][:_PEEKED])
            elif sparse.issparse(element):
                stored: Any = element
                values = np.asarray(stored.data[:_PEEKED])
            else:
                values = np.asarray(element[: max(1, _PEEKED // max(1, element.shape[1]))])
        if values.dtype.kind not in "iuf" or not values.any():
            return False
        return bool((values >= 0).all() and (values == np.rint(values)).all())

    def keys(self, slot: str) -> list[str]:
        """Return the keys of a slot ("layers", "obsm", "varp", "uns", ...), or the columns of "obs" or "var"."""
        if slot in ("obs", "var"):
            with reading(self.path, f"the columns of {slot}"):
                return (self._obs if slot == "obs" else self._var).columns()
        if not self.is_stored:
            return _keys_of(getattr(self.root, slot))
        with reading(self.path, slot):
            return sorted(str(key) for key in self._members(slot))

    def has_key(self, slot: str, key: str) -> bool:
        """Return whether a slot has a key; unlike `keys`, without a look at the others, one of which may be broken."""
        if slot in ("obs", "var") or not self.is_stored:
            return key in self.keys(slot)
        with reading(self.path, slot):
            return key in self._members(slot)

    def names_are(self, slot: str, key: str) -> bool:
        """Return whether the names of the cells ("obs") or genes ("var") are stored under a key."""
        tables = {"obs": self._obs, "var": self._var}
        return slot in tables and tables[slot].index_name == key

    def _members(self, slot: str) -> Collection[str]:
        if slot not in self.root:
            return ()
        element = self.root[slot]
        # AnnData before 0.7 stored arrays over cells as one compound dataset.
        members: Collection[str] = element if hasattr(element, "keys") else element.dtype.names or ()
        return members

    @property
    def is_stored(self) -> bool:
        """Whether this is an AnnData store on disk, not an object in memory."""
        return self.store is not None

    @property
    def has_tables(self) -> bool:
        """Whether this is a store whose tables are groups of columns, as AnnData writes them since version 0.7."""
        return self.is_stored and all(hasattr(self.root[slot], "keys") for slot in ("obs", "var"))

    @property
    def is_streamed(self) -> bool:
        """Whether the matrix is read from its file block by block, instead of being kept in memory."""
        return self._matrix.streamed

    def matrix_at(self, place: str) -> Matrix:
        """Open another matrix of the data set, "X" or "layers/NAME", as it is stored; its shape is not checked."""
        name = place if place == "X" else f"layer {place.removeprefix('layers/')!r}"
        with reading(self.path, name):
            if self.is_stored:
                return open_matrix(self.root[place], name)
            return _matrix_of(self.root.X if place == "X" else self.root.layers[place.removeprefix("layers/")], name)

    def element(self, slot: str, key: str) -> Any:
        """Read one element; raise InputProblem if it cannot be decoded."""
        if not self.is_stored:
            return getattr(self.root, slot)[key]
        from anndata.io import read_elem

        with reading(self.path, f"{slot}[{key!r}]"):
            return read_elem(self.root[slot][key])

    def gene_graph(self, key: str) -> sparse.csr_matrix:
        """Read a graph of genes from ``varp``; raise InputProblem if it is none."""
        element = self.element("varp", key)
        with reading(self.path, f"varp[{key!r}]"):
            graph = sparse.csr_matrix(element)
            if {array.dtype.kind for array in (graph.indices, graph.indptr)} - set("iu"):
                raise ValueError("its indices are not integers")
            graph.check_format()
        if graph.shape != (self.n_genes, self.n_genes):
            raise InputProblem(f"{self.path} is inconsistent: varp[{key!r}] is not a matrix of genes x genes")
        return graph

    def blocks(self, max_bytes: int = BLOCK_BYTES) -> Iterator[tuple[int, Any]]:
        """Read the matrix as CSR blocks of whole cells, in the order of the cells.

        Each block has sorted indices, no duplicates and no stored zeros, in the stored type (booleans as uint8, float16
        as float32, integers with duplicates as float64). Block boundaries depend only on the data. CSC storage is read
        whole first (``in_memory_bytes``).

        Yields
        ------
        tuple
            The index of the first cell, and the block (cells x all genes).
        """
        blocks = self._matrix.blocks(max_bytes)
        while True:
            signals.check()
            with reading(self.path, "the matrix"):
                item = next(blocks, None)
            if item is None:
                return
            yield item

    def rows(self, rows: np.ndarray) -> Any:
        """Read some cells (sorted row indices) as one canonical CSR matrix over all genes."""
        with reading(self.path, "the matrix"):
            return self._matrix.rows(rows)


@contextmanager
def open_dataset(
    path: str | os.PathLike[str],
    layer: str | None = None,
    *,
    or_raw: bool = True,
    or_any: bool = False,
    modality: str | None = None,
) -> Iterator[Dataset]:
    """Open an input and check that it is what it claims to be; its content decides, not its name.

    The layers of a result are read as logarithms, on whichever scale they were written.

    Parameters
    ----------
    path
        An .h5ad or .h5mu file, an AnnData zarr folder, a 10x .h5 file, or a 10x folder with matrix.mtx(.gz).
    layer
        Layer to read (default: X).
    or_raw
        Whether "raw" stands for ``.raw.X`` if no layer has that name.
    or_any
        Whether any layer will do if none is named and there is no X: for those who do not read the matrix.
    modality
        Modality of a MuData file to read (default: the only one).

    Raises
    ------
    InputMissing
        The path does not exist or cannot be read.
    InputProblem
        The input has none of these formats, is damaged or empty, or does not have the matrix.
    """
    path = Path(path)
    with ExitStack() as opened:
        data = _open(path, layer, opened, or_raw, or_any, modality)
        if modality is not None and data.modality is None:
            raise InputProblem(f"{path} has no modality {modality!r}: it is not a MuData file; leave out --modality")
        if not data.n_cells or not data.n_genes:
            raise InputProblem(f"{data.source} is empty: it has {_size(data.n_cells, data.n_genes)}")
        yield data


def _size(n_cells: int, n_genes: int) -> str:
    return f"{quantity(n_cells, 'cell')} and {quantity(n_genes, 'gene')}"


def _open(
    path: Path, layer: str | None, opened: ExitStack, or_raw: bool, or_any: bool, modality: str | None
) -> Dataset:
    try:
        mode = path.stat().st_mode
        is_folder = stat.S_ISDIR(mode)
        if not is_folder and not stat.S_ISREG(mode):  # opening a pipe that nobody writes to would block forever
            raise InputProblem(f"cannot read {path}: it is a pipe or a device; give a regular file")
        if is_folder:
            os.listdir(path)
        else:
            path.open("rb").close()
    except PermissionError as error:
        raise InputMissing(f"cannot read {path}: permission denied") from error
    except (FileNotFoundError, NotADirectoryError) as error:
        if url := BEGINS_LIKE_URL.match(str(path)):
            raise InputMissing(
                f"cannot read {url[1]}://{url[2]}: only s3://, gs://, az:// and https:// addresses are "
                "supported; download the file and give its path"
            ) from error
        raise InputMissing(f"{path} does not exist") from error
    except OSError as error:
        raise problem_of_reading(error, str(path)) or InputMissing(f"cannot open {path}: {reason_of(error)}") from error
    with reading(path, "the contents"):
        for store in FORMATS:
            if store.matches(path):
                return _open_store(path, store, layer, opened, or_raw, or_any, modality)
        if is_folder and tenx.is_folder(path):
            return _in_memory(path, "10x_mtx", layer, lambda: tenx.read_folder(path))
        raise InputProblem(f"{path} is {foreign.folder(path) if is_folder else foreign.file(path)}")


def _open_store(
    path: Path,
    store: StoreFormat,
    layer: str | None,
    opened: ExitStack,
    or_raw: bool,
    or_any: bool,
    modality: str | None,
) -> Dataset:
    whole = root = opened.enter_context(store.opened(path))
    modalities = store.modalities(root)
    if modalities is not None:
        store, root = store.of_modality(_one_of(modalities, modality, path), root)
        if not hasattr(root, "keys"):
            raise InputProblem(store.not_anndata(path))
    keys = set(root)
    if modalities is None and "mod" in keys and "X" not in keys:
        raise InputProblem(f"{path} is {foreign.stored(['mod'])}")
    is_anndata = {"obs", "var"} <= keys
    if (is_anndata or (isinstance(root, h5py.File) and tenx.matrices(root))) and (found := store.elsewhere(whole)):
        # The output, a copy in another folder, would lose it; and a missing source is read as zeros.
        raise InputProblem(
            f"{found[0]} of {path} is {found[1]}, which sccr does not follow: save the data in one file, e.g. with "
            "anndata"
        )
    if is_anndata:
        return _stored(path, store, layer, root, or_raw, or_any)
    if isinstance(root, h5py.File) and tenx.matrices(root):
        return _in_memory(path, "10x_h5", layer, lambda: tenx.read_hdf5(path, root))
    what = foreign.stored(keys)
    raise InputProblem(f"{path} is {what}" if what else store.not_anndata(path))


def _one_of(modalities: list[str], asked: str | None, path: Path) -> str:
    """Return the modality that was asked for, or the only one."""
    if not modalities:
        raise InputProblem(f"{path} is a MuData file without modalities: there is nothing to read")
    if asked is None and len(modalities) > 1:
        raise InputProblem(f"{path} has several modalities: {listing(modalities)}; choose one with --modality")
    if asked is not None and asked not in modalities:
        raise InputProblem(f"{path} has no modality {asked!r}; its modalities: {among(asked, modalities)}")
    return modalities[0] if asked is None else asked


def _stored(path: Path, store: StoreFormat, layer: str | None, root: Any, or_raw: bool, or_any: bool) -> Dataset:
    layers = sorted(str(key) for key in root["layers"]) if "layers" in root else []
    if layer is None and or_any and layers and _is_nothing(root.get("X")):
        layer = layers[0]
    if layer is None:
        element = root.get("X")
        if _is_nothing(element):
            raise InputProblem(f"{path} has no X: choose a layer with --layer; its layers: {listing(layers)}")
    elif layer in layers:
        element = root["layers"][layer]
    elif layer == RAW and or_raw and hasattr(root.get(RAW), "keys"):  # zarr stores a missing raw as an empty array
        element = root[RAW]["X"]
    else:
        raise _no_layer(path, layer, layers, or_raw and hasattr(root.get(RAW), "keys"))
    of_raw = layer == RAW and layer not in layers
    name = "X" if layer is None else "raw.X" if of_raw else f"layer {layer!r}"
    try:
        matrix = open_matrix(element, name)
    except ValueError as error:
        # A library's: a codec that it does not know (numcodecs before 0.16 raises a plain one), JSON that is cut.
        if type(error) is not ValueError or "codec not available" in str(error):
            raise
        raise InputProblem(f"cannot use {name} of {path}: {one_line(error)}") from error
    uns = root.get("uns")
    frames: list[Table] = [
        StoredTable(root[slot]) if hasattr(root[slot], "keys") else legacy_table(root[slot], uns)
        for slot in ("obs", "var")
    ]
    if of_raw:
        matrix = _by_names(matrix, StoredTable(root[RAW]["var"]).names(), frames[1].names(), path)
    if (frames[0].n_rows, frames[1].n_rows) != matrix.shape:
        raise InputProblem(
            f"{path} is inconsistent: {name} is {matrix.shape[0]} × {matrix.shape[1]}, but obs has "
            f"{quantity(frames[0].n_rows, 'row')} and var has {quantity(frames[1].n_rows, 'row')}"
        )
    return Dataset(path, store.name, layer, root, matrix, frames[0], frames[1], store)._as_logs()


def _is_nothing(element: Any) -> bool:
    """Return whether an element is no matrix: AnnData without X has none or (zarr and older files) an empty one."""
    if element is None or getattr(element, "shape", ()) is None:
        return True
    return bool(text_of(element.attrs.get("encoding-type", "")) == "null")


def _no_layer(path: Path, layer: str, layers: list[str], has_raw: bool) -> InputProblem:
    hint = "; there is also .raw: give --layer raw" if has_raw else ""
    if layer == "X":
        hint += "; X is not a layer but the main matrix, which is used if no layer is named"
    return InputProblem(f"{path} has no layer {layer!r}; its layers: {among(layer, layers)}{hint}")


def _by_names(raw: Matrix, found: np.ndarray, wanted: np.ndarray, path: Path) -> Matrix:
    """Return the columns of ``raw.X`` that belong to the genes of ``var``, matched by name.

    Raises
    ------
    InputProblem
        A gene is not in raw, or its name does not tell which one it is.
    """
    if len(found) != raw.shape[1]:
        raise InputProblem(
            f"{path} is inconsistent: raw.X has {quantity(raw.shape[1], 'column')}, but raw.var has "
            f"{quantity(len(found), 'row')}"
        )
    if np.array_equal(found, wanted):
        return raw
    columns_of: dict[str, list[int]] = {}
    for column, name in enumerate(found.tolist()):
        columns_of.setdefault(name, []).append(column)
    missing = [name for name in wanted.tolist() if name not in columns_of]
    if missing:
        raise InputProblem(
            f"cannot use raw.X of {path}: {quantity(len(missing), 'gene')} of var {plural(len(missing), 'is', 'are')} "
            f"not in raw.var ({listing(missing, 5)})"
        )
    repeats = Counter(wanted.tolist())
    unclear = [name for name, n in repeats.items() if n != len(columns_of[name])]
    if unclear:
        raise InputProblem(
            f"cannot use raw.X of {path}: raw.var has {quantity(len(unclear), 'name')} more often than var "
            f"({listing(unclear, 5)}); make the names unique"
        )
    in_order = {name: iter(columns) for name, columns in columns_of.items()}
    return ColumnsOf(raw, np.array([next(in_order[name]) for name in wanted.tolist()], dtype=np.intp))


def _in_memory(path: Path, format: str, layer: str | None, read: Callable[[], tenx.TenX]) -> Dataset:
    if layer is not None:
        raise InputProblem(f"{path} has no layer {layer!r}: it is 10x output, which contains one matrix and no layers")
    adata, remarks = read()
    rows = CsrMatrix(adata.X.data, adata.X.indices, adata.X.indptr, adata.X.shape)
    rows.in_memory_bytes = adata.X.data.nbytes + adata.X.indices.nbytes + adata.X.indptr.nbytes
    data = Dataset(path, format, None, adata, rows, MemoryTable(adata.obs), MemoryTable(adata.var))
    data.remarks += remarks
    return data


def matrix_name(layer: str) -> str:
    """Return what a value of --layer is called in Python."""
    return "raw.X" if layer == RAW else f"layers[{layer!r}]"


def wrap_anndata(adata: Any, layer: str | None = None) -> Dataset:
    """Treat an AnnData object in memory as an opened input, without changing it.

    Parameters
    ----------
    adata
        An ``anndata.AnnData``.
    layer
        Layer to read (default: X).

    Raises
    ------
    InputProblem
        The matrix does not exist, or has no cells or no genes.
    """
    path = Path("the AnnData object")
    values: Any
    if layer is None:
        values = adata.X
        if values is None:
            raise InputProblem(
                f"{path} has no X: choose a layer with layer=; its layers: {listing(_keys_of(adata.layers))}"
            )
    elif layer in adata.layers:
        values = adata.layers[layer]
    elif layer == RAW and adata.raw is not None:
        values = adata.raw.X
    else:
        raise _no_layer(path, layer, _keys_of(adata.layers), adata.raw is not None)
    try:
        matrix = _matrix_of(values, "X" if layer is None else f"layer {layer!r}")
    except ValueError as error:
        raise InputProblem(f"cannot use the matrix of {path}: {one_line(error)}") from error
    if layer == RAW and layer not in adata.layers:
        matrix = _by_names(matrix, np.asarray(adata.raw.var_names), np.asarray(adata.var_names), path)
    if not all(matrix.shape):
        raise InputProblem(f"{path} is empty: it has {_size(*matrix.shape)}")
    return Dataset(path, "anndata", layer, adata, matrix, MemoryTable(adata.obs), MemoryTable(adata.var))._as_logs()


def _keys_of(mapping: Iterable[Any]) -> list[str]:
    """Return the keys of a slot in memory; since anndata 0.13, None is one in ``layers`` and stands for ``X``."""
    return [str(key) for key in mapping if key is not None]


def _matrix_of(values: Any, name: str) -> Matrix:
    """Open a matrix in memory, or the one in the file behind an object in backed mode.

    Raises
    ------
    ValueError
        It is of a kind, or contains values, that cannot be read.
    """
    if sparse.issparse(values):
        stored: Any = values
        rows = stored.tocsr()  # left as it is: blocks are copies, and those are made canonical
        return CsrMatrix(rows.data, rows.indices, rows.indptr, rows.shape)
    group = getattr(values, "group", None)
    arrays = list(group.values()) if isinstance(group, h5py.Group) else [values]
    if any(isinstance(array, h5py.Dataset) and array.is_virtual for array in arrays):
        raise ValueError(f"{name} is a virtual data set, which sccr does not follow; save the data in one file")
    if isinstance(values, np.ndarray | h5py.Dataset):
        return DenseMatrix(values)
    if hasattr(values, "group"):  # anndata's sparse matrix in backed mode
        return open_matrix(values.group, name)
    kind = f"{type(values).__module__.split('.')[0]}.{type(values).__name__}"
    raise ValueError(
        f"{name} is a {kind}; give a numpy array or a scipy sparse matrix"
        + (" (call .compute() first)" if hasattr(values, "compute") else "")
    )
