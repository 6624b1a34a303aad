"""What tuning found, as the report and the tuning page show it: verdicts, what is explained, the curve."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from markupsafe import Markup

from sccr_node.contract.tune import TUNED
from sccr_node.evaluation.verdicts import answer_of
from sccr_node.reports import figures
from sccr_node.reports.content import Fact, Helps, ShownVerdict, readable

WAYS = (
    ("chosen", "the chosen parameters"),
    ("published", "published strength"),
    ("PCA", "principal components alone"),
    ("recovered", "recovered expression, before denoising"),
    ("unimputed", "no imputation"),
    ("gene_mean", "gene means"),
)
"""The ways to predict the held-out half, in the order of the table."""

LINES = {"denoised": "scCR alone", "blend": "blended with principal components"}
"""The lines of the curve, and what they are called."""


def helps_of(noted: Mapping[str, Any], params: Mapping[str, Any]) -> Helps:
    """Return what tuning found from what ``uns`` says about it.

    Parameters
    ----------
    noted
        ``uns[NAME]['tuning']``.
    params
        The parameters that were used.
    """
    values, cells = (readable(text) for text in np.atleast_1d(noted["verdicts"]))
    betas, *lines = ([float(value) for value in np.atleast_1d(noted["curve"][name])] for name in ("beta", *LINES))
    told = {"chosen": noted["explained"], **noted["explained_by"]}
    return Helps(
        answers=[
            _answer("Are the values closer to the truth?", str(noted["values"]), values),
            _answer("Do cells keep their neighbours?", str(noted["neighborhoods"]), cells),
        ],
        explained=[(title, float(told[name])) for name, title in WAYS if name in told],
        betas=betas,
        lines=dict(zip(LINES, lines, strict=True)),
        chosen=(float(params["beta"]), float(noted["explained"])),
        numbers=[Fact(name, f"{float(params[name]):g}") for name in TUNED if name in params],
        n_cells=int(noted["n_cells"]),
        seed=int(noted["seed"]),
    )


def _answer(question: str, name: str, text: str) -> ShownVerdict:
    answer = answer_of(name)
    said = text.split(": ", 1)[-1].removeprefix(f"{answer.prefix}: ")
    return ShownVerdict(question, readable(answer.short), said[:1].upper() + said[1:], answer.kind)


def name_of(candidate: str) -> str:
    """Return what the page calls a baseline or a setting, which tables call ``candidate``."""
    return {**dict(WAYS), **LINES}.get(candidate.replace(" ", "_"), readable(candidate))


def share_explained(share: float, decimals: int = 0) -> str:
    """Return a share of the predictable variation as a percentage, if it is one."""
    return "–" if share != share else "below 0%" if share < 0 else f"{share:.{decimals}%}"


def parts_of(helps: Helps) -> dict[str, Any]:
    """Return what the template shows."""
    return {
        "answers": helps.answers,
        "curve": Markup(figures.strength_curve(helps)),
        "lines": [
            (f"{figures.SERIES[name]} line", title)
            for name, title in LINES.items()
            if name == "denoised" or any(share == share for share in helps.lines.get(name, []))
        ],
        "explained": [(title, share_explained(share)) for title, share in helps.explained],
        "numbers": ", ".join(f"{fact.name} = {fact.value}" for fact in helps.numbers),
        "n_cells": f"{helps.n_cells:,}",
        "seed": helps.seed,
    }
