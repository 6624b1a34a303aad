"""How strongly to denoise, and what to blend with, judged by molecules that were held out.

Half of every cell's molecules are held out (molecular cross-validation: Batson, Royer and Webber 2019; count splitting:
Neufeld et al. 2022). The other half is imputed, and the error is the mean square of the difference from the logs of the
held-out half, over all entries: also over those that neither half has seen, unlike an error at masked entries, which
rewards whatever never predicts zero.

Soft propagation is a fixed combination of A^0 X ... A^n X, and the blend is linear as well. The error is therefore a
quadratic form of the combination's coefficients: one matrix of inner products gives the error of every strength, rank
and share, and the best share has a closed form. (The blend is cut at 0 afterwards, which changes next to nothing.)
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from sccr_node.contract.methods import METHODS, Value
from sccr_node.evaluation.molecules import RANKS, explained
from sccr_node.evaluation.neighborhoods import N_COMPONENTS, N_NEIGHBORS, averaged_cells, nearest, prediction_error
from sccr_node.methods import Cost, Shape, load_tunable
from sccr_node.methods.blend import low_rank, mix
from sccr_node.methods.expression import Expression
from sccr_node.methods.stages import resumable
from sccr_node.numerics import Workspace
from sccr_node.numerics.costs import cell_propagation_operations, search_operations
from sccr_node.numerics.graphs import CellGraph
from sccr_node.numerics.neighbors import DenseRows
from sccr_node.numerics.pca import Components, Float64Array, components_of
from sccr_node.numerics.propagation import powers_bytes, powers_over_cells

ITERATIONS = (1, 2, 3, 4, 6, 10, 40)
BETAS = (0.3, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.99)

SHARE_DECIMALS = 2

SCORED_GENES = 640
"""The grid is scored on so many of the genes: all of the most variable ones, and some that stand for the others."""

ALWAYS_SCORED = 240
"""So many of the most variable genes are always scored: they are most of the error."""

SCORING = "score all settings"
"""The stage that takes longest, and its name."""

FOLDS = 50
"""Groups of cells whose errors are compared in pairs, for standard errors."""

FEWEST_FOR_NEIGHBORS = 3 * N_NEIGHBORS
FEWEST_GENES = 10
"""Neighbourhoods of fewer cells or genes cannot be compared."""


@dataclass(frozen=True)
class Start:
    """What every setting starts from, for one batch.

    Attributes
    ----------
    method
        The method, one that can be tuned.
    data
        The training half, without empty cells and genes.
    held_out
        The other half, of the same cells and genes: CSR, logs.
    recovered
        R, before denoising.
    graph
        The last cell graph.
    components
        The principal axes of the training half, and its scores.
    key
        What all of it depends on, for checkpoints; empty without any.
    """

    method: str
    data: Expression
    held_out: sp.csr_matrix
    recovered: DenseRows
    graph: CellGraph
    components: Components
    scores: Float64Array
    key: str = ""


def start_of(
    method: str,
    training: sp.csr_matrix,
    held_out: sp.csr_matrix,
    settings: Mapping[str, Value],
    ranks: Sequence[int],
    work: Workspace,
) -> Start:
    """Impute the training half of a batch up to denoising.

    Parameters
    ----------
    method
        A method that can be tuned.
    training, held_out
        Cells x genes, logs at the same depth; at least two cells are not empty.
    settings
        All settings of the method.
    ranks
        Numbers of principal components to score.
    work
        Threads and progress.
    """
    data = Expression.of(training)
    recovered, graph = load_tunable(method).before_denoising(data, work, settings)
    with work.stage("principal components"):
        components = low_rank(data, max(ranks), work)
        scores = components.scores_of(data.matrix, work)
    key = ""
    if work.checkpoints is not None:
        key = repr((method, data.digest, Expression.of(held_out).digest, sorted(settings.items())))
    own = held_out[data.cells][:, data.genes].tocsr()
    return Start(method, data, own, recovered, graph, components, scores, key)


@dataclass(frozen=True)
class Products:
    """Inner products of everything that a result is combined from, summed over the entries of each fold of cells.

    Attributes
    ----------
    names
        What the rows and columns stand for: the powers "0", "1" ..., "recovered", "gene mean", "rank 5" ..., and
        "held out".
    sums
        Folds x names x names.
    n_entries
        Number of entries per fold, that others stand for included.
    """

    names: tuple[str, ...]
    sums: Float64Array
    n_entries: Float64Array

    def __add__(self, other: Products) -> Products:
        """Return the products of two batches together."""
        sums, n_entries = (
            np.concatenate(pair) for pair in ((self.sums, other.sums), (self.n_entries, other.n_entries))
        )
        return Products(self.names, sums, n_entries)

    def of(self, name: str) -> Float64Array:
        """Return the coefficients of one of the parts alone."""
        return np.array([float(each == name) for each in self.names])

    def denoised(self, beta: float, n_iterations: int, gamma: float) -> Float64Array:
        """Return the coefficients of soft propagation over the last cell graph, mixed with R."""
        steps = np.zeros(len(self.names))
        steps[:n_iterations] = (1 - beta) * beta ** np.arange(n_iterations)
        steps[n_iterations] = beta**n_iterations
        return (1 - gamma) * steps + gamma * self.of("recovered")

    def errors(self, coefficients: Float64Array) -> Float64Array:
        """Return the sum of squared errors of a combination, per fold."""
        off = coefficients - self.of("held out")
        return np.asarray(np.einsum("i,fij,j->f", off, self.sums, off))

    def error(self, coefficients: Float64Array) -> float:
        """Return the mean squared error of a combination."""
        return float(self.errors(coefficients).sum() / self.n_entries.sum())

    def difference(self, first: Float64Array, second: Float64Array) -> tuple[float, float]:
        """Return how much larger the first error is than the second, and the standard error of that over the folds."""
        by_fold = self.errors(first) - self.errors(second)
        n, total = len(by_fold), self.n_entries.sum()
        mean = by_fold.sum() / total
        off = by_fold - mean * self.n_entries
        return float(mean), float(np.sqrt((off**2).sum() * n / max(1, n - 1)) / total)

    def best_share(self, first: Float64Array, second: Float64Array) -> float:
        """Return the weight of the second, the rest being the first, that has the smallest error; from 0 to 1."""
        gram = self.sums.sum(axis=0)
        apart = second - first
        length = float(apart @ gram @ apart)
        share = float((self.of("held out") - first) @ gram @ apart) / length if length > 0 else 0.0
        return min(1.0, max(0.0, share))


def scored_genes(training: sp.csr_matrix, *, seed: int) -> Float64Array:
    """Return the weight of each gene in the scores; 0 for those that others stand for.

    The genes that are not always scored are drawn evenly along their variance, so that the weighted error is nearly
    that of all genes.

    Parameters
    ----------
    training
        Cells x genes, logs of all batches.
    seed
        Which genes are drawn.
    """
    n_genes = training.shape[1]
    if n_genes <= SCORED_GENES:
        return np.ones(n_genes)
    mean = np.asarray(training.mean(axis=0, dtype=np.float64)).ravel()
    squares = np.asarray(training.multiply(training).mean(axis=0, dtype=np.float64)).ravel()
    by_variance = np.argsort(mean**2 - squares, kind="stable")
    others, n_drawn = by_variance[ALWAYS_SCORED:], SCORED_GENES - ALWAYS_SCORED
    step = len(others) / n_drawn
    drawn = others[((np.arange(n_drawn) + np.random.default_rng(seed).random()) * step).astype(np.intp)]
    weights = np.zeros(n_genes)
    weights[by_variance[:ALWAYS_SCORED]] = 1
    weights[drawn] = step
    return weights


def products(
    begin: Start, ranks: Sequence[int], n_powers: int, weights: Float64Array, work: Workspace, *, seed: int
) -> Products:
    """Return the inner products of one batch.

    Parameters
    ----------
    begin
        Its start.
    ranks
        The ranks that are scored.
    n_powers
        The largest number of iterations that is scored.
    weights
        The weight of each gene (:func:`scored_genes`), of all those before the empty ones were left out.
    work
        Threads and progress.
    seed
        Which cells share a fold.
    """
    x = begin.data.matrix
    own = weights[begin.data.genes]
    columns = np.flatnonzero(own)
    roots = np.sqrt(own[columns])
    # Cells without a held-out molecule have no truth to compare with.
    compared = np.flatnonzero(np.diff(begin.held_out.indptr))
    order = np.random.default_rng(seed).permutation(compared)
    folds = [np.sort(fold) for fold in np.array_split(order, min(FOLDS, max(1, len(compared))))]
    powers = tuple(str(power) for power in range(n_powers + 1))
    names = (*powers, "recovered", "gene mean", *(f"rank {rank}" for rank in ranks), "held out")
    observed, held_out = x[:, columns].tocsr(), begin.held_out[:, columns].tocsc()
    blocks: dict[int, Float64Array] = {}

    def use(first: int, steps: NDArray[np.float32]) -> None:
        used = columns[first : first + steps.shape[2]]
        truth = held_out[:, first : first + len(used)].toarray()
        sums = np.empty((len(folds), len(names), len(names)))
        for number, fold in enumerate(folds):
            parts = np.empty((len(names), len(fold), len(used)))
            parts[: len(powers)] = steps[:, fold]
            parts[len(powers)] = begin.recovered.matrix[np.ix_(fold, used)]
            parts[len(powers) + 1] = begin.components.mean[used]
            for at, rank in enumerate(ranks, len(powers) + 2):
                parts[at] = begin.components.rebuilt(begin.scores[fold, :rank], used)
            parts[-1] = truth[fold]
            parts *= roots[first : first + len(used)]
            rows = parts.reshape(len(names), -1)
            sums[number] = rows @ rows.T
        blocks[first] = sums

    def score() -> Float64Array:
        # A threaded BLAS sums in an unpredictable order; here each thread has blocks of its own, added in their order.
        with work.stage(SCORING), threadpool_limits(1, user_api="blas"):
            powers_over_cells(begin.graph, observed, n_powers, work, use)
        total = np.zeros((len(folds), len(names), len(names)))
        for first in sorted(blocks):
            total += blocks[first]
        return total

    key = repr((SCORING, begin.key, tuple(ranks), n_powers, sha256(weights.tobytes()).hexdigest(), seed))
    total, _ = resumable(work, SCORING, key, NDArray[np.float64], score)
    return Products(names, total, np.array([len(fold) * own.sum() for fold in folds], float))


@dataclass(frozen=True)
class Grid:
    """What is tried: strengths, steps, ranks, and the low-rank part's share (None: the best one for each, or none)."""

    betas: tuple[float, ...] = BETAS
    iterations: tuple[int, ...] = ITERATIONS
    ranks: tuple[int, ...] = RANKS
    share: float | None = None


