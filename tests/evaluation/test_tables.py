"""Tables as people and programs read them."""

import json

import pandas as pd
import pytest

from sccr_node.errors import OutputProblem, UsageProblem
from sccr_node.evaluation.tables import as_json, as_tsv, check_outputs, write_tables

ROWS = [{"method": "sccr", "mae": 0.123456789, "seed": 3}, {"method": "a\tb\n", "mae": float("nan")}]


def test_tsv_is_read_back():
    text = as_tsv(ROWS, ["method", "seed", "mae"])
    assert text == "method\tseed\tmae\nsccr\t3\t0.123457\na b\t\t\n"


def test_json_has_null_for_what_is_no_number():
    assert json.loads(as_json({"rows": ROWS, "pair": (1.0, float("inf"))})) == {
        "rows": [ROWS[0], {"method": "a\tb\n", "mae": None}],
        "pair": [1.0, None],
    }


def test_tables_go_to_standard_output_or_to_files(tmp_path, capsys):
    write_tables(ROWS, ["method"], ROWS, output=None, json_file=None)
    assert capsys.readouterr().out == "method\nsccr\na b\n"
    write_tables(ROWS, ["method"], ROWS, output=tmp_path / "t.tsv", json_file=tmp_path / "t.json")
    assert capsys.readouterr().out == ""
    assert list(pd.read_csv(tmp_path / "t.tsv", sep="\t")["method"]) == ["sccr", "a b"]
    assert json.loads((tmp_path / "t.json").read_text())[0]["mae"] == 0.123456789


def test_outputs_are_checked_before_any_work(tmp_path):
    there = tmp_path / "there.tsv"
    there.write_text("kept")
    with pytest.raises(OutputProblem, match="already exists"):
        check_outputs([None, there], [], force=False)
    check_outputs([there], [], force=True)
    with pytest.raises(OutputProblem, match="folder .* does not exist"):
        check_outputs([tmp_path / "none" / "t.tsv"], [], force=False)
    with pytest.raises(UsageProblem):
        check_outputs([tmp_path / "a", tmp_path / "a"], [], force=True)
    with pytest.raises(UsageProblem):
        check_outputs([there], [there], force=True)
    assert there.read_text() == "kept"
