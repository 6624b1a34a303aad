"""What tuning found, in the report, in MultiQC and on its own page; groups too small to keep their neighbours."""

import json
import re
from dataclasses import replace

import anndata
import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from sccr_node.cli.app import run
from sccr_node.evaluation.tuning import ScoredSetting
from sccr_node.reports.content import Grouping, SmallGroup
from sccr_node.reports.figures import strength_curve
from sccr_node.reports.helps import LINES, WAYS, helps_of
from sccr_node.reports.multiqc import multiqc_content
from sccr_node.reports.page import _small_group_parts, render
from sccr_node.reports.reading import _small_groups
from sccr_node.reports.tuning_page import RANKED_SETTINGS, _above, _best_by_rank
from tests.support.simulated import simulated

from .conftest import HOSTILE
from .conftest import content as content_from

NOTED = {
    "seed": 3,
    "n_cells": 2100,
    "explained": 0.79,
    "explained_by": {"unimputed": -1.9, "gene_mean": 0.0, "published": 0.65, "PCA": 0.76, "recovered": -10.0},
    "curve": {"beta": [0.5, 0.85, 0.99], "denoised": [-0.1, 0.71, 0.65], "blend": [0.77, 0.79, float("nan")]},
    "neighbors_change": 0.004,
    "n_averaged": 16.0,
    "values": "help",
    "neighborhoods": "cannot tell",
    "verdicts": ["values: imputation explains 79%", "neighbourhoods: cannot tell: they predict worse"],
}
PARAMS = {"beta": 0.85, "low_rank": 15, "low_rank_share": 0.62, "k_cell": 15}


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    """A result of sccr impute --tune, and the report made of it."""
    folder = tmp_path_factory.mktemp("tuned")
    adata = simulated(n_cells=200, n_genes=120, n_types=4, depth=120)
    adata.X = adata.layers["complete_counts"].copy()
    adata.write_h5ad(folder / "in.h5ad")
    flags = [
        "--tune",
        "--report",
        folder / "r.html",
        "--multiqc",
        folder / "mqc",
        "--label-key",
        "cell_type",
        "--quiet",
    ]
    assert run(["impute", str(folder / "in.h5ad"), str(folder / "out.h5ad"), *map(str, flags)]) == 0
    return folder


def test_the_report_shows_what_tuning_found(tuned):
    noted = anndata.read_h5ad(tuned / "out.h5ad").uns["sccr"]["tuning"]
    page = (tuned / "r.html").read_text()
    assert 'id="helps"' in page and "Does it help?" in page and "Small groups" in page
    for verdict in noted["verdicts"]:
        assert verdict[-40:].replace("'", "&#39;") in page
    assert f"{noted['explained']:.0%}" in page


def test_the_page_made_later_is_the_same(tuned):
    assert run(["report", str(tuned / "out.h5ad"), "-o", str(tuned / "later.html"), "--label-key", "cell_type"]) == 0
    sections = [
        re.search(r'<section id="helps".*?</section>', (tuned / name).read_text(), re.S)[0]
        for name in ("r.html", "later.html")
    ]
    assert sections[0] == sections[1]


def test_multiqc_has_the_share_and_the_verdicts(tuned):
    parts = multiqc_content(content_from(tuned / "out.h5ad", with_cells=False))
    noted = anndata.read_h5ad(tuned / "out.h5ad").uns["sccr"]["tuning"]
    assert parts["sccr_general"]["data"]["out"]["sccr_explained"] == pytest.approx(100 * noted["explained"], abs=1e-3)
    table = parts["sccr_imputation"]
    assert set(table["data"]["out"]) == set(table["headers"]) >= {"values", "neighbours"}


def test_without_tuning_there_is_no_such_section(made):
    content = content_from(made.path)
    assert content.helps is None
    assert 'id="helps"' not in render(content) and "sccr tune" in render(content)
    assert "sccr_explained" not in multiqc_content(content)["sccr_general"]["data"]["sample 1"]


def test_what_is_noted_becomes_words_and_numbers():
    helps = helps_of(NOTED, PARAMS)
    assert [answer.kind for answer in helps.answers] == ["good", "open"]
    assert [answer.text for answer in helps.answers] == ["Imputation explains 79%", "They predict worse"]
    assert dict(helps.explained)["published strength"] == 0.65
    assert {fact.name: fact.value for fact in helps.numbers} == {
        "beta": "0.85",
        "low_rank": "15",
        "low_rank_share": "0.62",
    }
    assert helps.chosen == (0.85, 0.79)


def test_the_curve_has_a_point_for_every_strength_above_the_gene_means():
    figure = strength_curve(helps_of(NOTED, PARAMS))
    lines = re.findall(r'<path d="M([^"]*)" class="line (\w+)"', figure)
    assert {name: len(path.split("L")) for path, name in lines} == {"before": 2, "after": 2}
    assert figure.count("<circle") == 1
    assert "beta = 0.85 explains 79%" in figure


