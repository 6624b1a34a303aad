"""The image's compiled functions, as a process with numba finds them."""

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from sccr_node.runtime import numba_cache

REPORT = """
import os, sys
from pathlib import Path
from sccr_node.runtime import numba_cache
numba_cache.UNCACHED = {}
sys.prefix = sys.argv[1]
numba_cache.use_compiled_functions()
import numba
folder = os.environ.get("NUMBA_CACHE_DIR")
print(folder, numba.config.CACHE_DIR == (folder or ""))
print(*sorted(path.name for path in Path(folder).rglob("*")) if folder else "")
"""


@pytest.fixture
def prefix(tmp_path):
    folder = tmp_path / "prefix" / numba_cache.COMPILED / "umap_1"
    folder.mkdir(parents=True)
    (folder / "f.nbi").write_bytes(b"index")
    (folder / "f.nbi").chmod(0o444)
    return tmp_path / "prefix"


def process(prefix, tmp_path, **more):
    """Run in a process of its own, as numba reads its settings once; return the folder, if numba took it, its files."""
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    environment |= {"TMPDIR": str(tmp_path), **more}
    command = [sys.executable, "-c", REPORT, prefix]
    first, second = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    folder, taken = first.split()
    return folder, taken, second.split()


def test_the_process_has_its_own_copy_and_removes_it(prefix, tmp_path):
    folder, taken, files = process(prefix, tmp_path)
    assert Path(folder).parent == tmp_path
    assert (taken, files) == ("True", ["f.nbi", "umap_1"])
    assert [path.name for path in tmp_path.iterdir()] == ["prefix"]


def test_a_given_folder_is_filled_and_stays(prefix, tmp_path):
    given = tmp_path / "tmp" / "numba"
    folder, taken, files = process(prefix, tmp_path, NUMBA_CACHE_DIR=str(given))
    assert (folder, taken, files) == (str(given), "True", ["f.nbi", "umap_1"])
    assert [path.name for path in given.parent.iterdir()] == ["numba"]
    assert os.access(given / "umap_1" / "f.nbi", os.W_OK)


def test_a_folder_that_is_there_is_left_alone(prefix, tmp_path):
    given = tmp_path / "numba"
    given.mkdir()
    assert process(prefix, tmp_path, NUMBA_CACHE_DIR=str(given))[2] == []


def test_without_compiled_functions_nothing_changes(tmp_path):
    assert process(tmp_path / "elsewhere", tmp_path)[0] == "None"
    assert not list(tmp_path.iterdir())


def test_no_place_for_a_copy_is_no_reason_to_fail(prefix, tmp_path, monkeypatch):
    def full(**_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sys, "prefix", str(prefix))
    monkeypatch.delitem(sys.modules, "numba", raising=False)
    monkeypatch.setattr(numba_cache.tempfile, "mkdtemp", full)
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setattr(numba_cache, "UNCACHED", {})
    numba_cache.use_compiled_functions()
    assert "NUMBA_CACHE_DIR" not in os.environ


def test_every_function_of_umap_that_is_kept_exists():
    numba_cache.use_compiled_functions()
    for module, names in numba_cache.UNCACHED.items():
        for name in names:
            assert getattr(import_module(module), name)._cache.cache_path


def test_numba_is_prepared_without_umap_learn(prefix, tmp_path, monkeypatch):
    """Leiden has its graph: umap-learn, whose import alone takes seconds, is not needed for it."""
    monkeypatch.setattr(numba_cache, "import_module", lambda name: pytest.fail(name))
    monkeypatch.setattr(sys, "prefix", str(prefix))
    monkeypatch.delitem(sys.modules, "numba", raising=False)
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "given"))
    numba_cache.prepare_numba()
    assert (tmp_path / "given" / "umap_1" / "f.nbi").exists()


def test_numba_gets_a_temporary_folder_where_it_could_write_nowhere(tmp_path, monkeypatch):
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setitem(sys.modules, "numba", None)
    del sys.modules["numba"]
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(numba_cache.tempfile, "mkdtemp", lambda prefix: str(tmp_path / "made"))
    numba_cache._find_a_place_to_write(tmp_path)
    assert "NUMBA_CACHE_DIR" not in os.environ
    monkeypatch.setattr(numba_cache.os, "access", lambda path, mode: False)
    numba_cache._find_a_place_to_write(tmp_path)
    assert os.environ.pop("NUMBA_CACHE_DIR") == str(tmp_path / "made")
