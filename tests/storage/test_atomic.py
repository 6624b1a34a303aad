"""Completely or not at all: stale temporaries, locks, swaps, full disks, forbidden folders, all of them real."""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from scipy import sparse

from sccr_node.errors import NotEnoughResources, OutputProblem, error_number
from sccr_node.storage.atomic import staged
from sccr_node.storage.files import (
    write_h5ad_atomically,
    write_text_atomically,
    written_folder,
)
from sccr_node.storage.targets import MARKER, PartsTarget, Target
from tests.support import REPOSITORY
from tests.support.inputs import plain, write_zarr

pytestmark = pytest.mark.filterwarnings("ignore")  # the libraries' remarks on zarr versions


# Writes a dense layer of noise (all of it is stored) into a copy of argv[1] at argv[2]; prints the failure's line.
WRITER = textwrap.dedent(
    """
    import os, sys
    import numpy as np
    from sccr_node.data.dataset import open_dataset
    from sccr_node.data.output import stage_output
    from sccr_node.errors import SccrError

    source, target, compression, stop = sys.argv[1:5]
    if os.environ.get("SCCR_TEST_USER"):
        os.setgid(65534)
        os.setuid(65534)
    noise = np.random.default_rng(0).random((2000, 500), dtype=np.float32)
    try:
        with open_dataset(source) as data, stage_output(data, target, compression=compression, force=True) as output:
            output.write_layer("sccr", noise.shape, (noise[n : n + 100] for n in range(0, 2000, 100)), sparse=False)
            if stop == "stop":
                print("written", flush=True)
                sys.stdin.read()
            output.write_uns("sccr", {"version": "0"})
            output.commit()
    except SccrError as error:
        print(error)
        sys.exit(error.exit_code)
    """
)


def run_writer(source: Path, target: Path, compression: str = "auto", **environment: str):
    return subprocess.run(
        [sys.executable, "-c", WRITER, str(source), str(target), compression, "go"],
        capture_output=True,
        text=True,
        env=os.environ | environment,
        cwd=REPOSITORY,
        check=False,
    )


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in.h5ad"
    plain(sparse.csr_matrix((2000, 500), dtype="float32") + sparse.eye(2000, 500, dtype="float32")).write_h5ad(path)
    return path


@pytest.fixture
def zarr_source(tmp_path: Path) -> Path:
    path = tmp_path / "in.zarr"
    matrix = sparse.csr_matrix((2000, 500), dtype="float32") + sparse.eye(2000, 500, dtype="float32")
    write_zarr(path, plain(matrix), 3)
    return path


class Mounted:
    """A file system of its own, in memory, for a while."""

    def __init__(self, place: Path, options: str) -> None:
        self.place = place
        place.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], check=True)

    def __enter__(self) -> Path:
        return self.place

    def __exit__(self, *_: object) -> None:
        subprocess.run(["umount", str(self.place)], check=True)


def may_mount() -> bool:
    return sys.platform == "linux" and os.geteuid() == 0


needs_mount = pytest.mark.skipif(not may_mount(), reason="only root may mount a small file system")


# The free-space check stops before anything is written where the input alone does not fit, so sizes begin above that;
# the noise is 4 MB: the disk fills in the copy's appendix, at different places of it.
@needs_mount
@pytest.mark.parametrize("kilobytes", [300, 1100, 3000])
@pytest.mark.parametrize("compression", ["auto", "none"])
def test_full_disk_is_75_and_leaves_nothing_h5ad(tmp_path, source, kilobytes, compression):
    with Mounted(tmp_path / "small", f"size={kilobytes}k") as folder:
        done = run_writer(source, folder / "out.h5ad", compression)
        assert (done.returncode, done.stderr) == (75, "")
        assert "not enough disk" in done.stdout
        assert done.stdout.count("\n") == 1
        assert os.listdir(folder) == []


@needs_mount
@pytest.mark.parametrize("kilobytes", [600, 3000])
@pytest.mark.parametrize("origin", ["zarr", "h5ad"])
def test_full_disk_is_75_and_leaves_nothing_zarr(tmp_path, source, zarr_source, kilobytes, origin):
    with Mounted(tmp_path / "small", f"size={kilobytes}k") as folder:
        done = run_writer(zarr_source if origin == "zarr" else source, folder / "out.zarr")
        assert (done.returncode, done.stderr) == (75, "")
        assert "not enough disk" in done.stdout
        assert os.listdir(folder) == []


