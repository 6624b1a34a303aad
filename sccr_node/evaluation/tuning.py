"""How strongly to denoise, and what to blend with, judged by molecules that were held out.

Half of every cell's molecules are held out (molecular cross-validation: Batson, Royer and Webber 2019; count splitting:
Neufeld et al. 2022). The other half is imputed, and the error is the mean square of the difference from the logs of the
held-out half, over all entries: also over those that neither half has seen, unlike an error at masked entries, which
rewards whatever never predicts zero.

Soft propagation is a fixed combination of A^0 X ... A^n X, and the blend is linear as well. The error is therefore a
quadratic form of the combination's coefficients: one matrix of inner products gives the error of every strength, number
of steps, rank and share, and the best share has a closed form.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from sccr_node.contract.methods import Value
from sccr_node.methods.blend import low_rank
from sccr_node.methods.expression import Expression
from sccr_node.methods.sccr import before_denoising
from sccr_node.numerics import Workspace
from sccr_node.numerics.neighbors import DenseRows
from sccr_node.numerics.pca import Components
from sccr_node.numerics.propagation import powers_over_cells

BETAS = (0.3, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.99)
RANKS = (5, 10, 15, 20, 30, 40)
SCORED_GENES = 640
"""The grid is scored on so many of the genes, drawn at random: the error of the others is the same on average."""
FOLDS = 50
"""Groups of cells whose errors are compared in pairs, for standard errors."""

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Start:
    """What every setting starts from, for one batch.

    Attributes
    ----------
    data
        The training half, without empty cells and genes.
    held_out
        The other half, of the same cells and genes: CSR, logs.
    recovered
        R, before denoising.
    graph
        The last cell graph.
    components
        The principal axes of the training half.
    """

    data: Expression
    held_out: sp.csr_matrix
    recovered: DenseRows
    graph: sp.csr_matrix
    components: Components


def start(
    training: sp.csr_matrix,
    held_out: sp.csr_matrix,
    settings: Mapping[str, Value],
    ranks: Sequence[int],
    work: Workspace,
) -> Start:
    """Impute the training half of a batch up to denoising."""
    data = Expression.of(training)
    recovered, graph = before_denoising(data, work, settings)
    with work.stage("principal components"):
        components = low_rank(data, max(ranks), work)
    return Start(data, held_out[data.cells][:, data.genes].tocsr(), recovered, graph, components)


@dataclass(frozen=True)
class Products:
    """Inner products of everything that a result is combined from, summed over the entries of each fold of cells.

    Attributes
    ----------
    names
        What the rows and columns stand for: the powers, then "recovered", "gene mean", the ranks, "held out".
    sums
        Folds x names x names.
    n_entries
        Number of entries per fold.
    """

    names: tuple[str, ...]
    sums: Matrix
    n_entries: Matrix

    def __add__(self, other: Products) -> Products:
        """Return the products of two batches together."""
        return Products(
            self.names, np.concatenate([self.sums, other.sums]), np.concatenate([self.n_entries, other.n_entries])
        )

    def vector(self, **weights: float) -> Matrix:
        """Return coefficients by name."""
        found = np.zeros(len(self.names))
        for name, weight in weights.items():
            found[self.names.index(name)] = weight
        return found

    @property
    def target(self) -> Matrix:
        """The coefficients of the held-out half."""
        return self.vector(**{"held out": 1.0})

    def errors(self, coefficients: Matrix) -> Matrix:
        """Return the sum of squared errors of a combination, per fold."""
        off = coefficients - self.target
        return np.asarray(np.einsum("i,fij,j->f", off, self.sums, off))

    def error(self, coefficients: Matrix) -> float:
        """Return the mean squared error of a combination."""
        return float(self.errors(coefficients).sum() / self.n_entries.sum())

    def difference(self, first: Matrix, second: Matrix) -> tuple[float, float]:
        """Return how much larger the first error is than the second, and the standard error of that."""
        by_fold = self.errors(first) - self.errors(second)
        total = self.n_entries.sum()
        mean = by_fold.sum() / total
        off = by_fold - mean * self.n_entries
        n = len(off)
        return float(mean), float(np.sqrt((off**2).sum() * n / max(1, n - 1)) / total)


def products(
    begin: Start, ranks: Sequence[int], n_powers: int, genes: NDArray[np.bool_], work: Workspace, seed: int
) -> Products:
    """Return the inner products of one batch, over some of the genes."""
    data = begin.data
    n_cells = len(data.cells)
    columns = np.flatnonzero(genes[data.genes])
    order = np.random.default_rng(seed).permutation(n_cells)
    folds = [np.sort(fold) for fold in np.array_split(order, min(FOLDS, n_cells))]
    names = (
        *(str(power) for power in range(n_powers + 1)),
        "recovered",
        "gene mean",
        *(f"rank {r}" for r in ranks),
        "held out",
    )
    with work.stage("score settings"):
        source = data.matrix[:, columns].tocsr()
        held_out = begin.held_out[:, columns].tocsc()
        scores = np.concatenate(
            [begin.components.scores(data.matrix[at : at + 256].toarray()) for at in range(0, n_cells, 256)]
        )
        blocks: dict[int, Matrix] = {}

        def use(first: int, powers: NDArray[np.float32]) -> None:
            used = columns[first : first + powers.shape[2]]
            parts = np.empty((len(names), n_cells, len(used)), np.float64)
            parts[: n_powers + 1] = powers
            parts[n_powers + 1] = begin.recovered.matrix[:, used]
            parts[n_powers + 2] = begin.components.mean[used]
            for at, rank in enumerate(ranks):
                parts[n_powers + 3 + at] = begin.components.rebuilt(scores[:, :rank], used)
            parts[-1] = held_out[:, first : first + len(used)].toarray()
            sums = np.empty((len(folds), len(names), len(names)))
            for number, fold in enumerate(folds):
                rows = parts[:, fold].reshape(len(names), -1)
                sums[number] = rows @ rows.T
            blocks[first] = sums

        with threadpool_limits(1, user_api="blas"):
            powers_over_cells(begin.graph, source, n_powers, work, use)
    total = sum((blocks[first] for first in sorted(blocks)), start=np.zeros_like(next(iter(blocks.values()))))
    n_entries = np.array([len(fold) * len(columns) for fold in folds], float)
    return Products(names, total, n_entries)
