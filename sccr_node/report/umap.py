"""UMAP of some thousand cells with numpy alone: umap-learn would first compile for about a minute on every machine.

The graph is umap-learn's (a test compares them). The layout minimises the same cross-entropy by the same sampled steps,
with the curve for ``min_dist`` = 0.2, at which UMAP's exponent is 1, so that no powers are needed; the steps of a batch
of edges are taken together instead of one after the other.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from sccr_node.evaluation.neighborhoods import nearest
from sccr_node.numerics import Workspace

N_EPOCHS = 200
CURVE = 1.263
"""``a`` of UMAP's similarity in two dimensions, 1 / (1 + a d^2), for ``min_dist`` = 0.2 and ``spread`` = 1."""

N_REPELLED = 5
LONGEST_STEP = 4.0
HALVINGS = 64
LEAST_SCALE = 1e-3
"""umap-learn's numbers: cells that repel at every step, the limit of a step, and two of the search for the scale of
distances."""

_Places = NDArray[np.float32]


def fuzzy_graph(components: NDArray[np.float32], n_neighbors: int) -> sparse.csr_matrix:
    """Return UMAP's neighbour graph of cells: symmetric, with weights up to 1.

    Parameters
    ----------
    components
        Cells x components.
    n_neighbors
        Number of neighbours, counting the cell itself, as UMAP does.
    """
    points = components.astype(np.float64)
    n = len(points)
    neighbors = nearest(components, n_neighbors - 1, Workspace(1))
    distances = np.stack([np.linalg.norm(points - points[column], axis=1) for column in neighbors.T], axis=1)
    weights = _memberships(distances, np.log2(n_neighbors))
    pointers = np.arange(0, neighbors.size + 1, neighbors.shape[1])
    directed = sparse.csr_matrix((weights.ravel(), neighbors.ravel(), pointers), shape=(n, n))
    # The probability that at least one of the two directions exists.
    both = directed.multiply(directed.T)
    graph = sparse.csr_matrix(directed + directed.T - both)
    graph.eliminate_zeros()
    graph.sort_indices()
    return graph


def _memberships(distances: NDArray[np.float64], total: float) -> NDArray[np.float64]:
    """Return the weights of each cell's neighbours: 1 for the nearest, and falling so that they add up to a total."""
    apart = np.where(distances > 0, distances, np.inf).min(axis=1)
    nearest_one = np.where(np.isfinite(apart), apart, 0.0)
    beyond = np.maximum(distances - nearest_one[:, None], 0.0)
    low, high, scale = np.zeros(len(beyond)), np.full(len(beyond), np.inf), np.ones(len(beyond))
    for _ in range(HALVINGS):
        too_much = np.exp(-beyond / scale[:, None]).sum(axis=1) > total
        high, low = np.where(too_much, scale, high), np.where(too_much, low, scale)
        scale = np.where(np.isfinite(high), (low + high) / 2, scale * 2)
    # UMAP takes these means over the cell itself too.
    n_others = distances.shape[1]
    own_mean = distances.mean(axis=1) * n_others / (n_others + 1)
    least = LEAST_SCALE * np.where(nearest_one > 0, own_mean, own_mean.mean())
    scale = np.maximum(np.maximum(scale, least), np.finfo(np.float64).tiny)
    return np.asarray(np.exp(-beyond / scale[:, None]))


def umap(
    graph: sparse.csr_matrix, start: NDArray[np.float32], *, seed: int, progress: Callable[[float], None] | None = None
) -> _Places:
    """Place cells in two dimensions, so that neighbours are near each other.

    Parameters
    ----------
    graph
        Cells x cells, symmetric; see :func:`fuzzy_graph`.
    start
        Where the cells start, at any scale (cells x 2).
    seed
        Seed of the order of steps, and of which cells repel each other.
    progress
        Called with the fraction done.
    """
    generator = np.random.default_rng(seed)
    places = _scaled(start, generator).T.copy()
    heads, tails, every = _schedule(graph)
    next_time = every.copy()
    # A cell takes one step per batch on average: with more, cells would overshoot what they are attracted by.
    size = max(1, graph.shape[0] // 2)
    for epoch in range(1, N_EPOCHS + 1):
        rate = np.float32(1 - (epoch - 1) / N_EPOCHS)
        now = np.flatnonzero(next_time <= epoch)
        next_time[now] += every[now]
        now = generator.permutation(now)
        for first in range(0, len(now), size):
            batch = now[first : first + size]
            _step(places, heads[batch], tails[batch], rate, generator)
        if progress is not None:
            progress(epoch / N_EPOCHS)
    return np.ascontiguousarray(places.T)


def _scaled(start: NDArray[np.float32], generator: np.random.Generator) -> _Places:
    """Return the start at UMAP's scale, with a little noise, so that no two cells are in the same place."""
    centred = start - start.mean(axis=0)
    centred = 10 * centred / max(float(np.abs(centred).max()), 1e-6)
    return np.asarray(centred + generator.normal(scale=1e-3, size=start.shape), dtype=np.float32)


def _schedule(graph: sparse.csr_matrix) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
    """Return the edges, and every how many epochs each is used: the strongest in all, the others in proportion."""
    edges = graph.tocoo()
    weights = edges.data / max(float(edges.data.max(initial=0.0)), 1e-12)
    kept = weights * N_EPOCHS >= 1
    return edges.row[kept].astype(np.intp), edges.col[kept].astype(np.intp), 1 / weights[kept]


def _step(
    places: _Places,
    heads: NDArray[np.intp],
    tails: NDArray[np.intp],
    rate: np.float32,
    generator: np.random.Generator,
) -> None:
    """Move the ends of some edges towards each other, and the heads away from some random cells, in place."""
    at = places[:, heads]
    apart = at - places[:, tails]
    squares = np.square(apart).sum(axis=0)
    towards = _limited(apart * (np.float32(-2 * CURVE) / (1 + np.float32(CURVE) * squares)))
    others = generator.integers(places.shape[1], size=(N_REPELLED, len(heads)))
    apart = at[:, None] - places[:, others]
    squares = np.square(apart).sum(axis=0)
    strength = np.float32(2) / ((np.float32(1e-3) + squares) * (1 + np.float32(CURVE) * squares))
    away = _limited(apart * strength).sum(axis=1)
    for own, moved, pulled in zip(places, rate * (towards + away), rate * towards, strict=True):
        np.add.at(own, heads, moved)
        np.subtract.at(own, tails, pulled)


def _limited(step: _Places) -> _Places:
    return np.clip(step, -LONGEST_STEP, LONGEST_STEP, out=step)
