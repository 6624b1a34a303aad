"""Singular and plural; near matches; what is too long or in another script."""

import pytest

from sccr_node.runtime.words import did_you_mean, in_ascii, plural, quantity, shortened, time_left


@pytest.mark.parametrize(
    ("n", "text"),
    [(0, "0 selected genes"), (1, "1 selected gene"), (2, "2 selected genes"), (2000, "2,000 selected genes")],
)
def test_numbers_agree_with_what_they_count(n, text):
    assert quantity(n, "selected gene") == text


def test_irregular_forms():
    assert [quantity(n, "batch", "batches") for n in (1, 3)] == ["1 batch", "3 batches"]
    assert [plural(n, "it is", "they are") for n in (0, 1, 2)] == ["they are", "it is", "they are"]


@pytest.mark.parametrize(
    ("name", "names", "text"),
    [
        ("sampel", ["batch", "sample"], "; did you mean 'sample'?"),
        ("KIND", ["kind", "sort"], "; did you mean 'kind'?"),
        ("--methd", ["--beta", "--threads", "--method"], "; did you mean '--method'?"),
        ("x", ["batch", "sample"], ""),
        ("x", [], ""),
    ],
)
def test_the_closest_name_is_named(name, names, text):
    assert did_you_mean(name, names) == text


@pytest.mark.parametrize("text", ["", "a b", "x" * 300, "word " * 300])
def test_what_can_be_read_is_left_as_it_is(text):
    assert shortened(text) == text


def test_the_middle_of_what_is_too_long_is_left_out():
    assert shortened(f"no /{'a' * 5000}/z.h5ad; give another") == f"no /{'a' * 221}...{'a' * 67}/z.h5ad; give another"
    assert len(shortened("word " * 5000)) == 2000
    assert shortened(shortened("x" * 5000)) == shortened("x" * 5000)


@pytest.mark.parametrize(
    ("text", "plain"), [("a-1", "a-1"), ("患者一", "HuanZheYi"), ("Пациент", "Patsient"), ("e\u0301te\u0301", "ete")]
)
def test_other_scripts_are_spelt_in_ascii(text, plain):
    assert in_ascii(text) == plain


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "a few seconds"), (7.4, "a few seconds"), (7.5, "about 10 s"), (12, "about 10 s"), (13, "about 15 s"),
        (57, "about 55 s"), (58, "about 1 min"), (100, "about 2 min"), (3500, "about 58 min"), (3599, "about 1 h"),
        (4000, "about 1 h 5 min"), (7200, "about 2 h"), (90_000, "about 25 h"),
    ],
)  # fmt: skip
def test_times_are_as_rough_as_estimates(seconds, text):
    assert time_left(seconds) == f"{text} left in this stage"
