"""Scratch: where it is, that its space is reserved, that nothing is left, and what a bad place means."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from sccr_node.errors import NotEnoughResources, OutputProblem
from sccr_node.runtime import scratch
from sccr_node.runtime.scratch import ScratchArray, ScratchFile, check_scratch, scratch_dir, work_dir


def test_a_file_has_no_name(tmp_path):
    with work_dir(tmp_path):
        assert scratch_dir() == tmp_path
        file = ScratchFile(1000)
        file.write(8, np.arange(5.0))
        assert np.array_equal(file.read(0, 7, np.dtype(float)), [0, 0, 1, 2, 3, 4, 0])
        file.write(0, np.empty((0, 5), np.float32))
        assert not list(tmp_path.iterdir())
    assert scratch_dir() == Path(tempfile.gettempdir())


def test_an_array_is_read_and_written_by_ranges(tmp_path):
    with work_dir(str(tmp_path)):
        for dtype in (np.int16, np.int64, np.float32):
            array = ScratchArray(10, np.dtype(dtype))
            array.put(3, np.array([7.0, 8.0]))
            assert array.shape == (10,) and array.dtype == dtype
            assert array[:].tolist() == [0, 0, 0, 7, 8, 0, 0, 0, 0, 0]
            assert array[4:6].tolist() == [8, 0] and array[4:4].tolist() == [] and array[8:20].tolist() == [0, 0]
        assert ScratchArray(0, np.dtype(int))[:].tolist() == []


def test_a_mapped_file_is_an_array(tmp_path):
    with work_dir(tmp_path):
        values = ScratchFile(4000).mapped()
        assert values.shape == (1000,) and values.dtype == np.float32 and not values.any()
        values[:] = 3
        assert values.sum() == 3000
        assert ScratchFile(0).mapped().shape == (0,)


@pytest.mark.parametrize("reserve", ["posix_fallocate", "writing"])
def test_a_full_disk_is_told_before_it_is_used(tmp_path, monkeypatch, reserve):
    import resource

    if reserve == "writing":
        monkeypatch.delattr(os, "posix_fallocate", raising=False)
    # A limit for files stands for a disk that is full.
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
    try:
        with work_dir(tmp_path), pytest.raises(NotEnoughResources, match="not enough disk space") as told:
            ScratchFile(1 << 21)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert f"temporary files in {tmp_path} (--work-dir)" in str(told.value)


def test_too_little_room_is_refused(tmp_path):
    with work_dir(tmp_path):
        check_scratch(1000)
        with pytest.raises(NotEnoughResources, match=f"for temporary files in {tmp_path}.*choose another folder"):
            check_scratch(1 << 60)


def test_a_file_system_that_says_no_size_is_tried(tmp_path, monkeypatch):
    sizeless = os.statvfs_result((512, 512, 0, 0, 0, 0, 0, 0, 0, 255))
    monkeypatch.setattr("sccr_node.runtime.resources.os.statvfs", lambda folder: sizeless)
    with work_dir(tmp_path):
        check_scratch(1 << 60)


def test_a_bad_folder_is_refused(tmp_path):
    file = tmp_path / "file"
    file.touch()
    long = tmp_path / ("a" * 300)
    for folder, words in ((tmp_path / "none", "does not exist"), (long, "does not exist"), (file, "is not a folder")):
        with pytest.raises(OutputProblem, match=words), work_dir(folder):
            pass
    assert scratch_dir() == Path(tempfile.gettempdir())


def test_a_machine_without_a_folder_is_told(monkeypatch):
    def none():
        raise FileNotFoundError(2, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr(tempfile, "gettempdir", none)
    check_scratch(0)
    with pytest.raises(OutputProblem, match=r"no folder for temporary files; choose one \(--work-dir\)"):
        ScratchFile(10)


def test_a_killed_process_leaves_nothing(tmp_path):
    code = (
        "import os, sys, signal; from sccr_node.runtime.scratch import *\n"
        "with work_dir(sys.argv[1]):\n"
        "    a = ScratchFile(1 << 20).mapped(); a[:] = 1; os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)]).returncode == -9
    assert not list(tmp_path.iterdir())
    assert scratch.scratch_dir() != tmp_path