@dataclass(frozen=True)
class ScoredSetting:
    """One setting, and how well it predicts the held-out half.

    Attributes
    ----------
    name
        "blend"; "denoised" (nothing is blended with it); or a baseline: "unimputed", "gene mean", "recovered",
        "published" (the published strength), "PCA" (its best rank alone).
    beta, n_denoising_iterations, low_rank, low_rank_share
        Its numbers; None where it has none.
    error
        Mean squared error over all entries.
    explained
        Share of the way from the gene means (0) to the noise floor (1).
    above, standard_error
        How much larger the error is than the smallest one of the grid, and the standard error of this difference.
    chosen
        Whether it is the one that was chosen.
    """

    name: str
    beta: float | None
    n_denoising_iterations: int | None
    low_rank: int | None
    low_rank_share: float | None
    error: float
    explained: float
    above: float
    standard_error: float
    chosen: bool = False


@dataclass(frozen=True)
class Choice:
    """The setting that was chosen, all that were tried, and the baselines by name."""

    chosen: ScoredSetting
    tried: tuple[ScoredSetting, ...]
    baselines: Mapping[str, ScoredSetting]


class _Combination(NamedTuple):
    """A candidate's name and numbers, and its coefficients."""

    name: str
    beta: float | None
    n_iterations: int | None
    rank: int | None
    share: float | None
    weights: Float64Array


