"""The bindings: they agree with the C source."""

import re
from pathlib import Path

import numpy as np
import pytest

from sccr_node.numerics import _kernels

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
