"""What tuning found, in numbers and in words: on the values, and on the neighbourhoods of cells."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

from sccr_node.contract.methods import Value
from sccr_node.evaluation.tuning import Candidate, Choice, Neighborhoods

NO_HARM = 0.002
HARM = 0.0075
"""Relative change of the neighbours' prediction error: up to the first, no harm is seen; above the second, there is."""

Answer = Literal["help", "little", "no help", "no harm seen", "cannot tell", "prefer unimputed"]


@dataclass(frozen=True)
class Verdict:
    """An answer, and the sentence that explains it."""

    answer: Answer
    text: str


@dataclass(frozen=True)
class Tuning:
    """The numbers that were chosen for a data set, and why.

    Attributes
    ----------
    choice
        The setting that was chosen, all that were tried, and the baselines.
    neighborhoods
        How the neighbourhoods of cells compare before and after imputation.
    n_cells, n_cells_used, seed
        Cells of the data set, cells that were tuned on, and how they were drawn.
    """

    choice: Choice
    neighborhoods: Neighborhoods
    n_cells: int
    n_cells_used: int
    seed: int

    @property
    def numbers(self) -> dict[str, Value]:
        """The numbers as parameters of ``sccr impute``; without a rank if nothing is blended."""
        chosen = self.choice.chosen
        share = float(chosen.low_rank_share or 0)
        numbers: dict[str, Value] = {"beta": float(chosen.beta or 0), "low_rank_share": share}
        return numbers | ({"low_rank": int(chosen.low_rank)} if share and chosen.low_rank is not None else {})

    @property
    def verdicts(self) -> tuple[Verdict, Verdict]:
        """The verdicts: on the values, and on the neighbourhoods of cells."""
        return on_values(self.choice), on_neighborhoods(self.neighborhoods)

    def rows(self) -> list[dict[str, Any]]:
        """Return everything that was tried, the baselines first."""
        candidates = [*self.choice.baselines.values(), *self.choice.tried]
        return [
            {"candidate": each.name, **asdict(each), "chosen": "yes" if each.chosen else "no"} for each in candidates
        ]

    def noted(self) -> dict[str, Any]:
        """Return what ``uns`` and the run record say about the choice."""
        values, cells = self.verdicts
        return {
            "seed": self.seed,
            "n_cells": self.n_cells_used,
            "explained": self.choice.chosen.explained,
            "explained_by": {name.replace(" ", "_"): each.explained for name, each in self.choice.baselines.items()},
            "curve": self.curve(),
            "neighbors_change": self.neighborhoods.change,
            "n_averaged": self.neighborhoods.n_averaged,
            "values": values.answer,
            "neighborhoods": cells.answer,
            "verdicts": [values.text, cells.text],
        }

    def curve(self) -> dict[str, list[float]]:
        """Return, for every strength, what is explained without a blend and with the best one; NaN if not tried."""
        betas = sorted({float(each.beta or 0) for each in self.choice.tried})
        lines: dict[str, list[float]] = {"beta": betas}
        for name in ("denoised", "blend"):
            best = dict.fromkeys(betas, math.nan)
            for each in self.choice.tried:
                beta = float(each.beta or 0)
                if each.name == name and not each.explained <= best[beta]:
                    best[beta] = each.explained
            lines[name] = [best[beta] for beta in betas]
        return lines


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
