"""MultiQC content: the numbers, and the structure that MultiQC's documentation requires."""

import json

import pytest

from sccr_node.contract.record import RunRecord
from sccr_node.reports.multiqc import CONTENT_IDS, multiqc_content, multiqc_file_name

from .conftest import content as content_from
from .conftest import make_result, record_of


@pytest.fixture(scope="module")
def parts(made):
    content = content_from(made.path, record=RunRecord.model_validate(record_of(made)), with_cells=False)
    return json.loads(json.dumps(multiqc_content(content)))


def test_every_part_has_its_id_its_kind_and_the_sample(parts):
    assert tuple(parts) == CONTENT_IDS
    for content_id, part in parts.items():
        assert part["id"] == content_id
        assert part["plot_type"] in ("generalstats", "table", "bargraph", "linegraph")
        assert list(part["data"]) == ["sample 1"]


def test_numbers_are_those_of_the_result(parts, made):
    general = parts["sccr_general"]["data"]["sample 1"]
    assert set(general) == set(parts["sccr_general"]["headers"])
    assert general["sccr_zeros_before"] == pytest.approx(100 * (made.before == 0).mean(), abs=1e-3)
    assert general["sccr_memory"] == 0.512
    table = parts["sccr_imputation"]
    assert set(table["data"]["sample 1"]) == set(table["headers"])
    pairs = parts["sccr_relations"]["data"]["sample 1"]
    assert pairs["dissociating"] == (made.relations < 0).sum() // 2
    assert parts["sccr_stages"]["data"]["sample 1"] == {"read": 1.0, "impute": 2.5, "write": 0.5}
    shares = parts["sccr_values"]["data"]["sample 1"]
    filled = ((made.before == 0) & (made.after != 0)).sum() / (made.before == 0).sum()
    assert sum(shares.values()) == pytest.approx(100 * filled, abs=0.5)


def test_parts_that_cannot_be_filled_are_absent(tmp_path):
    made = make_result(tmp_path / "embedding.h5ad", layer=None, relations=False)
    assert tuple(multiqc_content(content_from(made.path, with_cells=False))) == ("sccr_general", "sccr_imputation")


def test_file_names_are_plain():
    assert multiqc_file_name("a/b <c>", "sccr_general") == "a_b__c_.sccr_general_mqc.json"
