"""The page of ``sccr tune``: the verdicts, the curve, all settings tried, and how to go on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sccr_node import __version__
from sccr_node.contract.methods import Value
from sccr_node.evaluation.verdicts import Tuning
from sccr_node.report.content import readable
from sccr_node.report.helps import helps_of, parts_of
from sccr_node.report.page import style, template

SHOWN_SETTINGS = 60
"""The best ones, beside the baselines: a page for people; the table has all."""

TRIED_COLUMNS = (
    ("candidate", "Predicted by"),
    ("beta", "beta"),
    ("n_denoising_iterations", "n_denoising_iterations"),
    ("low_rank", "low_rank"),
    ("low_rank_share", "low_rank_share"),
    ("explained", "Explained"),
    ("above", "Error minus that of the best setting"),
    ("standard_error", "± standard error"),
)


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
    best = sorted(tuning.choice.tried, key=lambda each: (not each.chosen, each.error))[:SHOWN_SETTINGS]
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
            "columns": [title for _, title in TRIED_COLUMNS],
            "tried": [
                {"cells": [_shown(name, row[name]) for name, _ in TRIED_COLUMNS], "chosen": row["chosen"] == "yes"}
                for row in tuning.rows(best)
            ],
            "n_shown": len(best),
            "n_tried": len(tuning.choice.tried),
            "command": readable(" ".join(command)),
        }
    )


def _as_in_config(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


def _shown(name: str, value: Any) -> str:
    if value is None:
        return ""
    if name == "explained":
        return f"{value:.1%}"
    if name in ("above", "standard_error"):
        return f"{value:.2e}"
    return f"{value:g}" if isinstance(value, float) else readable(value)
