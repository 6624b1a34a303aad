"""The demonstration runs from start to finish, and its results are better after imputation than before."""

import json

import anndata

from tools.demo import compare_with_truth, main


def test_the_demonstration_shows_that_imputation_comes_closer_to_the_truth(tmp_path, capsys):
    assert main(tmp_path / "demo") == 0
    command = json.loads((tmp_path / "demo" / "provenance.json").read_text())["command"]
    assert command[:2] == ["sccr", "impute"] and command[-1] == str(tmp_path / "demo" / "provenance.json")
    compared = compare_with_truth(anndata.read_h5ad(tmp_path / "demo" / "imputed.h5ad"))
    error, correlation, zeros = compared.values()
    assert error[1] < error[0]
    assert correlation[1] > correlation[0]
    assert zeros[1] < zeros[0]
    printed = capsys.readouterr().out
    for measure in compared:
        assert measure in printed
