"""How close predictions are to molecules that were held out, beside what needs no tool: nothing, gene means and PCA.

The molecules of every cell are split by binomial thinning (molecular cross-validation: Batson, Royer and Webber 2019;
count splitting: Neufeld et al. 2022). A tool gets the training half; the other half judges it at all entries, also at
those where neither half has a molecule. An error at masked entries cannot do that: only observed entries can be masked,
so that it rewards whatever never predicts zero.

Nothing here is ever dense for all cells at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from threadpoolctl import threadpool_limits

from sccr_node.methods import Expression
from sccr_node.methods.blend import low_rank
from sccr_node.numerics import Workspace
from sccr_node.numerics.pca import Float64Array, rows_of

RANKS = (5, 10, 15, 20, 30, 40)
"""The ranks of the PCA, here and in tuning; the best one, judged by the held-out molecules themselves, is shown."""

LEAST_COUNT = 1e-3
"""Predicted counts are raised to this for the deviance, which would be infinite at a molecule that nothing predicts."""

SCORED_VALUES = 1 << 19
"""Entries that are dense at a time."""

Block = tuple[NDArray[np.intp], Float64Array]
"""Some cells (their row indices), and the predicted logs of all genes in them."""


@dataclass(frozen=True)
class HeldOut:
    """Both halves of the molecules, cells x genes.

    Attributes
    ----------
    training
        Logs of the training half, CSR.
    counts
        Counts of the held-out half, CSR.
    factors
        What scales the held-out counts of each cell to the depth of the logs: the truth is log1p(counts x factor).
    fraction
        The share of the molecules in the training half.
    """

    training: sparse.csr_matrix
    counts: sparse.csr_matrix
    factors: Float64Array
    fraction: float

    @property
    def scored(self) -> NDArray[np.intp]:
        """The cells that are scored: those with molecules in both halves."""
        return np.flatnonzero((np.diff(self.training.indptr) > 0) & (np.diff(self.counts.indptr) > 0))

    def only(self, cells: NDArray[np.intp]) -> HeldOut:
        """Return some of the cells."""
        return HeldOut(self.training[cells], self.counts[cells], self.factors[cells], self.fraction)


@dataclass(frozen=True)
class Score:
    """The scores of one prediction; for the metrics see ``metrics.py``, NaN where undefined.

    Attributes
    ----------
    overestimate
        The mean prediction, divided by the mean truth.
    """

    name: str
    n_entries: int
    mse: float
    mse_observed: float
    mse_unobserved: float
    floor: float
    explained: float
    deviance: float
    correlation: float
    overestimate: float


def score_alone(held_out: HeldOut, prediction: Iterable[Block], work: Workspace) -> Score:
    """Score a prediction without the PCA of the best rank; otherwise as :func:`score_with_baselines`."""
    return _scores(held_out, prediction, "", work, with_pca=False)[0]


def score_with_baselines(held_out: HeldOut, candidate: Iterable[Block], name: str, work: Workspace) -> list[Score]:
    """Score a prediction, and beside it "nothing", "gene mean" and the PCA of the best rank.

    Parameters
    ----------
    held_out
        Both halves.
    candidate
        The prediction in blocks of cells, in any order, each cell once.
    name
        What the candidate is called.
    work
        Reports progress.

    Returns
    -------
    The candidate's scores first, then those of the three references.

    Raises
    ------
    ValueError
        Fewer than two cells have molecules in both halves.
    """
    return _scores(held_out, candidate, name, work, with_pca=True)


def _scores(
    held_out: HeldOut, candidate: Iterable[Block], name: str, work: Workspace, *, with_pca: bool
) -> list[Score]:
    cells = held_out.scored
    if len(cells) < 2:
        raise ValueError(f"only {len(cells)} of its cells have molecules in both halves, and at least 2 are needed")
    of_cell = np.full(held_out.training.shape[0], -1, np.intp)
    of_cell[cells] = np.arange(len(cells))
    halves = held_out.only(cells)
    mean = np.asarray(halves.training.mean(axis=0, dtype=np.float64)).ravel()
    references: list[tuple[str, Callable[[Float64Array], Float64Array]]] = [
        ("nothing", lambda training: training),
        ("gene mean", lambda training: np.broadcast_to(mean, training.shape)),
    ]
    if with_pca:
        pca, rank = _best_pca(halves, work)
        references.append((f"PCA of rank {rank}", lambda training: pca(training, rank)))
    tallies = [_Tally(mean) for _ in range(1 + len(references))]
    done = 0
    with work.stage("score"), threadpool_limits(1, user_api="blas"):
        for rows, predicted in _pieces(candidate):
            at = of_cell[rows]
            truth = _Truth.of(halves, at[at >= 0])
            predictions = [predicted[at >= 0], *(predict(truth.training) for _, predict in references)]
            for tally, prediction in zip(tallies, predictions, strict=True):
                tally.add(prediction, truth)
            done += len(rows)
            work.report(done / len(of_cell))
    nothing, gene_mean = tallies[1].mse, tallies[2].mse
    floor = nothing / 2 if held_out.fraction == 0.5 else float("nan")
    return [
        tally.score(label, floor, explained(tally.mse, gene_mean, floor))
        for label, tally in zip((name, *(label for label, _ in references)), tallies, strict=True)
    ]


def explained(error: float, of_means: float, floor: float) -> float:
    """Return the share of the way from the error of the gene means (0) to the noise floor (1); NaN if there is none."""
    return (of_means - error) / (of_means - floor) if of_means > floor else float("nan")


def in_blocks(values: sparse.csr_matrix | NDArray[np.float32]) -> Iterator[Block]:
    """Yield a prediction that is in memory, cells x genes, as blocks of cells."""
    read, (n_cells, n_genes) = rows_of(values), values.shape
    for first in range(0, n_cells, _height(n_genes)):
        last = min(first + _height(n_genes), n_cells)
        yield np.arange(first, last), read(first, last).astype(np.float64)


def _pieces(blocks: Iterable[Block]) -> Iterator[Block]:
    """Cut blocks into pieces whose temporaries are small."""
    for rows, values in blocks:
        height = _height(values.shape[1])
        for first in range(0, len(rows), height):
            yield rows[first : first + height], values[first : first + height]


def _height(n_genes: int) -> int:
    return max(1, SCORED_VALUES // max(1, n_genes))


@dataclass(frozen=True)
class _Truth:
    """Both halves of some cells, dense: the training logs, and the counts, logs and factors of the held-out half."""

    training: Float64Array
    counts: Float64Array
    logs: Float64Array
    factors: Float64Array

    @classmethod
    def of(cls, halves: HeldOut, cells: NDArray[np.intp]) -> _Truth:
        counts = halves.counts[cells].toarray().astype(np.float64)
        factors = halves.factors[cells, None]
        return cls(halves.training[cells].toarray().astype(np.float64), counts, np.log1p(counts * factors), factors)


class _Tally:
    """The sums from which the scores of one prediction are computed, over blocks of cells."""

    def __init__(self, mean: Float64Array) -> None:
        # Correlations are computed around this: sums of squares of uncentred values would lose the digits.
        self._centre = mean
        self._n_cells = 0
        self._n_entries = np.zeros(2)  # not observed in the training half, observed
        self._squares = np.zeros(2)
        self._deviance = self._predicted = self._true = 0.0
        self._sums = np.zeros((5, len(mean)))

    def add(self, predicted: Float64Array, truth: _Truth) -> None:
        """Add some cells."""
        observed = truth.training > 0
        squares = np.square(predicted - truth.logs)
        n_observed, of_observed = int(observed.sum()), float(squares[observed].sum())
        self._n_cells += len(predicted)
        self._n_entries += (predicted.size - n_observed, n_observed)
        self._squares += (float(squares.sum()) - of_observed, of_observed)
        self._deviance += _deviance(truth.counts, np.expm1(np.maximum(predicted, 0)) / truth.factors)
        self._predicted += float(predicted.sum())
        self._true += float(truth.logs.sum())
        p, t = predicted - self._centre, truth.logs - self._centre
        products = ("ij->j", (p,)), ("ij->j", (t,)), ("ij,ij->j", (p, p)), ("ij,ij->j", (t, t)), ("ij,ij->j", (p, t))
        self._sums += np.array([np.einsum(how, *factors) for how, factors in products])

    @property
    def mse(self) -> float:
        """The mean squared error over all entries."""
        return float(self._squares.sum() / self._n_entries.sum())

    def score(self, name: str, floor: float, explained: float) -> Score:
        """Return the scores."""
        parts = self._squares / np.where(self._n_entries > 0, self._n_entries, np.nan)
        n_entries = int(self._n_entries.sum())
        return Score(
            name=name,
            n_entries=n_entries,
            mse=self.mse,
            mse_observed=float(parts[1]),
            mse_unobserved=float(parts[0]),
            floor=floor,
            explained=explained,
            deviance=self._deviance / n_entries,
            correlation=self._correlation(),
            overestimate=self._predicted / self._true,
        )

    def _correlation(self) -> float:
        """Return the median over the genes of the correlation over the cells; see ``metrics.py``."""
        p, t, pp, tt, pt = self._sums / self._n_cells
        of_predicted, of_true = pp - p * p, tt - t * t
        varies, predicts = of_true > 1e-12 * tt, of_predicted > 1e-12 * pp
        if not varies.any():
            return float("nan")
        found = np.zeros(len(p))
        both = varies & predicts
        found[both] = (pt - p * t)[both] / np.sqrt(of_predicted[both] * of_true[both])
        return float(np.median(found[varies]))


def _deviance(counts: Float64Array, expected: Float64Array) -> float:
    """Return the sum of the Poisson deviance of counts."""
    expected = np.maximum(expected, LEAST_COUNT)
    seen = counts > 0
    return float(2 * ((counts[seen] * np.log(counts[seen] / expected[seen])).sum() - (counts - expected).sum()))


def _best_pca(halves: HeldOut, work: Workspace) -> tuple[Callable[[Float64Array, int], Float64Array], int]:
    """Return what rebuilds training logs from leading components, and the rank with the lowest held-out error."""
    data = Expression.of(halves.training)
    with work.stage("principal components"):
        components = low_rank(data, max(RANKS), work)

    def rebuilt(training: Float64Array, rank: int) -> Float64Array:
        scores = components.scores(training[:, data.genes].astype(np.float32))[:, :rank]
        found = np.zeros(training.shape)  # genes without a molecule in the training half
        found[:, data.genes] = np.maximum(components.rebuilt(scores), 0)
        return found

    ranks: Sequence[int] = sorted({min(rank, components.n_components) for rank in RANKS})
    errors = np.zeros(len(ranks))
    n_cells, n_genes = halves.training.shape
    with work.stage("rank of the PCA"), threadpool_limits(1, user_api="blas"):
        for first in range(0, n_cells, _height(n_genes)):
            truth = _Truth.of(halves, np.arange(first, min(first + _height(n_genes), n_cells)))
            errors += [np.square(rebuilt(truth.training, rank) - truth.logs).sum() for rank in ranks]
            work.report(first / n_cells)
    return rebuilt, ranks[int(errors.argmin())]
