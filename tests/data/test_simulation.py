"""The simulated data: reproducible, with the requested dropout, and with the truth included."""

import numpy as np
import pytest

from sccr_node.__main__ import main
from sccr_node.contract.simulate import SimulateParameters
from sccr_node.data.simulation import as_anndata, simulate

SMALL = {"n_cells": 120, "n_genes": 200, "n_types": 4, "n_batches": 2}


def test_the_seed_decides():
    one, same, other = (simulate(SimulateParameters(**SMALL, seed=seed)) for seed in (1, 1, 2))
    assert np.array_equal(one.counts, same.counts)
    assert not np.array_equal(one.counts, other.counts)


@pytest.mark.parametrize("dropout", [0.0, 0.3, 0.8])
def test_dropout_takes_the_share_asked_for_and_nothing_else(dropout):
    simulated = simulate(SimulateParameters(**SMALL, dropout=dropout))
    kept = simulated.counts > 0
    expressed = simulated.complete_counts > 0
    assert np.array_equal(simulated.counts[kept], simulated.complete_counts[kept])
    assert 1 - kept.sum() / expressed.sum() == pytest.approx(dropout, abs=0.02)
    if dropout:
        assert simulated.expected[kept].mean() > simulated.expected[expressed & ~kept].mean()


def test_depth_is_the_median_of_the_truth():
    simulated = simulate(SimulateParameters(**SMALL, depth=2000))
    assert np.median(simulated.expected.sum(axis=1)) == pytest.approx(2000, rel=0.15)


def test_genes_of_a_programme_go_together():
    simulated = simulate(SimulateParameters(n_cells=300, n_genes=100, n_types=6))
    correlation = np.corrcoef(np.log(simulated.expected.T))
    same = simulated.programmes[:, None] == simulated.programmes[None, :]
    np.fill_diagonal(same, False)
    assert correlation[same].mean() > 0.8 > correlation[~same].max() - 0.3
    assert correlation.min() < -0.3


@pytest.mark.parametrize("size", [(1, 1, 1), (1, 5, 1), (7, 1, 3), (50, 30, 50)])
def test_every_size_works(size):
    n_cells, n_genes, n_types = size
    params = SimulateParameters(n_cells=n_cells, n_genes=n_genes, n_types=n_types)
    adata = as_anndata(simulate(params), params)
    assert adata.shape == (n_cells, n_genes)
    assert adata.obs["cell_type"].nunique() == n_types


def test_the_command_writes_the_same_file_again(tmp_path):
    for name in ("a.h5ad", "b.h5ad"):
        assert main(["simulate", str(tmp_path / name), "--n-cells", "50", "--n-genes", "40", "--quiet"]) == 0
    assert (tmp_path / "a.h5ad").read_bytes() == (tmp_path / "b.h5ad").read_bytes()


def test_the_command_refuses(tmp_path, capsys):
    existing = tmp_path / "a.h5ad"
    existing.write_text("precious")
    assert main(["simulate", str(existing)]) == 73
    assert existing.read_text() == "precious"
    assert main(["simulate", str(tmp_path / "a.csv")]) == 2
    assert main(["simulate", str(tmp_path / "b.h5ad"), "--n-cells", "0"]) == 2
    assert main(["simulate", str(tmp_path / "none" / "b.h5ad")]) == 73
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.h5ad"]
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 4
    assert all(line.startswith("sccr: error: ") for line in errors)


@pytest.mark.parametrize(
    ("options", "code", "line"),
    [
        (["--n-cells", "1000000000", "--n-genes", "100000"], 75, "fewer cells or genes"),
        (["--depth", "1e300"], 2, "--depth: should be less than or equal to 100000000 (given: '1e300')"),
        (["--depth", "1e-300"], 2, "--depth: should be greater than or equal to 1 (given: '1e-300')"),
        (
            ["--dropout", "0.99999999999"],
            2,
            "every count is zero; give more cells or genes (--n-cells, --n-genes), a la",
        ),
    ],
)
def test_what_cannot_be_simulated_is_refused_at_once(tmp_path, capsys, options, code, line):
    assert main(["simulate", str(tmp_path / "out.h5ad"), *options]) == code
    assert line in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
