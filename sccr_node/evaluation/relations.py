"""Associating and dissociating pairs of genes: in the data, and among the edges of a gene graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from sccr_node.numerics import Progress

TILE_BYTES = 256_000_000
"""Memory for two groups of genes whose pairs are computed together, in bytes."""

ZERO = 1e-10
"""Correlations this close to 0 are rounding error and count as neither kind."""


@dataclass(frozen=True)
class Shares:
    """The number of gene pairs of each kind."""

    n_pairs: int
    """Pairs whose correlation is defined: neither gene is constant."""
    n_associating: int
    """Pairs with r > 0."""
    n_dissociating: int
    """Pairs with r < 0."""

    @property
    def associating(self) -> float:
        """Share of associating pairs; NaN without pairs."""
        return self.n_associating / self.n_pairs if self.n_pairs else float("nan")

    @property
    def dissociating(self) -> float:
        """Share of dissociating pairs; NaN without pairs."""
        return self.n_dissociating / self.n_pairs if self.n_pairs else float("nan")


class Edge(NamedTuple):
    """Two genes (column indices, the lower first) and the weight of their edge."""

    first: int
    second: int
    weight: float


def shares_in_data(expression: sparse.csr_matrix, progress: Progress = lambda stage, fraction: None) -> Shares:
    """Count the associating and the dissociating pairs among all pairs of genes, by Pearson's r over all cells.

    Parameters
    ----------
    expression
        Cells x genes, log-normalised; zeros count as values.
    progress
        Called with the stage's name and the finished fraction.
    """
    by_gene = expression.tocsc()
    n_cells, n_genes = by_gene.shape
    width = int(np.clip(TILE_BYTES // (16 * max(n_cells, 1)), 1, 2048))
    starts = range(0, n_genes, width)
    n_tiles = len(starts) * (len(starts) + 1) // 2
    n_pairs = n_associating = n_dissociating = done = 0
    for index, first in enumerate(starts):
        left = _standardised(by_gene[:, first : first + width])
        for second in starts[index:]:
            right = left if second == first else _standardised(by_gene[:, second : second + width])
            r = left.T @ right
            if second == first:
                r = r[np.triu_indices_from(r, k=1)]
            n_associating += int((r > ZERO).sum())
            n_dissociating += int((r < -ZERO).sum())
            n_pairs += int(np.isfinite(r).sum())
            done += 1
            progress("correlations", done / n_tiles)
    return Shares(n_pairs, n_associating, n_dissociating)


def _standardised(genes: sparse.csc_matrix) -> NDArray[np.float64]:
    values = genes.toarray().astype(np.float64)
    constant = values.min(axis=0) == values.max(axis=0)
    values -= values.mean(axis=0)
    lengths = np.linalg.norm(values, axis=0)
    values /= np.where(constant, 1.0, lengths)
    values[:, constant] = np.nan
    return values


def shares_in_graph(relations: sparse.csr_matrix) -> Shares:
    """Count the edges of each kind in a gene graph.

    Parameters
    ----------
    relations
        Genes x genes, symmetric; the weight is the correlation, with its sign.
    """
    weights = _pairs(relations).data
    return Shares(weights.size, int((weights > 0).sum()), int((weights < 0).sum()))


def strongest_pairs(relations: sparse.csr_matrix, n_pairs: int) -> tuple[list[Edge], list[Edge]]:
    """Return the strongest associating and the strongest dissociating pairs of a gene graph, strongest first.

    Parameters
    ----------
    relations
        Genes x genes, symmetric; the weight is the correlation, with its sign.
    n_pairs
        Number of pairs of each kind; ties are broken in favour of lower columns.
    """
    pairs = _pairs(relations)
    order = np.lexsort((pairs.col, pairs.row, -np.abs(pairs.data)))

    def those(kind: NDArray[np.bool_]) -> list[Edge]:
        chosen = order[kind[order]][:n_pairs]
        return [Edge(int(pairs.row[at]), int(pairs.col[at]), float(pairs.data[at])) for at in chosen]

    return those(pairs.data > 0), those(pairs.data < 0)


def _pairs(relations: sparse.csr_matrix) -> sparse.coo_matrix:
    upper = sparse.coo_matrix(sparse.triu(relations, k=1))
    upper.eliminate_zeros()
    return upper
