"""Small files are read whole; what never ends, or is not small, is an error."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sccr_node.runtime.texts import read_small


def test_a_file_is_read_whole(tmp_path):
    (tmp_path / "a").write_bytes(b"x" * 100)
    assert read_small(tmp_path / "a", 100) == b"x" * 100
    with pytest.raises(OSError, match="too large") as caught:
        read_small(tmp_path / "a", 99)
    assert caught.value.errno == errno.EFBIG


def test_a_device_that_never_ends():
    with pytest.raises(OSError, match="too large"):
        read_small(Path("/dev/zero"), 2**20)


@pytest.mark.parametrize("option", ["--genes", "--config"])
def test_commands_refuse_a_device_that_never_ends(tmp_path, option):
    (tmp_path / "in.h5ad").write_bytes(b"")
    words = [sys.executable, "-m", "sccr_node", "impute", "in.h5ad", "out.h5ad", option, "/dev/zero"]
    ended = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode in (2, 65)
    assert ended.stderr.count("\n") == 1
    assert os.listdir(tmp_path) == ["in.h5ad"]


def test_a_list_of_genes_can_come_from_a_command(tmp_path):
    """The list is read once: from a pipe it cannot be read twice."""
    from tests.support.simulated import simulated

    adata = simulated(n_cells=40, n_genes=60)
    adata.write_h5ad(tmp_path / "in.h5ad")
    expressed = [name for name, total in zip(adata.var_names, adata.X.sum(axis=0).A1, strict=True) if total]
    (tmp_path / "genes.txt").write_text("\n".join(expressed[:20]))
    script = f"{sys.executable} -m sccr_node impute in.h5ad out.h5ad --quiet --genes <(cat genes.txt)"
    ended = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (0, "")
    assert (tmp_path / "out.h5ad").exists()