def choose(method: str, found: Products, grid: Grid, settings: Mapping[str, Value]) -> Choice:
    """Choose the strength of denoising, the rank and the share.

    The smallest error wins; of those within one standard error of the difference from it, the one that blurs least:
    nothing blended with it, or else the highest rank, and then the fewest steps on the graph. A low rank blurs small
    groups most.

    Parameters
    ----------
    method
        The method, whose published strength is a baseline.
    found
        The products of all batches together.
    grid
        What to try.
    settings
        All settings of the method.
    """
    tried = list(_combinations(found, grid, float(settings["gamma"])))
    best = min(tried, key=lambda each: found.error(each.weights))
    # Both halves carry the same, independent noise: half of the error of one against the other.
    of_means, floor = found.error(found.of("gene mean")), found.error(found.of("0")) / 2

    def scored(each: _Combination) -> ScoredSetting:
        error = found.error(each.weights)
        of_way = explained(error, of_means, floor)
        above, uncertain = found.difference(each.weights, best.weights)
        return ScoredSetting(
            each.name, each.beta, each.n_iterations, each.rank, each.share, error, of_way, above, uncertain
        )

    candidates = [scored(each) for each in tried]
    near = [each for each in candidates if each.above <= each.standard_error]
    chosen = min(near, key=lambda each: (-(each.low_rank or math.inf), walked(each)))
    marked = [replace(each, chosen=each is chosen) for each in candidates]
    baselines = {each.name: scored(each) for each in _baselines(method, found, grid, settings)}
    return Choice(replace(chosen, chosen=True), tuple(marked), baselines)


