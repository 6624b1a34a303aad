"""Simulate a data set with known ground truth: cell types, gene programmes that exclude each other, dropout.

Cells are drawn in blocks, each with random numbers of its own, so that a million of them fit any memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sccr_node.contract.simulate import SimulateParameters
from sccr_node.errors import NotEnoughResources, UsageProblem, writing
from sccr_node.runtime import signals
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
BLOCK_ENTRIES = 10_000_000
"""Cells times genes that are drawn at a time. They decide which random numbers a cell gets."""
BYTES_PER_ENTRY = 40
"""Memory per cell and gene while drawing: rates and their logs, counts, probabilities."""
BYTES_PER_CELL = 600
"""Memory per cell for its name, type and batch."""
WRITTEN_BYTES = {"counts": 1.5, "complete_counts": 2.5, "expected_counts": 4.0}
"""At most what is written per cell and gene, compressed."""


@dataclass(frozen=True)
class Simulated:
    """Some cells of a simulated data set, or all of them.

    Attributes
    ----------
    counts
        Cells x genes, int32, after dropout.
    complete_counts
        The counts before dropout.
    expected
        The rates from which the complete counts were drawn, float32: the ground truth.
    """

    counts: NDArray[np.int32]
    complete_counts: NDArray[np.int32]
    expected: NDArray[np.float32]


class Simulation:
    """A data set to be drawn.

    Every gene has a base level and belongs to a programme. A cell type activates some programmes and shuts others down,
    so that genes of one programme correlate, and genes of programmes that exclude each other anticorrelate. Cells
    deviate from their type, differ in depth, and are drawn from Poisson distributions; entries are then lost, low
    expression more often than high.

    Attributes
    ----------
    cell_types, batches
        Type and batch of each cell, from 0.
    programmes
        Programme of each gene, from 0.
    n_programmes
        Their number.
    block_cells
        Number of cells of a block.
    n_blocks
        Number of blocks.

    Parameters
    ----------
    params
        The size, the noise and the seed.
    """

    def __init__(self, params: SimulateParameters) -> None:
        random = np.random.default_rng(params.seed)
        self._params = params
        n_cells, n_genes = params.n_cells, params.n_genes
        self.n_programmes = max(2, -(-n_genes // GENES_PER_PROGRAMME))
        self.programmes = random.permutation(np.arange(n_genes) % self.n_programmes)
        self._base = random.lognormal(0.0, 1.2, n_genes)
        self._state = random.choice(
            [1.0, ACTIVE_FOLD, AVOIDED_FOLD], size=(params.n_types, self.n_programmes), p=[0.4, 0.3, 0.3]
        )
        self.cell_types = random.permutation(np.arange(n_cells) % params.n_types)
        self.batches = random.permutation(np.arange(n_cells) % params.n_batches)
        self._after_tables = random.bit_generator.state
        self.block_cells = max(1, BLOCK_ENTRIES // n_genes)
        self.n_blocks = -(-n_cells // self.block_cells)
        self._of_batches: NDArray[np.float64] | None = None
        self._midpoint: float | None = None
        self._only: Simulated | None = None

    def block(self, number: int) -> Simulated:
        """Return the cells of a block, the same ones whenever it is asked for."""
        if number > 0 and self._midpoint is None:
            self._draw(0)  # decides what all blocks share
        if self.n_blocks > 1:
            return self._draw(number)
        if self._only is None:
            self._only = self._draw(number)
        return self._only

    def _draw(self, number: int) -> Simulated:
        params = self._params
        cells = slice(number * self.block_cells, min((number + 1) * self.block_cells, params.n_cells))
        types, batches = self.cell_types[cells], self.batches[cells]
        random = np.random.default_rng([params.seed, number])
        if number == 0:  # small data sets are those of versions that drew all cells at once
            random = np.random.default_rng(params.seed)
            random.bit_generator.state = self._after_tables

        activity = self._state[types] * random.lognormal(0.0, CELL_SPREAD, (len(types), self.n_programmes))
        rates = self._base * activity[:, self.programmes]
        if params.n_batches > 1:
            if number == 0:
                self._of_batches = random.lognormal(0.0, BATCH_SPREAD, (params.n_batches, params.n_genes))
            assert self._of_batches is not None
            rates *= self._of_batches[batches]
        depths = params.depth * random.lognormal(0.0, CELL_SPREAD, len(types))
        expected = rates / rates.sum(axis=1, keepdims=True) * depths[:, None]

        complete = random.poisson(expected).astype(np.int32)
        if self._midpoint is None:
            self._midpoint = midpoint_of_loss(expected[complete > 0], params.dropout)
        lost = random.random(complete.shape) < loss_probabilities(expected, self._midpoint)
        return Simulated(
            counts=np.where(lost, 0, complete).astype(np.int32),
            complete_counts=complete,
            expected=expected.astype(np.float32),
        )

    def blocks(self) -> Iterator[Simulated]:
        """Yield all cells, block by block."""
        for number in range(self.n_blocks):
            yield self.block(number)

    def drawn(self) -> Simulated:
        """Return all cells at once."""
        blocks = list(self.blocks())
        return Simulated(
            counts=np.concatenate([block.counts for block in blocks]),
            complete_counts=np.concatenate([block.complete_counts for block in blocks]),
            expected=np.concatenate([block.expected for block in blocks]),
        )

    def tables(self) -> AnnData:
        """Return everything but matrices: types and batches of the cells, programmes of the genes, the parameters."""
        import pandas as pd
        from anndata import AnnData

        def numbered(prefix: str, n: int) -> list[str]:
            width = len(str(n))
            return [f"{prefix}{number + 1:0{width}d}" for number in range(n)]

        def categorical(prefix: str, numbers: NDArray[np.intp], n: int) -> Any:
            named = pd.Categorical.from_codes(numbers.astype(np.int64), categories=pd.Index(numbered(prefix, n)))
            return named.remove_unused_categories()

        params = self._params
        obs = pd.DataFrame(
            {
                "cell_type": categorical("type_", self.cell_types, params.n_types),
                "batch": categorical("batch_", self.batches, params.n_batches),
            },
            index=pd.Index(numbered("cell_", params.n_cells)),
        )
        of_genes = categorical("programme_", self.programmes, int(self.programmes.max()) + 1)
        var = pd.DataFrame({"programme": of_genes}, index=pd.Index(numbered("gene_", params.n_genes)))
        about = params.model_dump(exclude={"log_format", "quiet", "debug", "force", "truth"})
        return AnnData(obs=obs, var=var, uns={"simulation": about})


def midpoint_of_loss(expressed: NDArray[np.float64], dropout: float) -> float:
    """Return the log of the rate at which half of the entries are lost, so that ``dropout`` of them are on average.

    Parameters
    ----------
    expressed
        The rates of entries that can be lost.
    dropout
        The fraction to lose, from 0 to below 1.
    """
    if dropout == 0 or not expressed.size:
        return -np.inf
    logs = np.log(expressed)
    low, high = -50.0, 50.0
    for _ in range(60):  # bisection: the fraction lost grows with the midpoint
        midpoint = (low + high) / 2
        share = (1 / (1 + np.exp(logs - midpoint))).mean()
        low, high = (midpoint, high) if share < dropout else (low, midpoint)
    return midpoint


def loss_probabilities(expected: NDArray[np.float64], midpoint: float) -> NDArray[np.float64]:
    """Return the probability that each entry is lost: logistic in the log of its rate."""
    if midpoint == -np.inf:
        return np.zeros_like(expected)
    return np.asarray(1 / (1 + np.exp(np.log(expected) - midpoint)))


def simulate(params: SimulateParameters) -> AnnData:
    """Return what ``sccr simulate`` writes: counts in X, the complete counts and the ground truth as layers.

    Parameters
    ----------
    params
        The size, the noise and the seed.
    """
    from scipy import sparse

    simulation = Simulation(params)
    adata, drawn = simulation.tables(), simulation.drawn()
    adata.X = sparse.csr_matrix(drawn.counts)
    if params.truth:
        adata.layers["complete_counts"] = sparse.csr_matrix(drawn.complete_counts)
        adata.layers["expected_counts"] = drawn.expected
    return adata


def simulate_file(output_path: Path, params: SimulateParameters, *, console: Console) -> None:
    """Write a simulated data set to an ``.h5ad`` file, block by block.

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
        A block of the data set would not fit in memory, or the data set not on the disk.
    """
    from sccr_node.storage.atomic import commit_all, staged
    from sccr_node.storage.files import is_named_h5ad
    from sccr_node.storage.hdf5 import FORMAT
    from sccr_node.storage.targets import Target, check_targets

    if not is_named_h5ad(output_path):
        raise UsageProblem(f"cannot write {output_path}: simulated data sets are .h5ad files; use that extension")
    check_targets([Target(output_path)], params.files_read(), force=params.force)
    _check_needs(output_path, params)
    simulation = Simulation(params)
    shape = params.n_cells, params.n_genes
    n_counts = n_complete = 0

    def drawn(stage: str, of_block: Callable[[Simulated], Any]) -> Iterator[Any]:
        for number in range(simulation.n_blocks):
            signals.check()
            console.progress(stage, number / simulation.n_blocks)
            yield of_block(simulation.block(number))
        console.close_bar()

    def counts(block: Simulated) -> Any:
        nonlocal n_counts, n_complete
        n_counts += int(np.count_nonzero(block.counts))
        n_complete += int(np.count_nonzero(block.complete_counts))
        return _sparse(block.counts)

    with staged(output_path, replace=params.force) as temporary, writing(output_path):
        FORMAT.write(temporary.path, simulation.tables())
        appender = FORMAT.appender(temporary.path, "auto", None)
        try:
            appender.write_csr("/", "X", shape, drawn("counts", counts), np.int32, noisy=False)
            if not n_counts:
                raise UsageProblem(
                    "cannot simulate this data set: every count is zero; give more cells or genes (--n-cells, "
                    "--n-genes), a larger --depth or a smaller --dropout"
                )
            if params.truth:
                complete = drawn("counts before dropout", lambda block: _sparse(block.complete_counts))
                appender.write_csr("layers", "complete_counts", shape, complete, np.int32, noisy=False)
                appender.write_dense(
                    "layers", "expected_counts", shape, drawn("expected counts", lambda block: block.expected)
                )
            appender.close()
        except BaseException:
            appender.abandon()
            raise
        commit_all([temporary])
    lost = 1 - n_counts / max(1, n_complete)
    console.say(
        f"wrote {output_path}: {params.n_cells:,} cells × {params.n_genes:,} genes, "
        f"{quantity(params.n_types, 'cell type')}, {quantity(params.n_batches, 'batch', 'batches')}, {lost:.1%} of the "
        "expressed entries lost",
        output=str(output_path),
        n_cells=params.n_cells,
        n_genes=params.n_genes,
        lost=round(lost, 6),
    )


def _sparse(values: NDArray[np.int32]) -> Any:
    from scipy import sparse

    return sparse.csr_matrix(values)


def _check_needs(output_path: Path, params: SimulateParameters) -> None:
    """Refuse a data set that does not fit in memory or on the disk."""
    from sccr_node.storage.files import check_room

    entries = params.n_cells * params.n_genes
    at_once = min(entries, max(BLOCK_ENTRIES, params.n_genes))
    need, limit = at_once * BYTES_PER_ENTRY + params.n_cells * BYTES_PER_CELL, memory_limit()
    if need > limit:
        raise NotEnoughResources(
            f"not enough memory: the simulation needs about {readable_bytes(need)} and may use only "
            f"{readable_bytes(limit)}; simulate fewer cells or genes (--n-cells, --n-genes)"
        )
    written = WRITTEN_BYTES if params.truth else {"counts": WRITTEN_BYTES["counts"]}
    check_room(output_path, int(entries * sum(written.values())))
