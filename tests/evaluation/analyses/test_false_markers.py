"""Smoothing over cells of a type makes markers of genes that were permuted; doing nothing does not."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.metrics import roc_auc_score

from sccr_node.evaluation.analyses.false_markers import score
from sccr_node.evaluation.permuted import permute_genes, permuted_genes
from tests.support.cases import case


def shuffled():
    random = np.random.default_rng(0)
    types = np.arange(400) % 4
    rates = 0.4 + 2.0 * (np.arange(80)[None, :] % 4 == types[:, None])
    return permute_genes(sparse.csr_matrix(np.log1p(random.poisson(rates)).astype(np.float32)), 7), types


def test_without_imputation_there_are_none():
    cells, types = shuffled()
    (row,) = score(case(cells, types, seeds=(7,)))
    areas = [
        max(roc_auc_score(types == each, cells.toarray()[:, gene]) for each in range(4))
        for gene in permuted_genes(80, 7)
    ]
    assert row["false_auc"] == pytest.approx(np.mean(areas)) and row["false_auc"] < 0.6
    assert (row["false_markers"], row["n_permuted"]) == (0, 8)
    (others,) = score(case(cells, types, seeds=(8,)))  # genes that were not permuted: markers they are
    assert others["false_markers"] > 0.5


def test_averages_over_cells_of_a_type_make_markers_of_all():
    cells, types = shuffled()
    means = np.array([cells[types == each].mean(axis=0).A1 for each in range(4)], dtype=np.float32)
    (row,) = score(case(means[types], types, seeds=(7,)))
    assert row["false_markers"] == 1 and row["false_auc"] == 1


def test_small_types_are_left_out():
    cells, types = shuffled()
    few = np.where(np.arange(400) < 9, 1, 0)
    (row,) = score(case(cells, few, seeds=(7,)))
    assert np.isnan(row["false_markers"])
