"""Records what the Python API sets on an AnnData object, prints and refuses."""

import contextlib
import inspect
import io
import warnings
from typing import Any

import anndata
import masks
import numpy as np
import pandas as pd
import recorder
from scipy import sparse

import sccr_node

SETTINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "default": ("counts.h5ad", {}),
    "csc": ("csc.h5ad", {}),
    "dense": ("dense.h5ad", {}),
    "logs": ("logs.h5ad", {"input_scale": "log1p"}),
    "layer": ("logs.h5ad", {"layer": "counts", "n_top_genes": 150}),
    "both": ("counts.h5ad", {"write": "both", "key_added": "mine", "n_components": 10}),
    "recovered": ("counts.h5ad", {"write": "recovered"}),
    "embedding": ("counts.h5ad", {"write": "embedding"}),
    "scfp": ("counts.h5ad", {"method": "scfp", "k_cell": 7}),
    "scbfp": ("counts.h5ad", {"method": "scbfp", "n_top_genes": 200}),
    "batches": ("batches.h5ad", {"batch_key": "sample", "n_top_genes": 200}),
    "numbers": ("counts.h5ad", {"standardize": False, "dissociating": False, "symmetrize_final": False, "beta": 0.9}),
    "gene file": ("counts.h5ad", {"genes": "in/genes_some.txt", "normalize_by": "all", "target_sum": 500}),
    "rich": ("rich_plain.h5ad", {"genes": "highly-variable"}),
    "features": ("features.h5ad", {"genes": "all"}),
    "empty cells": ("empty.h5ad", {}),
    "copy": ("counts.h5ad", {"copy": True, "quiet": True}),
    "unknown option": ("counts.h5ad", {"ngenes": 5}),
    "option of files": ("counts.h5ad", {"report": "page.html"}),
    "bad value": ("counts.h5ad", {"k_cell": 0}),
    "option of another method": ("counts.h5ad", {"method": "scfp", "gamma": 0.1}),
    "missing layer": ("counts.h5ad", {"layer": "spliced"}),
    "missing column": ("counts.h5ad", {"batch_key": "donor"}),
    "missing gene file": ("counts.h5ad", {"genes": "none.txt"}),
    "too little memory": ("counts.h5ad", {"max_memory": "1MB"}),
    "key exists": ("../spoilt/key_taken.h5ad", {}),
    "overwrite": ("../spoilt/key_taken.h5ad", {"overwrite_keys": True}),
    "NaN": ("../spoilt/nan.h5ad", {}),
}


def record() -> dict[str, Any]:
    """Call the API with every setting, and describe what it is."""
    calls = {name: call(file, options) for name, (file, options) in SETTINGS.items()}
    return {
        "calls": calls,
        "names": sorted(name for name in sccr_node.__all__),
        "version": sccr_node.__version__,
        "signature": [str(parameter) for parameter in inspect.signature(sccr_node.impute).parameters.values()],
        "docstring": recorder.shown(inspect.getdoc(sccr_node.impute) or ""),
    }


def call(file: str, options: dict[str, Any]) -> dict[str, Any]:
    """Impute an object and return what changed in it, what was said, and what was raised."""
    adata = anndata.read_h5ad(f"in/{file}")
    before = contents(adata)
    err = io.StringIO()
    raised, returned = None, None
    with contextlib.redirect_stderr(err), warnings.catch_warnings():
        recorder.show_warnings()
        try:
            # One thread: the estimate that is printed depends on how many there are.
            returned = sccr_node.impute(adata, threads=1, **options)
        except Exception as failure:  # noqa: BLE001 - what is raised is what is recorded
            raised = f"{type(failure).__name__}: {failure}"
    after = contents(adata)
    entry: dict[str, Any] = {
        "raised": raised,
        "stderr": recorder.shown(masks.log(err.getvalue(), keep_limit="max_memory" in options)),
        "set": {key: value for key, value in after.items() if before.get(key) != value},
        "gone": sorted(before.keys() - after.keys()),
    }
    if returned is not None:
        entry["returned"] = {key: value for key, value in contents(returned).items() if before.get(key) != value}
    return entry


def contents(adata: anndata.AnnData) -> dict[str, Any]:
    """Return a description of every element of an object."""
    found = {"X": described(adata.X), "obs_names": described(adata.obs_names), "var_names": described(adata.var_names)}
    for slot in ("obs", "var", "layers", "obsm", "varm", "obsp", "varp", "uns"):
        for key in getattr(adata, slot):
            found[f"{slot}/{key}"] = described(getattr(adata, slot)[key])
    return found


def described(value: Any) -> Any:
    """Describe a value: arrays by type, shape and hash, anything else as it is."""
    if isinstance(value, dict):
        return {str(key): described(item) for key, item in value.items()}
    if sparse.issparse(value):
        parts = [value.data, value.indices, value.indptr]
        content = b"".join(recorder.bytes_of(part) for part in parts)
        types = "/".join(str(part.dtype) for part in parts)
        return f"{type(value).__name__} {types} {value.shape} {recorder.digest(content)}"
    if isinstance(value, pd.DataFrame | pd.Series | pd.Index):
        # Tables of users are only compared: none is set.
        return f"{type(value).__name__} {recorder.digest(repr(value.to_numpy().tolist()).encode())} {_types(value)}"
    if isinstance(value, np.ndarray):
        if value.ndim == 1 and value.size <= 20:
            return f"array {value.dtype} {value.tolist()!r}"
        order = "F" if value.flags.f_contiguous and not value.flags.c_contiguous else "C"
        return f"array {value.dtype} {order} {value.shape} {recorder.digest(recorder.bytes_of(value))}"
    return f"{type(value).__name__} {value!r}"


def _types(value: Any) -> str:
    return ", ".join(map(str, value.dtypes)) if isinstance(value, pd.DataFrame) else str(value.dtype)
