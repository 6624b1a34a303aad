"""10x output and its relatives, an .h5 file or a folder with a Matrix Market file, read into memory."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from sccr_node.data.guard import listing, reading
from sccr_node.data.matrix import CsrMatrix, canonical, whole_numbers
from sccr_node.data.mtx import MatrixText, open_text, read_lines
from sccr_node.errors import InputProblem
from sccr_node.runtime.words import quantity


class TenX(NamedTuple):
    """What was read: AnnData, and what is unusual about it, one sentence each."""

    adata: Any
    notes: list[str]


def _anndata(matrix: Any, cells: list[str], genes: list[str], var: dict[str, Any]) -> Any:
    """Return AnnData as scanpy's readers would, with all names and features as they are."""
    import anndata
    import pandas as pd

    matrix = canonical(matrix if matrix.dtype != np.int32 else matrix.astype(np.float32))
    obs_names, var_names = (pd.Index(names, dtype=object) for names in (cells, genes))
    return anndata.AnnData(matrix, obs=pd.DataFrame(index=obs_names), var=pd.DataFrame(var, index=var_names))


# --- .h5


def matrices(file: h5py.File) -> list[str]:
    """Return the names of the 10x matrices in an HDF5 file: one, or one per genome before Cell Ranger 3."""
    parts = {"barcodes", "data", "indices", "indptr", "shape"}
    groups = {name: element for name, element in file.items() if isinstance(element, h5py.Group)}
    return [name for name, group in groups.items() if parts <= set(group) and {"features", "genes"} & set(group)]


def read_hdf5(path: Path, file: h5py.File) -> TenX:
    """Read an open .h5 file of Cell Ranger, of any version, or of a program that imitates it.

    Raises
    ------
    InputProblem
        It has several matrices or is inconsistent.
    """
    names = matrices(file)
    if len(names) > 1:
        raise InputProblem(
            f"cannot read {path}: it contains one matrix for each of {len(names)} genomes ({listing(names)}), as Cell "
            f"Ranger wrote them before version 3; write one to a file of its own, in Python: "
            f"scanpy.read_10x_h5({str(path)!r}, genome={names[0]!r}).write_h5ad({names[0] + '.h5ad'!r})"
        )
    group = file[names[0]]
    features = group.get("features")
    if features is not None and {"gene_id", "probe_region", "filtered_probes"} & set(features):
        raise InputProblem(
            f"cannot impute {path}: it counts probes, of which a gene has several (Cell Ranger's "
            "raw_probe_bc_matrix.h5); give filtered_feature_bc_matrix.h5 of the same run"
        )
    var: dict[str, Any] = {}
    if features is None:
        ids = _texts(group["genes"])
        genes = _texts(group["gene_names"]) if "gene_names" in group else ids
        var["gene_ids"] = ids
    else:
        ids = _texts(features["id"])
        genes = _texts(features["name"]) if "name" in features else ids
        var["gene_ids"] = ids
        if "feature_type" in features:
            var["feature_types"] = _texts(features["feature_type"])
        for name in sorted(set(features) - {"id", "name", "feature_type", "_all_tag_keys"}):
            column = features[name]
            if isinstance(column, h5py.Dataset) and column.shape == (len(ids),):
                var[name] = column[()] if column.dtype.kind == "b" else _texts(column)
    cells = _texts(group["barcodes"])
    n_genes, n_cells = map(int, whole_numbers(group["shape"][:], "shape"))
    if (len(genes), len(cells)) != (n_genes, n_cells):
        raise InputProblem(
            f"{path} is inconsistent: its matrix has {_size(n_genes, n_cells)}, but it names "
            f"{_size(len(genes), len(cells))}"
        )
    # 10x stores genes × cells by columns: the three arrays are those of cells × genes by rows.
    rows = CsrMatrix(group["data"], group["indices"], group["indptr"], (n_cells, n_genes))
    return TenX(_anndata(rows.rows(np.arange(n_cells)), cells, genes, var), [])


