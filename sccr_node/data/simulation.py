"""Simulate a data set with known ground truth: cell types, gene programmes that exclude each other, dropout."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sccr_node.contract.simulate import SimulateParameters
from sccr_node.errors import NotEnoughResources, UsageProblem
from sccr_node.runtime.console import Console
from sccr_node.runtime.resources import memory_limit, readable_bytes
from sccr_node.runtime.words import quantity

if TYPE_CHECKING:
    from anndata import AnnData

GENES_PER_PROGRAMME = 25
ACTIVE_FOLD = 6.0
AVOIDED_FOLD = 0.1
CELL_SPREAD = 0.35
"""Standard deviation of the log of a cell's depth, and of its deviation from the programmes of its type."""
BATCH_SPREAD = 0.25
BYTES_PER_ENTRY = 40
"""Memory per cell and gene while drawing: rates and their logs, counts, probabilities."""


@dataclass(frozen=True)
class Simulated:
    """A simulated data set.

    Attributes
    ----------
    counts
        Cells x genes, int32, after dropout.
    complete_counts
        The counts before dropout.
    expected
        The rates from which the complete counts were drawn, float32: the ground truth.
    cell_types, batches
        Type and batch of each cell, from 0.
    programmes
        Programme of each gene, from 0.
    """

    counts: NDArray[np.int32]
    complete_counts: NDArray[np.int32]
    expected: NDArray[np.float32]
    cell_types: NDArray[np.intp]
    batches: NDArray[np.intp]
    programmes: NDArray[np.intp]


