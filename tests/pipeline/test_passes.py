"""How often the input is read: once to look at it, once to copy it; side files add nothing."""

from pathlib import Path

import pytest

from sccr_node.__main__ import main
from sccr_node.data import dataset

SIDE_FILES = ["--provenance", "p.json", "--report", "r.html", "--multiqc", "mq"]


@pytest.fixture
def counts(tmp_path):
    path = tmp_path / "counts.h5ad"
    assert main(["simulate", str(path), "--n-cells", "80", "--n-genes", "120", "--n-batches", "2", "--quiet"]) == 0
    return path


@pytest.fixture
def walks(monkeypatch):
    """The files whose matrix was walked from end to end."""
    seen = []
    blocks = dataset.Dataset.blocks

    def counted(self, *arguments):
        seen.append(self.root.filename if hasattr(self.root, "filename") else "memory")
        return blocks(self, *arguments)

    monkeypatch.setattr(dataset.Dataset, "blocks", counted)
    return seen


@pytest.mark.parametrize("side_files", [[], SIDE_FILES])
@pytest.mark.parametrize("options", [[], ["--batch-key", "batch"], ["--write", "both"]])
def test_the_matrix_of_the_input_is_walked_once(counts, tmp_path, monkeypatch, walks, options, side_files):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sccr_node.reports.layout.FEWEST_CELLS_FOR_UMAP", 10**9)
    assert main(["impute", str(counts), "out.h5ad", "--quiet", *options, *side_files]) == 0
    n_layers = 2 if "both" in options else 1
    # Once to look at every value; then, in the copy, once for the chosen genes and once for each layer.
    assert sum(str(counts) in str(name) for name in walks) == 1
    assert len(walks) == 2 + n_layers


def test_the_digest_is_taken_only_if_it_is_asked_for_and_while_copying(counts, tmp_path, monkeypatch):
    import sccr_node.data.output as output
    import sccr_node.storage.copying as copying

    hashed = []
    monkeypatch.setattr(output, "sha256_of", lambda path: hashed.append(path))
    digest = copying.hashlib.sha256

    class Counted:
        def __init__(self):
            hashed.append("copy")
            self._digest = digest()

        def __getattr__(self, name):
            return getattr(self._digest, name)

    monkeypatch.setattr(copying.hashlib, "sha256", Counted)
    assert main(["impute", str(counts), str(tmp_path / "plain.h5ad"), "--quiet"]) == 0
    assert hashed == []
    report = ["--report", str(tmp_path / "r.html")]
    assert main(["impute", str(counts), str(tmp_path / "reported.h5ad"), "--quiet", *report]) == 0
    assert hashed == ["copy"]
    # A record has the output's digest as well, which is read once more for it.
    hashed.clear()
    record = ["--provenance", str(tmp_path / "p.json")]
    assert main(["impute", str(counts), str(tmp_path / "recorded.h5ad"), "--quiet", *record]) == 0
    assert hashed[0] == "copy" and [Path(path).name.startswith(".recorded.h5ad") for path in hashed[1:]] == [True]
