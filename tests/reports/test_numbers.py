"""The table of numbers: those of the MultiQC content, each once, with unit and meaning."""

import pytest

from sccr_node.contract.record import RunRecord
from sccr_node.reports.multiqc import multiqc_content
from sccr_node.reports.numbers import COLUMNS, numbers_of

from .conftest import content as content_from
from .conftest import make_result, record_of


def test_every_single_number_of_multiqc_is_there_once(made):
    content = content_from(made.path, record=RunRecord.model_validate(record_of(made)), with_cells=False)
    rows = numbers_of(content)
    assert all(tuple(row) == COLUMNS for row in rows)
    names = [row["number"] for row in rows]
    assert len(names) == len(set(names))
    parts = multiqc_content(content)
    for part in ("sccr_imputation", "sccr_general"):
        for name, value in parts[part]["data"]["sample 1"].items():
            header = parts[part]["headers"][name]
            (row,) = (row for row in rows if str(row["number"]).startswith(header["title"]) and row["value"] == value)
            assert header.get("suffix", "").strip() in str(row["number"])
    values = {row["number"]: row["value"] for row in rows}
    assert values["Zeros before (%)"] == pytest.approx(100 * (made.before == 0).mean(), abs=1e-3)
    assert values["Genes imputed"] == made.before.shape[1]
    (meaning,) = (row["meaning"] for row in rows if row["number"] == "Zeros before (%)")
    assert meaning == "Percentage of zeros in the imputed genes before imputation"


def test_what_the_result_does_not_know_is_left_out(tmp_path):
    made = make_result(tmp_path / "embedding.h5ad", layer=None, relations=False)
    names = {row["number"] for row in numbers_of(content_from(made.path, with_cells=False))}
    assert "Method" in names
    assert not names & {"Gene relations", "Zeros after (%)", "Time (s)", "Memory (GB)"}
