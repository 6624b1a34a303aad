"""The page of a benchmark: methods x comparisons, with ranks, as one self-contained HTML page."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sccr_node import __version__
from sccr_node.contract.benchmark import title_of
from sccr_node.evaluation.analyses import known_metrics, load
from sccr_node.evaluation.standings import Comparison, Standing, mean_ranks
from sccr_node.reports.page import style, template
from sccr_node.runtime.words import quantity


def comparison_page(found: Sequence[Standing], *, source: str, shape: tuple[int, int], n_seeds: int) -> str:
    """Return the page; names are escaped, and it loads nothing and runs no scripts.

    Parameters
    ----------
    found
        The standings of all methods.
    source
        Name of the input.
    shape
        Number of cells, and of genes that were compared.
    n_seeds
        Number of seeds.
    """
    by_task: dict[str, list[Standing]] = {}
    for standing in found:
        by_task.setdefault(standing.comparison.task, []).append(standing)
    overall = sorted(mean_ranks(found).items(), key=lambda item: (math.isnan(item[1]), item[1]))
    tables = [_table(task, standings) for task, standings in by_task.items()]
    return template("comparison.html.jinja").render(
        generator=__version__,
        style=style(),
        source=source,
        lead=f"{quantity(shape[0], 'cell')}, {quantity(shape[1], 'gene')}; {quantity(n_seeds, 'seed')}",
        overall=[(title_of(method), "" if math.isnan(share) else f"{share:.2f}") for method, share in overall],
        spreads=any(not math.isnan(standing.sd) for standing in found),
        tables=tables,
        sections=[("overall", "Overall")] + [(table["task"], table["title"]) for table in tables],
    )


def _table(task: str, found: Sequence[Standing]) -> dict[str, object]:
    """Return one analysis for the template: a row per method, a column per comparison."""
    metric = known_metrics()[found[0].metric]
    comparisons = list(dict.fromkeys(standing.comparison for standing in found))
    cells = {(standing.method, standing.comparison): standing for standing in found}
    methods = dict.fromkeys(standing.method for standing in found)
    return {
        "task": task,
        "title": load(task).title.capitalize(),
        "question": load(task).question,
        "metric": metric.name,
        "meaning": metric.explained,
        "note": load(task).note,
        "columns": [_heading(comparison, metric.name) for comparison in comparisons],
        "rows": [
            (title_of(method), [_cell(cells.get((method, comparison)), metric.decimals) for comparison in comparisons])
            for method in methods
        ],
    }


def _heading(comparison: Comparison, metric: str) -> str:
    if comparison.algorithm is not None:
        return comparison.algorithm
    return metric if comparison.rate is None else f"{comparison.rate:.0%} dropped ({comparison.mechanism})"


def _cell(standing: Standing | None, decimals: int) -> tuple[str, str, bool]:
    """Return the value, the rank, and whether it is the first."""
    if standing is None or standing.rank is None:
        return "", "", False
    spread = "" if math.isnan(standing.sd) else f" ± {standing.sd:.{decimals}f}"
    return f"{standing.mean:.{decimals}f}{spread}", f"{standing.rank} of {standing.n_ranked}", standing.rank == 1
