"""Kept stages: a run that differs only in later settings starts there, and equals a fresh run, bit for bit."""

import numpy as np
import pytest
import scipy.sparse as sp
from random_inputs import random_expression, without_empty

from sccr_node.contract.methods import METHODS
from sccr_node.methods import Expression, load
from sccr_node.numerics import Workspace

X = np.zeros((74, 53), np.float32)  # with empty cells and genes, which the result is spread over
X[2:72, 1:51] = without_empty(random_expression(11, 70, 50))

BOTH = ("recovered", "denoised")
LAST = "denoising: propagation"


def run(work, name="sccr", outputs=BOTH, x=X, **given):
    data = Expression.of(sp.csr_matrix(x))
    return load(name).impute(
        data, work, [o for o in outputs if o in METHODS[name].outputs], METHODS[name].complete(given)
    )


def assert_same(ours, fresh):
    for name in BOTH:
        assert (getattr(ours, name) is None) == (getattr(fresh, name) is None)
        if getattr(ours, name) is not None:
            assert np.array_equal(getattr(ours, name), getattr(fresh, name))
    if fresh.relations is not None:
        assert (ours.relations != fresh.relations).nnz == 0


@pytest.mark.parametrize(
    ("varied", "again"),
    [
        ({"beta": 0.5}, [LAST]),
        ({"gamma": 0.3}, [LAST]),
        ({"n_denoising_iterations": 7}, [LAST]),
        ({"k_denoising": 4}, ["denoising: cell graph", LAST]),
        ({"symmetrize_final": False}, ["denoising: cell graph", LAST]),
        ({"alpha": 0.4}, ["complete relation: propagation", "denoising: cell graph", LAST]),
        ({"n_gene_iterations": 3}, ["complete relation: gene propagation", "complete relation: cell graph",
                                    "complete relation: propagation", "denoising: cell graph", LAST]),
    ],
)  # fmt: skip
def test_only_what_a_setting_changes_is_made_again(varied, again):
    work = Workspace(2, keep=True)
    first = run(work)
    assert list(run(work, **varied).seconds) == again
    assert_same(run(work, **varied), run(Workspace(2), **varied))
    assert_same(run(work), first)  # nothing that was kept has been overwritten
    assert_same(first, run(Workspace(2)))


@pytest.mark.parametrize("name", METHODS)
def test_every_method_repeats_its_last_stage_only(name):
    work = Workspace(1, keep=True)
    stages = list(run(work, name).seconds)
    assert len(stages) > 1 and list(run(work, name).seconds) == stages[-1:]
    assert_same(run(work, name), run(Workspace(1), name))


def test_outputs_may_be_overwritten_by_their_user():
    work = Workspace(1, keep=True)
    run(work).recovered[:] = 7
    run(work, outputs=["recovered"]).recovered[:] = 7
    assert_same(run(work), run(Workspace(1)))


def test_other_data_are_another_run():
    work, other = Workspace(1, keep=True), X * 2
    other[3, 3] = 1
    run(work)
    assert_same(run(work, x=other), run(Workspace(1), x=other))


def test_an_ordinary_workspace_makes_everything_anew_in_two_buffers(monkeypatch):
    work, sizes = Workspace(1), []
    make = work.buffer
    monkeypatch.setattr(work, "buffer", lambda n_values: sizes.append(n_values) or make(n_values))
    first, second = run(work), run(work)
    assert list(first.seconds) == list(second.seconds) and len(first.seconds) == 8
    assert len(sizes) == 4
    assert_same(first, second)
