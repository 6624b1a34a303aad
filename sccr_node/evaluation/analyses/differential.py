"""Whether imputed expression ranks genes for a type as the counts do. No p-values: imputed cells are not independent.

The counts of one half of the cells rank the genes, and so does the imputed expression of the other half. Without
imputation, the agreement shows how well any ranking can be reproduced.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse, stats

from sccr_node.evaluation.analyses import Analysis, Case, Row, cells_with_types
from sccr_node.evaluation.metrics import Metric
from sccr_node.evaluation.ranks import auc_by_type, halves

N_TOP = 50


def pseudobulk_changes(expression: Any, types: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return log fold changes of each type's mean normalised counts against all other cells', types x genes.

    Parameters
    ----------
    expression
        Cells x genes, log1p of normalised counts, dense or CSR; small negative values count as 0.
    types
        Type of each cell; at least two occur.
    """
    if isinstance(expression, np.ndarray):
        counts: Any = np.expm1(np.maximum(expression, 0).astype(np.float64))
    else:
        counts = expression.astype(np.float64).expm1()
    present, of_cell = np.unique(types, return_inverse=True)
    belongs = sparse.csr_matrix((np.ones(len(types)), (of_cell, np.arange(len(types)))))
    sums = belongs @ counts
    own = np.asarray(sums if isinstance(sums, np.ndarray) else sums.toarray())
    sizes = np.bincount(of_cell)[:, None]
    others = (own.sum(axis=0) - own) / (len(types) - sizes)
    smallest = 1e-3  # of a normalised count: keeps the ratio of two means that are nearly 0 from deciding the ranks
    return np.asarray(np.log((own / sizes + smallest) / (others + smallest)))


def rank_agreement(found: NDArray[np.float64], expected: NDArray[np.float64]) -> float:
    """Return Spearman's correlation over the genes, averaged over the types; a constant ranking counts as 0."""
    ranks = [stats.rankdata(values, axis=1) for values in (found, expected)]
    centred = [values - values.mean(axis=1, keepdims=True) for values in ranks]
    lengths = np.prod([np.linalg.norm(values, axis=1) for values in centred], axis=0)
    products = (centred[0] * centred[1]).sum(axis=1)
    return float(np.mean(np.divide(products, lengths, out=np.zeros_like(products), where=lengths > 0)))


def overlap(found: NDArray[np.float64], expected: NDArray[np.float64], n_top: int) -> float:
    """Return the share of the highest genes that both rankings have in common, averaged over the types."""
    top = [np.argsort(-values, axis=1, kind="stable")[:, :n_top] for values in (found, expected)]
    shares = [len(np.intersect1d(*both)) / len(both[0]) for both in zip(*top, strict=True)]
    return float(np.mean(shares))


def score(case: Case) -> list[Row]:
    """Return one row per seed."""
    assert case.types is not None
    cells, types = cells_with_types(case)
    observed = case.expression[case.types >= 0]
    n_top = min(N_TOP, cells.shape[1])
    rows: list[Row] = []
    for done, seed in enumerate(case.seeds):
        case.progress("differential expression", done / len(case.seeds))
        counted, judged = halves(types, seed)
        row: Row = {"seed": seed, **dict.fromkeys(METRICS, float("nan"))}
        if len(np.unique(types[counted])) > 1:
            expected = auc_by_type(observed[counted], types[counted])
            found = auc_by_type(cells[judged], types[judged])
            row["de_ranks"] = rank_agreement(found, expected)
            row["de_top"] = overlap(found, expected, n_top)
            row["de_pseudobulk"] = rank_agreement(
                pseudobulk_changes(cells[judged], types[judged]),
                pseudobulk_changes(observed[counted], types[counted]),
            )
        rows.append(row)
    case.progress("differential expression", 1.0)
    return rows


def summary(rows: Sequence[Row]) -> str:
    """Return the mean agreement as text."""
    return METRICS["de_ranks"].shown(float(np.mean([row["de_ranks"] for row in rows])))


METRICS = {
    name: Metric(name, title, meaning, lowest=lowest, highest=1, better="higher", decimals=3)
    for name, title, meaning, lowest in (
        (
            "de_ranks",
            "Agreement of rankings",
            "Spearman correlation of the genes' Wilcoxon statistics for a type: imputed expression of one half of the "
            "cells against observed expression of the other, averaged over the types.",
            -1,
        ),
        (
            "de_top",
            "Common top genes",
            f"Share of the {N_TOP} highest genes that these two rankings have in common.",
            0,
        ),
        (
            "de_pseudobulk",
            "Agreement with pseudobulk",
            "Spearman correlation of log fold changes of mean normalised counts, between the same two halves.",
            -1,
        ),
    )
}

ANALYSIS = Analysis(
    title="differential expression",
    data="full",
    task="clustering",
    columns=("de_ranks", "de_top", "de_pseudobulk"),
    score=score,
    summary=summary,
    ranked_by="de_ranks",
    question="Does imputed expression rank marker genes as the counts do?",
    metrics=tuple(METRICS.values()),
    needs=("label_key",),
)
