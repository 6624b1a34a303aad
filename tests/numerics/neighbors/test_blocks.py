"""Blocks: which rows are compared with which."""

import numpy as np
import scipy.sparse as sp

from sccr_node.numerics.neighbors.blocks import Blocks

#       0  1  2  3  4
NEAR = [[1, 1, 0, 0, 1],
        [1, 1, 0, 0, 0],
        [0, 0, 1, 1, 1],
        [0, 0, 1, 1, 0],
        [1, 0, 1, 0, 1]]  # fmt: skip
SOME = Blocks(150, 32, sp.csr_matrix(np.array(NEAR, bool)))


def compared(blocks):
    """Return which rows are compared, by the pairs of blocks and by the ranges."""
    by_pairs = np.zeros((blocks.n_rows, blocks.n_rows), bool)
    for a, b in blocks.pairs():
        ours, theirs = slice(*blocks.rows(a)), slice(*blocks.rows(b))
        by_pairs[ours, theirs] = by_pairs[theirs, ours] = True
    by_ranges = np.zeros_like(by_pairs)
    for row in range(blocks.n_rows):
        for first, last in blocks.ranges(row // blocks.size):
            by_ranges[row, first:last] = True
    return by_pairs, by_ranges


def test_pairs_and_ranges_say_the_same():
    by_pairs, by_ranges = compared(SOME)
    of_row = np.arange(150) // 32
    assert np.array_equal(by_pairs, np.array(NEAR, bool)[np.ix_(of_row, of_row)])
    assert np.array_equal(by_ranges, by_pairs)
    assert SOME.share_compared() == by_pairs.mean()


def test_neighbouring_blocks_are_one_range():
    assert SOME.ranges(0).tolist() == [[0, 64], [128, 150]]
    assert SOME.ranges(2).tolist() == [[64, 150]]


def test_without_a_choice_everything_is_compared():
    by_pairs, by_ranges = compared(Blocks(1100))
    assert by_pairs.all()
    assert by_ranges.all()
    assert Blocks(1100).share_compared() == 1


def test_rows_that_are_looked_at_together_have_the_same_ranges():
    rows = np.array([0, 1, 2, 31, 40, 140, 149], np.int32)
    together = list(SOME.together(rows, 3))
    assert [which.tolist() for which, _ in together] == [[0, 1, 2], [31], [40], [140, 149]]
    for which, ranges in together:
        assert {int(row) // 32 for row in which} == {int(which[0]) // 32}
        assert np.array_equal(ranges, SOME.ranges(int(which[0]) // 32))
    assert [which.tolist() for which, _ in Blocks(150).together(rows, 5)] == [[0, 1, 2, 31, 40], [140, 149]]
