"""A small data set with cell types, and the command line in the same process."""

import anndata as ad
import pytest

from sccr_node.cli.app import run
from sccr_node.contract.simulate import SimulateParameters
from sccr_node.data.simulation import as_anndata, simulate


@pytest.fixture(scope="session")
def simulated() -> ad.AnnData:
    """Counts of 60 cells of three types and 80 genes."""
    params = SimulateParameters(n_cells=60, n_genes=80, n_types=3, depth=800)
    adata = as_anndata(simulate(params), params)
    adata.layers.clear()
    return adata


@pytest.fixture
def counts_file(simulated, tmp_path):
    """The data set in a file of this test's own."""
    path = tmp_path / "counts.h5ad"
    simulated.write_h5ad(path)
    return path


@pytest.fixture
def sccr(capsys):
    """Run a command; gives exit code, standard output and standard error."""

    def call(*arguments):
        code = run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        if code == 0:
            for text in (captured.out.lower(), captured.err.lower()):
                assert "error:" not in text and "exception:" not in text
        return code, captured.out, captured.err

    return call


@pytest.fixture
def refused(sccr, tmp_path):
    """Check that a command is refused: exit code, one line that says so, and no file written."""

    def check(exit_code, words, *arguments):
        before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
        code, out, err = sccr(*arguments)
        lines = [line for line in err.splitlines() if line.startswith("sccr: error:")]
        assert (code, out, len(lines)) == (exit_code, "", 1), err
        for word in words:
            assert word in lines[0]
        assert "internal failure" not in lines[0]
        assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before

    return check
