"""The bindings: they agree with the C source, and the crew of threads stops when it is told to."""

import re
import time
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

from sccr_node.imputation import _kernels, sccr
from sccr_node.imputation._kernels import Crew

SOURCE = Path(_kernels.__file__).with_name("kernels.c").read_text()


def test_signatures_are_those_of_the_source():
    letters = {"float *": "f", "double *": "d", "int32_t *": "i", "int64_t *": "l", "int8_t *": "b"}
    numbers = {"int64_t ": "n", "float ": "F", "double ": "D"}
    found = {}
    for name, parameters in re.findall(r"^void (\w+)\(([^)]*)\)", SOURCE, re.MULTILINE):
        plain = [re.sub(r"\b(const|volatile)\s+", "", " ".join(p.split())) for p in parameters.split(",")]
        found[name] = "".join({**letters, **numbers}[re.match(r"\w+ \*?", p).group()] for p in plain)
    assert found == _kernels._SIGNATURES


def test_the_best_level_is_used_unless_another_is_forced():
    levels = list(_kernels.usable_levels())
    assert levels[0] == "baseline" and _kernels.level() == levels[-1]
    with _kernels.forced_level("baseline"):
        assert _kernels.kernels() is _kernels.usable_levels()["baseline"]
    assert _kernels.level() == levels[-1]


def test_wrong_arrays_are_refused():
    with pytest.raises(Exception, match="contiguous array of float32"):
        _kernels.kernels().panel_norms(np.zeros(32), 1, np.zeros(32))


def test_crew_does_every_item_once():
    done = np.zeros(100, int)
    crew = Crew(3)
    crew.run(lambda worker, item: done.__setitem__(item, done[item] + 1), range(100))
    assert (done == 1).all()
    crew.run(lambda worker, item: None, [])


def test_a_failing_worker_is_heard():
    def work(worker, item):
        if item == 5:
            raise RuntimeError("block 5")

    with pytest.raises(RuntimeError, match="block 5"):
        Crew(2).run(work, range(10))


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
