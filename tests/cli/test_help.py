"""Help pages match the reviewed snapshots."""

import pytest

from tests.cli.snapshots import FOLDER, commands, help_page, snapshot


@pytest.mark.parametrize("words", commands(), ids=lambda words: " ".join(("sccr", *words)))
def test_the_page_is_its_snapshot(words):
    expected = snapshot(words).read_text(encoding="utf-8")
    assert help_page(words) == expected, "changed on purpose? python -m tests.cli.snapshots writes them anew"


def test_there_is_a_snapshot_for_every_command_and_no_other():
    assert {snapshot(words).name for words in commands()} == {path.name for path in FOLDER.glob("*.txt")}
