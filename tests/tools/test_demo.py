"""The demonstration runs from start to finish: better than before on simulated data, and a verdict on real ones."""

import json
from html.parser import HTMLParser

import anndata
import pytest

from tools import demo
from tools.demo import compare_with_truth, main, verdicts_on


@pytest.fixture(scope="module")
def demonstrated(tmp_path_factory):
    """The folder of the demonstration."""
    folder = tmp_path_factory.mktemp("made") / "demo"
    assert main(folder) == 0
    return folder


def test_imputation_comes_closer_to_the_known_truth(demonstrated):
    command = json.loads((demonstrated / "provenance.json").read_text())["command"]
    assert command[:2] == ["sccr", "impute"] and command[-1] == str(demonstrated / "provenance.json")
    compared = compare_with_truth(anndata.read_h5ad(demonstrated / "imputed.h5ad"))
    error, correlation, zeros = compared.values()
    assert error[1] < error[0]
    assert correlation[1] > correlation[0]
    assert zeros[1] < zeros[0]


def test_real_data_get_the_verdicts_of_tuning_and_a_report(demonstrated):
    lungs = anndata.read_h5ad(demonstrated / "mouse_lung.h5ad")
    assert lungs.layers["sccr"].shape == (1700, 12980)
    told = lungs.uns["sccr"]["tuning"]["verdicts"]
    verdicts = verdicts_on(lungs)
    assert len(verdicts) == len(told) == 2
    page = (demonstrated / "report.html").read_text(encoding="utf-8")
    HTMLParser().feed(page)
    for (question, answer, text), sentence in zip(verdicts, told, strict=True):
        assert text[1:] in sentence
        assert question in page and answer in page


def test_it_says_what_it_found_and_where_to_look(tmp_path, capsys, monkeypatch, demonstrated):
    # The commands were run above: here only what is printed around them.
    monkeypatch.setattr(demo, "sccr", lambda command: 0)
    assert main(demonstrated) == 0
    printed = capsys.readouterr().out
    for measure in compare_with_truth(anndata.read_h5ad(demonstrated / "imputed.h5ad")):
        assert measure in printed
    for question, answer, text in verdicts_on(anndata.read_h5ad(demonstrated / "mouse_lung.h5ad")):
        assert f"{question} {answer}." in printed and text in printed
    for name in ("report.html", "mouse_lung.h5ad", "imputed.h5ad"):
        assert f"{demonstrated / name} " in printed


def test_a_command_that_fails_ends_it_with_its_exit_code(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(demo, "sccr", lambda command: 73)
    assert main(tmp_path) == 73
    printed = capsys.readouterr().out
    assert printed.count("$ sccr") == 1 and "Where to look" not in printed
