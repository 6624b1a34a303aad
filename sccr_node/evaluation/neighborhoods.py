"""Whether cells keep the right neighbours: judged by their types, or, without any, by molecules that were held out.

Values and neighbourhoods are two questions. Held-out molecules say of almost every imputation that its values are
closer to the truth; yet smoothing also makes neighbours of cells that are not, above all in small groups. Neighbours
that were found in one half of the molecules predict the other half: if those found after imputation predict it worse
than those found before, the imputation has harmed the neighbourhoods.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from sccr_node.numerics import Workspace
from sccr_node.numerics.graphs import CellGraph
from sccr_node.numerics.propagation import propagate_over_cells

N_NEIGHBORS = 15
N_COMPONENTS = 50
COMPARED_CELLS = 256
INSPECTED_CELLS = 256

Coordinates = NDArray[np.float32]


def nearest(coordinates: Coordinates, n_neighbors: int, work: Workspace) -> NDArray[np.int64]:
    """Return the nearest cells of every cell by Euclidean distance, without the cell itself.

    Ties go to the lower index. Exact, in float64, and the same for any number of threads.

    Parameters
    ----------
    coordinates
        Cells x components.
    n_neighbors
        At most the number of cells - 1.
    work
        Threads and progress.
    """
    points = coordinates.astype(np.float64)
    n = len(points)
    kept = min(n_neighbors, n - 1)
    squares = (points**2).sum(axis=1)
    found = np.empty((n, kept), np.int64)

    def block(worker: int, first: int) -> None:
        own = np.arange(first, min(first + COMPARED_CELLS, n))
        distances = squares[None, :] - 2 * (points[own] @ points.T)
        distances[np.arange(len(own)), own] = np.inf
        at = np.argpartition(distances, kept - 1, axis=1)[:, :kept]
        limit = np.take_along_axis(distances, at, axis=1).max(axis=1)
        for row, farthest in zip(range(len(own)), limit, strict=True):
            near = np.flatnonzero(distances[row] <= farthest)
            found[own[row]] = near[np.argsort(distances[row, near], kind="stable")][:kept]

    with threadpool_limits(1, user_api="blas"):
        work.run(block, range(0, n, COMPARED_CELLS))
    return found


def prediction_error(neighbors: NDArray[np.int64], truth: sp.csr_matrix, work: Workspace) -> float:
    """Return the mean squared error, over all entries, of predicting each cell by the mean of its neighbours.

    Parameters
    ----------
    neighbors
        Cells x neighbours.
    truth
        Cells x genes.
    work
        Threads and progress.
    """
    n, kept = neighbors.shape
    pointers = np.arange(0, n * kept + 1, kept)
    mean = sp.csr_matrix((np.full(n * kept, 1 / kept), neighbors.ravel(), pointers), shape=(n, n))
    values = truth.astype(np.float64)
    sums = np.zeros(-(-n // COMPARED_CELLS))

    def block(worker: int, number: int) -> None:
        own = slice(number * COMPARED_CELLS, (number + 1) * COMPARED_CELLS)
        off = mean[own] @ values - values[own]
        sums[number] = float((off.data**2).sum())

    work.run(block, range(len(sums)))
    return float(sums.sum() / (n * truth.shape[1]))


def votes_by_type(neighbors: NDArray[np.int64], types: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return, for each type that occurs, how often its cells' most frequent neighbours are of their type.

    Parameters
    ----------
    neighbors
        Cells x neighbours.
    types
        Type of each cell, from 0. Ties go to the type with the lower number.
    """
    n_types = int(types.max()) + 1
    votes = np.zeros((len(types), n_types), np.int64)
    np.add.at(votes, (np.repeat(np.arange(len(types)), neighbors.shape[1]), types[neighbors].ravel()), 1)
    right = votes.argmax(axis=1) == types
    return mean_by_type(right, types)


def own_neighbors_by_type(neighbors: NDArray[np.int64], types: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return, for each type that occurs, the share of its cells' neighbours that are of the same type."""
    own = (types[neighbors] == types[:, None]).mean(axis=1)
    return mean_by_type(own, types)


def mean_by_type(values: NDArray[Any], types: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the mean of a value of each cell over the cells of each type that occurs."""
    return np.array([values[types == each].mean() for each in np.unique(types)])


def averaged_cells(
    graph: CellGraph, beta: float, n_iterations: int, work: Workspace, *, seed: int
) -> NDArray[np.float64]:
    """Return how many cells denoising effectively averages, for some of the cells.

    The inverse participation ratio of the weights with which soft propagation combines cells: equal weights of n cells
    give n.

    Parameters
    ----------
    graph
        The last cell graph; the rows of its matrix sum to 1.
    beta, n_iterations
        Strength and number of steps.
    work
        Threads and progress.
    seed
        Which cells are looked at.
    """
    n = graph.adjacency.shape[0]
    chosen = np.random.default_rng(seed).permutation(n)[:INSPECTED_CELLS]
    unit = sp.csr_matrix((np.ones(len(chosen), np.float32), (chosen, np.arange(len(chosen)))), shape=(n, len(chosen)))
    weights = np.empty(unit.shape, np.float32)
    propagate_over_cells(graph.turned(), unit, weights, work, iterations=n_iterations, beta=beta)
    exact = weights.astype(np.float64)
    return np.asarray(exact.sum(axis=0) ** 2 / (exact**2).sum(axis=0))
