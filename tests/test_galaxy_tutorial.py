"""Galaxy's tutorial: valid by the rules of the Galaxy Training Network, true to the forms, and true in its numbers."""

import re
from xml.etree import ElementTree

import pytest
import yaml

import sccr_node
from sccr_node.__main__ import main
from sccr_node.contract.tune import TUNED
from tests.support import REPOSITORY

GALAXY = REPOSITORY / "galaxy"
TEXT = (GALAXY / "tutorial" / "tutorial.md").read_text(encoding="utf-8")
BIBLIOGRAPHY = (GALAXY / "tutorial" / "tutorial.bib").read_text(encoding="utf-8")
_, FRONT, BODY = TEXT.split("---\n", 2)
SIMULATED = GALAXY / "test-data" / "simulated.h5ad"

SUBTOPICS = {
    "scintroduction", "firstsc", "single-cell-CS", "single-cell-CS-code", "end-to-end", "deconvo", "scmultiomics",
    "tricks", "datamanipulation", "exploratory",
}  # fmt: skip
"""Those of the topic single-cell, by its metadata.yaml."""

SNIPPETS = {
    "faqs/galaxy/datasets_change_datatype.md",
    "faqs/galaxy/datasets_import_from_data_library.md",
    "faqs/galaxy/datasets_import_via_link.md",
    "faqs/galaxy/datasets_rename.md",
    "faqs/galaxy/histories_create_new.md",
}
"""Snippets of the network that were looked up there."""

BOXES = {"agenda": "agenda", "hands-on": "hands_on", "question": "question", "solution": "solution", "tip": "tip"}
BOXES |= {"comment": "comment", "warning": "warning"}


def test_front_matter_has_what_the_network_requires():
    front = yaml.safe_load(FRONT)
    assert front["layout"] == "tutorial_hands_on"
    assert front["level"] in ("Introductory", "Intermediate", "Advanced")
    assert front["subtopic"] in SUBTOPICS
    assert re.fullmatch(r"(\d+[Hh])?(\d+[Mm])?", front["time_estimation"])
    for name in ("questions", "objectives", "key_points", "tags"):
        assert front[name] and all(isinstance(line, str) and not line.startswith("TODO") for line in front[name])
    assert front["contributions"]["authorship"]
    assert all(entry["type"] == "internal" and entry["tutorials"] for entry in front["requirements"])
    assert front["zenodo_link"] == ""  # until the release deposits the data


def test_boxes_are_opened_and_closed():
    opened = []
    for line in BODY.splitlines():
        if title := re.search(r"<([a-z-]+)-title>", line):
            opened.append(BOXES[title[1]])
            # The kind of the box is said by the network's own style.
            assert not re.search(r"<([a-z-]+)-title>\1\b", line, flags=re.IGNORECASE)
        elif closing := re.search(r"\{: \.(\w+)\}", line):
            assert closing[1] == opened.pop(), line
    assert opened == []
    assert {"agenda", "hands_on", "question", "comment", "warning"} <= set(re.findall(r"\{: \.(\w+)\}", BODY))


def test_headings_links_and_calls_are_as_the_linter_wants_them():
    depth = 1
    for line in BODY.splitlines():
        if heading := re.match(r"#+", line):
            assert len(heading[0]) <= depth + 1 and "**" not in line
            depth = len(heading[0])
        assert not re.fullmatch(r"\*\*.*\*\*", line)
    assert not re.search(r"\[\s*(here|link)\s*\]|doi\.org|target=|no_toc", BODY)
    assert set(re.findall(r"{%\s*(\w+)", BODY)) <= {"cite", "snippet", "tool", "icon"}
    assert set(re.findall(r"{% snippet (\S+)", BODY)) <= SNIPPETS


def test_what_is_cited_is_in_the_bibliography():
    entries = dict(re.findall(r"@\w+{(\w+),\n(.*?)\n}", BIBLIOGRAPHY, flags=re.DOTALL))
    assert set(re.findall(r"{% cite (\w+) %}", BODY)) == set(entries)
    for entry in entries.values():
        assert "title = {" in entry and ("doi = {" in entry or "url = {" in entry)


def tools():
    """Return the names and the addresses of the tools, each with the part of the text that follows."""
    parts = re.split(r"{% tool \[(.*?)\]\((.*?)\) %}", BODY)
    return list(zip(parts[1::3], parts[2::3], parts[3::3], strict=True))


def test_tools_have_their_addresses_in_the_tool_shed():
    for name, address, _ in tools():
        shed, repos, owner, repository, tool, version = address.split("/")
        assert (shed, repos, owner, repository) == ("toolshed.g2.bx.psu.edu", "repos", "iuc", tool)
        if tool.startswith("sccr_"):
            root = ElementTree.parse(GALAXY / f"{tool}.xml").getroot()
            assert root.get("name") == name
            assert version == f"{sccr_node.__version__}+galaxy0"


def test_fields_and_choices_are_those_of_the_forms():
    shared = [ElementTree.parse(GALAXY / name).getroot() for name in ("macros.xml", "parameter_macros.xml")]
    seen = 0
    for _, address, text in tools():
        tool = address.split("/")[4]
        if not tool.startswith("sccr_"):
            continue
        elements = [
            found for root in (*shared, ElementTree.parse(GALAXY / f"{tool}.xml").getroot()) for found in root.iter()
        ]
        labels = {element.get("label") for element in elements}
        options = {element.text for element in elements if element.tag == "option"}
        fields = re.findall(r'^>    - .*?\*"(.*?)"\*: (?:`(.*?)`)?', text.split("{: .hands_on}")[0], flags=re.MULTILINE)
        for label, value in fields:
            seen += 1
            assert label in labels
            assert value in options | {"simulated.h5ad", "cell_type", "Yes", ""}
        for output in re.findall(r"output \*\*(.*?)\*\*", text.split("{: .hands_on}")[0]):
            assert any((label or "").endswith(output) or f": {output} (" in (label or "") for label in labels), output
    assert seen > 6


@pytest.fixture(scope="module")
def numbers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tutorial")
    result, record, table, tried = (folder / name for name in ("o.h5ad", "r.json", "n.tsv", "t.tsv"))
    assert main(["impute", str(SIMULATED), str(result), "--tune", "--provenance", str(record), "--quiet"]) == 0
    assert main(["report", str(result), "--provenance", str(record), "--numbers", str(table), "--quiet"]) == 0
    config = folder / "tuned.yaml"
    assert main(["tune", str(SIMULATED), "-o", str(config), "--table", str(tried), "--quiet"]) == 0
    rows = dict(line.split("\t")[:2] for line in table.read_text().splitlines())
    return rows, config.read_text()


def test_the_answers_are_those_that_the_tools_give(numbers):
    rows, config = numbers
    explained, unimputed, published = re.search(
        r"explains (\d+%) \(no imputation: (\d+%); published strength: (\d+%)", config
    ).groups()
    assert (
        f"{explained} with the parameters that were found, {unimputed} without imputation, but only {published}" in BODY
    )
    assert "no harm seen" in config and "answer is *no harm seen*" in BODY
    before, after = (round(float(rows[name])) for name in ("Zeros before (%)", "Zeros after (%)"))
    assert f"{before}% before, {after}% after" in BODY
    # What the tool finds with "Tune first" is what scCR tune found.
    assert all(f"{name}: " in config for name in TUNED)
    assert round(float(rows["Explained (%)"])) == int(explained.rstrip("%"))
