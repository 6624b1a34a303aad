"""The demonstration runs from start to finish, and its results are better after imputation than before."""

import anndata

from tools.demo import compare_with_truth, main


def test_the_demonstration_shows_that_imputation_comes_closer_to_the_truth(tmp_path, capsys):
    assert main(tmp_path / "demo") == 0
    compared = compare_with_truth(anndata.read_h5ad(tmp_path / "demo" / "imputed.h5ad"))
    error, correlation, zeros = compared.values()
    assert error[1] < error[0]
    assert correlation[1] > correlation[0]
    assert zeros[1] < zeros[0]
    printed = capsys.readouterr().out
    for measure in compared:
        assert measure in printed
