"""What tuning found, in words: on the values, and on the neighbourhoods of cells."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from sccr_node.evaluation.tuning import Candidate, Choice, Neighborhoods

NO_HARM = 0.005
HARM = 0.015
"""Relative change of the neighbours' prediction error: up to the first, no harm is seen; above the second, there is."""

Answer = Literal["help", "little", "no help", "no harm seen", "cannot tell", "prefer unimputed"]


@dataclass(frozen=True)
class Verdict:
    """An answer, and the sentence that explains it."""

    answer: Answer
    text: str


def on_values(choice: Choice) -> Verdict:
    """Say how much of the predictable variation imputation explains, beside what else could be done."""
    chosen, baselines = choice.chosen, choice.baselines
    if not math.isfinite(chosen.explained):
        return Verdict("no help", "values: cannot tell: there is no variation beyond noise that anything could predict")
    others = (
        ("unimputed values", baselines["unimputed"]),
        ("the published strength", baselines["published"]),
        (f"principal components alone (rank {baselines['PCA'].low_rank})", baselines["PCA"]),
    )
    beside = ", ".join(f"{name} {_share(each)}" for name, each in others)
    said = f"imputation with these numbers explains {_share(chosen)} of the predictable variation ({beside})"
    if chosen.explained <= max(0.0, baselines["unimputed"].explained):
        return Verdict("no help", f"values: do not impute: {said}")
    return Verdict("help", f"values: {said}")


def on_neighborhoods(found: Neighborhoods) -> Verdict:
    """Say whether to find neighbours, clusters and embeddings in the imputed data."""
    small = f"populations of about {round(found.n_averaged)} cells or fewer may blur"
    measured = f"neighbours found after imputation predict held-out molecules {_change(found.change)}"
    if found.change <= NO_HARM:
        return Verdict("no harm seen", f"neighbourhoods: no harm seen: {measured}; {small}")
    if found.change <= HARM:
        return Verdict("cannot tell", f"neighbourhoods: cannot tell: {measured}; {small}")
    return Verdict(
        "prefer unimputed",
        "neighbourhoods: prefer the principal components of the unimputed data for neighbours, clusters and "
        f"embeddings: {measured}; {small}",
    )


def _share(each: Candidate) -> str:
    return "less than the gene means" if each.explained < 0 else f"{each.explained:.0%}"


def _change(change: float) -> str:
    if abs(change) < 5e-5:
        return "equally well"
    return f"{abs(change):.2%} {'worse' if change > 0 else 'better'} than those found before"
