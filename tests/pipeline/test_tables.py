"""Tables as people and programs read them."""

import json

import pandas as pd
import pytest

from sccr_node.errors import OutputProblem
from sccr_node.pipeline.tables import as_json, as_tsv, write_tables

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
    table = as_tsv(ROWS, ["method"])
    write_tables(table, None, {None: as_json(ROWS)}, force=False)
    assert capsys.readouterr().out == "method\nsccr\na b\n"
    write_tables(table, tmp_path / "t.tsv", {tmp_path / "t.json": as_json(ROWS), None: "not asked for"}, force=False)
    assert capsys.readouterr().out == ""
    assert list(pd.read_csv(tmp_path / "t.tsv", sep="\t")["method"]) == ["sccr", "a b"]
    assert json.loads((tmp_path / "t.json").read_text())[0]["mae"] == 0.123456789


def test_a_table_that_cannot_be_written_leaves_none(tmp_path):
    with pytest.raises(OutputProblem):
        write_tables(
            "a\n", tmp_path / "is a folder" / "too" / "deep" / "t.tsv", {tmp_path / "t.json": "{}"}, force=False
        )
    assert not list(tmp_path.iterdir())
