"""Checkpoints: what is damaged, foreign or cannot be written is said once and does no harm."""

import hashlib
import json
import os

import numpy as np
import pytest

from sccr_node.errors import NotEnoughResources
from sccr_node.storage import checkpoints
from sccr_node.storage.blobs import FolderBlobs
from sccr_node.storage.checkpoints import MAGIC, Checkpoints

ARRAYS = [np.arange(12, dtype=np.float32).reshape(3, 4), np.zeros(0, np.int64), np.array([7], np.int32)]


class Told:
    def __init__(self):
        self.said, self.warned = [], []


def opened(folder, source="input", told=None):
    told = told or Told()
    kept = Checkpoints(FolderBlobs(folder), source, say=told.said.append, warn=told.warned.append)
    kept.told = told
    return kept


@pytest.fixture
def kept(tmp_path):
    """One checkpoint in a folder; gives its file."""
    first = opened(tmp_path)
    first.keep("key", "stage", {"a": [1, None]}, ARRAYS, 2.5)
    assert first.n_kept == 1 and not first.told.warned
    (path,) = tmp_path.iterdir()
    return path


def read(folder, key="key", source="input"):
    """Return what is found, and the warnings."""
    again = opened(folder, source)
    with again.found(key) as stored:
        if stored is None:
            return None, again.told.warned
        return (stored.value, stored.seconds, [stored.array(n) for n in range(3)]), again.told.warned


def test_what_was_kept_comes_back(kept, tmp_path):
    (value, seconds, arrays), warned = read(tmp_path)
    assert value == {"a": [1, None]} and seconds == 2.5 and not warned
    for one, other in zip(arrays, ARRAYS, strict=True):
        assert one.dtype == other.dtype and one.shape == other.shape and np.array_equal(one, other)
    # Nothing in it is code, and its last bytes are the SHA-256 of the others.
    content = kept.read_bytes()
    assert content.startswith(MAGIC) and hashlib.sha256(content[:-32]).digest() == content[-32:]


def test_an_array_is_read_into_a_buffer_that_it_fits_in(kept, tmp_path):
    again = opened(tmp_path)
    with again.found("key") as stored:
        buffer = np.full(15, 9, np.float32)
        assert np.shares_memory(stored.array(0, buffer), buffer)
        assert np.array_equal(buffer, [*range(12), 9, 9, 9])
        for number, into in ((0, np.zeros(11, np.float32)), (2, buffer)):
            with pytest.raises(ValueError, match="does not fit"):
                stored.array(number, into)
        # Cut off after it was verified.
        os.truncate(kept, 100)
        with pytest.raises(NotEnoughResources, match="try again"):
            stored.array(0)


def test_other_keys_inputs_versions_and_processors_have_others(kept, tmp_path, monkeypatch):
    for found, warned in (read(tmp_path, "other"), read(tmp_path, source="other")):
        assert found is None and not warned
    for name, value in (("__version__", "0"), ("ALGORITHM", 99), ("level", lambda: "other")):
        with monkeypatch.context() as changed:
            changed.setattr(checkpoints, name, value)
            assert read(tmp_path) == (None, [])
    assert read(tmp_path)[0] is not None


def test_a_checkpoint_under_the_name_of_another_is_ignored(kept, tmp_path):
    kept.rename(tmp_path / opened(tmp_path).name_of("other"))
    found, (warning,) = read(tmp_path, "other")
    assert found is None and "it belongs to something else" in warning


def rewritten(content, **changed):
    """Return a checkpoint with another header, and a checksum that agrees."""
    begin = len(MAGIC) + 8
    length = int.from_bytes(content[len(MAGIC) : begin], "little")
    header = json.dumps(json.loads(content[begin : begin + length]) | changed).encode()
    new = MAGIC + len(header).to_bytes(8, "little") + header + content[begin + length : -32]
    return new + hashlib.sha256(new).digest()


