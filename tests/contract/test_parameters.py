"""The contract: published defaults, contradictions, and what is recorded about the parameters."""

import pytest
from pydantic import ValidationError

from sccr_node.contract.fields import flag
from sccr_node.contract.impute import ImputeParameters
from sccr_node.contract.simulate import SimulateParameters
from tests.support.parameters import published_defaults

# The table of the papers' defaults, written out once more by hand.
PUBLISHED = {
    "sccr": {
        "k_cell": 15,
        "k_gene": 2,
        "n_iterations": 40,
        "n_gene_iterations": 40,
        "alpha": 0.05,
        "beta": 0.99,
        "gamma": 0.01,
        "symmetrize_final": True,
        "dissociating": True,
        "standardize": True,
    },
    "scfp": {"k_cell": 15, "n_iterations": 40, "beta": 0.99},
    "scbfp": {"k_cell": 10, "k_gene": 10, "n_iterations": 40, "n_gene_iterations": 10},
}


@pytest.mark.parametrize("method", PUBLISHED)
def test_each_method_has_its_published_numbers(method):
    numbers = ImputeParameters(method=method).method_parameters()
    assert {name: numbers[name] for name in PUBLISHED[method]} == PUBLISHED[method]
    assert numbers.pop("neighbor_search") == "auto"  # ours, and common to all
    following = {name: numbers[name] for name in numbers.keys() - PUBLISHED[method].keys()}
    assert following == ({} if method == "scbfp" else {"k_denoising": 15, "n_denoising_iterations": 40})


def test_a_given_number_takes_the_place_of_the_published_one():
    numbers = ImputeParameters(alpha=0.5).method_parameters()
    assert numbers == ImputeParameters().method_parameters() | {"alpha": 0.5}


def recorded_with_result(params):
    return params.result_parameters(params.method_parameters())


def test_numbers_of_denoising_follow_the_other_propagations_unless_given():
    numbers = ImputeParameters(k_cell=8, n_denoising_iterations=3).method_parameters()
    assert (numbers["k_denoising"], numbers["n_denoising_iterations"]) == (8, 3)


@pytest.mark.parametrize("method", PUBLISHED)
def test_numbers_of_denoising_are_recorded_only_if_given(method):
    params = ImputeParameters(method=method)
    for recorded in (recorded_with_result(params), params.effective_parameters(params.method_parameters())):
        assert not recorded.keys() & {"k_denoising", "n_denoising_iterations"}
    if method != "scbfp":
        given = ImputeParameters(method=method, k_denoising=15)
        for recorded in (recorded_with_result(given), given.effective_parameters(given.method_parameters())):
            assert recorded["k_denoising"] == 15 and "n_denoising_iterations" not in recorded
    else:
        with pytest.raises(
            ValidationError, match="--k-denoising requires --method sccr or scfp: scbfp does not have it"
        ):
            ImputeParameters(method=method, k_denoising=15)


def test_the_blend_is_recorded_only_if_there_is_one():
    assert not recorded_with_result(ImputeParameters()).keys() & {"low_rank_share", "low_rank"}
    recorded = recorded_with_result(ImputeParameters(low_rank_share=0.25))
    assert (recorded["low_rank_share"], recorded["low_rank"]) == (0.25, 20)


@pytest.mark.parametrize("method", PUBLISHED)
def test_a_number_that_the_method_does_not_have_is_refused(method):
    for name in published_defaults().keys() - PUBLISHED[method].keys():
        with pytest.raises(ValidationError, match=f"{flag(name)} requires --method .*: {method} does not have it"):
            ImputeParameters(method=method, **{name: PUBLISHED["sccr"][name]})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"method": "scfp", "write": "both"}, "--write both requires --method sccr"),
        ({"genes": "all", "n_top_genes": 10}, "--n-top-genes requires --genes top-variance"),
        ({"input_scale": "log1p", "target_sum": 1e4}, "--target-sum applies only to counts"),
        ({"input_scale": "log1p", "normalize_by": "all"}, "--normalize-by applies only to counts"),
        ({"low_rank": 10}, "--low-rank requires --low-rank-share"),
        ({"low_rank": 0, "low_rank_share": 0.5}, "greater than or equal to 1"),
        ({"low_rank_share": 1.5}, "less than or equal to 1"),
        ({"max_memory": "6.GB"}, "a number and a unit"),
        ({"max_memory": "lots"}, "a number and a unit"),
        ({"max_memory": "0"}, "greater than 0"),
        ({"target_sum": 0}, "greater than or equal to 0.001"),
        ({"target_sum": 1e-300}, "greater than or equal to 0.001"),
        ({"log_base": 1.0000001}, "greater than or equal to 1.01"),
        ({"feature_type": " , "}, "should be labels, separated by commas"),
        ({"key_added": "zarr.json"}, "a file of zarr's own"),
        ({"report": ""}, "at least 1 character"),
        ({"target_sum": float("nan")}, "finite|greater than"),
        ({"alpha": 1.01}, "less than or equal to 1"),
        ({"alpha": float("nan")}, "finite"),
        ({"k_cell": 0}, "greater than or equal to 1"),
        ({"k_cell": 2.5}, "integer"),
        ({"key_added": "a/b"}, "pattern"),
        ({"key_added": ""}, "pattern"),
        ({"method": "magic"}, "sccr"),
        ({"misspelt": 1}, "not permitted"),
    ],
)
def test_what_cannot_be_meant_is_refused(given, message):
    with pytest.raises(ValidationError, match=message):
        ImputeParameters(**given)


@pytest.mark.parametrize(("given", "base"), [("e", "e"), ("2", 2.0), (10, 10.0)])
def test_the_base_of_a_logarithm_is_e_or_a_number(given, base):
    assert ImputeParameters(log_base=given).log_base == base


@pytest.mark.parametrize(
    ("size", "n_bytes"),
    [("8GB", 8e9), ("8 GB", 8e9), ("1.5GiB", 1.5 * 2**30), ("6144MB", 6.144e9), (1_234_567, 1_234_567)],
)
def test_memory_sizes_have_units(size, n_bytes):
    assert ImputeParameters(max_memory=size).max_memory == n_bytes


def test_only_what_affects_the_result_is_recorded_with_it():
    recorded = recorded_with_result(ImputeParameters(threads=3, force=True, compression="none", log_format="json"))
    assert recorded == recorded_with_result(ImputeParameters())
    assert recorded["alpha"] == 0.05
    assert recorded["n_top_genes"] == 2000
    assert "batch_key" not in recorded


def test_where_the_gene_file_lay_is_not_recorded():
    recorded = recorded_with_result(ImputeParameters(genes="some/where/genes.txt"))
    assert recorded["genes"] == "file"
    assert "n_top_genes" not in recorded


def test_a_simulation_has_at_least_one_cell_of_each_type():
    with pytest.raises(ValidationError, match="--n-types 5 exceeds the number of cells"):
        SimulateParameters(n_cells=4, n_types=5)
