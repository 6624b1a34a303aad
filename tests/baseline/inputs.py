"""Makes the baseline's inputs with fixed seeds: small files of every kind that the command reads, and corrupt ones."""

import gzip
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pandas as pd
from scipy import sparse

N_CELLS, N_GENES = 120, 300

# What all commands run on. Most have the same counts, so that
# differences come from the storage.
KINDS = {
    "counts": "counts.h5ad",
    "csc": "csc.h5ad",
    "dense": "dense.h5ad",
    "logs": "logs.h5ad",
    "zarr-v2": "v2.zarr",
    "zarr-v3": "v3.zarr",
    "10x-h5": "tenx.h5",
    "10x-gz": "tenx_gz",
    "10x-plain": "tenx_plain",
    "legacy": "legacy.h5ad",
    "rich": "rich.h5ad",
    "rich-plain": "rich_plain.h5ad",
    "features": "features.h5ad",
    "empty-cells": "empty.h5ad",
    "repeated-names": "names.h5ad",
    "batches": "batches.h5ad",
}


def make_all(folder: Path, simulated: Path) -> None:
    """Write every input into a folder; ``simulated`` is what ``sccr simulate`` wrote."""
    shutil.copyfile(simulated, folder / "counts.h5ad")
    base = anndata.read_h5ad(simulated)
    base.layers.clear()
    counts = base.X.astype(np.float32)
    _write(folder / "csc.h5ad", base, X=sparse.csc_matrix(counts))
    _write(folder / "dense.h5ad", base, X=counts.toarray())
    _write(folder / "fractions.h5ad", base, X=counts.multiply(sparse.csr_matrix(_ambient(counts.shape))).tocsr() * 20)
    logs = _logs(counts)
    _write(folder / "logs.h5ad", base, X=logs, layers={"counts": counts})
    plain = base.copy()
    plain.X = counts
    for version in (2, 3):
        with anndata.settings.override(zarr_write_format=version), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that version 2 is old is why it is here
            plain.write_zarr(folder / f"v{version}.zarr")
    _ten_x(folder, counts)
    _legacy(folder / "legacy.h5ad", counts)
    _rich(folder / "rich.h5ad", base, counts)
    features = np.where(np.arange(N_GENES) % 10 == 9, "Antibody Capture", "Gene Expression")
    _write(folder / "features.h5ad", base, X=counts, var={"feature_types": features})
    holed = counts.toarray()
    holed[[3, 50, 119]] = 0
    holed[:, [0, 7, 150, 299]] = 0
    _write(folder / "empty.h5ad", base, X=sparse.csr_matrix(holed))
    repeated = base.copy()
    repeated.X = counts
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # repeated names are what is wanted
        repeated.var_names = [f"gene_{n // 2:03d}" if n < 40 else f"gene_{n:03d}" for n in range(N_GENES)]
        repeated.obs_names = ["cell_001" if n < 3 else f"cell_{n:03d}" for n in range(N_CELLS)]
        repeated.write_h5ad(folder / "names.h5ad")
    # Uneven, the smallest with fewer cells than a cell has neighbours, and names that no file can have.
    sample = np.array(["big"] * 75 + ["A/b"] * 35 + ["a b"] * 10)[np.random.default_rng(5).permutation(N_CELLS)]
    donor = pd.Categorical(np.arange(N_CELLS) // 50)
    _write(folder / "batches.h5ad", base, X=counts, obs={"sample": sample, "donor": donor}, layers={"logs": logs})
    for name in ("all", "some"):
        step = 1 if name == "all" else 3
        (folder / f"genes_{name}.txt").write_text("\n".join(base.var_names[::step]) + "\n")
    (folder / "genes_other.txt").write_text("gene_001\nACTB\nGAPDH\n")
    (folder / "genes_none.txt").write_text("\n\n")


def make_spoilt(folder: Path, counts: Path) -> None:
    """Write inputs that must be refused, each with one thing wrong."""

    def spoilt(name: str, change: Callable[[anndata.AnnData], anndata.AnnData | None]) -> None:
        adata = anndata.read_h5ad(counts)
        adata.X = adata.X.toarray().astype(np.float32)
        result = change(adata)
        (adata if result is None else result).write_h5ad(folder / f"{name}.h5ad")

    def with_value(value: float) -> Callable[[anndata.AnnData], None]:
        def change(adata: anndata.AnnData) -> None:
            adata.X[17, 23] = adata.X[20, 5] = value

        return change

    def lose_batches(adata: anndata.AnnData) -> None:
        adata.obs["sample"] = pd.Categorical([None if cell in (4, 7) else "a" for cell in range(adata.n_obs)])

    def one_label(adata: anndata.AnnData) -> None:
        adata.obs["one"] = "same"
        adata.obs["measured"] = np.linspace(0.5, 1.5, adata.n_obs)
        adata.var["highly_variable"] = False

    spoilt("nan", with_value(np.nan))
    spoilt("infinite", with_value(np.inf))
    spoilt("negative", with_value(-1.0))
    spoilt("huge", lambda adata: setattr(adata, "X", adata.X.astype(np.float64) * 1e300))
    spoilt("zeros", lambda adata: setattr(adata, "X", adata.X * 0))
    spoilt("unclear", lambda adata: setattr(adata, "X", adata.X * 10.5))
    spoilt("scaled", lambda adata: setattr(adata, "X", (adata.X - adata.X.mean(0)) / (adata.X.std(0) + 1)))
    spoilt("no_x", lambda adata: setattr(adata, "X", None))
    spoilt("no_cells", lambda adata: adata[:0].copy())
    spoilt("no_genes", lambda adata: adata[:, :0].copy())
    spoilt("lost_batches", lose_batches)
    spoilt("labels", one_label)
    spoilt("key_taken", lambda adata: adata.layers.update({"sccr": adata.X.copy()}))
    (folder / "truncated.h5ad").write_bytes(counts.read_bytes()[:-3000])
    (folder / "text.h5ad").write_text("gene,cell\n")
    (folder / "empty.h5ad").touch()
    (folder / "folder").mkdir()
    (folder / "folder" / "readme.txt").write_text("nothing\n")
    with h5py.File(folder / "other.h5", "w") as file:
        file["numbers"] = np.arange(5)
    with h5py.File(folder / "multimodal.h5mu", "w") as file:
        file.create_group("mod")
    damaged = folder / "damaged_tenx"
    damaged.mkdir()
    (damaged / "matrix.mtx").write_text("%%MatrixMarket matrix coordinate integer general\n3 2 9\n1 1 1\n")
    (damaged / "features.tsv").write_text("id\tname\tGene Expression\n")
    (damaged / "barcodes.tsv").write_text("A-1\n")


def _write(
    path: Path, base: anndata.AnnData, *, X: object, layers: dict[str, Any] | None = None, **tables: Any
) -> None:
    adata = base.copy()
    adata.X = X
    for slot, columns in tables.items():
        for name, values in columns.items():
            getattr(adata, slot)[name] = values
    adata.layers.update(layers or {})
    adata.write_h5ad(path)


def _ambient(shape: tuple[int, int]) -> np.ndarray:
    return np.random.default_rng(9).uniform(0.9, 1.0, shape).astype(np.float32)


def _logs(counts: sparse.csr_matrix) -> sparse.csr_matrix:
    depth = np.asarray(counts.sum(axis=1), dtype=np.float64).ravel()
    logs = sparse.csr_matrix(sparse.diags(np.median(depth) / depth) @ counts)
    logs.data = np.log1p(logs.data)
    return logs.astype(np.float32)


def _rich(path: Path, base: anndata.AnnData, counts: sparse.csr_matrix) -> None:
    """One of each kind of thing that users keep in an AnnData object, and storage that they did not choose."""
    rng = np.random.default_rng(1)
    adata = base.copy()
    adata.X = counts
    adata.obs["depth"] = np.asarray(counts.sum(axis=1)).ravel()
    adata.obs["level"] = pd.Categorical(
        np.array(["low", "high"])[np.arange(N_CELLS) % 2], ["low", "high"], ordered=True
    )
    adata.obs["count"] = pd.array([None if n % 5 == 0 else n for n in range(N_CELLS)], dtype="Int32")
    adata.obs["flag"] = pd.array([None if n % 7 == 0 else n % 2 == 0 for n in range(N_CELLS)], dtype="boolean")
    adata.obs["note"] = [f"note é {n}" for n in range(N_CELLS)]
    adata.var["highly_variable"] = np.arange(N_GENES) % 3 == 0
    adata.var["gene_ids"] = [f"ENS{n:05d}" for n in range(N_GENES)]
    adata.raw = adata[:, ::-1].copy()
    adata.layers["dense"] = counts.toarray().astype(np.float64) / 3
    adata.layers["columns"] = sparse.csc_matrix(counts.astype(np.int64))
    adata.obsm["X_pca"] = rng.normal(size=(N_CELLS, 4))
    adata.obsm["frame"] = pd.DataFrame({"x": np.arange(N_CELLS)}, index=adata.obs_names)
    adata.obsm["thin"] = sparse.csr_matrix(rng.poisson(0.3, size=(N_CELLS, 5)))
    adata.varm["loadings"] = rng.normal(size=(N_GENES, 4)).astype(np.float32)
    adata.obsp["distances"] = sparse.csr_matrix(rng.poisson(0.2, size=(N_CELLS, N_CELLS)).astype(float))
    adata.varp["overlap"] = rng.normal(size=(N_GENES, N_GENES))
    adata.uns["nested"] = {
        "deeper": {"number": 3, "text": "µ", "flags": np.array([True, False])},
        "frame": pd.DataFrame({"a": [1, 2]}, index=["r", "s"]),
        "empty": {},
    }
    adata.uns["ranks"] = np.array([("a", 1.5), ("b", 2.5)], dtype=[("names", "O"), ("scores", "f8")])
    adata.write_h5ad(path, convert_strings_to_categoricals=False)
    shutil.copyfile(path, path.with_name("rich_plain.h5ad"))  # anndata does not read what comes now
    with h5py.File(path, "r+") as file:
        file.attrs["made by"] = "a user"
        file["obs"].attrs["comment"] = np.array([1, 2, 3], dtype=">i2")
        for name, options in {
            "layers/dense": {"compression": "lzf", "shuffle": True, "chunks": (50, 40), "fletcher32": True},
            "obsm/X_pca": {"chunks": (40, 2), "dtype": ">f8"},
            "X/data": {"compression": "gzip", "chunks": (100,), "maxshape": (None,)},
        }.items():
            values, attributes = file[name][()], dict(file[name].attrs)
            del file[name]
            file.create_dataset(name, data=values, **options).attrs.update(attributes)
        file["ours"] = np.void(b"\x00\x01opaque")
        file.create_group("lab")["numbers"] = np.arange(5, dtype=np.float16)
        file["lab/again"] = h5py.SoftLink("/lab/numbers")


def _legacy(path: Path, counts: sparse.csr_matrix) -> None:
    """A file as AnnData 0.6 wrote it: compound tables, categories in uns, h5sparse attributes."""
    text = h5py.string_dtype()
    with h5py.File(path, "w") as file:
        group = file.create_group("X")
        group.attrs["h5sparse_format"] = "csr"
        group.attrs["h5sparse_shape"] = np.array(counts.shape)
        for name in ("data", "indices", "indptr"):
            group[name] = getattr(counts, name)
        obs = np.empty(N_CELLS, dtype=[("index", text), ("louvain", "i1"), ("n_counts", "f4")])
        obs["index"] = [f"cell{n}" for n in range(N_CELLS)]
        obs["louvain"] = np.arange(N_CELLS) % 2
        obs["n_counts"] = np.asarray(counts.sum(axis=1)).ravel()
        file.create_dataset("obs", data=obs, compression="gzip")
        var = np.empty(N_GENES, dtype=[("index", "S8"), ("means", "f8")])
        var["index"] = [f"gene{n}" for n in range(N_GENES)]
        var["means"] = np.arange(N_GENES)
        file.create_dataset("var", data=var)
        file.create_group("uns")["louvain_categories"] = np.array(["one", "two"], dtype=object)


def _ten_x(folder: Path, counts: sparse.csr_matrix) -> None:
    """A Cell Ranger 3 file, and the same as a folder of packed and of plain files."""
    counts = sparse.csr_matrix(counts, dtype=np.int32)
    barcodes = [f"BC{n}-1" for n in range(N_CELLS)]
    kinds = ["Gene Expression" if n < 295 else "Antibody Capture" for n in range(N_GENES)]
    features = [(f"ENS{n:05d}", f"Gene{n // 2 if n < 4 else n}", kind) for n, kind in enumerate(kinds)]
    with h5py.File(folder / "tenx.h5", "w") as file:
        group = file.create_group("matrix")
        group["barcodes"] = np.array(barcodes, dtype="S")
        for name in ("data", "indices", "indptr"):
            group[name] = getattr(counts, name)
        group["shape"] = np.array([N_GENES, N_CELLS], dtype=np.int32)
        parts = group.create_group("features")
        for name, column in zip(("id", "name", "feature_type"), zip(*features, strict=True), strict=True):
            parts[name] = np.array(column, dtype="S")
        parts["genome"] = np.array(["mm10"] * N_GENES, dtype="S")
        parts["_all_tag_keys"] = np.array(["genome"], dtype="S")
    turned = sparse.coo_matrix(counts.T)
    entries = zip(turned.row + 1, turned.col + 1, turned.data, strict=True)
    head = f"%%MatrixMarket matrix coordinate integer general\n%\n{N_GENES} {N_CELLS} {turned.nnz}\n"
    texts = {
        "matrix.mtx": head + "".join(f"{row} {column} {value}\n" for row, column, value in entries),
        "features.tsv": "".join("\t".join(feature) + "\n" for feature in features),
        "barcodes.tsv": "".join(barcode + "\n" for barcode in barcodes),
    }
    for name in ("tenx_gz", "tenx_plain"):
        (folder / name).mkdir()
    for name, text in texts.items():
        (folder / "tenx_plain" / name).write_text(text)
        # Without the time in its head, or the bytes (and the record's SHA-256) would be others each time.
        (folder / "tenx_gz" / f"{name}.gz").write_bytes(gzip.compress(text.encode(), mtime=0))
