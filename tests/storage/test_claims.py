"""Which paths meet: against samefile and the parents of resolved paths, pair by pair."""

import itertools
import os
from pathlib import Path

import pytest

from sccr_node.storage import claims
from sccr_node.storage.claims import Claim, Meeting, as_path, collisions, within


@pytest.fixture
def paths(tmp_path):
    """Paths in a tree with all kinds of links; some lead to nothing."""
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/file").write_text("x")
    (tmp_path / "link").symlink_to("a")
    (tmp_path / "a/to_file").symlink_to("b/file")
    (tmp_path / "a/hard").hardlink_to(tmp_path / "a/b/file")
    (tmp_path / "dangling").symlink_to("later")
    (tmp_path / "outside").symlink_to(tmp_path.parent)
    names = (
        "a", "a/b", "a/b/file", "a/b/new", "link", "link/b/file", "a/to_file", "a/hard", "dangling", "later", "outside",
        "outside/x", "none/../a/b", "none/deep/er", "none", "a/b/../b",
    )  # fmt: skip
    return [tmp_path / name for name in names]


def expected(path, other):
    """Return how a path lies to another one, as the operating system tells of two paths."""
    same = (
        path.samefile(other) if path.exists() and other.exists() else os.path.realpath(path) == os.path.realpath(other)
    )

    def is_in(inner, outer):
        entry = Path(os.path.realpath(inner.parent)) / inner.name
        folders = {*Path(os.path.realpath(inner)).parents, *entry.parents}
        return Path(os.path.realpath(outer)) in folders

    return {
        *([Meeting.IS] if same else []),
        *([Meeting.IS_INSIDE] if is_in(path, other) else []),
        *([Meeting.CONTAINS] if is_in(other, path) else []),
    }


def test_every_pair(paths):
    for path, other in itertools.product(paths, repeat=2):
        found = [meeting for _, meeting, _ in collisions([Claim(other, "read")], [Claim(path, "written")])]
        assert set(found) == expected(path, other) and len(found) == len(set(found)), (path, other)
        kept = [meeting for _, meeting, _ in within([Claim(path, "kept")], [Claim(other, "read")])]
        wanted = expected(path, other) - {Meeting.CONTAINS}
        assert kept == ([Meeting.IS] if Meeting.IS in wanted else list(wanted))


def test_two_outputs_meet_once(paths):
    for path, other in itertools.combinations(paths, 2):
        first, second = Claim(path, "a"), Claim(other, "b")
        found = {(claim.by, meeting) for claim, meeting, _ in collisions([], [first, second])}
        between = expected(other, path)
        assert (("b", Meeting.IS) in found) == (Meeting.IS in between)
        assert (("b", Meeting.IS_INSIDE) in found) == (Meeting.IS_INSIDE in between)
        assert (("a", Meeting.IS_INSIDE) in found) == (Meeting.CONTAINS in between)


def test_parts_of_one_thing_do_not_meet(tmp_path):
    folder, inside = Claim(tmp_path / "f", "the output", 0), Claim(tmp_path / "f/x", "the output", 0)
    assert not list(collisions([], [folder, inside]))
    assert len(list(collisions([], [folder, Claim(tmp_path / "f/x", "the output", 1)]))) == 1
    assert len(list(collisions([], [Claim(tmp_path / "f", "the output")] * 2))) == 1


def test_addresses_meet_addresses_alone():
    store, inside = as_path("s3://bucket/x.zarr"), as_path("s3://bucket/x.zarr/y.h5ad")
    assert [meeting for _, meeting, _ in collisions([Claim(store, "r")], [Claim(inside, "w")])] == [Meeting.IS_INSIDE]
    for other in ("gs://bucket/x.zarr", "s3://other/x.zarr", "bucket/x.zarr", "s3://bucket/x.zar"):
        assert not list(collisions([Claim(store, "r")], [Claim(as_path(other), "w")]))


def test_each_place_of_a_long_manifest_is_looked_at_once(tmp_path, monkeypatch):
    """Pairs of 2,000 rows would be four million."""
    seen = []

    def counted(path, look=claims._place_of):
        seen.append(path)
        return look(path)

    monkeypatch.setattr(claims, "_place_of", counted)
    read = [Claim(tmp_path / f"{number}.h5ad", f"row {number}") for number in range(2000)]
    written = [Claim(tmp_path / f"out/{number}.h5ad", f"row {number}") for number in range(2000)]
    assert not list(collisions(read, written))
    assert len(seen) == len(set(seen)) == 4000 + len((tmp_path / "out").parents) + 1
