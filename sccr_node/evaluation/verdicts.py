"""What tuning found, in numbers and in words: on the values, and on the neighbourhoods of cells."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

from sccr_node.contract.methods import Value
from sccr_node.evaluation.tuning import Choice, Neighborhoods, ScoredSetting
from sccr_node.runtime.console import Finding
from sccr_node.runtime.words import quantity

NO_HARM = 0.002
HARM = 0.0075
"""Relative change of the neighbours' prediction error: up to the first, no harm is seen; above the second, there is."""

WORTHWHILE = 0.005
"""A gain in the share explained below this is little."""

Answer = Literal["help", "little", "no help", "no harm seen", "cannot tell", "prefer unimputed"]


@dataclass(frozen=True)
class Verdict:
    """An answer, and the sentence that explains it."""

    answer: Answer
    text: str


@dataclass(frozen=True, repr=False)
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

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The verdicts as findings; advice against imputing is a warning."""
        return tuple(
            Finding(verdict.text, warning=verdict.answer in ("no help", "prefer unimputed"))
            for verdict in self.verdicts
        )

    def __repr__(self) -> str:
        """Return the parameters and the verdicts, to read; all settings tried are in ``rows``."""
        numbers = ", ".join(f"{name}={value!r}" for name, value in self.numbers.items())
        return "\n".join([f"Tuning({numbers})", *(f"  {verdict.text}" for verdict in self.verdicts)])

    def rows(self) -> list[dict[str, Any]]:
        """Return all settings tried, the baselines first."""
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
    chosen, unimputed, means = choice.chosen, choice.baselines["unimputed"], choice.baselines["gene mean"]
    published, components = choice.baselines["published"], choice.baselines["PCA"]
    if not math.isfinite(chosen.explained):
        # The noise is so large that its floor lies above the gene means: no share can be given, but errors compare.
        if chosen.error >= min(means.error, unimputed.error):
            return Verdict("no help", "values: do not impute: no setting predicts better than the gene means")
        return Verdict(
            "little",
            "values: little to gain: imputation predicts better than the gene means, but most variation is noise",
        )
    alone = f"principal components alone (rank {components.low_rank}): {_share(components)}"
    others = f"published strength: {_share(published)}; {alone}"
    beside = f"no imputation: {_share(unimputed)}; {others}"
    said = f"of the predictable variation, imputation with the chosen parameters explains {_share(chosen)} ({beside})"
    if chosen.explained <= max(0.0, unimputed.explained):
        if unimputed.explained > 0:
            said = (
                f"the unimputed values already explain {_share(unimputed)} of the predictable variation, imputation "
                f"with the chosen parameters {_share(chosen)} ({others})"
            )
        return Verdict("no help", f"values: do not impute: {said}")
    if chosen.explained - max(0.0, unimputed.explained) < WORTHWHILE:
        return Verdict("little", f"values: little to gain: {said}")
    return Verdict("help", f"values: {said}")


def on_neighborhoods(found: Neighborhoods) -> Verdict:
    """Say whether to find neighbours, clusters and embeddings in the imputed data."""
    n_averaged = max(1, round(found.n_averaged))
    small = f"populations of about {quantity(n_averaged, 'cell')} or fewer may be blurred together"
    if not math.isfinite(found.change):
        return Verdict(
            "cannot tell", f"neighbourhoods: cannot tell: too few cells or genes to find neighbours; {small}"
        )
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


def _share(each: ScoredSetting) -> str:
    return "less than the gene means" if each.explained < 0 else f"{each.explained:.0%}"


def _change(change: float) -> str:
    if abs(change) < 5e-5:
        return "equally well"
    return f"{abs(change):.2%} {'worse' if change > 0 else 'better'} than those found before"
