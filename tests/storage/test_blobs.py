"""Named blobs in a folder: whole or not at all, and nothing of anybody else's is touched."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sccr_node.errors import InputMissing, InputProblem, NotEnoughResources, OutputProblem
from sccr_node.runtime import signals
from sccr_node.storage import blobs
from sccr_node.storage.blobs import FolderBlobs


def parts(*texts):
    return [memoryview(text) for text in texts]


def test_what_was_written_is_read_listed_and_removed(tmp_path):
    blobs = FolderBlobs(tmp_path)
    blobs.write("sccr-one", parts(b"abc", b"", b"def"))
    (tmp_path / "other").touch()
    with blobs.read("sccr-one") as file:
        assert file.read() == b"abcdef"
    blobs.write("sccr-one", parts(b"again"))
    assert (tmp_path / "sccr-one").read_bytes() == b"again"
    assert blobs.names("sccr-") == ["sccr-one"] and str(blobs) == str(tmp_path)
    blobs.remove("sccr-one")
    blobs.remove("sccr-one")
    assert blobs.names("") == ["other"]
    with pytest.raises(InputMissing), blobs.read("sccr-one"):
        pass


def test_folders_are_made_and_removed_with_what_was_made(tmp_path):
    blobs = FolderBlobs(tmp_path / "a" / "b")
    assert blobs.free() == pytest.approx(FolderBlobs(tmp_path).free(), rel=0.1)
    assert blobs.names("") == []
    blobs.prepare()
    blobs.write("one", parts(b"1"))
    blobs.close()
    assert blobs.names("") == ["one"]
    blobs.remove("one")
    blobs.close()
    assert not list(tmp_path.iterdir())
    there = FolderBlobs(tmp_path)
    there.prepare()
    there.close()
    assert tmp_path.exists()


def test_a_folder_that_another_run_has_removed_is_made_again(tmp_path):
    ours, theirs = FolderBlobs(tmp_path / "kept"), FolderBlobs(tmp_path / "kept")
    theirs.prepare()
    ours.prepare()
    theirs.close()
    assert not (tmp_path / "kept").exists()
    ours.write("one", parts(b"1"))
    assert ours.names("") == ["one"]
    ours.remove("one")
    ours.close()
    assert not (tmp_path / "kept").exists()


@pytest.mark.parametrize("error", [FileNotFoundError, PermissionError])
def test_a_folder_that_is_there_again_is_tried_again(tmp_path, monkeypatch, error):
    """Removed by another run, and made by a third one before we look."""
    begin, calls = blobs.staged, []

    def staged(target, *, replace):
        calls.append(target)
        if len(calls) < 4:
            try:
                raise error(2, "not now")
            except OSError as cause:
                raise OutputProblem("not now") from cause
        return begin(target, replace=replace)

    monkeypatch.setattr(blobs, "staged", staged)
    kept = FolderBlobs(tmp_path)
    if error is PermissionError:
        with pytest.raises(OutputProblem, match="not now"):
            kept.write("one", parts(b"1"))
        assert len(calls) == 1
    else:
        kept.write("one", parts(b"1"))
        assert len(calls) == 4 and kept.names("") == ["one"]


def test_a_file_is_not_a_folder(tmp_path):
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises((OutputProblem, NotADirectoryError)):
            FolderBlobs(folder).prepare()
        with pytest.raises(InputMissing), FolderBlobs(folder).read("one"):
            pass
        FolderBlobs(folder).remove("one")
        FolderBlobs(folder).sweep("")


@pytest.mark.parametrize("kind", ["folder", "pipe", "link", "dangling link"])
def test_what_is_not_a_file_is_neither_read_nor_replaced_nor_removed(tmp_path, kind):
    (tmp_path / "target").write_bytes(b"theirs")
    path = tmp_path / "one"
    make = {
        "folder": path.mkdir,
        "pipe": lambda: os.mkfifo(path),
        "link": lambda: path.symlink_to("target"),
        "dangling link": lambda: path.symlink_to("nothing"),
    }
    make[kind]()
    blobs = FolderBlobs(tmp_path)
    with pytest.raises(InputProblem, match="it is"), blobs.read("one"):
        pass
    with pytest.raises(OutputProblem, match="not a file"):
        blobs.write("one", parts(b"1"))
    blobs.remove("one")
    assert os.path.lexists(path) and (tmp_path / "target").read_bytes() == b"theirs"


def test_a_signal_while_writing_leaves_nothing(tmp_path, monkeypatch):
    def interrupt():
        raise signals.Interrupted(15)

    blobs = FolderBlobs(tmp_path)
    blobs.write("one", parts(b"old"))
    monkeypatch.setattr(signals, "check", interrupt)
    with pytest.raises(signals.Interrupted):
        blobs.write("one", parts(b"new"))
    assert blobs.names("") == ["one"] and (tmp_path / "one").read_bytes() == b"old"


def test_a_full_disk_leaves_nothing(tmp_path):
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], check=True)
    try:
        blobs = FolderBlobs(place)
        with pytest.raises(NotEnoughResources, match="not enough disk space"):
            blobs.write("one", parts(bytes(2 << 20)))
        assert not list(place.iterdir())
        blobs.write("one", parts(bytes(1 << 19)))
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_what_a_killed_process_left_is_swept_but_not_what_a_living_one_writes(tmp_path):
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from sccr_node.storage.blobs import FolderBlobs\n"
        "def slowly():\n"
        "    yield memoryview(b'half')\n"
        "    time.sleep(60)\n"
        "FolderBlobs(Path(sys.argv[1])).write('sccr-one', slowly())\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)])
    begin = time.monotonic()
    while not any(path.stat().st_size for path in tmp_path.iterdir()):
        assert time.monotonic() < begin + 30
        time.sleep(0.05)
    blobs = FolderBlobs(Path(tmp_path))
    blobs.sweep("sccr-")
    assert len(list(tmp_path.iterdir())) == 1
    process.kill()
    process.wait()
    blobs.sweep("other-")
    assert len(list(tmp_path.iterdir())) == 1
    blobs.sweep("sccr-")
    assert not list(tmp_path.iterdir())
