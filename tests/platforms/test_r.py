"""The tutorial for users of R, run as it is written: every block of R and of the shell, in one session."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import anndata as ad
import numpy as np
import pytest
from container_tools import set_up
from scipy import sparse

import sccr_node
from tests.support import REPOSITORY

pytestmark = pytest.mark.platform

PAGE = REPOSITORY / "docs" / "tutorials" / "r.md"
DATA = Path("docs", "data", "mouse_lung.h5ad")

LOOK = """
for (assay in list(GetAssayData(seurat, assay = "sccr"), assay(sce, "sccr")))
  write.table(as.matrix(assay[c("Sftpc", "Cd79a"), ]), "values.tsv", append = TRUE, col.names = FALSE, quote = FALSE)
for (components in list(Embeddings(seurat, "sccrpca"), reducedDim(sce, "SCCR")))
  write.table(t(components[, 1:2]), "components.tsv", append = TRUE, col.names = FALSE, quote = FALSE)
writeLines(colnames(sce), "cells.txt")
"""


@pytest.fixture(scope="session")
def session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the page's commands were run in."""
    folder = tmp_path_factory.mktemp("r")
    (folder / DATA.parent).mkdir(parents=True)
    shutil.copy(REPOSITORY / DATA, folder / DATA)
    script = []
    for at, (language, code) in enumerate(re.findall(r"^```(r|bash)\n(.*?)^```", PAGE.read_text(), re.M | re.S)):
        if language == "bash":
            (folder / f"block{at}.sh").write_text(code)
            code = f'stopifnot(system2("bash", c("-eu", "block{at}.sh")) == 0)\n'
        script.append(code)
    (folder / "page.R").write_text("".join(script) + LOOK)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [set_up("r")["SCCR_RSCRIPT"], "page.R"],
        cwd=folder,
        env={**os.environ, "PATH": path, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-5000:]
    return folder


@pytest.fixture(scope="session")
def expected() -> ad.AnnData:
    """The same in Python, without R."""
    lungs = ad.read_h5ad(REPOSITORY / DATA)
    lung = lungs[lungs.obs["sample"] == "Lung1"].copy()
    sccr_node.impute(lung, tune=True, quiet=True)
    return lung


def table(path: Path) -> np.ndarray:
    return np.array([[float(value) for value in line.split()[1:]] for line in path.read_text().splitlines()])


def test_both_objects_have_the_values_that_python_has(session, expected):
    assert (session / "cells.txt").read_text().splitlines() == list(expected.obs_names)
    layer = expected[:, ["Sftpc", "Cd79a"]].layers["sccr"]
    values = layer.toarray() if sparse.issparse(layer) else np.asarray(layer)
    np.testing.assert_allclose(table(session / "values.tsv"), np.vstack([values.T, values.T]), rtol=1e-5, atol=1e-6)


def test_both_objects_have_the_components_that_python_has(session, expected):
    components = expected.obsm["X_sccr"][:, :2].T
    found = table(session / "components.tsv")
    np.testing.assert_allclose(found, np.vstack([components, components]), rtol=1e-4, atol=1e-4)