def walked(each: ScoredSetting) -> float:
    """Return the mean number of steps on the graph from a cell to those that it averages."""
    beta, n = float(each.beta or 0), int(each.n_denoising_iterations or 0)
    return n if beta == 1 else beta * (1 - beta**n) / (1 - beta)


def _combinations(found: Products, grid: Grid, gamma: float) -> Iterator[_Combination]:
    for beta, n_iterations in itertools.product(grid.betas, grid.iterations):
        denoised = found.denoised(beta, n_iterations, gamma)
        if not grid.share:
            yield _Combination("denoised", beta, n_iterations, None, 0.0, denoised)
        for rank in grid.ranks if grid.share != 0 else ():
            kept = found.of(f"rank {rank}")
            share = grid.share
            if share is None:
                share = round(found.best_share(denoised, kept), SHARE_DECIMALS)
            if share:
                yield _Combination("blend", beta, n_iterations, rank, share, (1 - share) * denoised + share * kept)


def _baselines(method: str, found: Products, grid: Grid, settings: Mapping[str, Value]) -> Iterator[_Combination]:
    yield _Combination("unimputed", None, None, None, None, found.of("0"))
    yield _Combination("gene mean", None, None, None, None, found.of("gene mean"))
    yield _Combination("recovered", None, None, None, None, found.of("recovered"))
    beta = float(METHODS[method].defaults["beta"])
    n_iterations = int(settings["n_denoising_iterations"])
    denoised = found.denoised(beta, n_iterations, float(settings["gamma"]))
    yield _Combination("published", beta, n_iterations, None, 0.0, denoised)
    rank = min(grid.ranks, key=lambda rank: found.error(found.of(f"rank {rank}")))
    yield _Combination("PCA", None, None, rank, 1.0, found.of(f"rank {rank}"))


