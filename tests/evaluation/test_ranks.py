"""Areas under the curve against scikit-learn and scanpy; halves in which every type is."""

import anndata as ad
import numpy as np
import pytest
import scanpy as sc
from scipy import sparse
from sklearn.metrics import roc_auc_score

from sccr_node.evaluation.ranks import auc_by_type, halves


def expression(seed=0):
    random = np.random.default_rng(seed)
    types = np.array([0, 2, 5])[random.integers(0, 3, 90)]
    values = random.poisson(0.7 + 0.4 * (types == 2)[:, None] * (np.arange(70) < 9), (90, 70)).astype(np.float32)
    return np.log1p(values), types


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix])
def test_against_scikit_learn(form):
    values, types = expression()
    areas = auc_by_type(form(values), types)
    assert areas.shape == (3, 70)
    for row, each in enumerate((0, 2, 5)):
        expected = [roc_auc_score(types == each, values[:, gene]) for gene in range(70)]
        np.testing.assert_allclose(areas[row], expected)


def test_genes_are_ranked_as_by_scanpys_wilcoxon_test():
    values, types = expression(1)
    values += np.random.default_rng(0).random(values.shape).astype(np.float32) / 100  # no ties, for which it corrects
    adata = ad.AnnData(values, obs={"type": types.astype(str)})
    adata.obs["type"] = adata.obs["type"].astype("category")
    sc.tl.rank_genes_groups(adata, "type", method="wilcoxon")
    for row, each in enumerate(("0", "2", "5")):
        theirs = [int(name) for name in adata.uns["rank_genes_groups"]["names"][each]]
        assert sorted(theirs) == list(range(70))
        ours = auc_by_type(values, types)[row, theirs]
        assert (np.diff(ours) <= 1e-12).all()  # genes can have the same sum of ranks


def test_every_type_is_in_both_halves():
    types = np.array([-1, 0, 0, 0, 1, 1, 2, -1, 0, 0])
    first, second = halves(types, 0)
    assert not set(first) & set(second) and set(first) | set(second) == {1, 2, 3, 4, 5, 8, 9}
    assert np.bincount(types[first]).tolist() == [3, 1] and np.bincount(types[second]).tolist() == [2, 1]
    assert first.tolist() == halves(types, 0)[0].tolist()
    assert len({tuple(halves(types, seed)[0]) for seed in range(9)}) > 1
    assert [len(half) for half in halves(np.array([0, 1, -1]), 0)] == [0, 0]
