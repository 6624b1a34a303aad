"""A small result in which every number can be recomputed with numpy in one line."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from sccr_node.contract.record import RunRecord
from sccr_node.reports.content import Content
from sccr_node.reports.reading import content_of
from sccr_node.results import open_result

HOSTILE = "<script>window.harmed = true</script><img src=x onerror='window.harmed = true'>"


@dataclass
class Made:
    """A written result and what it was made from: ``before`` and ``after`` are dense, cells x imputed genes."""

    path: Path
    before: np.ndarray
    after: np.ndarray
    relations: np.ndarray
    columns: np.ndarray
    labels: np.ndarray


def make_result(
    path: Path,
    *,
    n_cells: int = 150,
    hostile: bool = False,
    method: str = "sccr",
    layer: str | None = "sccr",
    key: str = "sccr",
    dense: bool = False,
    relations: bool = True,
    scale: str = "counts",
) -> Made:
    """Write counts of three cell types, a made-up imputation of 40 of 60 genes, and everything the step adds."""
    generator = np.random.default_rng(3)
    n_genes = 60
    types = np.arange(n_cells) % 3
    rates = np.full((3, n_genes), 0.4)
    for group in range(3):
        rates[group, group * 12 : group * 12 + 6] = 5.0
    counts = generator.poisson(rates[types] * generator.gamma(4, 0.25, (n_cells, 1))).astype(np.float32)
    counts[:, 0] += 1  # no empty cell
    columns = np.sort(generator.permutation(n_genes)[:40])
    columns[0] = 0
    depth = counts[:, columns].sum(axis=1)
    logs = np.log1p(counts / depth[:, None] * np.median(depth)).astype(np.float32)
    means = np.array([logs[types == group].mean(axis=0) for group in range(min(3, n_cells))])
    imputed = logs.copy()
    imputed[:, columns] = 0.5 * logs[:, columns] + 0.5 * means[types][:, columns]
    correlations = np.corrcoef(logs[:, columns].T) if n_cells > 2 else np.zeros((len(columns),) * 2)
    kept = np.triu(np.abs(np.nan_to_num(correlations)) > 0.25, k=1)
    pairs = np.zeros((n_genes, n_genes), dtype=np.float32)
    pairs[np.ix_(columns, columns)] = np.where(kept | kept.T, correlations, 0)
    centred = imputed[:, columns] - imputed[:, columns].mean(axis=0)
    left, strengths, _ = np.linalg.svd(centred, full_matrices=False)
    n_components = max(1, min(10, n_cells - 1))

    prefix = HOSTILE if hostile else ""
    labels = np.array([f"{prefix}type {'abc'[group]}" for group in types], dtype=object)
    obs = pd.DataFrame(
        {
            "label": pd.Categorical(labels),
            "number": types,
            "nothing": np.full(n_cells, np.nan),
            "one": "same",
            "some": pd.Categorical([label if at % 5 else None for at, label in enumerate(labels)]),
        },
        index=[f"{prefix}cell {at}" for at in range(n_cells)],
    )
    var = pd.DataFrame(
        {f"{key}_imputed": np.isin(np.arange(n_genes), columns)}, index=[f"{prefix}gene {at}" for at in range(n_genes)]
    )
    values = counts if scale == "counts" else logs
    data = anndata.AnnData(X=sparse.csr_matrix(values), obs=obs, var=var)
    if layer is not None:
        data.layers[layer] = imputed if dense else sparse.csr_matrix(imputed)
    data.obsm[f"X_{key}"] = (left * strengths)[:, :n_components].astype(np.float32)
    if relations:
        data.varp[f"{key}_relations"] = sparse.csr_matrix(pairs)
    params: dict[str, Any] = {
        "genes": "top-variance",
        "method": method,
        "k_cell": 15,
        "beta": 0.99,
        "dissociating": True,
    }
    if scale == "counts":
        params |= {"normalize_by": "selected", "target_sum": "median"}
    data.uns[key] = {
        "version": "0.1.0",
        "method": method,
        "params": params,
        "input": {"scale": scale, "layer": "X", "genes": "top-variance"},
        "n_cells": n_cells,
        "n_genes": 40,
        "messages": np.array([f"{prefix}40 genes are imputed"], dtype=object),
    }
    data.write_zarr(path) if path.suffix == ".zarr" else data.write_h5ad(path)
    return Made(path, logs[:, columns], imputed[:, columns], pairs, columns, labels)


def record_of(made: Made, **changes: Any) -> dict[str, Any]:
    """Return the run record that belongs to a result, as JSON holds it."""
    n_cells = len(made.before)
    record = {
        "version": "0.1.0",
        "command": ["sccr", "impute", "in.h5ad", str(made.path)],
        "method": "sccr",
        "params": {"method": "sccr", "k_cell": 15, "beta": 0.99, "quiet": True, "key_added": "sccr"},
        "input": {
            "path": "in.h5ad",
            "format": "h5ad",
            "sha256": "0" * 64,
            "bytes": 1,
            "layer": None,
            "scale": "counts",
            "scale_reason": "non-negative integers up to 9",
            "n_cells": n_cells,
            "n_genes": 60,
            "n_nonzero": 5,
        },
        "preparation": {
            "genes_choice": "top-variance",
            "n_genes_imputed": 40,
            "normalize_by": "selected",
            "target_sum": 42.5,
            "n_empty_cells": 0,
            "n_empty_genes": 1,
        },
        "batches": [],
        "result": {
            "path": str(made.path),
            "format": "h5ad",
            "keys": ["layers/sccr"],
            "zeros_before": float((made.before == 0).mean()),
            "zeros_after": float((made.after == 0).mean()),
            "n_relations_associating": 1,
            "n_relations_dissociating": 1,
        },
        "resources": {
            "threads": 2,
            "vector_instructions": "avx2",
            "seconds": {"read": 1.0, "impute": 2.5, "write": 0.5},
            "total_seconds": 4.0,
            "peak_memory_bytes": 512_000_000,
            "estimated_memory_bytes": 600_000_000,
            "memory_limit_bytes": None,
        },
        "software": {"python": "3.12.1", "numpy": "2.0.0"},
        "started": "2026-01-01T00:00:00+00:00",
        "finished": "2026-01-01T00:00:04+00:00",
        "messages": ["40 genes are imputed"],
    }
    return {**record, **changes}


def content(path: Path, *, record: RunRecord | None = None, key_added: str | None = None, **options: Any) -> Content:
    """Return what the page says of a result in a file."""
    with open_result(path, key_added) as result:
        return content_of(result, shown_as=path, record=record, **options)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_result(tmp_path_factory.mktemp("result") / "sample 1.h5ad")


@pytest.fixture(scope="session")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_result(tmp_path_factory.mktemp("hostile") / "a<b>&c.h5ad", hostile=True)


@pytest.fixture(scope="session")
def record_file(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("record") / "record.json"
    path.write_text(json.dumps(record_of(made)))
    return path


@pytest.fixture
def without_umap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lay cells out by principal components, and cluster them by k-means: UMAP and Leiden have tests of their own."""
    monkeypatch.setattr("sccr_node.reports.layout.FEWEST_CELLS_FOR_UMAP", 10**9)