@dataclass(frozen=True)
class Neighborhoods:
    """How the neighbourhoods of the chosen setting compare with those of unimputed data.

    Attributes
    ----------
    change
        Relative change of the error with which neighbours predict each other's held-out half; positive if neighbours
        found after imputation predict worse; NaN if there are too few cells or genes to tell.
    n_averaged
        How many cells a denoised cell effectively averages (median).
    """

    change: float
    n_averaged: float


def judge_neighborhoods(
    starts: Sequence[Start], chosen: ScoredSetting, settings: Mapping[str, Value], work: Workspace, *, seed: int
) -> Neighborhoods:
    """Compare the neighbourhoods of cells before and after imputation with the chosen numbers.

    Parameters
    ----------
    starts
        The batches.
    chosen
        The chosen setting.
    settings
        All settings of the method.
    work
        Threads and progress.
    seed
        Which cells are looked at for the number of averaged cells.
    """
    n_iterations = int(chosen.n_denoising_iterations or 0)
    before = after = 0.0
    n_averaged = []
    for begin in starts:
        x, n_cells = begin.data.matrix, len(begin.data.cells)
        n_averaged.append(averaged_cells(begin.graph, float(chosen.beta or 0), n_iterations, work, seed=seed))
        # Where every cell is a neighbour of every other, or there are hardly any components, nothing can change.
        if n_cells < FEWEST_FOR_NEIGHBORS or x.shape[1] < FEWEST_GENES:
            continue
        denoised = denoised_of(begin, chosen, settings, work)
        with work.stage("compare neighbourhoods"):
            unimputed = components_of(x, N_COMPONENTS, work.threads)
            imputed = components_of(denoised, N_COMPONENTS, work.threads)
            before += n_cells * prediction_error(nearest(unimputed, N_NEIGHBORS, work), begin.held_out, work)
            after += n_cells * prediction_error(nearest(imputed, N_NEIGHBORS, work), begin.held_out, work)
    change = after / before - 1 if before > 0 else math.nan
    return Neighborhoods(change, float(np.median(np.concatenate(n_averaged))))


def denoised_of(
    begin: Start, chosen: ScoredSetting, settings: Mapping[str, Value], work: Workspace
) -> NDArray[np.float32]:
    """Return the training half of a batch, denoised and blended with the chosen numbers, without empty genes."""
    data = begin.data
    compact = replace(data, cells=np.arange(data.matrix.shape[0]), genes=np.arange(data.matrix.shape[1]))
    compact = replace(compact, shape=data.matrix.shape)
    with work.stage("denoise"):
        s = load_tunable(begin.method).denoising(
            data.matrix,
            begin.recovered,
            begin.graph,
            compact.buffer(work),
            work,
            n_denoising_iterations=int(chosen.n_denoising_iterations or 0),
            beta=float(chosen.beta or 0),
            gamma=float(settings["gamma"]),
        )
        made = s.matrix
        if chosen.low_rank is not None:
            mix(compact, made, begin.components.leading(chosen.low_rank), float(chosen.low_rank_share or 0), work)
    return made


def tuning_cost(method: str, shape: Shape, settings: Mapping[str, Value], threads: int) -> Cost:
    """Estimate the memory and operations of tuning on one batch.

    Parameters
    ----------
    method
        A method that can be tuned.
    shape
        Of the cells that are tuned on.
    settings
        All settings of the method.
    threads
        Number of threads.
    """
    n_iterations = max(int(settings["n_denoising_iterations"]), *ITERATIONS)
    imputing = load_tunable(method).cost(shape, settings, ("recovered", "denoised"), threads)
    n_parts = n_iterations + len(RANKS) + 4
    operations = (
        # Denoising with the chosen numbers; the first one is for the powers.
        cell_propagation_operations(shape, int(settings["k_denoising"]), n_iterations)
        + 2 * n_parts**2 * shape.n_cells * min(shape.n_genes, SCORED_GENES)
        + 2 * search_operations(shape.n_cells, shape.n_cells * N_COMPONENTS)
    )
    room = threads * powers_bytes(shape.n_cells, n_iterations)
    return Cost(imputing.bytes + room, imputing.operations + operations, imputing.buffers, imputing.kept)
