"""What tests of several folders use: data sets, golden numbers, the command line, how examples are drawn."""

import os
from pathlib import Path

import anndata as ad
import pytest
from hypothesis import settings

from sccr_node.cli.app import run
from tests.support import REPOSITORY
from tests.support.simulated import simulated

# The same examples in every run: a near-tie that only a rare example meets must not fail somebody else's change.
settings.register_profile("repeatable", derandomize=True, deadline=None, max_examples=40)
settings.load_profile("repeatable")

SHARED = Path(os.environ.get("SCCR_SHARED", REPOSITORY.parent / "shared"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets, too large for the repository: $SCCR_SHARED/data, or ../shared/data beside it."""
    folder = SHARED / "data"
    if not folder.is_dir():
        pytest.skip(f"no real data sets: {folder} does not exist (set SCCR_SHARED to the folder that has data/)")
    return folder


@pytest.fixture(scope="session")
def shared_golden() -> Path:
    """The folder of golden numbers, which are in the repository."""
    return Path(__file__).parent / "golden"


@pytest.fixture(scope="session")
def few_cells() -> ad.AnnData:
    """Counts of 60 cells of three types and 80 genes."""
    adata = simulated(n_cells=60, n_genes=80, n_types=3, depth=800)
    adata.layers.clear()
    return adata


@pytest.fixture
def counts_file(few_cells, tmp_path):
    """The data set in a file of this test's own."""
    path = tmp_path / "counts.h5ad"
    few_cells.write_h5ad(path)
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
        assert "internal error" not in lines[0]
        assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before

    return check