def simulate(params: SimulateParameters) -> Simulated:
    """Draw a data set.

    Every gene has a base level and belongs to a programme. A cell type activates some programmes and shuts others down,
    so that genes of one programme correlate, and genes of programmes that exclude each other anticorrelate. Cells
    deviate from their type, differ in depth, and are drawn from Poisson distributions; entries are then lost, low
    expression more often than high.

    Parameters
    ----------
    params
        The size, the noise and the seed.
    """
    random = np.random.default_rng(params.seed)
    n_cells, n_genes = params.n_cells, params.n_genes
    n_programmes = max(2, -(-n_genes // GENES_PER_PROGRAMME))
    programmes = random.permutation(np.arange(n_genes) % n_programmes)
    base = random.lognormal(0.0, 1.2, n_genes)
    state = random.choice([1.0, ACTIVE_FOLD, AVOIDED_FOLD], size=(params.n_types, n_programmes), p=[0.4, 0.3, 0.3])
    cell_types = random.permutation(np.arange(n_cells) % params.n_types)
    batches = random.permutation(np.arange(n_cells) % params.n_batches)

    activity = state[cell_types] * random.lognormal(0.0, CELL_SPREAD, (n_cells, n_programmes))
    rates = base * activity[:, programmes]
    if params.n_batches > 1:
        rates *= random.lognormal(0.0, BATCH_SPREAD, (params.n_batches, n_genes))[batches]
    depths = params.depth * random.lognormal(0.0, CELL_SPREAD, n_cells)
    expected = rates / rates.sum(axis=1, keepdims=True) * depths[:, None]

    complete = random.poisson(expected).astype(np.int32)
    lost = random.random(complete.shape) < loss_probabilities(expected, complete > 0, params.dropout)
    return Simulated(
        counts=np.where(lost, 0, complete).astype(np.int32),
        complete_counts=complete,
        expected=expected.astype(np.float32),
        cell_types=cell_types,
        batches=batches,
        programmes=programmes,
    )


def loss_probabilities(
    expected: NDArray[np.float64], expressed: NDArray[np.bool_], dropout: float
) -> NDArray[np.float64]:
    """Return the probability that each entry is lost: logistic in the log of its rate, ``dropout`` on average.

    Parameters
    ----------
    expected
        The rates, cells x genes.
    expressed
        The entries that can be lost, cells x genes.
    dropout
        The fraction of expressed entries to lose, from 0 to below 1.
    """
    if dropout == 0 or not expressed.any():
        return np.zeros_like(expected)
    logs = np.log(expected)
    low, high = -50.0, 50.0
    for _ in range(60):  # bisection: the fraction lost grows with the midpoint
        midpoint = (low + high) / 2
        share = (1 / (1 + np.exp(logs[expressed] - midpoint))).mean()
        low, high = (midpoint, high) if share < dropout else (low, midpoint)
    return np.asarray(1 / (1 + np.exp(logs - midpoint)))


def as_anndata(simulated: Simulated, params: SimulateParameters) -> AnnData:
    """Return a simulated data set as AnnData: counts in X, the complete counts and the ground truth as layers.

    Parameters
    ----------
    simulated
        From :func:`simulate`.
    params
        The parameters of the simulation; recorded in ``uns['simulation']``.
    """
    import pandas as pd
    from anndata import AnnData
    from scipy import sparse

    def numbered(prefix: str, numbers: NDArray[np.intp], n: int) -> list[str]:
        width = len(str(n))
        return [f"{prefix}{number + 1:0{width}d}" for number in numbers]

    n_cells, n_genes = simulated.counts.shape
    obs = pd.DataFrame(
        {
            "cell_type": pd.Categorical(numbered("type_", simulated.cell_types, params.n_types)),
            "batch": pd.Categorical(numbered("batch_", simulated.batches, params.n_batches)),
        },
        index=pd.Index(numbered("cell_", np.arange(n_cells), n_cells)),
    )
    programme_names = numbered("programme_", simulated.programmes, int(simulated.programmes.max()) + 1)
    var = pd.DataFrame(
        {"programme": pd.Categorical(programme_names)}, index=pd.Index(numbered("gene_", np.arange(n_genes), n_genes))
    )
    return AnnData(
        X=sparse.csr_matrix(simulated.counts),
        obs=obs,
        var=var,
        layers={
            "complete_counts": sparse.csr_matrix(simulated.complete_counts),
            "expected_counts": simulated.expected,
        },
        uns={"simulation": params.model_dump(exclude={"log_format", "quiet", "debug", "force"})},
    )


def simulate_file(output_path: Path, params: SimulateParameters, *, console: Console) -> None:
    """Write a simulated data set to an ``.h5ad`` file.

    Parameters
    ----------
    output_path
        The file to write.
    params
        The size, the noise and the seed.
    console
        Shows what was written.

    Raises
    ------
    UsageProblem
        The output is not an .h5ad file, or the data set would have no counts.
    OutputProblem
        The file already exists, or its folder cannot be written to.
    NotEnoughResources
        The data set would not fit in memory.
    """
    from sccr_node.storage.files import is_named_h5ad, write_h5ad_atomically
    from sccr_node.storage.targets import Target, check_targets

    if not is_named_h5ad(output_path):
        raise UsageProblem(f"cannot write {output_path}: simulated data sets are .h5ad files; use that extension")
    check_targets([Target(output_path)], params.files_read(), force=params.force)
    need, limit = params.n_cells * params.n_genes * BYTES_PER_ENTRY, memory_limit()
    if need > limit:
        raise NotEnoughResources(
            f"not enough memory: the simulation needs about {readable_bytes(need)} and may use only "
            f"{readable_bytes(limit)}; simulate fewer cells or genes (--n-cells, --n-genes)"
        )
    simulated = simulate(params)
    if not simulated.counts.any():
        raise UsageProblem(
            "cannot simulate this data set: every count is zero; give more cells or genes (--n-cells, --n-genes), a "
            "larger --depth or a smaller --dropout"
        )
    adata = as_anndata(simulated, params)
    write_h5ad_atomically(output_path, adata, replace=params.force)
    lost = 1 - int(np.count_nonzero(simulated.counts)) / max(1, int(np.count_nonzero(simulated.complete_counts)))
    console.say(
        f"wrote {output_path}: {params.n_cells:,} cells × {params.n_genes:,} genes, "
        f"{quantity(params.n_types, 'cell type')}, {quantity(params.n_batches, 'batch', 'batches')}, {lost:.1%} of the "
        "expressed entries lost"
    )
