"""What the documentation says can be done: its commands, its links, the messages and keys that it quotes."""

import ast
import re
import shlex
import shutil
import sys
from collections import Counter

import anndata as ad
import pytest
import yaml

from sccr_node import __version__
from sccr_node.contract.keys import possible_keys
from sccr_node.contract.methods import METHODS
from tests.support import REPOSITORY

DOCS = REPOSITORY / "docs"
PAGES = ("README.md", "docs/evaluation.md", "docs/report.md", "docs/quickstart.md", "docs/howto/genes.md")
SECOND_IS_WRITTEN = ("impute", "gather", "evaluate mask", "evaluate split-molecules")
WRITING_FLAGS = {"-o", "--report", "--pairs", "--json", "--table"}

LINKING = sorted(
    path.relative_to(REPOSITORY).as_posix()
    for path in (*REPOSITORY.glob("*.md"), *DOCS.rglob("*.md"))
    if not {"_build", "generated"} & set(path.relative_to(REPOSITORY).parts)
)


def text_of(page):
    return (REPOSITORY / page).read_text(encoding="utf-8")


def commands(page):
    """Return the lines of the code blocks of a page, those that go on joined."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text_of(page), flags=re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]


def outputs(page):
    """Return the files that the commands in the code blocks of a page write, in their order."""
    written = []
    for line in commands(page):
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


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A folder with what the commands of the pages find in a checkout, and the names that they give to users' files."""
    (tmp_path / "docs" / "data").mkdir(parents=True)
    shutil.copy(DOCS / "data" / "mouse_lung.h5ad", tmp_path / "docs" / "data")
    lungs = ad.read_h5ad(DOCS / "data" / "mouse_lung.h5ad")
    for name, cells in {"cells": lungs[:200], "first": lungs[:150], "second": lungs[1100:1250]}.items():
        cells.write_h5ad(tmp_path / f"{name}.h5ad")
    (tmp_path / "genes.txt").write_text("\n".join(lungs.var_names[:400]) + "\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def sccr_commands(page):
    return [line.removeprefix("$ ") for line in commands(page) if line.startswith("$ sccr ")]


def said_in(page):
    """Return the lines of the log that the code blocks of a page quote, without their times, which differ."""
    return [line.removeprefix("[…] ") for line in commands(page) if line.startswith("[…] ")]


@pytest.mark.parametrize("page", ["README.md", "docs/quickstart.md", "docs/howto/genes.md", "docs/howto/planning.md"])
def test_the_commands_of_a_page_run_one_after_the_other(page, checkout, sccr):
    lines = sccr_commands(page)
    assert lines, "no command was recognised"
    said = ""
    for line in lines:
        code, _, errors = sccr(*shlex.split(line)[1:])
        assert code == 0, f"{line}: {errors}"
        said += errors
    for name in outputs(page):
        assert (checkout / name).exists() != (page == "docs/howto/planning.md"), name
    if page == "README.md":
        # The background page has the same command, and quotes more of what it says.
        assert lines[0] == sccr_commands("docs/evaluation.md")[0]
        quoted = said_in("docs/evaluation.md")
        assert set(said_in(page)) < set(quoted) and [line for line in quoted if line not in said] == []


FIRST_PAGES = ("README.md", "docs/quickstart.md")
"""What a newcomer follows in a checkout, one after the other."""


@pytest.mark.parametrize("page", FIRST_PAGES)
def test_the_python_of_the_first_pages_runs_in_a_checkout(page, checkout):
    (block,) = re.findall(r"^```python\n(.*?)^```", text_of(page), flags=re.MULTILINE | re.DOTALL)
    found = {}
    exec(compile(block, page, "exec"), found)
    assert "X_sccr" in found["adata"].obsm


def test_the_first_pages_need_only_what_is_in_a_checkout():
    written = Counter()
    for page in FIRST_PAGES:
        for line in sccr_commands(page):
            read = [word for word in shlex.split(line) if "." in word and word not in outputs(page)]
            assert all((REPOSITORY / word).exists() for word in read), line
        written.update(outputs(page))
    # Whoever has followed the first is not stopped in the second because a file exists.
    assert set(written.values()) == {1}


NOTEBOOKS = [page for page in LINKING if page.startswith("docs/tutorials/") and "{code-cell}" in text_of(page)]


@pytest.mark.parametrize("page", NOTEBOOKS)
def test_a_tutorial_says_how_it_is_run_and_that_installs_what_it_imports(page):
    assert "(../install.md#the-tutorials-as-notebooks)" in text_of(page)
    (line,) = [line for line in commands("docs/install.md") if "jupyterlab" in line]
    added = {re.match(r"[\w-]+", word)[0] for word in shlex.split(line, comments=True)[2:]}
    assert {"jupyterlab", "jupytext"} <= added
    locked = set(re.findall(r"^([\w-]+)==", text_of("requirements.lock"), flags=re.MULTILINE))
    cells = re.findall(r"^```\{code-cell\} .*?\n(.*?)^```", text_of(page), flags=re.MULTILINE | re.DOTALL)
    code = "\n".join(line for cell in cells for line in cell.splitlines() if not line.startswith((":tags:", "!")))
    for node in ast.walk(ast.parse(code)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) else []
        for name in {name.partition(".")[0] for name in names} - sys.stdlib_module_names - {"sccr_node"}:
            assert {"sklearn": "scikit-learn"}.get(name, name) in locked | added, name


def headings(page):
    """Return the anchors of a page's headings, as GitHub and MyST make them."""
    prose = re.sub(r"^```.*?^```", "", text_of(page), flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ (.*)$", prose, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", LINKING)
def test_every_link_leads_to_a_file_and_a_heading(page):
    prose = re.sub(r"^```.*?^```|`[^`\n]+`(?!\]\()", "", text_of(page), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)|^\[[^\]]+\]: (\S+)", prose, flags=re.MULTILINE):
        path, _, anchor = "".join(target).partition("#")
        if re.match(r"[a-z]+:", path):
            continue
        there = (REPOSITORY / page).parent / path if path else REPOSITORY / page
        assert there.exists(), f"{page}: {path}"
        if anchor and there.suffix == ".md":
            assert anchor in headings(there.resolve().relative_to(REPOSITORY)), f"{page}: {path}#{anchor}"


