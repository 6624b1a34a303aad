"""Both halves of the molecules of a data set, prepared alike: genes and depth are those of the training half."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sccr_node.data.dataset import Dataset
from sccr_node.data.genes import ListedGene
from sccr_node.data.logs import prepare_block
from sccr_node.data.preparation import (
    Preparation,
    Prepared,
    decide_preparation,
    normalization,
    row_totals,
    selected_values,
)
from sccr_node.data.scale import Scaling
from sccr_node.data.summary import MatrixSummary, scan
from sccr_node.errors import InputProblem
from sccr_node.runtime.console import Progress

HALF = 0.5
"""Share of the molecules in the training half, unless another is asked for: the noise floor needs equal halves."""

LARGEST_COUNT = 1e15
"""Larger counts are no exact numbers as float64, and none that a cell has."""


@dataclass(frozen=True)
class Halves:
    """Both halves of the molecules: the selected genes of all cells, at one target depth.

    Attributes
    ----------
    preparation
        How the training half was prepared.
    training, held_out
        Counts, logs and factors of each half.
    """

    preparation: Preparation
    training: Prepared
    held_out: Prepared

    @property
    def target_sum(self) -> float:
        """The depth to which the cells of both halves are scaled."""
        assert self.training.normalization.target_sum is not None
        return self.training.normalization.target_sum

    @property
    def n_training(self) -> int:
        """The number of molecules in the training half."""
        return int(self.training.values.data.sum(dtype=np.int64))

    @property
    def n_held_out(self) -> int:
        """The number of molecules in the held-out half."""
        return int(self.held_out.values.data.sum(dtype=np.int64))

    @property
    def in_both(self) -> NDArray[np.bool_]:
        """Which cells have molecules of the selected genes in both halves."""
        training, held_out = (np.diff(half.values.indptr) > 0 for half in (self.training, self.held_out))
        return np.asarray(training & held_out)


def refuse_other_than_counts(data: Dataset, summary: MatrixSummary, doing: str) -> None:
    """Refuse values that are not whole numbers: only molecules can be split.

    Parameters
    ----------
    data
        The opened input.
    summary
        Its values, as they are stored.
    doing
        What cannot be done, for the message.

    Raises
    ------
    InputProblem
        The values are logs or fractions.
    """
    if summary.near_integers and summary.maximum <= LARGEST_COUNT:
        return
    if summary.near_integers:
        raise InputProblem(
            f"cannot {doing} {summary.source}: it contains counts up to {summary.maximum:g}, too large to split "
            f"(at most {LARGEST_COUNT:g})"
        )
    way_out = data.counts_seem("them") or "; give the raw counts with --layer"
    raise InputProblem(
        f"cannot {doing} {summary.source}: counts are needed, but it contains fractional values (up to "
        f"{summary.maximum:g}), which are logarithms or corrected counts{way_out}"
    )


def read_halves(
    data: Dataset,
    scaling: Scaling,
    how: Mapping[str, Any],
    *,
    fraction: float,
    seed: int,
    listed: Sequence[ListedGene] | None = None,
    progress: Progress | None = None,
) -> Halves:
    """Split the molecules of every cell by binomial thinning, and prepare both halves.

    Genes are selected in the training half: selected in all molecules, they would carry over from the held-out half
    which genes vary in it.

    Parameters
    ----------
    data
        The opened input: whole counts (:func:`refuse_other_than_counts`).
    scaling
        How stored values become counts.
    how
        Keywords of :func:`~sccr_node.data.preparation.decide_preparation`.
    fraction, seed
        The share of the molecules in the training half, and which ones they are.
    listed
        The genes, if they are listed.
    progress
        Called with the stage's name and the fraction done.

    Raises
    ------
    SccrError
        The training half cannot be prepared as asked.
    """
    first = data.half("training", share=fraction, seed=seed, convert=scaling.convert)
    second = data.half("held out", share=fraction, seed=seed, convert=scaling.convert)
    as_counts = {**how, "input_scale": "counts", "log_base": None}
    preparation = decide_preparation(first, **as_counts, listed=listed, progress=progress)
    training = preparation.read(first, progress)
    values = selected_values(second, preparation.genes, progress)
    target = training.normalization.target_sum
    assert target is not None
    found = normalization(
        scan(second, progress, counted=preparation.summary.counted),
        row_totals(values),
        normalize_by=preparation.normalize_by,
        target_sum=target,
    )
    return Halves(preparation, training, Prepared(values, prepare_block(values, found.factors), found))
