"""How many genes become markers that cannot be any: their values were permuted among the cells before imputation.

Permuting the labels instead would show nothing: imputation does not see them, so that a gene and random labels are as
independent after imputation as before. What imputation invents is an association of a gene with groups of cells, and it
shows in genes that had none (see Andrews and Hemberg 2018, False signals induced by single-cell imputation).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sccr_node.evaluation.analyses import Analysis, Case, Row, cells_with_types
from sccr_node.evaluation.metrics import Metric
from sccr_node.evaluation.permuted import SHARE, permuted_genes
from sccr_node.evaluation.ranks import auc_by_type

AREA = 0.7
"""From this area under the curve on, a gene counts as a marker."""

FEWEST_CELLS_PER_TYPE = 10
"""In smaller types, areas of this size come about by chance."""


def score(case: Case) -> list[Row]:
    """Return one row: there is one permutation per run."""
    cells, types = cells_with_types(case)
    permuted = permuted_genes(cells.shape[1], case.seeds[0])
    present, sizes = np.unique(types, return_counts=True)
    large = (sizes >= FEWEST_CELLS_PER_TYPE) & (len(types) - sizes >= FEWEST_CELLS_PER_TYPE)
    row: Row = {"n_permuted": len(permuted), "false_markers": float("nan"), "false_auc": float("nan")}
    if large.any():
        best = auc_by_type(cells[:, permuted], types)[large].max(axis=0)
        row["false_markers"] = float((best >= AREA).mean())
        row["false_auc"] = float(best.mean())
    return [row]


def summary(rows: Sequence[Row]) -> str:
    """Return the mean area of permuted genes as text."""
    return METRICS["false_auc"].shown(rows[0]["false_auc"])


METRICS = {
    metric.name: metric
    for metric in (
        Metric(
            "false_markers",
            "False markers",
            "Share of genes that become markers of a type although their values were permuted among the cells before "
            f"imputation, as {SHARE:.0%} of the genes are. A marker has an area under the curve of at least {AREA:g}; "
            f"types under {FEWEST_CELLS_PER_TYPE} cells are left out.",
            lowest=0,
            highest=1,
            better="lower",
            decimals=3,
        ),
        Metric(
            "false_auc",
            "Area under the curve of permuted genes",
            "Mean over these genes of the area for the type that they mark best; little above 0.5 without imputation.",
            lowest=0,
            highest=1,
            better="lower",
            decimals=3,
        ),
    )
}

ANALYSIS = Analysis(
    title="false markers",
    data="permuted",
    task="clustering",
    columns=("false_markers", "false_auc", "n_permuted"),
    score=score,
    summary=summary,
    ranked_by="false_auc",
    question="Do genes with permuted values become markers?",
    metrics=tuple(METRICS.values()),
    needs=("label_key",),
)