def test_damaged_notes_are_one_line(tuned, tmp_path, capsys):
    adata = anndata.read_h5ad(tuned / "out.h5ad")
    del adata.uns["sccr"]["tuning"]["curve"]
    adata.write_h5ad(tmp_path / "bad.h5ad")
    assert run(["report", str(tmp_path / "bad.h5ad"), "-o", str(tmp_path / "r.html")]) == 65
    assert "tuning" in capsys.readouterr().err and not (tmp_path / "r.html").exists()


def test_the_tuning_page_stands_alone(tuned, tmp_path):
    page = tmp_path / "t.html"
    source = tmp_path / f"{re.sub('[/]', '', HOSTILE)[:60]}.h5ad"
    source.write_bytes((tuned / "in.h5ad").read_bytes())
    table = tmp_path / "t.json"
    files = ["-o", tmp_path / "t.yaml", "--report", page, "--json", table]
    assert run(["tune", str(source), "--quiet", *map(str, files)]) == 0
    text = page.read_text()
    assert text.startswith("<!doctype html>") and "<script" not in text and "https://" not in text
    document = json.loads(table.read_text())
    ways, parameters, best, ranked = re.findall(r"<tbody>(.*?)</tbody>", text, re.S)
    assert (ways.count("<tr"), parameters.count("<tr")) == (len(WAYS), len(document["parameters"]))
    n_baselines = len(WAYS) - 1
    assert len(document["tried"]) > n_baselines + RANKED_SETTINGS
    ranks = {row["low_rank"] for row in document["tried"][n_baselines:]}
    # A rank has two rows if its best setting is not the chosen one; what is folded up comes after all that is in sight.
    assert best.count("<tr") - n_baselines in (len(ranks), len(ranks) + 1) and best.count(", chosen") == 1
    assert ranked.count("<tr") == RANKED_SETTINGS and text.index("<details>") < text.index(ranked)
    # One name per thing: those of the table above and of the curve.
    names = [
        re.sub(r" \(rank \d+\)|, chosen", "", name) for name in re.findall(r'<th scope="row">(.*?)</th>', best + ranked)
    ]
    assert names[0] == "no imputation" and set(names) == {*dict(WAYS[1:]).values(), *LINES.values()}
    assert best.count("smallest") == ranked.count("smallest") == 1


def setting(name, rank, error, chosen=False, beta=0.5):
    return ScoredSetting(name, beta, 2, rank, 0.3 if rank else 0.0, error, 0.7, error - 1, abs(error - 1) / 2, chosen)


def test_each_rank_is_shown_by_its_best_setting_and_the_chosen_one():
    best = setting("blend", 5, 1.0)
    chosen, beside = setting("blend", 20, 1.02, chosen=True), setting("blend", 20, 1.01)
    alone, worse = setting("denoised", None, 1.5), setting("denoised", None, 1.6)
    assert _best_by_rank([best, beside, chosen, alone, worse]) == [alone, beside, chosen, best]
    assert _best_by_rank([replace(best, chosen=True)]) == [replace(best, chosen=True)]


def test_errors_are_shares_of_the_smallest():
    shown = [_above(setting("blend", 5, error), 1.0) for error in (1.0, 1.0125, 1.5, 0.99)]
    assert shown == ["smallest", "+1.25% ± 0.62%", "+50% ± 25%", "−1.00% ± 0.50%"]
    assert _above(setting("blend", 5, 1.5), 0.0) == "–"


def test_small_groups_keep_their_neighbours_or_not():
    rng = np.random.default_rng(0)
    names = np.repeat(["large", "middle", "small"], [80, 30, 6]).astype(object)
    before = rng.normal(size=(116, 4)) + 9 * (names == "small")[:, None] - 9 * (names == "middle")[:, None]
    after = rng.normal(size=(116, 4))
    groups = _small_groups(names, np.arange(116), before.astype(np.float32), after.astype(np.float32))
    assert [(group.name, group.size) for group in groups] == [("small", 6), ("middle", 30), ("large", 80)]
    nearest = NearestNeighbors(n_neighbors=15).fit(before).kneighbors(return_distance=False)
    same = names[nearest] == names[:, None]
    for group in groups:
        expected = same[names == group.name].sum(axis=1).mean() / min(15, group.size - 1)
        assert group.before == pytest.approx(expected)
    assert groups[0].before == 1.0 and groups[0].after < 0.5


def test_the_groups_that_are_counted_as_losses_are_marked(tuned):
    content = content_from(tuned / "out.h5ad", label_key="cell_type")
    shares = [(0.9, 0.5), (0.9, 0.86), (0.9, 0.95)]
    groups = [SmallGroup(f"type {n}", 20, before, after) for n, (before, after) in enumerate(shares)]
    parts = _small_group_parts(replace(content, small_groups=groups))
    assert "1 of them has lost more than 5 percentage points (marked ↓)" in parts["text"]
    assert [row["lost"] for row in parts["rows"]] == [True, False, False]
    parts = _small_group_parts(replace(content, small_groups=groups[1:]))
    assert "None of them has lost more than 5 percentage points." in parts["text"]


def test_clusters_found_here_are_no_groups_of_the_user(tuned):
    content = content_from(tuned / "out.h5ad")
    assert isinstance(content.groupings[0], Grouping) and content.groupings[0].found_here
    assert not content.small_groups
