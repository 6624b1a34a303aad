"""The commands that a page shows can be run one after the other: none writes what another has written."""

import re
import shlex
from collections import Counter
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PAGES = ("README.md", "docs/evaluation.md", "docs/report.md")
SECOND_IS_WRITTEN = ("impute", "gather", "evaluate mask", "evaluate split-molecules")
WRITING_FLAGS = {"-o", "--report", "--pairs", "--json", "--table"}


def outputs(page):
    """Return the files that the commands in the code blocks of a page write, in their order."""
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    written = []
    for line in lines:
        found = re.match(r"(?:\$ |\s*)sccr (evaluate [a-z-]+|[a-z]+) (.*)", line)
        if found is None:
            continue
        words = shlex.split(found[2], comments=True)
        if found[1] in SECOND_IS_WRITTEN:
            written.append(words[1])
        # sccr report reads what the others write.
        flags = WRITING_FLAGS | ({"--provenance"} if found[1] == "impute" else set())
        written += [name for flag, name in zip(words, words[1:], strict=False) if flag in flags]
    return written


@pytest.mark.parametrize("page", PAGES)
def test_no_file_is_written_twice(page):
    found = Counter(outputs(page))
    assert found, "no command was recognised"
    assert [name for name, times in found.items() if times > 1] == []
