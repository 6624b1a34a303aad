"""What is checked of any tool's output."""

import numpy as np
import pytest

from sccr_node.errors import InputProblem
from sccr_node.pipeline.hidden import matching


def test_matching_names():
    def strings(text):
        return np.array(text.split())

    np.testing.assert_array_equal(matching(strings("a b c"), strings("c a b"), "gene", "X"), [2, 0, 1])
    np.testing.assert_array_equal(matching(strings("a a b"), strings("a a b"), "gene", "X"), [0, 1, 2])
    for found, words in (("a b", "lacks 1 gene "), ("a b c d", "has 1 extra gene "), ("b c d", "lacks 1")):
        with pytest.raises(InputProblem, match=words):
            matching(strings("a b c"), strings(found), "gene", "X")
    with pytest.raises(InputProblem, match="names are not unique"):
        matching(strings("a a b"), strings("a b a"), "gene", "X")
