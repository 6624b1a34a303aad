"""Defaults, config file, environment and flags, in rising precedence; problems are named as the user wrote them."""

import json
import time
from pathlib import Path

import pytest

from sccr_node.contract.benchmark import BenchmarkParameters
from sccr_node.contract.impute import ImputeParameters
from sccr_node.contract.settings import unknown_variables
from sccr_node.errors import InputMissing, UsageProblem
from tests.support.parameters import settle


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("n_top_genes: 100\nalpha: 0.1\nwrite: both\n")
    return path


def test_precedence_rises_from_defaults_to_flags(config):
    environ = {"SCCR_ALPHA": "0.2", "SCCR_WRITE": "recovered"}
    params = settle(ImputeParameters, {"alpha": "0.3", "beta": None}, config=config, environ=environ)
    assert (params.n_top_genes, params.alpha, params.write, params.gamma) == (100, 0.3, "recovered", None)
    assert params.source_of("n_top_genes") == f"config file {config}: n_top_genes"
    assert (params.source_of("alpha"), params.source_of("write")) == ("--alpha", "SCCR_WRITE")
    assert params.from_config("n_top_genes") and not params.from_config("write")
    assert params.files_read() == [config]


def test_an_empty_variable_counts_as_not_set():
    params = settle(ImputeParameters, {}, environ={"SCCR_LAYER": ""})
    assert params.layer is None


def test_json_and_yaml_say_the_same(tmp_path):
    values = {"method": "scfp", "k_cell": 7, "batch_key": "sample", "quiet": True}
    (tmp_path / "run.json").write_text(json.dumps(values))
    (tmp_path / "run.yml").write_text("method: scfp\nk_cell: 7\nbatch_key: sample\nquiet: true\n")
    (tmp_path / "empty.yaml").write_text("# nothing\n")
    from_json, from_yaml, from_empty = (
        settle(ImputeParameters, {}, config=tmp_path / name, environ={})
        for name in ("run.json", "run.yml", "empty.yaml")
    )
    assert from_json.model_dump() == from_yaml.model_dump() == ImputeParameters(**values).model_dump()
    assert from_empty.model_dump() == ImputeParameters().model_dump()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("n_top_gene: 5", "unknown key 'n_top_gene'; did you mean n_top_genes?"),
        ("n-top-genes: 5", "unknown key 'n-top-genes'; did you mean n_top_genes?"),
        ("alpha: two", "alpha: should be a valid number"),
        ("alpha: 2", "alpha: should be less than or equal to 1 .given: 2."),
        ("- alpha", "expected parameter names with values"),
        ("alpha: [", "not valid YAML"),
        ("impute:\n  alpha: 0.1", "unknown key 'impute'"),
    ],
)
def test_a_bad_config_file_is_named_with_its_key(tmp_path, text, message):
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(UsageProblem, match=message) as caught:
        settle(ImputeParameters, {}, config=path, environ={})
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_config_file_that_is_no_text_is_refused(tmp_path):
    path = tmp_path / "run.json"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageProblem, match="not a text file"):
        settle(ImputeParameters, {}, config=path, environ={})


def test_a_missing_config_file_is_missing_input(tmp_path):
    with pytest.raises(InputMissing, match="cannot read config file .*none.yaml: no such file"):
        settle(ImputeParameters, {}, config=tmp_path / "none.yaml", environ={})


@pytest.mark.parametrize(
    ("flags", "environ", "message"),
    [
        ({"k_cell": "0"}, {}, "--k-cell: should be greater than or equal to 1 .given: '0'."),
        ({}, {"SCCR_K_CELL": "many"}, "SCCR_K_CELL: should be a valid integer"),
        ({"target_sum": "mean"}, {}, "--target-sum: should be 'median', or should be a valid number"),
        ({"log_base": "two"}, {}, "--log-base: should be 'e', or should be a valid number"),
        ({"log_base": "1"}, {}, "--log-base: should be 'e', or should be greater than or equal to 1.01"),
        ({"method": "scfp"}, {"SCCR_GAMMA": "0.5"}, "--gamma requires --method sccr: scfp does not have it"),
        ({"write": "all"}, {}, "--write: should be 'denoised', 'recovered', 'both' or 'embedding'"),
    ],
)
def test_problems_are_named_as_their_user_wrote_them(flags, environ, message):
    with pytest.raises(UsageProblem, match=message):
        settle(ImputeParameters, flags, environ=environ)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            {"rates": "2"},
            "--rates: should be numbers between 0 and 1, separated by commas, such as 0.2,0.4 (given: '2')",
        ),
        (
            {"seeds": ""},
            "--seeds: should be whole numbers of up to 9 digits, separated by commas, such as 0,1,2 (given: '')",
        ),
        ({"report": ""}, "--report: should not be empty (given: '')"),
        (
            {"methods": "sccr,foo"},
            "--methods: should be names separated by commas, of these: none, gene-mean, gene-and-cell-mean, pca, sccr,",
        ),
        ({"key_added": "a b"}, "--key-added: should be a letter or an underscore, followed by letters, digits,"),
    ],
)
def test_a_text_of_the_wrong_form_is_told_the_right_one(flags, message):
    model = BenchmarkParameters if flags.keys() <= BenchmarkParameters.model_fields.keys() else ImputeParameters
    with pytest.raises(UsageProblem) as refusal:
        settle(model, flags, environ={})
    assert str(refusal.value).startswith(message)


