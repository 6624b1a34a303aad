"""The journal: it keeps finished runs, and knows whose they are."""

import pytest

from sccr_node.errors import OutputProblem
from sccr_node.evaluation.benchmark import planned_runs
from sccr_node.pipeline.journal import Journal


def test_the_journal_keeps_finished_runs_and_forgets_a_line_that_was_cut_off(tmp_path):
    path = tmp_path / "t.tsv.runs.jsonl"
    runs = planned_runs(["recovery", "clustering"], ["none"], rates=[0.2], mechanism="mcar", seeds=[0, 1, 2])
    journal = Journal(path, {"sha256": "a"}, force=False)
    journal.add(runs[0], [{"mae": 0.5}])
    journal.add(runs[-1], [{"ari": 1.0}, {"ari": 0.25}])
    with path.open("a") as file:
        file.write('{"run": {"task": "reco')
    again = Journal(path, {"sha256": "a"}, force=False)
    assert again.finished == {runs[0]: [{"mae": 0.5}], runs[-1]: [{"ari": 1.0}, {"ari": 0.25}]}
    again.add(runs[1], [{"mae": 0.75}])
    assert len(Journal(path, {"sha256": "a"}, force=False).finished) == 3
    with pytest.raises(OutputProblem, match="different data or with different parameters"):
        Journal(path, {"sha256": "b"}, force=False)
    assert Journal(path, {"sha256": "b"}, force=True).finished == {}
    again.remove()
    assert not path.exists()
