"""Singular and plural."""

import pytest

from sccr_node.runtime.words import plural, quantity


@pytest.mark.parametrize(
    ("n", "text"),
    [(0, "0 selected genes"), (1, "1 selected gene"), (2, "2 selected genes"), (2000, "2,000 selected genes")],
)
def test_numbers_agree_with_what_they_count(n, text):
    assert quantity(n, "selected gene") == text


def test_irregular_forms():
    assert [quantity(n, "batch", "batches") for n in (1, 3)] == ["1 batch", "3 batches"]
    assert [plural(n, "it is", "they are") for n in (0, 1, 2)] == ["they are", "it is", "they are"]