@needs_mount
def test_a_disk_with_room_holds_the_output(tmp_path, source):
    with Mounted(tmp_path / "enough", "size=12m") as folder:
        done = run_writer(source, folder / "out.h5ad")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert os.listdir(folder) == ["out.h5ad"]


def test_file_size_limit_is_75(tmp_path, source):
    limited = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))\n{WRITER}"
    target = tmp_path / "out.h5ad"
    done = subprocess.run(
        [sys.executable, "-c", limited, str(source), str(target), "auto", "go"],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        check=False,
    )
    assert (done.returncode, done.stderr) == (75, "")
    assert os.listdir(tmp_path) == ["in.h5ad"]


@needs_mount
def test_side_files_on_a_full_disk(tmp_path):
    with Mounted(tmp_path / "small", "size=64k") as folder:
        with pytest.raises(NotEnoughResources, match="not enough disk"):
            write_text_atomically(folder / "record.json", "x" * 200_000, replace=True)
        with pytest.raises(NotEnoughResources, match="not enough disk"):
            write_h5ad_atomically(folder / "some.h5ad", plain(sparse.random(300, 300, 0.5, "csr")), replace=True)
        with (
            pytest.raises(NotEnoughResources, match="not enough"),
            written_folder(PartsTarget(folder / "d"), replace=True) as made,
        ):
            (made / "page.html").write_bytes(bytes(200_000))
        assert os.listdir(folder) == []


@needs_mount
def test_read_only_file_system_is_73(tmp_path, source):
    with Mounted(tmp_path / "frozen", "size=1m,ro") as folder:
        done = run_writer(source, folder / "out.h5ad")
        assert (done.returncode, done.stderr) == (73, "")
        assert "read-only or permission is denied" in done.stdout
        with pytest.raises(OutputProblem, match="read-only or permission is denied"):
            Target(folder / "record.json").check(force=False)
        with pytest.raises(OutputProblem, match="[Rr]ead-only"):
            write_text_atomically(folder / "record.json", "{}", replace=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="dropping privileges takes root")
def test_forbidden_folder_is_73_and_forbidden_input_66(tmp_path, source):
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o755)
    for path in [tmp_path, *tmp_path.parents][:-2]:  # pytest closes its own folders to others
        path.chmod(path.stat().st_mode | 0o055)
    done = run_writer(source, folder / "out.h5ad", SCCR_TEST_USER="nobody")
    assert (done.returncode, done.stderr) == (73, "")
    assert "read-only or permission is denied" in done.stdout
    source.chmod(0o600)
    done = run_writer(source, tmp_path / "out.h5ad", SCCR_TEST_USER="nobody")
    assert (done.returncode, done.stderr) == (66, "")
    assert "permission denied" in done.stdout
    assert os.listdir(folder) == []


