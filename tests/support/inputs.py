"""Inputs for the tests: an AnnData object with everything in it, and files with unusual storage."""

import gzip
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import zarr
from scipy import sparse

N_CELLS, N_GENES = 23, 17


def counts(n_cells: int = N_CELLS, n_genes: int = N_GENES, seed: int = 0) -> np.ndarray:
    """Small counts, dense int64, some of them zero; the first cell and gene are not empty."""
    rng = np.random.default_rng(seed)
    values = rng.poisson(0.8, size=(n_cells, n_genes))
    values[0, :] += 1
    values[:, 0] += 1
    return values


def plain(matrix=None, **layers) -> anndata.AnnData:
    """An AnnData object with names and counts only."""
    matrix = sparse.csr_matrix(counts(), dtype=np.float32) if matrix is None else matrix
    adata = anndata.AnnData(matrix, layers=layers)
    adata.obs_names = [f"cell{number}" for number in range(adata.n_obs)]
    adata.var_names = [f"gene{number}" for number in range(adata.n_vars)]
    return adata


def rich() -> anndata.AnnData:
    """One of each kind of thing that users keep in an AnnData object."""
    rng = np.random.default_rng(1)
    values = counts()
    adata = plain(
        sparse.csr_matrix(values, dtype=np.float32),
        counts=sparse.csc_matrix(values),
        dense=values.astype(np.float64) / 3,
        rows=sparse.csr_matrix(values, dtype=np.int16),
    )
    labels = np.array(["low", "high", "middle"])[np.arange(N_CELLS) % 3]
    adata.obs["level"] = pd.Categorical(labels, categories=["low", "middle", "high"], ordered=True)
    adata.obs["sample"] = pd.Categorical(np.where(np.arange(N_CELLS) % 4 == 0, "b", "a"))
    adata.obs["depth"] = values.sum(axis=1).astype(np.float32)
    adata.obs["count"] = pd.array([None if n % 5 == 0 else n for n in range(N_CELLS)], dtype="Int32")
    adata.obs["flag"] = pd.array([None if n % 7 == 0 else n % 2 == 0 for n in range(N_CELLS)], dtype="boolean")
    adata.obs["note"] = [f"note é {n}" for n in range(N_CELLS)]
    adata.var["highly_variable"] = np.arange(N_GENES) % 3 == 0
    adata.var["gene_ids"] = [f"ENS{n:05d}" for n in range(N_GENES)]
    adata.raw = adata[:, ::-1].copy()
    adata.obsm["X_pca"] = rng.normal(size=(N_CELLS, 4))
    adata.obsm["frame"] = pd.DataFrame({"x": np.arange(N_CELLS), "y": labels}, index=adata.obs_names)
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
    return adata


def write_odd_h5ad(path: Path) -> None:
    """The rich object with compression of every kind, user attributes, unknown groups and links."""
    adata = rich()
    adata.write_h5ad(path, convert_strings_to_categoricals=False)
    with h5py.File(path, "r+") as file:
        file.attrs["made by"] = "a user"
        file["obs"].attrs["comment"] = np.array([1, 2, 3], dtype=">i2")
        for name, options in {
            "layers/dense": {"compression": "lzf", "shuffle": True, "chunks": (5, 4), "fletcher32": True},
            "layers/rows/data": {"compression": "gzip", "compression_opts": 9, "chunks": (7,)},
            "obsm/X_pca": {"chunks": (4, 2), "dtype": ">f8"},
            "X/data": {"compression": "gzip", "chunks": (10,), "maxshape": (None,)},
        }.items():
            values, attributes = file[name][()], dict(file[name].attrs)
            del file[name]
            made = file.create_dataset(name, data=values, **options)
            made.attrs.update(attributes)
        indices = file["X/indices"][()]
        del file["X/indices"]
        file["X/indices"] = indices.astype(np.int64)
        file["ours"] = np.void(b"\x00\x01opaque")
        file.create_group("lab").attrs["notes"] = "keep me"
        file["lab/numbers"] = np.arange(5, dtype=np.float16)
        file["lab/again"] = h5py.SoftLink("/lab/numbers")