def test_variables_that_stand_for_nothing_are_found():
    environ = {"SCCR_ALPHA": "1", "SCCR_ALPHABET": "1", "SCCR_": "1", "OTHER": "1"}
    assert unknown_variables({"alpha"}, environ) == ["SCCR_", "SCCR_ALPHABET"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("run.yaml", "n_top_genes: 2001-99-99"),
        ("run.yaml", "n_top_genes: " + "9" * 5000),
        ("run.json", '{"n_top_genes": ' + "9" * 5000 + "}"),
        ("run.json", "[" * 100_000),
    ],
)
def test_a_config_that_the_parser_chokes_on(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(UsageProblem, match="not valid (YAML|JSON)"):
        settle(ImputeParameters, {}, config=tmp_path / name, environ={})


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (f"k_cell: 0x{'f' * 5000}", r"k_cell: .* \(given: a number of thousands of digits\)$"),
        ("threads: true", "threads: should not be true or false"),
        ("alpha: yes", "alpha: should not be true or false"),
        ("target_sum: on", "target_sum: should not be true or false"),
        ("max_memory: true", "max_memory: should not be true or false"),
        ('genes: "a\\0b"', "genes: should not contain the NUL character"),
        ('report: "a\\0b"', "report: should not contain the NUL character"),
        ("target_sum: 1.0e+31", r"target_sum: should be 'median', or should be less than or equal to 1000000000"),
        ("n_components: 9223372036854775808", "n_components: should be at most 9223372036854775807"),
    ],
)
def test_values_that_are_not_what_they_seem(tmp_path, line, complaint):
    (tmp_path / "run.yaml").write_text(line)
    with pytest.raises(UsageProblem, match=complaint):
        settle(ImputeParameters, {}, config=tmp_path / "run.yaml", environ={})


def test_aliases_are_refused_before_they_are_expanded(tmp_path):
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    for name, last in zip("bcdefghij", "abcdefghi", strict=True):
        lines.append(f"{name}: &{name} [{', '.join([f'*{last}'] * 9)}]")
    (tmp_path / "bomb.yaml").write_text("\n".join(lines))
    with pytest.raises(UsageProblem, match="YAML aliases"):
        settle(ImputeParameters, {}, config=tmp_path / "bomb.yaml", environ={})


def test_a_config_file_that_is_none_is_not_read_to_its_end(tmp_path):
    (tmp_path / "large.yaml").write_bytes(b"# " + b"x" * 2**21)
    with pytest.raises(UsageProblem, match="larger than 1 MiB"):
        settle(ImputeParameters, {}, config=tmp_path / "large.yaml", environ={})
    with pytest.raises(UsageProblem, match="larger than 1 MiB"):
        settle(ImputeParameters, {}, config=Path("/dev/zero"), environ={})


@pytest.mark.parametrize("size", ["8", "512", "999999", 8, 1.5, "0.5"])
def test_a_size_without_its_unit_is_bad_usage(size):
    with pytest.raises(UsageProblem, match="--max-memory: should have a unit"):
        settle(ImputeParameters, {"max_memory": size}, environ={})


@pytest.mark.parametrize(
    ("size", "n_bytes"), [("8GB", 8 * 10**9), ("1000000", 10**6), (2**30, 2**30), ("512 MiB", 2**29)]
)
def test_sizes(size, n_bytes):
    assert settle(ImputeParameters, {"max_memory": size}, environ={}).max_memory == n_bytes


@pytest.mark.parametrize(
    "text", ["[" * 1_000_000, "{" * 1_000_000, "genes: " + "[" * 5000 + "]" * 5000, "{a: " * 4000, "- " * 5000 + "a"]
)
def test_deep_nesting_is_refused_at_once(tmp_path, text):
    (tmp_path / "deep.yaml").write_text(text)
    begin = time.monotonic()
    with pytest.raises(UsageProblem, match=r"deep\.yaml is nested too deeply \(line 1\): expected parameter names"):
        settle(ImputeParameters, {}, config=tmp_path / "deep.yaml", environ={})
    assert time.monotonic() - begin < 10


@pytest.mark.parametrize(
    ("name", "text", "key"),
    [
        ("run.yaml", "beta: 0.5\nseed: 1\nbeta: 0.6\n", "beta"),
        ("run.yaml", "beta: 0.5\n'beta': 0.6\n", "beta"),
        ("run.json", '{"beta": 0.5, "beta": 0.6}', "beta"),
        ("run.yaml", "candidate: {a: x.h5ad, a: y.h5ad}", "a"),
        ("run.json", '{"candidate": {"a": "x.h5ad", "a": "y.h5ad"}}', "a"),
    ],
)
def test_a_key_that_is_given_twice_is_refused(tmp_path, name, text, key):
    (tmp_path / name).write_text(text)
    with pytest.raises(UsageProblem, match=f"config file .*: the key '{key}' occurs more than once; keep one of them"):
        settle(BenchmarkParameters, {}, config=tmp_path / name, environ={})
