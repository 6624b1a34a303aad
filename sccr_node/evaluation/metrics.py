"""The metrics: what each is called, means and ranges over. Tables, help pages and the report explain them from here.

The table holds what several commands print. A metric of one analysis only may stand in that analysis's declaration;
:func:`sccr_node.evaluation.analyses.known_metrics` gives both.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Metric:
    """A column of a table that says how good something is.

    Attributes
    ----------
    name
        The column.
    title
        In words, without a full stop.
    meaning
        What the number says, in one sentence.
    lowest, highest
        The range; None if it has no end on that side.
    better
        Which direction is better; None if neither is by itself.
    decimals
        How many decimals a line of text shows. Tables keep six significant digits.
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
        """The meaning, and which direction is better."""
        return self.meaning if self.better is None else f"{self.meaning} {self.better.capitalize()} is better."

    def shown(self, value: float) -> str:
        """Return a value under the metric's name, for a line of text."""
        return f"{self.name} {value:.{self.decimals}f}"


METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            name="rmse",
            title="Root mean squared error",
            meaning="Root mean squared error of the logs at the masked entries; large misses weigh more.",
            lowest=0,
            highest=None,
            better="lower",
            decimals=4,
        ),
        Metric(
            name="mae",
            title="Mean absolute error",
            meaning='Mean absolute error at the masked entries; what the papers of scCR, scFP and scBFP call "RMSE".',
            lowest=0,
            highest=None,
            better="lower",
            decimals=4,
        ),
        Metric(
            name="median_ae",
            title="Median absolute error",
            meaning="Median absolute error: half of the masked entries are closer than this.",
            lowest=0,
            highest=None,
            better="lower",
            decimals=4,
        ),
        Metric(
            name="cosine",
            title="Cosine similarity",
            meaning="Cosine similarity of true and imputed values at the masked entries: 1 is the same direction.",
            lowest=-1,
            highest=1,
            better="higher",
            decimals=4,
        ),
        Metric(
            name="ari",
            title="Adjusted Rand index",
            meaning="Adjusted Rand index of clusters and known types: 1 is the same partition, 0 what chance gives.",
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
            meaning="Share of the cells in the cluster that is matched to their type, one cluster per type.",
            lowest=0,
            highest=1,
            better="higher",
            decimals=3,
        ),
        Metric(
            name="silhouette",
            title="Silhouette of the clusters",
            meaning="How much nearer cells are to their own cluster than to the next, -1 to 1. Smoothing raises it.",
            lowest=-1,
            highest=1,
            better=None,  # smoothing raises it whether or not the clusters are the right ones
            decimals=3,
        ),
        Metric(
            name="silhouette_types",
            title="Silhouette of the types",
            meaning="The silhouette of the known types in place of clusters: it depends on the data alone.",
            lowest=-1,
            highest=1,
            better=None,
            decimals=3,
        ),
    )
}


def explanations(names: Iterable[str]) -> str:
    """Return what metrics mean, one paragraph each, for a help page."""
    return "\n\n".join(f"{name}: {METRICS[name].explained}" for name in names)
