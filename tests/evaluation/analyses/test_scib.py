"""scib-metrics: where it is installed, on groups that are apart, mixed and torn; elsewhere, how it is skipped."""

import numpy as np
import pytest

from sccr_node.evaluation import analyses
from tests.support.cases import case
from tests.support.groups import blobs


def found(cells, types):
    pytest.importorskip("scib_metrics")
    from sccr_node.evaluation.analyses.scib import score

    (row,) = score(case(cells, types))
    return row["clisi"], row["graph_connectivity"]


def test_groups_apart_mixed_and_torn():
    cells, types = blobs(n_groups=3, n_cells=600)
    clisi, connectivity = found(cells, types)
    assert clisi == pytest.approx(1, abs=1e-3) and connectivity > 0.95
    clisi, _ = found(cells, np.random.default_rng(0).permutation(types))
    assert clisi < 0.2
    halves = cells.copy()
    halves[:300, 0] += 100  # every type in two pieces of equal size: neighbours are pure, types are torn
    clisi, connectivity = found(halves, types)
    assert clisi == pytest.approx(1, abs=1e-3) and connectivity == pytest.approx(0.5, abs=0.03)


def test_cells_without_a_type_and_few_cells():
    cells, types = blobs(n_groups=2, n_cells=40)
    types[0] = -1
    assert 0 <= found(cells, types)[0] <= 1
    assert np.isnan(found(cells[:9], types[:9])).all()


def test_without_the_library_it_is_skipped_and_the_extra_is_named(sccr, counts_file, monkeypatch):
    monkeypatch.setattr(analyses, "find_spec", lambda name: None if name == "scib_metrics" else name)
    command = ("benchmark", counts_file, "--methods", "none", "--rates", "0.4", "--seeds", "0")
    code, out, err = sccr(*command, "--label-key", "cell_type", "--analyses", "recovery,scib")
    assert code == 0 and len(out.splitlines()) == 2
    assert (
        "skipping scib: it requires scib_metrics, which is not installed: run pip install 'sccr-node[benchmark]'" in err
    )
    assert "or, in a checkout, pip install '.[benchmark]'" in err
