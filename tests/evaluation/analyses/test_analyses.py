"""Analyses are found by their files: a toy shows that a file is all it takes."""

import subprocess
import sys

import pytest

import sccr_node.evaluation.analyses as analyses
from sccr_node.evaluation.benchmark import columns, planned_runs

TOY = '''
"""Count the zeros that a method leaves."""

from sccr_node.evaluation.analyses import Analysis
from sccr_node.evaluation.metrics import Metric


def score(case):
    return [{"zeros": float((case.imputed.toarray() == 0).mean()), "seed": seed} for seed in case.seeds]


ANALYSIS = Analysis(
    title="zeros",
    data="full",
    task="clustering",
    columns=("zeros",),
    score=score,
    summary=lambda rows: f"zeros {rows[0]['zeros']:.2f}",
    metrics=(Metric("zeros", "Zeros", "Share of the entries that are zero.", 0, 1, None, 2),),
)
'''


@pytest.fixture
def toy(tmp_path_factory, monkeypatch):
    """A folder of analyses beside the package's own, as if the file lay there, in the processes of the runs too."""
    folder = tmp_path_factory.mktemp("analyses")
    (folder / "a_toy.py").write_text(TOY)
    monkeypatch.setattr(analyses, "__path__", [*analyses.__path__, str(folder)])
    yield "a_toy"
    sys.modules.pop("sccr_node.evaluation.analyses.a_toy", None)


def test_they_are_listed_without_being_loaded():
    script = """
import sys
from sccr_node.evaluation import analyses
assert analyses.names()[:2] == ["recovery", "clustering"], analyses.names()
assert not any(name.startswith("sccr_node.evaluation.analyses.") for name in sys.modules)
assert not {"scanpy", "sklearn"} & set(sys.modules)
for name in analyses.names():
    analyses.load(name)
assert not {"scanpy", "sklearn"} & set(sys.modules)  # declaring takes no library either
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_the_help_page_names_all_of_them():
    from sccr_node.contract.benchmark import BenchmarkParameters

    field = BenchmarkParameters.model_fields["analyses"]
    assert f": {', '.join(analyses.names())}." in field.description
    assert field.default == "recovery,clustering"


def test_a_file_is_an_analysis(toy):
    assert analyses.names()[:2] == ["recovery", "clustering"] and toy in analyses.names()
    assert "zeros" in columns()
    assert analyses.known_metrics()["zeros"].explained == "Share of the entries that are zero."
    runs = planned_runs(analyses.names(), ["none", "sccr"], rates=[0.4], mechanism="mcar", seeds=[0])
    # It looks at what the clustering looks at, so that the method is run once for both.
    assert [run.analyses for run in runs if run.analyses[0] == "recovery"] == [("recovery",)] * 2
    together = [run for run in runs if run.analyses[0] == "clustering"]
    assert len(together) == 2 and all(toy in run.analyses for run in together)
    assert together[-1].title.startswith("scCR, clustering") and "zeros" in together[-1].title


def test_it_is_part_of_the_benchmark(toy, sccr, counts_file, monkeypatch):
    from sccr_node.evaluation.benchmark import _laid_out, table_rows
    from sccr_node.pipeline import benchmark

    def here(run, inputs, progress, console):  # a process of its own would not know of the toy
        _laid_out(run, inputs, counts_file.parent)
        return table_rows(run, counts_file.parent, inputs.settings, inputs.threads, progress)

    monkeypatch.setattr(benchmark, "run_apart", here)
    code, out, err = sccr(
        "benchmark", counts_file, "--methods", "none", "--rates", "0.4", "--seeds", "0,1",
        "--analyses", "a_toy,recovery",
    )  # fmt: skip
    lines = [line.split("\t") for line in out.splitlines()]
    assert code == 0 and [line[0] for line in lines] == ["task", "recovery", "recovery", "a_toy", "a_toy"]
    at = lines[0].index("zeros")
    assert 0 < float(lines[-1][at]) < 1 and lines[1][at] == ""
    assert "[3/3] no imputation, zeros: zeros 0." in err


@pytest.mark.parametrize("name", [name for name in analyses.names() if analyses.load(name).ranked_by])
def test_the_log_has_the_column_that_is_ranked(name):
    analysis = analyses.load(name)
    row = dict.fromkeys((*analysis.columns, *analysis.appended), 0.5)
    assert f"{analysis.ranked_by} 0.5" in analysis.summary([{**row, "task": name}])
