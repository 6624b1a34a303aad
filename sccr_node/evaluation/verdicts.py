"""What tuning found, in numbers and in words: on the values, and on the neighbourhoods of cells."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from sccr_node.contract.methods import Value
from sccr_node.contract.tuned import TunedBefore
from sccr_node.evaluation.tuning import Choice, Neighborhoods, ScoredSetting
from sccr_node.runtime.console import Finding
from sccr_node.runtime.words import quantity

NO_HARM = 0.002
HARM = 0.006
"""Relative change of the neighbours' prediction error: up to the first, no harm is seen; above the second, there is."""

WORTHWHILE = 0.005
"""A gain in the share explained below this is little."""


@dataclass(frozen=True)
class Answer:
    """A possible answer of tuning.

    Attributes
    ----------
    name
        Its name in ``uns``, the run record and tables.
    short
        The answer in a few words, for the report.
    kind
        How it is marked in the report.
    prefix
        How the sentence of a verdict with this answer begins.
    """

    name: str
    short: str
    kind: Literal["good", "open", "bad"]
    prefix: str

    @property
    def warns(self) -> bool:
        """Whether it advises against imputing, or against using what was imputed."""
        return self.kind == "bad"


ANSWERS: Mapping[str, Answer] = {
    answer.name: answer
    for answer in (
        Answer("help", "Closer to the truth", "good", "closer to the truth"),
        Answer("little", "Little to gain", "open", "little to gain"),
        Answer("no help", "No help", "bad", "do not impute"),
        Answer("no harm seen", "No harm seen", "good", "no harm seen"),
        Answer("cannot tell", "Cannot tell", "open", "cannot tell"),
        Answer(
            "prefer unimputed",
            "Prefer the unimputed data",
            "bad",
            "prefer the principal components of the unimputed data for neighbours, clusters and embeddings",
        ),
    )
}


def answer_of(name: str) -> Answer:
    """Return the answer of a name; for one that only another version knows, an open one in the name's own words."""
    return ANSWERS.get(name, Answer(name, name, "open", prefix=name))


@dataclass(frozen=True)
class Verdict:
    """The name of an answer, and the sentence that explains it."""

    answer: str
    text: str

    @classmethod
    def on(cls, subject: str, answer: str, said: str) -> Verdict:
        """Return a verdict on the values or the neighbourhoods; what is said follows the beginning of the answer."""
        return cls(answer, f"{subject}: {ANSWERS[answer].prefix}: {said}")

    @property
    def warns(self) -> bool:
        """Whether its answer does."""
        return ANSWERS[self.answer].warns


@dataclass(frozen=True, repr=False)
class Tuning:
    """The parameters that were chosen for a data set, and why.

    Attributes
    ----------
    choice
        The setting that was chosen, all that were tried, and the baselines.
    neighborhoods
        How the neighbourhoods of cells compare before and after imputation.
    n_cells, n_cells_used, seed
        Cells of the data set, cells that were tuned on, and how they were drawn.
    note
        What a later run or report needs to know whether this holds for it; None until it is known.
    """

    choice: Choice
    neighborhoods: Neighborhoods
    n_cells: int
    n_cells_used: int
    seed: int
    note: TunedBefore | None = None

    @property
    def parameters(self) -> dict[str, Value]:
        """The parameters, keywords for :func:`sccr_node.impute`; without a rank if nothing is blended."""
        chosen = self.choice.chosen
        share = float(chosen.low_rank_share or 0)
        parameters: dict[str, Value] = {
            "beta": float(chosen.beta or 0),
            "n_denoising_iterations": int(chosen.n_denoising_iterations or 0),
            "low_rank_share": share,
        }
        return parameters | ({"low_rank": int(chosen.low_rank)} if share and chosen.low_rank is not None else {})

    @property
    def verdicts(self) -> tuple[Verdict, Verdict]:
        """The two verdicts, on the values and on the neighbourhoods of cells."""
        return on_values(self.choice), on_neighborhoods(self.neighborhoods)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The verdicts as findings; advice against imputing is a warning."""
        told = {"explained": self.choice.chosen.explained}, {"neighbors_change": self.neighborhoods.change}
        return tuple(
            Finding(
                verdict.text,
                warning=verdict.warns,
                fields={"question": question, "verdict": verdict.answer} | numbers,
            )
            for question, verdict, numbers in zip(("values", "neighborhoods"), self.verdicts, told, strict=True)
        )

    def __repr__(self) -> str:
        """Return the parameters and the verdicts, to read; all settings tried are in ``rows``."""
        parameters = ", ".join(f"{name}={value!r}" for name, value in self.parameters.items())
        return "\n".join([f"Tuning({parameters})", *(f"  {verdict.text}" for verdict in self.verdicts)])

    def rows(self) -> list[dict[str, Any]]:
        """Return the baselines, then all settings tried."""
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
            return Verdict.on("values", "no help", "no setting predicts better than the gene means")
        most = "imputation predicts better than the gene means, but most variation is noise"
        return Verdict.on("values", "little", most)
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
        return Verdict.on("values", "no help", said)
    if chosen.explained - max(0.0, unimputed.explained) < WORTHWHILE:
        return Verdict.on("values", "little", said)
    return Verdict.on("values", "help", said)


def on_neighborhoods(found: Neighborhoods) -> Verdict:
    """Say whether to find neighbours, clusters and embeddings in the imputed data."""
    n_averaged = max(1, round(found.n_averaged))
    small = f"populations of about {quantity(n_averaged, 'cell')} or fewer"
    if not math.isfinite(found.change):
        few = "too few cells or genes to find neighbours"
        return Verdict.on("neighbourhoods", "cannot tell", f"{few}; {small} may be blurred together")
    # No contradiction to any answer: a population as small as what is averaged is lost in the mean over all cells.
    measured = (
        f"averaged over all cells, neighbours found after imputation predict held-out molecules {_change(found.change)}"
    )
    unseen = f"whether {small} are blurred together does not show in this average"
    answer = "prefer unimputed"
    if found.change <= HARM:
        answer = "no harm seen" if found.change <= NO_HARM else "cannot tell"
    return Verdict.on("neighbourhoods", answer, f"{measured}; {unseen}")


def _share(each: ScoredSetting) -> str:
    return "less than the gene means" if each.explained < 0 else f"{each.explained:.0%}"


def _change(change: float) -> str:
    if abs(change) < 5e-5:
        return "equally well"
    return f"{abs(change):.2%} {'worse' if change > 0 else 'better'} than those found before"
