"""The catalogue against the modules of the methods: settings, signatures, docstrings, outputs."""

import inspect
import re
from typing import get_args

import numpy as np
import pytest
import scipy.sparse as sp

import sccr_node.methods
from sccr_node.contract.methods import COMMON_SETTINGS, METHODS, Output, Task
from sccr_node.contract.tune import TuneParameters
from sccr_node.methods import Expression, Shape, load
from sccr_node.methods.stages import uses
from sccr_node.numerics import Workspace

EVERY = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
OUTPUTS = set(get_args(Output))

PUBLIC = [method for method in METHODS.values() if method.name in sccr_node.methods.__all__]
ARRAY_FUNCTIONS = pytest.mark.parametrize("method", PUBLIC, ids=lambda method: method.name)
"""The methods that have a function for arrays of their own."""


def stages_of(module):
    """The functions that take a workspace and settings, of a module and those that it shares: its stages."""
    functions = [value for _, value in inspect.getmembers(module, inspect.isfunction)]
    own = [function for function in functions if function.__module__ in (module.__name__, "sccr_node.methods.stages")]
    return [function for function in own if "work" in inspect.signature(function).parameters and uses(function)]


@EVERY
def test_every_entry_has_a_module(method):
    module = load(method.name)
    assert set(inspect.signature(module.impute).parameters) == {"data", "work", "outputs", "settings"}
    assert set(inspect.signature(module.cost).parameters) == {"shape", "settings", "outputs", "threads"}


@EVERY
def test_stages_use_the_settings_of_the_catalogue(method):
    used = [uses(stage) for stage in stages_of(load(method.name))]
    assert {setting for settings in used for setting in settings} == set(method.settings)


@ARRAY_FUNCTIONS
def test_the_array_function_has_the_settings_of_the_catalogue(method):
    parameters = inspect.signature(getattr(sccr_node.methods, method.name)).parameters
    outputs = set(method.outputs) if len(method.outputs) > 1 else set()
    assert list(parameters)[0] == "expression" and list(parameters)[-2:] == ["threads", "progress"]
    assert parameters.keys() - {"expression", "threads", "progress"} - outputs == set(method.settings)
    for name in method.settings:
        assert parameters[name].default is None and parameters[name].kind is inspect.Parameter.KEYWORD_ONLY


@ARRAY_FUNCTIONS
def test_the_docstring_names_the_defaults_of_the_catalogue(method):
    documented = inspect.getdoc(getattr(sccr_node.methods, method.name))
    found = re.findall(r"^(\w+)\n    .*?\(default: ((?:as )?[\w.]+)\)", documented, re.MULTILINE)
    followers = {name: f"as {other}" for name, other in method.follows.items()}
    assert dict(found) == {name: str(value) for name, value in method.defaults.items()} | followers


@EVERY
def test_every_output_is_made_and_nothing_else(method):
    data = Expression.of(sp.random(40, 30, 0.5, format="csr", random_state=0, dtype=np.float32))
    settings = method.complete({})
    assert set(method.outputs) <= OUTPUTS and set(method.scored) == set(get_args(Task))
    assert set(method.scored.values()) <= set(method.outputs)
    for wanted in [*([output] for output in method.outputs), list(method.outputs)]:
        result = load(method.name).impute(data, Workspace(1), wanted, settings)
        assert {name for name in OUTPUTS if getattr(result, name) is not None} == set(wanted)
        assert (result.relations is None) == (method.relation is None)
    costs = [load(method.name).cost(Shape(10**4, 2000, 10**6), settings, [output], 2) for output in method.outputs]
    assert [cost.operations for cost in costs] == sorted(cost.operations for cost in costs)


@EVERY
def test_a_method_that_can_be_tuned_has_both_halves_and_the_numbers(method):
    halves = {name for name in ("before_denoising", "denoising") if hasattr(load(method.name), name)}
    assert len(halves) == (2 if method.tuned else 0)
    assert set(method.tuned) <= {*method.settings, "low_rank", "low_rank_share"}
    if method.tuned:
        TuneParameters(method=method.name)
    else:
        with pytest.raises(ValueError, match=f"{method.name} cannot be tuned"):
            TuneParameters(method=method.name)


@EVERY
def test_settings_are_completed(method):
    followers = {name: method.defaults[other] for name, other in method.follows.items()}
    assert (
        method.complete({})
        == method.complete(dict.fromkeys(method.settings))
        == method.defaults | followers | COMMON_SETTINGS
    )
    for name, other in method.follows.items():
        assert method.complete({other: 3})[name] == 3
        assert method.complete({other: 3, name: 5})[name] == 5
    for name, value in method.defaults.items():
        assert method.complete({name: value})[name] == value
    with pytest.raises(ValueError, match=f"{method.title} has no setting k_moon"):
        method.complete({"k_moon": 1})