def test_every_page_is_in_the_contents():
    contents = re.findall(
        r"^```\{toctree\}\n(?::[^\n]*\n)*\n(.*?)^```", text_of("docs/index.md"), re.MULTILINE | re.DOTALL
    )
    named = [line for block in contents for line in block.split()]
    pages = {page.removeprefix("docs/").removesuffix(".md") for page in LINKING if page.startswith("docs/")}
    assert sorted(named) == sorted(pages - {"index"})


def spoken():
    """Return every string in the code, with an ellipsis for what is filled in."""

    def text(node):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return node.value
        if isinstance(node, ast.JoinedStr):
            return "".join(text(part) for part in node.values)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            return text(node.left) + text(node.right)
        return "…"

    for path in (REPOSITORY / "sccr_node").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant | ast.JoinedStr | ast.BinOp):
                yield text(node)


def test_every_message_of_the_troubleshooting_page_is_one_of_the_code():
    quoted = re.findall(r"^### `(.*)`$", text_of("docs/howto/troubleshooting.md"), flags=re.MULTILINE)
    assert len(quoted) > 20
    messages = set(spoken())
    missing = [each for each in quoted if not any(each in message for message in messages)]
    assert missing == []


def test_the_page_of_the_keys_has_all_of_them():
    page = text_of("docs/reference/keys.md")
    for slot, key in possible_keys("sccr"):
        assert f"`{slot}['{key}']`" in page


def test_every_method_has_its_reference():
    page = " ".join(text_of("docs/references.md").split())
    assert [name for name, method in METHODS.items() if method.reference not in page] == []


def test_the_citation_is_that_of_this_version_and_of_the_references():
    citation = yaml.safe_load(text_of("CITATION.cff"))
    assert citation["version"] == __version__
    paper, page = citation["preferred-citation"], text_of("docs/references.md")
    assert paper["title"] in " ".join(page.split())
    assert f"]({paper['url']})" in page and f"]({paper['repository-code']})" in page
    for person in citation["authors"] + paper["authors"]:
        assert "orcid" not in person or re.fullmatch(r"https://orcid\.org/(\d{4}-){3}\d{3}[\dX]", person["orcid"])
