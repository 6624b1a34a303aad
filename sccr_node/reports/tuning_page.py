"""The page of ``sccr tune``: the verdicts, the curve, all settings tried, and how to go on."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from sccr_node import __version__
from sccr_node.contract.methods import Value
from sccr_node.contract.tune import TUNED
from sccr_node.evaluation.tuning import ScoredSetting
from sccr_node.evaluation.verdicts import Tuning
from sccr_node.reports.content import readable
from sccr_node.reports.helps import helps_of, name_of, parts_of, share_explained
from sccr_node.reports.page import style, template

RANKED_SETTINGS = 60
"""So many of the best settings are listed, folded up: a page is for people; the table has all."""


def tuning_page(tuning: Tuning, *, source: Path, numbers: Mapping[str, Value], command: Sequence[str] = ()) -> str:
    """Return the page, as one self-contained file.

    Parameters
    ----------
    tuning
        What was found.
    source
        The data set.
    numbers
        The numbers as the config file has them.
    command
        The command line.
    """
    helps = helps_of(tuning.noted(), {**numbers, **tuning.parameters})
    tried = sorted(tuning.choice.tried, key=lambda each: each.error)
    best = _best_by_rank(tried)

    def rows(settings: Iterable[ScoredSetting]) -> list[dict[str, Any]]:
        return [_row(each, tried[0].error) for each in settings]

    return template("tuning.html.jinja").render(
        {
            "generator": __version__,
            "style": style(),
            "sample": readable(source.name),
            "lead": (
                f"What sccr-node {__version__} found on {tuning.n_cells_used:,} of {tuning.n_cells:,} cells, without "
                "labels: half of every cell’s molecules were held out, and predicted by imputing the other half."
            ),
            "helps": parts_of(helps),
            "numbers": [(name, _as_in_config(value)) for name, value in numbers.items()],
            "parameters": [Markup("_<wbr>").join(name.split("_")) for name in TUNED],
            "best": rows([*tuning.choice.baselines.values(), *best]),
            "ranked": rows(tried[:RANKED_SETTINGS] if len(tried) > len(best) else []),
            "n_tried": len(tried),
            "command": readable(" ".join(command)),
        }
    )


def _as_in_config(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


def _best_by_rank(tried: Sequence[ScoredSetting]) -> list[ScoredSetting]:
    """Return, of settings by their error, the best without a blend, the best with each rank, and the chosen one."""
    best: dict[float, list[ScoredSetting]] = {}
    for each in tried:
        of_rank = best.setdefault(each.low_rank or math.inf, [])
        if not of_rank or each.chosen:
            of_rank.append(each)
    return [each for rank in sorted(best, reverse=True) for each in best[rank]]


def _row(each: ScoredSetting, smallest: float) -> dict[str, Any]:
    shown = [share_explained(each.explained, 1), _above(each, smallest), *(_number(each, name) for name in TUNED)]
    rank = "" if each.low_rank is None else f" (rank {each.low_rank})"
    return {"name": f"{name_of(each.name)}{rank}", "cells": shown, "chosen": each.chosen}


def _above(each: ScoredSetting, smallest: float) -> str:
    """Return how much larger an error is than the smallest one, as a share of this, and the standard error."""
    if not each.above and not each.standard_error:
        return "smallest"
    if smallest <= 0:
        return "–"
    above, uncertain = each.above / smallest, each.standard_error / smallest
    decimals = 2 if abs(above) < 0.1 else 0
    return f"{above:+.{decimals}%} ± {uncertain:.{decimals}%}".replace("-", "−")


def _number(each: ScoredSetting, name: str) -> str:
    value = getattr(each, name)
    return "" if value is None else f"{value:g}"
