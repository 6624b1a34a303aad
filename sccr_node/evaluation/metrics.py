"""The metrics: name, meaning and range of each, as tables, help pages and the report explain them.

This table contains the metrics that several commands print. A metric of a single analysis may be declared there;
:func:`sccr_node.evaluation.analyses.known_metrics` returns both.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Metric:
    """A column of a table that measures quality.

    Attributes
    ----------
    name
        Name of the column.
    title
        The metric in words, without a full stop.
    meaning
        What the number means, in one or two sentences.
    lowest, highest
        The range; None if it is unbounded on that side.
    better
        Which direction is better; None if neither is.
    decimals
        Number of decimals in running text. Tables keep six significant digits.
    """

    name: str
    title: str
    meaning: str
    lowest: float | None
    highest: float | None
    better: Literal["lower", "higher"] | None
    decimals: int

    @property
    def explained(self) -> str:
        """The meaning, followed by which direction is better."""
        return self.meaning if self.better is None else f"{self.meaning} {self.better.capitalize()} is better."

    def shown(self, value: float) -> str:
        """Return the metric's name and a value, for running text."""
        return f"{self.name} undefined" if math.isnan(value) else f"{self.name} {value:.{self.decimals}f}"


METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            name="rmse",
            title="Root mean squared error",
            meaning="Root mean squared error of log expression at the masked entries; large errors weigh more.",
            lowest=0,
            highest=None,
            better="lower",
            decimals=4,
        ),
        Metric(
            name="mae",
            title="Mean absolute error",
            meaning='Mean absolute error at the masked entries; the scCR, scFP and scBFP papers call it "RMSE".',
            lowest=0,
            highest=None,
            better="lower",
            decimals=4,
        ),
        Metric(
            name="median_ae",
            title="Median absolute error",
            meaning="Median absolute error: half of the masked entries are closer to the truth than this.",
            lowest=0,
            highest=None,
            better="lower",
            decimals=4,
        ),
        Metric(
            name="cosine",
            title="Cosine similarity",
            meaning="Cosine similarity of true and imputed values at the masked entries; 1 if they are proportional.",
            lowest=-1,
            highest=1,
            better="higher",
            decimals=4,
        ),
        Metric(
            name="mse",
            title="Mean squared error",
            meaning="Mean squared error of log expression against the held-out molecules, over all entries.",
            lowest=0,
            highest=None,
            better="lower",
            decimals=5,
        ),
        Metric(
            name="mse_observed",
            title="Mean squared error at observed entries",
            meaning="The same over the entries with a molecule in the training half.",
            lowest=0,
            highest=None,
            better="lower",
            decimals=5,
        ),
        Metric(
            name="mse_unobserved",
            title="Mean squared error at unobserved entries",
            meaning="The same over the entries without a molecule in the training half, where overestimates cost most.",
            lowest=0,
            highest=None,
            better="lower",
            decimals=5,
        ),
        Metric(
            name="floor",
            title="Noise floor",
            meaning=(
                "Expected mse of a perfect prediction: half the mse without imputation. Empty unless the halves are "
                "equal."
            ),
            lowest=0,
            highest=None,
            better=None,
            decimals=5,
        ),
        Metric(
            name="explained",
            title="Explained share",
            meaning=(
                "Share of the explainable error that is removed: 0 for the gene means, 1 at the noise floor; negative "
                "if worse than predicting the same for all cells. Empty unless the halves are equal."
            ),
            lowest=None,
            highest=None,
            better="higher",
            decimals=3,
        ),
        Metric(
            name="deviance",
            title="Poisson deviance",
            meaning=(
                "Mean Poisson deviance of the held-out counts, with predictions scaled to each cell's held-out depth "
                "and raised to at least 0.001 molecules."
            ),
            lowest=0,
            highest=None,
            better="lower",
            decimals=5,
        ),
        Metric(
            name="correlation",
            title="Correlation per gene",
            meaning=(
                "Pearson correlation of predicted and held-out log expression across cells: median over the genes that "
                "vary in the held-out half. A gene that is predicted to be the same everywhere counts as 0."
            ),
            lowest=-1,
            highest=1,
            better="higher",
            decimals=3,
        ),
        Metric(
            name="ari",
            title="Adjusted Rand index",
            meaning="Adjusted Rand index of clusters and known types: 1 if identical, 0 expected by chance.",
            lowest=-0.5,
            highest=1,
            better="higher",
            decimals=3,
        ),
        Metric(
            name="nmi",
            title="Normalised mutual information",
            meaning="Normalised mutual information (arithmetic mean) of clusters and known types, from 0 to 1.",
            lowest=0,
            highest=1,
            better="higher",
            decimals=3,
        ),
        Metric(
            name="accuracy",
            title="Accuracy",
            meaning="Fraction of cells in the cluster matched to their type, with one cluster per type.",
            lowest=0,
            highest=1,
            better="higher",
            decimals=3,
        ),
        Metric(
            name="resolution",
            title="Resolution",
            meaning="Resolution of Leiden: leiden_types is at as many clusters as types, leiden_best at the best ari.",
            lowest=0,
            highest=None,
            better=None,
            decimals=2,
        ),
        Metric(
            name="silhouette",
            title="Silhouette of the clusters",
            meaning="How much closer cells are to their own cluster than to the next, -1 to 1. Smoothing raises it.",
            lowest=-1,
            highest=1,
            better=None,  # smoothing raises it whether or not the clusters are the right ones
            decimals=3,
        ),
        Metric(
            name="silhouette_types",
            title="Silhouette of the types",
            meaning="Silhouette of the known types instead of clusters; it does not depend on the clustering.",
            lowest=-1,
            highest=1,
            better=None,
            decimals=3,
        ),
    )
}


def explanations(names: Iterable[str]) -> str:
    """Return the meanings of metrics for a help page, one paragraph per metric."""
    return "\n\n".join(f"{name}: {METRICS[name].explained}" for name in names)