def _texts(dataset: Any) -> list[str]:
    values = dataset.asstr("utf-8")[:] if h5py.check_string_dtype(dataset.dtype) else dataset[:]
    return [str(value) for value in values]


def _size(n_genes: int, n_cells: int) -> str:
    return f"{quantity(n_genes, 'gene')} and {quantity(n_cells, 'cell')}"


# --- a folder

WORDS = {"barcodes": r"barcodes?|rows", "features": r"genes?\.names|features?|genes?|cols", "matrix": "matrix"}
"""What names of files say: Cell Ranger's and STARsolo's words, those of kallisto | bustools, and those of alevin. GEO's
archives have the name of the sample before or after them."""

TITLE = re.compile(r"(?:barcode|cell|gene|feature|ensembl|symbol|name|index|id|type|x|v1|s|[\W_])*", re.IGNORECASE)
"""What the first field of a title line says, in lists that were written as tables."""


class Sample(NamedTuple):
    """The names of one sample's files in a folder: its matrix, its lists of features, its lists of barcodes."""

    matrix: str
    features: list[str]
    barcodes: list[str]


def is_folder(path: Path) -> bool:
    """Return whether a folder contains a Matrix Market file."""
    return any(_role(name) == "matrix" for name in _files(path))


def read_folder(path: Path) -> TenX:
    """Read a folder with a Matrix Market file and its lists of features and barcodes, packed by gzip or not.

    Raises
    ------
    InputProblem
        It has the files of no sample or of several, or they do not belong together.
    """
    sample = _only_sample(path)
    features = _read_features(path, sample)
    cells = [line[0] for line in read_lines(path / sample.barcodes[0])]
    matrix_path = path / sample.matrix
    with reading(matrix_path, "the matrix"), open_text(matrix_path) as file:
        text = MatrixText(matrix_path, file)
        # bustools and alevin write cells × genes, and .txt files.
        usual = ".txt" in sample.barcodes[0]
        lists = cells, [line[0] for line in features]
        shapes = {True: text.header.shape, False: text.header.shape[::-1]}
        fitting = [way for way in (usual, not usual) if all(map(_fits, lists, shapes[way]))]
        if not fitting:
            raise InputProblem(
                f"cannot read {path}: {sample.matrix} has {text.header.shape[0]:,} rows and {text.header.shape[1]:,} "
                f"columns, but {sample.features[0]} has {quantity(len(features), 'line')} and "
                f"{sample.barcodes[0]} has {quantity(len(cells), 'line')}; give files that belong together"
            )
        cells_first = fitting[0]
        n_cells, n_genes = shapes[cells_first]
        features, cells = features[len(features) - n_genes :], cells[len(cells) - n_cells :]
        matrix = text.read(cells_first=cells_first)
    notes = []
    rows, columns = ("cells", "genes") if cells_first else ("genes", "cells")
    if len(fitting) > 1:
        notes.append(
            f"{sample.matrix} has as many rows as columns: {rows} are taken to be in its rows and {columns} in its "
            f"columns, as {'bustools and alevin write' if usual else 'Cell Ranger and STARsolo write'} them; check this"
        )
    elif cells_first is not usual:
        notes.append(
            f"{sample.matrix} has {rows} in its rows and {columns} in its columns, going by its lists of names"
        )
    genes = [line[1] if len(line) > 1 and line[1] else line[0] for line in features]
    _check_spliced(genes, matrix_path)
    width = min((len(line) for line in features), default=0)
    var = {
        name: [line[place] for line in features]
        for place, name in ((0, "gene_ids"), (2, "feature_types"))
        if place < width and width > 1
    }
    return TenX(_anndata(matrix, cells, genes, var), notes)


