"""Baselines of recovery: what two lines of numpy predict, and which tasks they are compared for."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.decomposition import PCA

from sccr_node.contract.benchmark import BASELINES, COMPARED, serves, title_of
from sccr_node.contract.methods import METHODS
from sccr_node.evaluation.baselines import FUNCTIONS, gene_and_cell_mean, gene_mean
from sccr_node.evaluation.benchmark import Run, planned_runs
from sccr_node.numerics import Workspace


@pytest.fixture
def expression():
    random = np.random.default_rng(0)
    dense = random.gamma(2.0, 0.6, (30, 12)) * (random.random((30, 12)) < 0.5)
    dense[:, 4] = 0
    dense[7] = 0
    return dense.astype(np.float32)


def by_hand(dense, with_cells):
    seen = dense > 0
    means = np.array([column[column > 0].mean() if column.any() else 0 for column in dense.T])
    offsets = [(row[row > 0] - means[row > 0]).mean() if row.any() and with_cells else 0 for row in dense]
    predicted = np.maximum(means + np.array(offsets)[:, None], 0)
    return np.where(seen, dense, np.where(means > 0, predicted, 0))


@pytest.mark.parametrize(("baseline", "with_cells"), [(gene_mean, False), (gene_and_cell_mean, True)])
def test_baselines_are_what_numpy_says(expression, baseline, with_cells):
    found = baseline(sparse.csr_matrix(expression))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, by_hand(expression.astype(float), with_cells), rtol=1e-5)


def test_pca_is_what_scikit_learn_keeps_and_leaves_empty_cells_and_genes_alone(expression):
    wide = np.hstack([expression, np.random.default_rng(1).random((30, 40), dtype=np.float32)])
    wide[7] = 0
    found = FUNCTIONS["pca"](sparse.csr_matrix(wide), Workspace(2, None))
    assert found.dtype == np.float32 and not found[7].any() and not found[:, 4].any() and (found >= 0).all()
    full = np.delete(np.delete(wide, 7, axis=0), 4, axis=1)
    model = PCA(20, svd_solver="full").fit(full)
    expected = np.maximum(model.inverse_transform(model.transform(full)), 0)
    np.testing.assert_allclose(np.delete(np.delete(found, 7, axis=0), 4, axis=1), expected, atol=1e-4)
    tiny = sparse.csr_matrix(np.array([[1.0, 2, 0], [0, 1, 3]], dtype=np.float32))
    np.testing.assert_allclose(FUNCTIONS["pca"](tiny, Workspace(1, None)), tiny.toarray(), atol=1e-5)


def test_every_baseline_has_a_function_and_a_title():
    assert set(FUNCTIONS) == set(BASELINES) and COMPARED == (*BASELINES, *METHODS)
    assert title_of("gene-mean") == "gene mean" and title_of("sccr") == "scCR"
    assert all(serves(name, "recovery") for name in COMPARED)
    assert [name for name in BASELINES if serves(name, "clustering")] == ["none", "pca"]


def test_baselines_of_recovery_are_not_clustered():
    names = ["none", "gene-mean", "gene-and-cell-mean", "scfp"]
    runs = planned_runs(["recovery", "clustering"], names, rates=[0.4], mechanism="mcar", seeds=[0])
    assert [run.method for run in runs if run.analyses == ("recovery",)] == names
    assert [run.method for run in runs if run.analyses == ("clustering",)] == ["none", "scfp"]
    assert Run(("recovery",), "gene-mean", "mcar", 0.4, 0).title == "gene mean, 40% dropped (mcar), seed 0"


def test_the_benchmark_compares_them(sccr, counts_file):
    names = "none,gene-mean,gene-and-cell-mean,scfp"
    code, out, err = sccr("benchmark", counts_file, "--methods", names, "--rates", "0.4", "--seeds", "0")
    rows = [line.split("\t") for line in out.splitlines()]
    column = rows[0].index("mae")
    error = {row[1]: float(row[column]) for row in rows[1:]}
    assert code == 0 and list(error) == names.split(",")
    assert max(error["gene-and-cell-mean"], error["gene-mean"]) < error["none"]


def test_if_nothing_can_be_clustered_that_is_said(sccr, counts_file):
    call = ("benchmark", counts_file, "--methods", "gene-mean", "--rates", "0.4", "--seeds", "0")
    code, out, err = sccr(*call, "--label-key", "cell_type")
    assert code == 0 and len(out.splitlines()) == 2
    assert "no clustering: gene-mean are not compared for it" in err


def test_pca_alone_blends_nothing_and_does_not_say_so(expression):
    stages = []
    FUNCTIONS["pca"](expression, Workspace(1, lambda stage, fraction: stages.append(stage)))
    assert set(stages) == {"principal components"}