DAMAGE = {
    "a flipped byte": lambda content: content[:-40] + bytes([content[-40] ^ 1]) + content[-39:],
    "a flipped byte in the header": lambda content: content.replace(b"seconds", b"sekonds"),
    "another file": lambda content: b"not a checkpoint, but longer than the beginning of one",
    "nothing": lambda content: b"",
    "cut off in the magic": lambda content: content[:5],
    "cut off in the header": lambda content: content[:60],
    "cut off at the end": lambda content: content[:-1],
    "longer": lambda content: content + b"0",
    "a huge header": lambda content: MAGIC + b"\xff" * 8 + content,
    "a header that is too long": lambda content: MAGIC + (2**20).to_bytes(8, "little") + b" " * 2**20,
    "deep": lambda content: MAGIC + (2**19).to_bytes(8, "little") + b"[" * 2**19,
    "no JSON": lambda content: MAGIC + (4).to_bytes(8, "little") + b"\xff\xfe\x00\x00" + bytes(32),
    "a list": lambda content: MAGIC + (2).to_bytes(8, "little") + b"[]" + bytes(32),
    "a huge array": lambda content: rewritten(content, arrays=[{"dtype": "<f8", "shape": [2**62, 2**62]}]),
    "a negative array": lambda content: rewritten(content, arrays=[{"dtype": "<f8", "shape": [-1, -8]}]),
    "an array of objects": lambda content: rewritten(content, arrays=[{"dtype": "|O", "shape": [8]}]),
    "no arrays": lambda content: rewritten(content, arrays=None),
    "infinite seconds": lambda content: rewritten(content, seconds=float("inf")),
    "seconds in words": lambda content: rewritten(content, seconds="two"),
    "another origin": lambda content: rewritten(content, origin="other"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_damaged_is_said_and_ignored_and_replaced(kept, tmp_path, damage):
    kept.write_bytes(DAMAGE[damage](kept.read_bytes()))
    found, (warning,) = read(tmp_path)
    assert found is None
    assert warning.startswith(f"ignoring the checkpoint {kept.name} in {tmp_path}: it ")
    again = opened(tmp_path)
    again.keep("key", "stage", {}, ARRAYS, 1.0)
    assert read(tmp_path)[0] is not None
    again.remove()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["folder", "pipe", "link", "socket"])
def test_what_is_not_a_file_is_ignored_and_stays(kept, tmp_path, kind):
    kept.unlink()
    if kind == "folder":
        kept.mkdir()
    elif kind == "pipe":
        os.mkfifo(kept)
    elif kind == "link":
        kept.symlink_to("/etc/passwd")
    else:
        os.mknod(kept, 0o140600)
    again = opened(tmp_path)
    with again.found("key") as stored:
        assert stored is None
    again.keep("key", "stage", {}, ARRAYS, 1.0)
    again.keep("other", "stage", {}, ARRAYS, 1.0)
    ignored, not_kept = again.told.warned
    assert ignored.startswith("ignoring") and not_kept.startswith("cannot keep the stage 'stage'")
    again.remove()
    assert list(tmp_path.iterdir()) == [kept]


def test_many_damaged_ones_are_one_warning(tmp_path):
    first = opened(tmp_path)
    for key in "abc":
        first.keep(key, "stage", {}, ARRAYS, 1.0)
    for path in tmp_path.iterdir():
        path.write_bytes(b"")
    again = opened(tmp_path)
    for key in "abc":
        with again.found(key) as stored:
            assert stored is None
    assert len(again.told.warned) == 1


def test_only_what_the_run_read_or_wrote_is_removed(tmp_path):
    (tmp_path / "theirs").touch()
    (tmp_path / "sccr-0-0.checkpoint").touch()
    for source in ("one", "other"):
        opened(tmp_path, source).keep("key", "stage", {}, ARRAYS, 1.0)
    again = opened(tmp_path, "one")
    again.keep("key 2", "stage", {}, ARRAYS, 1.0)
    with again.found("key"):
        pass
    again.remove()
    assert len(list(tmp_path.iterdir())) == 3
    assert read(tmp_path, source="other")[0] is not None
    opened(tmp_path, "other").remove_all()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sccr-0-0.checkpoint", "theirs"]


def test_the_room_is_checked_first(tmp_path, monkeypatch):
    monkeypatch.setattr(FolderBlobs, "free", lambda self: 100)
    first = opened(tmp_path)
    for _ in range(2):
        first.keep("key", "propagation", {}, ARRAYS, 1.0)
    (warning,) = first.told.warned
    assert "cannot keep the stage 'propagation'" in warning and "needed, 0 MB free" in warning
    assert not list(tmp_path.iterdir()) and first.n_kept == 0


def test_a_place_that_cannot_be_used_is_one_warning(tmp_path):
    (tmp_path / "file").touch()
    first = opened(tmp_path / "file")
    with first.found("key") as stored:
        assert stored is None
    first.keep("key", "stage", {}, ARRAYS, 1.0)
    first.remove()
    (warning,) = first.told.warned
    assert warning.startswith(f"cannot keep checkpoints in {tmp_path / 'file'}: ")
    assert (tmp_path / "file").exists()


def test_what_was_not_repeated_is_counted_and_said(tmp_path):
    first = opened(tmp_path)
    first.summarise()
    assert not first.told.said
    first.resumed(2.0)
    first.resumed(3.0)
    first.summarise()
    assert first.told.said == [
        f"resuming from the checkpoints in {tmp_path}",
        f"2 stages were not repeated, thanks to the checkpoints in {tmp_path}",
    ]
    assert first.saved_seconds == 5.0