@pytest.mark.parametrize("kind", ["h5ad", "zarr"])
def test_killed_run_leaves_a_temporary_that_the_next_one_removes(tmp_path, source, zarr_source, kind):
    origin, target = (source, tmp_path / "out.h5ad") if kind == "h5ad" else (zarr_source, tmp_path / "out.zarr")
    victim = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(origin), str(target), "auto", "stop"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
    )
    assert victim.stdout is not None
    assert victim.stdout.readline() == "written\n"
    left = [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    assert len(left) == 1
    # While it lives, its temporary is not touched by another run for the same target, which succeeds beside it.
    assert run_writer(origin, target).returncode == 0
    assert left[0].exists()
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    victim.stdout.close()
    assert victim.stdin is not None
    victim.stdin.close()
    assert left[0].exists()
    assert run_writer(origin, target).returncode == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.h5ad", "in.zarr", target.name]


def test_names_with_wildcards_do_not_reach_other_files(tmp_path):
    other = tmp_path / ".outX.0badcafe.sccr-tmp"
    other.write_text("of another target")
    write_text_atomically(tmp_path / "out[X*].txt", "a", replace=True)
    write_text_atomically(tmp_path / "out?", "b", replace=True)
    assert other.exists()
    assert (tmp_path / "out[X*].txt").read_text() == "a"
    write_text_atomically(tmp_path / "outX", "c", replace=True)
    assert not other.exists()


def test_long_names_fit(tmp_path):
    target = tmp_path / ("é" * 120 + ".json")
    write_text_atomically(target, "{}", replace=True)
    assert [path.name for path in tmp_path.iterdir()] == [target.name]


def test_folder_set_aside_by_a_killed_run_comes_back(tmp_path):
    former = tmp_path / ".out.zarr.01234567.sccr-old"
    former.mkdir()
    (former / "data").write_text("the only copy")
    with pytest.raises(ZeroDivisionError), staged(tmp_path / "out.zarr", replace=True, folder=True):
        raise ZeroDivisionError
    assert (tmp_path / "out.zarr" / "data").read_text() == "the only copy"
    # Where another stands in its place already, it is only in the way.
    former.mkdir()
    with staged(tmp_path / "out.zarr", replace=True, folder=True):
        pass
    assert not former.exists()
    assert (tmp_path / "out.zarr" / "data").exists()


def test_folder_is_swapped_and_the_old_one_stays_until_then(tmp_path):
    target = tmp_path / "out.zarr"
    target.mkdir()
    (target / "old").write_text("1")
    with staged(target, replace=True, folder=True) as temporary:
        (temporary.path / "new").write_text("2")
        assert os.listdir(target) == ["old"]
        temporary.commit()
        assert os.listdir(target) == ["new"]
    assert os.listdir(tmp_path) == ["out.zarr"]


def test_failed_swap_puts_the_old_folder_back(tmp_path, monkeypatch):
    target = tmp_path / "out.zarr"
    target.mkdir()
    (target / "old").write_text("1")

    def refuse(self, other):
        raise OSError(28, "No space left on device")

    with pytest.raises(NotEnoughResources), staged(target, replace=True, folder=True) as temporary:
        monkeypatch.setattr(Path, "replace", refuse)
        temporary.commit()
    assert os.listdir(target) == ["old"]
    assert os.listdir(tmp_path) == ["out.zarr"]


def test_living_temporaries_are_locked(tmp_path):
    with staged(tmp_path / "out", replace=True) as temporary:
        descriptor = os.open(temporary.path, os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(descriptor)


def test_new_files_have_the_usual_permissions(tmp_path):
    former = os.umask(0o027)
    try:
        write_text_atomically(tmp_path / "record.json", "{}", replace=True)
        with written_folder(PartsTarget(tmp_path / "folder"), replace=True):
            pass
    finally:
        os.umask(former)
    assert (tmp_path / "record.json").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "folder").stat().st_mode & 0o777 == 0o750


def test_text_is_written_whole_or_not_at_all(tmp_path):
    target = tmp_path / "record.json"
    write_text_atomically(target, "first é\n", replace=True)
    with pytest.raises(UnicodeEncodeError):
        write_text_atomically(target, "second \ud800", replace=True)
    assert target.read_text(encoding="utf-8") == "first é\n"
    assert os.listdir(tmp_path) == ["record.json"]


def test_folder_is_replaced_whole(tmp_path):
    target = PartsTarget(tmp_path / "parts")

    def mark(folder, name):
        (folder / name).write_text(name)
        (folder / MARKER).write_text(json.dumps({"files": [name]}))

    with written_folder(target, replace=True) as made:
        mark(made, "one")
        assert not target.path.exists()
    with pytest.raises(ZeroDivisionError), written_folder(target, replace=True) as made:
        mark(made, "two")
        raise ZeroDivisionError
    assert sorted(os.listdir(target.path)) == [MARKER, "one"]
    with written_folder(target, replace=True) as made:
        mark(made, "three")
    assert sorted(os.listdir(target.path)) == [MARKER, "three"]
    with pytest.raises(OutputProblem, match="mine.txt"), written_folder(target, replace=True) as made:
        (target.path / "mine.txt").write_text("came while we worked")
    assert sorted(os.listdir(target.path)) == [MARKER, "mine.txt", "three"]
    assert os.listdir(tmp_path) == ["parts"]


def test_system_errors_are_found_in_what_libraries_raise():
    assert error_number(OSError(28, "No space left on device")) == 28
    assert error_number(RuntimeError("Can't write data (write failed: errno = 122, error message = 'Disk')")) == 122
    assert error_number(RuntimeError("[Errno] No space left on device")) == 28
    wrapped = ValueError("chunk could not be written")
    wrapped.__cause__ = PermissionError(13, "Permission denied")
    assert error_number(wrapped) == 13
    assert error_number(ValueError("something else")) == 0


def test_a_folder_that_is_removed_meanwhile_is_73(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    with (
        pytest.raises(OutputProblem, match="check that its folder still exists"),
        staged(folder / "out.h5ad", replace=True) as temporary,
    ):
        shutil.rmtree(folder)
        temporary.commit()
