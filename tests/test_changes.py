"""Every file in changes/ has a name that says its kind, and together they render as the next release's notes."""

import re
import subprocess
import sys
import tomllib

import pytest

from sccr_node import __version__
from tests.support import REPOSITORY

SETTINGS = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["towncrier"]
KINDS = {kind["directory"]: kind["name"] for kind in SETTINGS["type"]}
FRAGMENTS = sorted(path for path in (REPOSITORY / "changes").iterdir() if path.name != "README.md")


def test_the_kinds_are_those_of_keep_a_changelog():
    assert list(KINDS.values()) == ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]
    explained = (REPOSITORY / "changes" / "README.md").read_text(encoding="utf-8")
    assert all(f"`{kind}`" in explained for kind in KINDS)


@pytest.mark.parametrize("path", FRAGMENTS, ids=lambda path: path.name)
def test_a_fragment_is_named_by_issue_or_words_and_by_kind(path):
    assert re.fullmatch(rf"(\d+|\+[a-z0-9]+(-[a-z0-9]+)*)\.({'|'.join(KINDS)})\.md", path.name)
    assert path.read_text(encoding="utf-8").strip()


def test_the_draft_has_every_fragment_under_its_heading():
    pytest.importorskip("towncrier", reason="towncrier is in the extra dev, which make setup installs")
    command = [sys.executable, "-m", "towncrier", "build", "--draft"]
    draft = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    assert f"## [{__version__}] - " in draft
    sections = dict(part.split("\n", 1) for part in draft.split("\n### ")[1:])
    for path in FRAGMENTS:
        first_line = path.read_text(encoding="utf-8").strip().splitlines()[0]
        assert first_line in sections[KINDS[path.name.split(".")[-2]]]


def test_the_changelog_has_the_place_where_a_release_is_written():
    assert (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8").count(SETTINGS["start_string"]) == 1
