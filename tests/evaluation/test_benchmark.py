"""The runs of a benchmark: their plan, their rows, and a run that is killed or fails."""

from contextlib import nullcontext
from dataclasses import asdict
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import sparse

from sccr_node.errors import InputProblem, NotEnoughResources
from sccr_node.evaluation import benchmark
from sccr_node.evaluation.analyses.recovery import recovery_scores
from sccr_node.evaluation.benchmark import Inputs, Run, columns, planned_runs, run_apart, table_rows
from sccr_node.evaluation.masks import mask_expression
from sccr_node.evaluation.permuted import permute_genes
from sccr_node.methods import sccr as impute_by_sccr

SETTINGS = {"n_restarts": 1, "n_neighbors": 15, "resolution": 1.0, "n_components": 50}


def silent(stage, fraction):
    pass


def inputs():
    random = np.random.default_rng(0)
    dense = random.gamma(2.0, 0.6, (40, 30)) * (random.random((40, 30)) < 0.4)
    return Inputs(sparse.csr_matrix(dense.astype(np.float32)), np.arange(40) % 3 - 1, None, SETTINGS, None)


def rows(run, folder):
    benchmark._laid_out(run, inputs(), folder)
    return table_rows(run, folder, SETTINGS, None, silent)


def plan(*analyses):
    return planned_runs(analyses, ["none", "scfp"], rates=[0.2, 0.8], mechanism="mnar", seeds=[0, 3])


def test_the_plan():
    runs = plan("recovery", "clustering")
    assert len(runs) == 2 * 2 * 2 + 2
    assert runs[0] == Run(("recovery",), "none", "mnar", 0.2, 0)
    assert runs[-1] == Run(("clustering",), "scfp", seeds=(0, 3))
    assert len(plan("recovery")) == 8
    assert runs[0].title == "no imputation, 20% dropped (mnar), seed 0" and runs[-1].title == "scFP, clustering"


def test_the_columns_of_the_table_stay_where_they_are():
    assert columns()[:40] == (
        "task", "method", "mechanism", "rate", "seed", "n_entries", "rmse", "mae", "median_ae", "cosine",
        "algorithm", "n_clusters", "ari", "nmi", "accuracy", "silhouette", "silhouette_types", "seconds", "peak_mb",
        "rank", "resolution", "vote", "vote_rare", "own_neighbors", "own_neighbors_rare", "n_rare",
        "annotation", "annotation_cells", "marker_auc", "marker_own", "false_markers", "false_auc", "n_permuted",
        "de_ranks", "de_top", "de_pseudobulk", "pseudotime", "reached", "clisi", "graph_connectivity",
    )  # fmt: skip


def test_a_run_scores_what_the_method_recovers(tmp_path):
    (row,) = rows(Run(("recovery",), "sccr", "mcar", 0.4, 5), tmp_path)
    masked = mask_expression(inputs().expression, 0.4, "mcar", 5)
    truth = masked.truth.tocoo()
    recovered = impute_by_sccr(masked.expression, recovered=True).recovered
    expected = recovery_scores(truth.data, recovered[truth.row, truth.col])
    assert (row["method"], row["rate"], row["seed"], row["n_entries"]) == ("sccr", 0.4, 5, expected.n_entries)
    assert row["mae"] == pytest.approx(expected.mae) and row["cosine"] == pytest.approx(expected.cosine)
    assert row["seconds"] > 0 and row["peak_mb"] > 1


def test_a_run_clusters_the_cells_with_a_type(tmp_path):
    found = rows(Run(("clustering",), "none", seeds=(0, 1)), tmp_path)
    assert [(row["algorithm"], row["seed"]) for row in found] == [
        ("kmeans", 0), ("kmeans", 1), ("leiden", 0), ("leiden", 1),
        ("leiden_types", 0), ("leiden_best", 0), ("leiden_types", 1), ("leiden_best", 1),
    ]  # fmt: skip
    assert found[0]["n_clusters"] == 2 and set(found[0]) <= set(columns())


def test_a_run_imputes_what_was_permuted(tmp_path):
    runs = planned_runs(["false_markers"], ["none", "scfp"], rates=[0.2], mechanism="mcar", seeds=[0, 3])
    assert [(run.method, run.seed) for run in runs] == [("none", 0), ("scfp", 0), ("none", 3), ("scfp", 3)]
    assert runs[-1].title == "scFP, false markers, seed 3" and Run.of_json(asdict(runs[-1])) == runs[-1]
    (row,) = rows(runs[-1], tmp_path)
    laid = sparse.load_npz(tmp_path / "expression.npz")
    assert (laid != permute_genes(inputs().expression, 3)).nnz == 0
    assert (row["task"], row["method"], row["seed"], row["n_permuted"]) == ("false_markers", "scfp", 3, 3)
    assert row["rate"] is None and row["seconds"] > 0


@pytest.mark.parametrize("task", ["recovery", "clustering"])
def test_scCR_is_judged_by_the_output_that_its_paper_judges(task):
    expression = inputs().expression
    imputed, _ = benchmark._imputed("sccr", expression, task, None, silent)
    both = impute_by_sccr(expression, recovered=True)
    np.testing.assert_array_equal(imputed, both.recovered if task == "recovery" else both.denoised)


def test_a_run_that_cannot_be_masked_is_refused():
    with pytest.raises(InputProblem, match="would drop none"):
        run_apart(Run(("recovery",), "none", "mcar", 1e-9, 0), inputs(), silent)


def test_a_run_that_is_killed_or_fails_is_told(monkeypatch):
    run = Run(("recovery",), "none", "mcar", 0.4, 0)
    lay_out = benchmark._laid_out

    def without_truth(run, inputs, folder):
        lay_out(run, inputs, folder)
        (folder / "truth.npz").unlink()
        return folder

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="truth.npz"):
        patch.setattr(benchmark, "_laid_out", without_truth)
        run_apart(run, inputs(), silent)

    class Nothing:
        def poll(self, seconds):
            return True

        def recv(self):
            raise EOFError

    killed = SimpleNamespace(exitcode=-9, join=lambda: None)
    monkeypatch.setattr(benchmark, "_child", lambda *arguments: nullcontext((killed, Nothing())))
    with pytest.raises(NotEnoughResources, match="killed .exit code -9.*memory ran out"):
        run_apart(run, inputs(), silent)