def write_legacy_h5ad(path: Path) -> np.ndarray:
    """A file as AnnData 0.6 wrote it: compound tables, categories in uns, h5sparse attributes; returns its matrix."""
    values = sparse.csr_matrix(counts(), dtype=np.float32)
    text = h5py.string_dtype()
    with h5py.File(path, "w") as file:
        group = file.create_group("X")
        group.attrs["h5sparse_format"] = "csr"
        group.attrs["h5sparse_shape"] = np.array(values.shape)
        for name in ("data", "indices", "indptr"):
            group[name] = getattr(values, name)
        obs = np.empty(N_CELLS, dtype=[("index", text), ("louvain", "i1"), ("n_counts", "f4")])
        obs["index"] = [f"cell{n}" for n in range(N_CELLS)]
        obs["louvain"] = np.arange(N_CELLS) % 2
        obs["n_counts"] = values.sum(axis=1).A1 if hasattr(values.sum(axis=1), "A1") else 1
        file.create_dataset("obs", data=obs, compression="gzip")
        var = np.empty(N_GENES, dtype=[("index", "S8"), ("means", "f8")])
        var["index"] = [f"gene{n}" for n in range(N_GENES)]
        var["means"] = np.arange(N_GENES)
        file.create_dataset("var", data=var)
        file.create_group("uns")["louvain_categories"] = np.array(["one", "two"], dtype=object)
    return values.toarray()


def write_zarr(path: Path, adata: anndata.AnnData, zarr_format: int, consolidated: bool = True) -> None:
    """Write a zarr store of either version."""
    with anndata.settings.override(zarr_write_format=zarr_format):
        adata.write_zarr(path, convert_strings_to_categoricals=False)
    if not consolidated:
        if zarr_format == 2:
            (path / ".zmetadata").unlink()
        else:
            root = zarr.open_group(path, mode="r+", use_consolidated=False)
            root.update_attributes({})


def write_ten_x_h5(path: Path, values: np.ndarray, features: list[tuple[str, str, str]]) -> None:
    """A Cell Ranger 3 file: features are (id, name, type)."""
    matrix = sparse.csr_matrix(values, dtype=np.int32)
    with h5py.File(path, "w") as file:
        group = file.create_group("matrix")
        group["barcodes"] = np.array([f"BC{n}-1" for n in range(values.shape[0])], dtype="S")
        for name in ("data", "indices", "indptr"):
            group[name] = getattr(matrix, name)
        group["shape"] = np.array(values.shape[::-1], dtype=np.int32)
        parts = group.create_group("features")
        for name, column in zip(("id", "name", "feature_type"), zip(*features, strict=True), strict=True):
            parts[name] = np.array(column, dtype="S")
        parts["genome"] = np.array(["mm10"] * len(features), dtype="S")
        parts["_all_tag_keys"] = np.array(["genome"], dtype="S")


def write_texts(folder: Path, texts: dict[str, list[str]], newline: str = "\n") -> Path:
    """A folder of text files, given by their lines; those whose names end in .gz are packed."""
    folder.mkdir(exist_ok=True)
    for name, lines in texts.items():
        content = "".join(line + newline for line in lines).encode()
        (folder / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return folder


def mtx_lines(values: np.ndarray, kind: str = "integer general") -> list[str]:
    """A Matrix Market file of genes × cells, given cells × genes, ordered by cells."""
    entries = [f"{gene + 1} {cell + 1} {values[cell, gene]}" for cell, gene in np.argwhere(values)]
    sizes = f"{values.shape[1]} {values.shape[0]} {len(entries)}"
    return [f"%%MatrixMarket matrix coordinate {kind}", "%", sizes, *entries]
