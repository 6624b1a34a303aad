"""The same counts stored in ways that users' files have: other encodings, odd names, unknown things, old versions."""

import json
from collections.abc import Callable
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import zarr
from scipy import sparse

from tests.support.inputs import plain

N_CELLS, N_GENES = 45, 30
BATCHES = ("s1", "s2", "s3")


def values() -> np.ndarray:
    rng = np.random.default_rng(7)
    profiles = rng.gamma(0.6, 3.0, size=(3, N_GENES))
    counts = rng.poisson(profiles[np.arange(N_CELLS) % 3])
    counts[np.arange(N_CELLS), np.arange(N_CELLS) % N_GENES] += 1
    return counts


def base(matrix=None) -> anndata.AnnData:
    adata = plain(sparse.csr_matrix(values(), dtype=np.float32) if matrix is None else matrix)
    adata.obs["sample"] = pd.Categorical([BATCHES[n % 3] for n in range(N_CELLS)])
    return adata


def written(path: Path, adata: anndata.AnnData | None = None) -> Path:
    (base() if adata is None else adata).write_h5ad(path, convert_strings_to_categoricals=False)
    return path


def replaced(group: h5py.Group, name: str, content, **options) -> None:
    attributes = dict(group[name].attrs)
    del group[name]
    group.create_dataset(name, data=content, **options).attrs.update(attributes)


def matrix_of(matrix) -> Callable[[Path], None]:
    return lambda path: written(path, base(matrix))


def nullable_strings(path):
    adata = base()
    adata.obs.index = adata.obs.index.astype("string")
    adata.obs["sample"] = pd.array(adata.obs["sample"].astype(str), dtype="string")
    adata.obs["missing"] = pd.array([None if n % 4 else f"é{n}" for n in range(N_CELLS)], dtype="string")
    adata.var["missing"] = pd.array([None if n % 4 else f"é{n}" for n in range(N_GENES)], dtype="string")
    with anndata.settings.override(allow_write_nullable_strings=True):
        written(path, adata)


def seurat_disk(path):
    """Factors of the first encoding, which refer to their labels, and a column ``_index`` in raw/var."""
    with h5py.File(written(path), "r+") as file:
        obs = file["obs"]
        codes, labels = obs["sample/codes"][()], obs["sample/categories"].asstr()[:]
        del obs["sample"]
        made = obs.create_dataset("__categories/sample", data=np.array(labels, object), dtype=h5py.string_dtype())
        made.attrs["ordered"] = False
        obs.create_dataset("sample", data=codes.astype(np.int32)).attrs["categories"] = made.ref
        obs.attrs["encoding-version"] = "0.1.0"
        file.copy("X", file.create_group("raw"), "X")
        var = file["raw"].create_group("var")
        var.attrs.update({"encoding-type": "dataframe", "encoding-version": "0.2.0", "_index": "features"})
        var.attrs["column-order"] = np.array(["_index"], dtype=object)
        names = np.array([f"gene{n}" for n in range(N_GENES)], dtype=object)
        var.create_dataset("features", data=names, dtype=h5py.string_dtype())
        var.create_dataset("_index", data=names, dtype=h5py.string_dtype())


def slash_columns(path):
    """Names with slashes, as older versions of anndata wrote them, and newer ones on request."""
    adata = base()
    adata.obs["G1|S"] = np.arange(N_CELLS, dtype=float)
    adata.obs["G1|M|late"] = pd.Categorical([f"p{n % 2}" for n in range(N_CELLS)])
    adata.var["mean|var"] = np.arange(N_GENES, dtype=float)
    with h5py.File(written(path, adata), "r+") as file:
        for table in (file["obs"], file["var"]):
            for name in [name for name in table if "|" in name]:
                table.move(name, name.replace("|", "/"))
            names = [name.replace("|", "/") for name in table.attrs["column-order"]]
            table.attrs["column-order"] = np.array(names, dtype=object)


def awkward(path):
    """A ragged array as the package awkward stores it; the tests do without that package."""
    lengths = np.arange(N_CELLS) % 4
    with h5py.File(written(path), "r+") as file:
        group = file.create_group("obsm/clones")
        numbers = {"class": "NumpyArray", "primitive": "int64", "inner_shape": [], "parameters": {}, "form_key": "b"}
        form = {"class": "ListOffsetArray", "offsets": "i64", "content": numbers, "parameters": {}, "form_key": "a"}
        group.attrs.update({"encoding-type": "awkward-array", "encoding-version": "0.1.0", "length": N_CELLS})
        group.attrs["form"] = json.dumps(form)
        array = {"encoding-type": "array", "encoding-version": "0.2.0"}
        group.create_dataset("a-offsets", data=np.concatenate([[0], np.cumsum(lengths)])).attrs.update(array)
        group.create_dataset("b-data", data=np.arange(lengths.sum())).attrs.update(array)


