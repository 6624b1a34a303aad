"""The workspace: its threads do all the work, stop when told to, and keep what must be kept."""

import time

import numpy as np
import pytest
import scipy.sparse as sp

from sccr_node.methods import sccr
from sccr_node.numerics import Workspace


def test_a_workspace_does_every_item_once():
    done = np.zeros(100, int)
    work = Workspace(3)
    work.run(lambda worker, item: done.__setitem__(item, done[item] + 1), range(100))
    assert (done == 1).all()
    work.run(lambda worker, item: None, [])


def test_a_failing_worker_is_heard():
    def fail(worker, item):
        if item == 5:
            raise RuntimeError("block 5")

    with pytest.raises(RuntimeError, match="block 5"):
        Workspace(2).run(fail, range(10))


@pytest.mark.parametrize(
    "stage", ["pre-imputation: cell graph", "pre-imputation: propagation", "denoising: cell graph"]
)
def test_raising_in_progress_stops_within_a_second(stage):
    x = sp.random(4000, 1000, 0.1, format="csr", random_state=0, dtype=np.float32)
    raised = []

    def progress(name, fraction):
        assert 0 <= fraction <= 1
        if name == stage and fraction > 0:
            raised.append(time.perf_counter())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sccr(x, progress=progress, n_iterations=60)
    assert time.perf_counter() - raised[0] < 1.5


def test_progress_names_every_stage():
    seen = []
    result = sccr(sp.random(60, 30, 0.5, format="csr", random_state=0), progress=lambda *report: seen.append(report))
    names = list(dict.fromkeys(name for name, _ in seen))
    assert names == list(result.seconds) and len(names) == 8
    assert all((name, 0.0) in seen and (name, 1.0) in seen for name in names)


def test_a_stopped_workspace_takes_no_more_work():
    work = Workspace(2)
    with pytest.raises(ZeroDivisionError):
        work.run(lambda worker, item: 1 / item, range(2))
    with pytest.raises(RuntimeError, match="stopped"):
        work.run(lambda worker, item: None, range(2))


def test_an_ordinary_workspace_keeps_nothing():
    work, made, buffer = Workspace(1), [], np.zeros(4, np.float32)
    for _ in range(2):
        work.kept("key", lambda: made.append(1))
    assert len(made) == 2 and work.over(buffer) is buffer


def test_a_keeping_workspace_makes_once_and_overwrites_nothing():
    work, made, buffer = Workspace(1, keep=True), [], np.zeros(4, np.float32)
    for key in ("key", "key", "another"):
        work.kept(key, lambda: made.append(1))
    assert len(made) == 2
    other = work.over(buffer)
    assert other.shape == buffer.shape and not np.shares_memory(other, buffer)


def test_work_without_a_stage_is_not_reported():
    reported = []
    work = Workspace(1, lambda stage, fraction: reported.append(stage))
    work.run(lambda worker, item: time.sleep(0.3), [0, 1])
    assert not reported
    with work.stage("named"):
        work.run(lambda worker, item: None, [0])
    assert set(reported) == {"named"}
