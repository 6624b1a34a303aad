"""What the documentation says can be done: its commands, its links, the messages and keys that it quotes."""

import ast
import inspect
import os
import re
import shlex
import shutil
import subprocess
import sys
import types
from collections import Counter
from pathlib import Path

import anndata as ad
import numpy as np
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
        code, _, errors = sccr(*shlex.split(line, comments=True)[1:])
        assert code == 0, f"{line}: {errors}"
        said += errors
    for name in outputs(page):
        assert (checkout / name).exists() != (page == "docs/howto/planning.md"), name
    if page == "README.md":
        # The background page has the same command, and quotes more of what it says.
        assert lines[0] == sccr_commands("docs/evaluation.md")[0]
        quoted = said_in("docs/evaluation.md")
        assert set(said_in(page)) < set(quoted) and [line for line in quoted if line not in said] == []


ELSEWHERE = {
    "docs/tutorials/r.md": "test_r.py, with R",
    "docs/cloud/README.md": "test_job_definitions.py: the command of all definitions",
    "docs/cloud/addresses.md": "test_places.py, with servers",
}
"""Pages whose commands need more than Python: who runs them."""

EDITS = {
    "/mnt/shared/": "",  # a disk that all machines share
    # As many runs as are quick: clustering takes ten seconds per method.
    "--methods none,sccr,scfp,scbfp --rates 0.2,0.4,0.8 --seeds 0,1,2": "--methods none --rates 0.4 --seeds 0",
    "--rates 0.2,0.4,0.8 --seeds 0,1,2": "--rates 0.4 --seeds 0 --analyses recovery",
    "--analyses recovery,clustering,neighbors --rates 0.4": "--analyses recovery,neighbors --rates 0.4 --methods none",
    "#!/bin/bash\n": "export SLURM_ARRAY_TASK_ID=0 SLURM_CPUS_PER_TASK=1\n",
    "exec srun ": "exec ",
}
"""What is changed in the commands of a page before they are run."""


def shell_commands(page):
    """Return what the code blocks of a page give to a shell: bash as it is, of a console what follows the prompt."""
    lines = []
    for kind, block in re.findall(r"^```(bash|console)\n(.*?)^```", text_of(page), flags=re.MULTILINE | re.DOTALL):
        if kind == "bash":
            lines.append(f"({block})" if "#!" in block else block)  # a script may end with exec
            continue
        command = ""
        for line in block.splitlines():
            if command or line.startswith("$ "):
                command += line.removeprefix("$ ") + "\n"
            if command and not command.endswith("\\\n") and _closed(command):
                lines.append(command)
                command = ""
        assert not command, f"{page}: {command}"
    for written, run in EDITS.items():
        lines = [line.replace(written, run) for line in lines]
    return lines


def _closed(command):
    try:
        shlex.split(command, comments=True)
    except ValueError:  # an open quote
        return False
    return True


SHELL_PAGES = (
    "docs/batch.md",
    "docs/howto/samples.md",
    "docs/reliability.md",
    "docs/report.md",
    "docs/results.md",
)


class MAGIC:
    """Stands in for the class of the package magic on the page: the tests do without that package."""

    def __init__(self, random_state=None):
        pass

    def fit_transform(self, values):
        return 0.8 * values + 0.2 * values.mean(axis=0)


@pytest.fixture
def users_folder(checkout, sccr):
    """A folder that also has the files that pages of their own begin with."""
    lungs = ad.read_h5ad("docs/data/mouse_lung.h5ad")
    cells = ad.read_h5ad("cells.h5ad")
    cells.obs["donor"] = ["d1", "d2"] * (cells.n_obs // 2)
    (checkout / "raw").mkdir()
    for name in ("data", "DATA", "raw/lung", "raw/liver"):
        cells.write_h5ad(f"{name}.h5ad")
    lungs[[*range(120), *range(1000, 1100)]].write_h5ad("all.h5ad")
    (checkout / "magic.py").write_text(inspect.getsource(MAGIC))
    (checkout / "samples.csv").write_text(
        "input,output,batch_key,n_top_genes\n"
        "raw/lung.h5ad,imputed/lung.h5ad,donor,\nraw/liver.h5ad,imputed/liver.zarr,,3000\n"
    )
    return checkout


@pytest.mark.parametrize("page", SHELL_PAGES)
def test_the_commands_of_a_page_run_in_a_shell(page, users_folder, sccr):
    if page == "docs/batch.md":
        quoted = re.search(r"^\$ cat samples.csv\n((?:[^$].*\n)+)", text_of(page), flags=re.MULTILINE)[1]
        assert quoted == (users_folder / "samples.csv").read_text()
        (users_folder / "imputed").mkdir()
    if page == "docs/results.md":
        assert sccr("impute", "cells.h5ad", "imputed.h5ad")[0] == 0
    script = "\n".join(shell_commands(page))
    assert script.count("sccr ") >= text_of(page).count("\n$ sccr ")
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
    written = [name for name in outputs(page) if "$" not in name]  # a name that a loop makes
    assert [name for name in written if not (users_folder / name).exists()] == []


def test_the_commands_of_the_evaluation_run(users_folder, sccr, monkeypatch):
    """In one process: what clusters and neighbours need is compiled once, not by every command."""
    cells = ad.read_h5ad("data.h5ad")
    values = cells.X.toarray()
    cells.X = MAGIC().fit_transform(np.log1p(values / values.sum(1, keepdims=True) * 1500))
    cells.write_h5ad("magic.h5ad")  # a candidate for all data; the one for masked entries is made on the page
    monkeypatch.syspath_prepend(users_folder)
    for line in shell_commands("docs/evaluation.md"):
        words = shlex.split(line.replace("\\\n", " "), comments=True)
        if words[:2] == ["python", "-c"]:
            exec(compile(words[2], line, "exec"), {})
        elif words:
            assert words[0] == "sccr"
            code, _, errors = sccr(*words[1:])
            assert code == 0, f"{line}: {errors}"
    assert [name for name in outputs("docs/evaluation.md") if not (users_folder / name).exists()] == []


@pytest.mark.parametrize("page", ["docs/howto/samples.md"])
def test_the_python_of_a_page_runs(page, users_folder, monkeypatch):
    (block,) = re.findall(r"^```python\n(.*?)^```", text_of(page), flags=re.MULTILINE | re.DOTALL)
    (users_folder / "all.h5ad").rename(users_folder / "after_quality_control.h5ad")
    # The tutorial of the same page runs the real one.
    harmony = types.ModuleType("harmonypy")
    harmony.run_harmony = lambda embedding, obs, key: types.SimpleNamespace(Z_corr=embedding - embedding.mean(axis=0))
    monkeypatch.setitem(sys.modules, "harmonypy", harmony)
    found = {}
    exec(compile(block, page, "exec"), found)
    assert {"X_sccr", "X_integrated", "X_umap"} <= set(found["adata"].obsm) and "leiden" in found["adata"].obs


def test_every_page_with_commands_is_run():
    found = {page for page in LINKING if re.search(r"^(\$ )?\s*sccr [a-z-]+ ", "\n".join(commands(page)), re.MULTILINE)}
    run = {"README.md", "docs/quickstart.md", "docs/howto/genes.md", "docs/howto/planning.md"}
    run |= {"docs/evaluation.md", *SHELL_PAGES, *ELSEWHERE}
    assert found - {"docs/reference/cli.md"} == run


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
            read = [word for word in shlex.split(line, comments=True) if "." in word and word not in outputs(page)]
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