def unknown_encoding_over_cells(path):
    with h5py.File(written(path), "r+") as file:
        file.create_dataset("obs/age", data=np.arange(N_CELLS)).attrs["encoding-type"] = "array"
        group = file.create_group("obs/when")  # none that anybody knows
        group.attrs.update({"encoding-type": "datetime-of-tomorrow", "encoding-version": "9.9"})
        group["days"] = np.arange(N_CELLS)
        file["obs"].attrs["column-order"] = np.array(["sample", "age", "when"], dtype=object)


def unknown_elements(path):
    """Groups that are not AnnData's, encodings that nobody knows, and attributes of users."""
    with h5py.File(written(path), "r+") as file:
        file.attrs["made by"] = "a user"
        file["X"].attrs["numbers"] = np.array([1.5, 2.5])
        file["lab/notes/numbers"] = np.arange(5, dtype=np.float16)
        file["lab/notes/text"] = "é"
        file["lab"].attrs.update({"nothing": h5py.Empty("f"), "flag": True, "bytes": np.bytes_(b"x")})
        new = file.create_group("uns/new")
        new.attrs.update({"encoding-type": "of-tomorrow", "encoding-version": "9.9"})
        new["complex"] = np.array([1 + 2j])
        new["codes"] = h5py.Empty("i4")
        file.create_dataset("uns/kinds", data=np.array([1, 2], "i1"), dtype=h5py.enum_dtype({"A": 1, "B": 2}, "i1"))


def fixed_length_bytes(path):
    """Names, text and categories as other languages write them, without an encoding."""
    with h5py.File(written(path), "r+") as file:
        for key in ("obs/_index", "var/_index", "obs/sample/categories"):
            # With pandas 3, anndata writes text as values and a mask.
            text = file[key] if isinstance(file[key], h5py.Dataset) else file[key]["values"]
            content = np.array(text.asstr()[:], dtype="S")
            del file[key]
            file[key] = content


def old_sparse(kind: str) -> Callable[[Path], None]:
    """Unsorted entries, duplicates and stored zeros that add up to the same counts."""

    def make(path):
        counts = values() if kind == "csr" else values().T
        data, indices, indptr = [], [], [0]
        for row in counts:
            entries = [(j, part) for j in np.flatnonzero(row) for part in ([1, row[j] - 1] if row[j] > 1 else [1])]
            entries = [*entries, (len(row) - 1, 0)][::-1]
            data += [part for _, part in entries]
            indices += [j for j, _ in entries]
            indptr.append(len(data))
        sparse_class = sparse.csr_matrix if kind == "csr" else sparse.csc_matrix
        with h5py.File(written(path, base(sparse_class(values(), dtype=np.float32))), "r+") as file:
            replaced(file["X"], "data", np.array(data, dtype=np.float64))
            replaced(file["X"], "indices", np.array(indices, dtype=np.uint16))
            replaced(file["X"], "indptr", np.array(indptr, dtype=np.int64))

    return make


def odd_names(path):
    adata = base()
    adata.obs_names = ["/cell/", "細胞 é", "", *["dup"] * (N_CELLS - 3)]
    adata.var_names = ["HLA-A/B", "Gene/", "/", "nan", "-1", "b'x'", *[f"gene{n}" for n in range(6, N_GENES)]]
    adata.uns = {"with blank": 1, ".hidden": {"zéro": np.zeros(0), "c": np.arange(3), "0": "0"}}
    written(path, adata)


def integer_names(path):
    with h5py.File(written(path), "r+") as file:
        for slot, n in (("obs", N_CELLS), ("var", N_GENES)):
            replaced(file[slot], "_index", np.arange(n))
            file[slot]["_index"].attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})


