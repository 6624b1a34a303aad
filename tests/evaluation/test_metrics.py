"""The table of metrics: every column that says how good something is has one entry, whoever prints it."""

from sccr_node.cli.app import run
from sccr_node.evaluation.analyses import known_metrics, load
from sccr_node.evaluation.analyses import names as analyses
from sccr_node.evaluation.metrics import METRICS, explanations

COUNTS = {"n_entries", "n_clusters", "algorithm", "n_rare", "n_permuted"}


def test_every_metric_is_explained_in_sentences():
    for name, metric in known_metrics().items():
        assert metric.name == name
        assert metric.meaning[0].isupper() and metric.meaning.endswith(".") and not metric.title.endswith(".")
        assert metric.lowest is None or metric.highest is None or metric.lowest < metric.highest
        assert metric.meaning.isascii()  # help pages go to terminals of any kind


def test_every_column_of_an_analysis_is_a_metric_or_counts_something():
    for name in analyses():
        assert {*load(name).columns, *load(name).appended} - COUNTS <= set(known_metrics()), name


def test_no_analysis_explains_a_metric_of_the_table_anew():
    own = [metric.name for name in analyses() for metric in load(name).metrics]
    assert not set(own) & set(METRICS) and len(set(own)) == len(own)


def test_directions_and_decimals():
    assert METRICS["mae"].explained.endswith(" Lower is better.")
    assert METRICS["ari"].explained.endswith(" Higher is better.")
    assert METRICS["silhouette"].explained == METRICS["silhouette"].meaning
    assert METRICS["mae"].shown(0.123456) == "mae 0.1235" and METRICS["ari"].shown(0.5) == "ari 0.500"
    assert METRICS["ari"].shown(float("nan")) == "ari undefined"


def test_help_pages_explain_them(capsys):
    for command, names in (("score", ("rmse", "cosine")), ("cluster", ("ari", "silhouette_types"))):
        assert run(["evaluate", command, "--help"]) == 0
        text = " ".join(capsys.readouterr().out.split())
        for sentence in explanations(names).split("\n\n"):
            assert sentence in text
