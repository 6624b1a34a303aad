"""Pseudotime along a simulated curve, against scanpy's own recipe."""

import anndata as ad
import numpy as np
import pytest
import scanpy as sc
from scipy import stats

from sccr_node.evaluation.analyses.trajectory import score
from sccr_node.evaluation.pseudotime import root_of
from tests.support.cases import case

SETTINGS = {"n_neighbors": 15, "n_components": 10}


def curve(n_cells=300, spread=0.05):
    random = np.random.default_rng(0)
    time = random.random(n_cells)
    centres = np.linspace(0, 1, 12)
    profiles = np.exp(-20 * (time[:, None] - centres) ** 2)
    return (profiles + spread * random.normal(size=profiles.shape)).astype(np.float32), time


def test_a_curve_is_followed_as_scanpy_follows_it():
    cells, time = curve()
    (row,) = score(case(cells, order=time, settings=SETTINGS))
    assert row["pseudotime"] > 0.97 and row["reached"] == 1
    adata = ad.AnnData(cells)
    sc.pp.pca(adata, n_comps=10)
    sc.pp.neighbors(adata, n_neighbors=15)
    adata.uns["iroot"] = root_of(adata.obsm["X_pca"], time)
    sc.tl.diffmap(adata)
    sc.tl.dpt(adata)
    expected = stats.spearmanr(adata.obs["dpt_pseudotime"], time).statistic
    assert row["pseudotime"] == pytest.approx(expected, abs=0.005)


def test_stages_that_many_cells_share_and_cells_without_one():
    cells, time = curve()
    stage = np.floor(4 * time)
    stage[:30] = np.nan
    (row,) = score(case(cells, order=stage, settings=SETTINGS))
    assert row["pseudotime"] > 0.9


def test_an_order_that_has_nothing_to_do_with_the_cells():
    cells, time = curve()
    (row,) = score(case(cells, order=np.random.default_rng(1).permutation(time), settings=SETTINGS))
    assert abs(row["pseudotime"]) < 0.3


def test_cells_that_are_not_connected_come_last():
    cells, time = curve()
    cells[time > 0.8, 0] += 100
    (row,) = score(case(cells, order=time, settings=SETTINGS))
    assert row["reached"] == pytest.approx((time <= 0.8).mean()) and row["pseudotime"] > 0.9


def test_the_root_is_in_the_middle_of_the_earliest_cells():
    places = np.array([[0.0], [9], [10], [11], [30], [1]], dtype=np.float32)
    assert root_of(places[:4], np.array([1.0, 1, 1, 1])) == 1


def test_too_few_cells_have_no_trajectory():
    cells, time = curve(19)
    assert np.isnan(score(case(cells, order=time, settings=SETTINGS))[0]["pseudotime"])
