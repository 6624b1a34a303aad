"""Evaluation tables: what is read, how it is shown, what is refused."""

import json

import pytest

from sccr_node.errors import InputMissing, InputProblem
from sccr_node.reports.scores import MOST_ROWS, read_scores


def test_tsv_and_json_are_the_same_table(tmp_path):
    rows = [{"method": "sccr", "mae": 0.2281234, "n": 12}, {"method": "none", "mae": None, "n": 3}]
    (tmp_path / "a.tsv").write_text("method\tmae\tn\nsccr\t0.2281234\t12\nnone\t\t3\n")
    (tmp_path / "b.json").write_text(json.dumps(rows))
    (tmp_path / "c.json").write_text(json.dumps({"settings": {"a": 1}, "runs": rows}))
    for name in ("a.tsv", "b.json", "c.json"):
        table = read_scores(tmp_path / name)
        assert table.columns == ["method", "mae", "n"]
        assert table.rows == [["sccr", "0.2281", "12"], ["none", "–", "3"]]
        assert table.numeric == [False, True, True]


def test_long_tables_are_cut_and_say_so(tmp_path):
    (tmp_path / "long.tsv").write_text("a\tb\n" + "1\t2\n" * (MOST_ROWS + 3))
    table = read_scores(tmp_path / "long.tsv")
    assert (len(table.rows), table.n_left_out) == (MOST_ROWS, 3)


@pytest.mark.parametrize("text", ["", "just words\n", "a\tb\n", "a\tb\n1\n", "{", "[]", "[1, 2]"])
def test_what_is_no_table_is_refused(tmp_path, text):
    (tmp_path / "x").write_text(text)
    with pytest.raises(InputProblem, match="--scores"):
        read_scores(tmp_path / "x")


def test_what_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(InputMissing):
        read_scores(tmp_path / "absent.tsv")
    (tmp_path / "binary").write_bytes(b"\x89HDF\xff\xfe")
    with pytest.raises(InputProblem, match="not a text file"):
        read_scores(tmp_path / "binary")


def test_columns_without_any_value_are_left_out(tmp_path):
    path = tmp_path / "b.tsv"
    path.write_text("method\tari\tmae\tvote\nnone\t0.5\t\tnan\nsccr\t\t\t\n")
    found = read_scores(path)
    assert found.columns == ["method", "ari"] and found.rows == [["none", "0.5"], ["sccr", "–"]]
    assert found.numeric == [False, True]