def _role(name: str) -> str | None:
    """Return what a file is, by its name: "matrix", "features" or "barcodes"."""
    stem = _unpacked(name)
    if stem.endswith(".mtx"):
        return "matrix"
    if not stem.endswith((".tsv", ".txt")):
        return None
    return next((role for role in ("barcodes", "features") if re.search(WORDS[role], stem, re.IGNORECASE)), None)


def _sample_name(name: str, role: str) -> str:
    """Return what is left of a file's name without the word for its role."""
    stem = _unpacked(name).rpartition(".")[0]
    for told in list(re.finditer(WORDS[role], stem, re.IGNORECASE))[-1:]:
        stem = f"{stem[: told.start()]}_{stem[told.end() :]}"
    return re.sub(r"[\W_]+", "_", unicodedata.normalize("NFC", stem)).strip("_")


def _unpacked(name: str) -> str:
    return name.removesuffix(".gz")


def _files(folder: Path) -> list[str]:
    """Return the names of a folder's files, unpacked ones first, without those that a Mac adds (._matrix.mtx)."""
    # A broken link is listed, so that it is said to be missing; a pipe is not, because reading it would block forever.
    names = [e.name for e in folder.iterdir() if e.name[0] != "." and (e.is_file() or not e.exists())]
    return sorted(names, key=lambda name: (name.endswith(".gz"), name))


def _only_sample(folder: Path) -> Sample:
    by_role: dict[str, dict[str, list[str]]] = {role: {} for role in WORDS}
    for name in _files(folder):
        if (role := _role(name)) is not None:
            by_role[role].setdefault(_sample_name(name, role), []).append(name)
    matrices, features, barcodes = (by_role[role] for role in ("matrix", "features", "barcodes"))
    complete = [
        Sample(files[0], features[sample], barcodes[sample])
        for sample, files in matrices.items()
        if sample in features and sample in barcodes
    ]
    if not complete and len(matrices) == len(features) == len(barcodes) == 1:  # one of each belong together
        complete = [Sample(matrices.popitem()[1][0], features.popitem()[1], barcodes.popitem()[1])]
    if len(complete) == 1:
        return complete[0]
    if complete:
        raise InputProblem(
            f"cannot read {folder}: it contains {len(complete)} samples ({listing([s.matrix for s in complete])}); "
            "give each a folder of its own, with its features and barcodes"
        )
    found = [files[0] for files in matrices.values()]
    none = [f"no list of {role}" for role, lists in (("features", features), ("barcodes", barcodes)) if not lists]
    raise InputProblem(
        f"cannot read {folder}: it contains {listing(found)}, but {' and '.join(none) or 'no lists of the same name'}; "
        "give a folder with one matrix.mtx and its features.tsv (or genes.tsv) and barcodes.tsv, packed by gzip or not"
    )


def _read_features(folder: Path, sample: Sample) -> list[list[str]]:
    """Return the fields of each feature: its id, and if known its name and type."""
    # bustools lists ids and names in files of their own.
    own_names = [name for name in sample.features if _unpacked(name).endswith("names.txt")]
    others = [name for name in sample.features if name not in own_names]
    features = read_lines(folder / (others or own_names)[0])
    if own_names and others:
        names = read_lines(folder / own_names[0])
        if len(names) == len(features):
            return [[own_id[0], name[0]] for own_id, name in zip(features, names, strict=True)]
    return features


def _fits(names: list[str], n: int) -> bool:
    return len(names) == n or (len(names) == n + 1 and TITLE.fullmatch(names[0]) is not None)


def _check_spliced(genes: list[str], path: Path) -> None:
    third = len(genes) // 3
    if third and genes[third:] == [f"{gene}-{kind}" for kind in "UA" for gene in genes[:third]]:
        raise InputProblem(
            f"cannot impute {path}: it counts spliced, unspliced and ambiguous molecules of a gene apart (alevin-fry's "
            "USA mode); add them up first, e.g. with pyroe.load_fry, and write an .h5ad file"
        )
