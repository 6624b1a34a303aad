"""The simulated data: reproducible, with the requested dropout, and with the truth included."""

import subprocess
import sys

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from sccr_node.__main__ import main
from sccr_node.contract.simulate import SimulateParameters
from sccr_node.data import simulation
from sccr_node.data.simulation import Simulation, simulate

SMALL = {"n_cells": 120, "n_genes": 200, "n_types": 4, "n_batches": 2}


def drawn(**options):
    return Simulation(SimulateParameters(**options)).drawn()


@pytest.fixture
def in_blocks(monkeypatch):
    """Blocks of 32 cells of the small data set: the last one is shorter."""
    monkeypatch.setattr(simulation, "BLOCK_ENTRIES", 32 * 200)


def test_the_seed_decides():
    one, same, other = (drawn(**SMALL, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(one.counts, same.counts)
    assert not np.array_equal(one.counts, other.counts)


@pytest.mark.parametrize("dropout", [0.0, 0.3, 0.8])
def test_dropout_takes_the_share_asked_for_and_nothing_else(dropout):
    simulated = drawn(**SMALL, dropout=dropout)
    kept = simulated.counts > 0
    expressed = simulated.complete_counts > 0
    assert np.array_equal(simulated.counts[kept], simulated.complete_counts[kept])
    assert 1 - kept.sum() / expressed.sum() == pytest.approx(dropout, abs=0.02)
    if dropout:
        assert simulated.expected[kept].mean() > simulated.expected[expressed & ~kept].mean()


def test_depth_is_the_median_of_the_truth():
    simulated = drawn(**SMALL, depth=2000)
    assert np.median(simulated.expected.sum(axis=1)) == pytest.approx(2000, rel=0.15)


def test_genes_of_a_programme_go_together():
    made = Simulation(SimulateParameters(n_cells=300, n_genes=100, n_types=6))
    simulated = made.drawn()
    correlation = np.corrcoef(np.log(simulated.expected.T))
    same = made.programmes[:, None] == made.programmes[None, :]
    np.fill_diagonal(same, False)
    assert correlation[same].mean() > 0.8 > correlation[~same].max() - 0.3
    assert correlation.min() < -0.3


@pytest.mark.parametrize("size", [(1, 1, 1), (1, 5, 1), (7, 1, 3), (50, 30, 50)])
def test_every_size_works(size):
    n_cells, n_genes, n_types = size
    adata = simulate(SimulateParameters(n_cells=n_cells, n_genes=n_genes, n_types=n_types))
    assert adata.shape == (n_cells, n_genes)
    assert adata.obs["cell_type"].nunique() == n_types


def test_the_command_writes_the_same_file_again(tmp_path):
    for name in ("a.h5ad", "b.h5ad"):
        assert main(["simulate", str(tmp_path / name), "--n-cells", "50", "--n-genes", "40", "--quiet"]) == 0
    assert (tmp_path / "a.h5ad").read_bytes() == (tmp_path / "b.h5ad").read_bytes()


def test_blocks_are_the_same_in_any_order(in_blocks):
    params = SimulateParameters(**SMALL)
    forwards = [block.counts for block in Simulation(params).blocks()]
    assert [len(block) for block in forwards] == [32, 32, 32, 24]
    made = Simulation(params)
    for number in (3, 1, 0, 2, 0):
        np.testing.assert_array_equal(made.block(number).counts, forwards[number])
    assert not np.array_equal(forwards[1], forwards[2])


def test_blocks_are_drawn_alike(in_blocks):
    """Each type has the same profile in every block, and each block loses the share asked for."""
    made = Simulation(SimulateParameters(**{**SMALL, "n_cells": 640}, dropout=0.4))
    blocks = list(made.blocks())
    expressed, kept = (np.array([(getattr(block, name) > 0).sum() for block in blocks]) for name in
                       ("complete_counts", "counts"))  # fmt: skip
    assert 1 - kept / expressed == pytest.approx(0.4, abs=0.04)
    types = made.cell_types.reshape(20, 32)
    profiles = [block.expected[types[number] == 0].sum(axis=0) for number, block in enumerate(blocks)]
    assert np.corrcoef(np.log(profiles)).min() > 0.9


def test_the_file_has_what_is_drawn_at_once(tmp_path, in_blocks):
    options = ("--n-cells", "120", "--n-genes", "200", "--n-types", "4", "--n-batches", "2", "--quiet")
    assert main(["simulate", str(tmp_path / "a.h5ad"), *options]) == 0
    adata, expected = ad.read_h5ad(tmp_path / "a.h5ad"), simulate(SimulateParameters(**SMALL))
    assert (adata.X != expected.X).nnz == 0 and adata.X.dtype == expected.X.dtype
    assert (adata.layers["complete_counts"] != expected.layers["complete_counts"]).nnz == 0
    np.testing.assert_array_equal(adata.layers["expected_counts"], expected.layers["expected_counts"])
    pd.testing.assert_frame_equal(adata.obs, expected.obs)
    pd.testing.assert_frame_equal(adata.var, expected.var)
    assert main(["simulate", str(tmp_path / "b.h5ad"), *options, "--no-truth"]) == 0
    without = ad.read_h5ad(tmp_path / "b.h5ad")
    assert (without.X != adata.X).nnz == 0 and not without.layers


def test_memory_does_not_grow_with_the_cells(tmp_path):
    """Beyond a block, only names and types are added."""
    script = (
        "import resource, sys\n"
        "from sccr_node.__main__ import main\n"
        "from sccr_node.data import simulation\n"
        "simulation.BLOCK_ENTRIES = 2_000_000\n"
        "assert main(['simulate', sys.argv[1], '--n-cells', sys.argv[2], '--n-genes', '500', '--quiet']) == 0\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
    )
    peaks = [
        int(subprocess.check_output([sys.executable, "-c", script, str(tmp_path / f"{n}.h5ad"), str(n)]))
        for n in (4_000, 40_000)
    ]
    assert peaks[1] - peaks[0] < 60_000  # KiB; the larger data set would need 400 MB more at once


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
