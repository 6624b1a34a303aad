"""Whether the nearest cells of a cell are of its type; small groups, which smoothing blurs first, are shown apart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sccr_node.evaluation.analyses import Analysis, Case, Row, cells_with_types
from sccr_node.evaluation.metrics import Metric
from sccr_node.evaluation.neighborhoods import (
    N_COMPONENTS,
    N_NEIGHBORS,
    nearest,
    own_neighbors_by_type,
    votes_by_type,
)
from sccr_node.numerics import Workspace
from sccr_node.numerics.pca import components_of

RARE_CELLS, RARE_SHARE = 50, 0.01
"""A type with fewer cells, or with a smaller share of the cells, is rare."""


def is_rare(types: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return whether each type that occurs is rare."""
    _, sizes = np.unique(types, return_counts=True)
    return (sizes < RARE_CELLS) | (sizes < RARE_SHARE * len(types))


def score(case: Case) -> list[Row]:
    """Return one row: it does not depend on a seed."""
    cells, types = cells_with_types(case)
    components = components_of(cells, N_COMPONENTS, case.threads)
    work = Workspace(case.threads, case.progress)
    with work.stage("nearest cells"):
        neighbors = nearest(components, N_NEIGHBORS, work)
    rare = is_rare(types)
    row: Row = {"n_rare": int(rare.sum())}
    for name, by_type in (("vote", votes_by_type), ("own_neighbors", own_neighbors_by_type)):
        found = by_type(neighbors, types)
        row[name] = float(found.mean())
        row[f"{name}_rare"] = float(found[rare].mean()) if rare.any() else float("nan")
    return [row]


def summary(rows: Sequence[Row]) -> str:
    """Return the votes as text."""
    names = ("vote", "vote_rare") if rows[0]["n_rare"] else ("vote",)
    return ", ".join(METRICS[name].shown(rows[0][name]) for name in names)


METRICS = {
    name: Metric(name, title, meaning, lowest=0, highest=1, better="higher", decimals=3)
    for name, title, meaning in (
        (
            "vote",
            "Balanced vote of the neighbours",
            f"How often the most frequent type among the {N_NEIGHBORS} nearest cells (in {N_COMPONENTS} principal "
            "components) is the cell's own, averaged over the types.",
        ),
        (
            "vote_rare",
            "Balanced vote, rare types",
            f"The same, averaged over the rare types only: under {RARE_CELLS} cells or under {RARE_SHARE:.0%} of them.",
        ),
        (
            "own_neighbors",
            "Neighbours of the same type",
            "Share of the nearest cells that are of the cell's own type, averaged over the types.",
        ),
        (
            "own_neighbors_rare",
            "Neighbours of the same type, rare types",
            "The same, averaged over the rare types only.",
        ),
    )
}

ANALYSIS = Analysis(
    title="neighbours",
    data="full",
    task="clustering",
    columns=("vote", "vote_rare", "own_neighbors", "own_neighbors_rare", "n_rare"),
    score=score,
    summary=summary,
    ranked_by="vote",
    question="Are a cell's neighbours of its own type, also in rare types?",
    metrics=tuple(METRICS.values()),
    needs=("label_key",),
)