def everything() -> anndata.AnnData:
    adata = base()
    n = np.arange(N_CELLS)
    adata.uns = {
        "none": None,
        "empty": {},
        "nested": {"a": {"b": {"c": None, "d": np.zeros((0, 3))}}},
        "ranks": np.array([("a", 1.5), ("long é", 2.0)], dtype=[("0", "O"), ("1", "f4")]),
        "frame": pd.DataFrame({"x": pd.Categorical(["u", None]), "y": pd.array([1, None], dtype="Int64")}),
        "image": np.random.default_rng(0).random((20, 20, 3)).astype(np.float32),
        "text": "é",
        "flag": True,
        "number": np.float64(2),
        "strings": np.array([["a", "b"], ["c", "é"]]),
    }
    adata.obsm["spatial"] = np.random.default_rng(0).normal(size=(N_CELLS, 2))
    adata.obsm["cube"] = np.random.default_rng(0).normal(size=(N_CELLS, 2, 3))
    adata.obsm["frame"] = pd.DataFrame({"x": n, "y": pd.Categorical(["q"] * N_CELLS)}, index=adata.obs_names)
    adata.obsm["sparse"] = sparse.random(N_CELLS, 5, 0.2, format="csr", random_state=0)
    adata.obsp["csr"] = sparse.random(N_CELLS, N_CELLS, 0.1, format="csr", random_state=1)
    adata.obsp["csc"] = sparse.random(N_CELLS, N_CELLS, 0.1, format="csc", random_state=2)
    adata.obsp["dense"] = np.random.default_rng(2).normal(size=(N_CELLS, N_CELLS))
    adata.varm["loadings"] = np.random.default_rng(2).normal(size=(N_GENES, 3)).astype(np.float16)
    adata.varp["pairs"] = sparse.random(N_GENES, N_GENES, 0.1, format="csc", random_state=3)
    adata.layers["csc"] = sparse.csc_matrix(values(), dtype=np.int16)
    adata.layers["flags"] = values() > 0
    adata.obs["flag"] = pd.array([None if k % 5 == 0 else bool(k % 2) for k in n], dtype="boolean")
    adata.obs["int"] = pd.array([None if k % 5 == 0 else k for k in n], dtype="Int64")
    adata.obs["level"] = pd.Categorical([["low", "high"][k % 2] for k in n], ["low", "middle", "high"], ordered=True)
    adata.obs["note"] = [f"note é {k}" for k in n]
    adata.raw = adata[:, ::-1].copy()
    return adata


def of_zarr(version: int, consolidated: bool = True, **options) -> Callable[[Path], None]:
    def make(path):
        adata = everything() if version == 2 else base(values().astype(np.float32))
        with anndata.settings.override(zarr_write_format=version):
            adata.write_zarr(path, convert_strings_to_categoricals=False)
        root = zarr.open_group(path, mode="r+", use_consolidated=False)
        if options:  # stored anew in shards, or in another order
            attributes, dense = dict(root["X"].attrs), version == 3
            del root["X"]
            array = root.create_array("X", shape=(N_CELLS, N_GENES), chunks=(10, 15), dtype="f4", **options)
            array[:] = values()
            array.attrs.update({**attributes, "encoding-type": "array", "encoding-version": "0.2.0"} if dense else {})
        if consolidated:
            zarr.consolidate_metadata(str(path))

    return make


VARIANTS: dict[str, Callable[[Path], object]] = {
    "base.h5ad": written,
    "csc.h5ad": matrix_of(sparse.csc_matrix(values(), dtype=np.float32)),
    "float16.h5ad": matrix_of(values().astype(np.float16)),
    "bytes.h5ad": matrix_of(values().astype(np.uint8)),
    "big_endian.h5ad": matrix_of(values().astype(">f8")),
    "uint64.h5ad": matrix_of(sparse.csr_matrix(values(), dtype=np.uint64)),
    "noncanonical_csr.h5ad": old_sparse("csr"),
    "noncanonical_csc.h5ad": old_sparse("csc"),
    "nullable_strings.h5ad": nullable_strings,
    "seurat_disk.h5ad": seurat_disk,
    "slash_columns.h5ad": slash_columns,
    "awkward.h5ad": awkward,
    "unknown_over_cells.h5ad": unknown_encoding_over_cells,
    "unknown.h5ad": unknown_elements,
    "fixed_length_bytes.h5ad": fixed_length_bytes,
    "odd_names.h5ad": odd_names,
    "integer_names.h5ad": integer_names,
    "everything.h5ad": lambda path: written(path, everything()),
    "version2.zarr": of_zarr(2),
    "version3.zarr": of_zarr(3, consolidated=False),
    "sharded.zarr": of_zarr(3, shards=(20, 30)),
}

WITHOUT_PARTS = {"awkward.h5ad": "obsm/clones", "unknown_over_cells.h5ad": "obs/when"}
"""Files that cannot be split, with the element that is to blame."""
