"""What stands in the place of a report that could not be composed: a page and a MultiQC section that say why."""

from __future__ import annotations

from html import escape
from pathlib import Path

from sccr_node.reports.content import readable
from sccr_node.reports.multiqc import SECTION, as_files
from sccr_node.reports.reading import sample_name


def excuse_page(name: str, problem: str) -> str:
    """Return an HTML page that says what failed.

    Parameters
    ----------
    name
        The file name of the result.
    problem
        What failed.
    """
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><title>No report</title></head>\n'
        '<body style="font-family: sans-serif; max-width: 40em; margin: 2em auto; padding: 0 1em">\n'
        f"<h1>No report on {escape(readable(name))}</h1>\n<p>{escape(readable(problem))}.</p>\n"
        "<p>The imputation itself succeeded. <code>sccr report</code> composes the page from its result.</p>\n"
        "</body>\n</html>\n"
    )


def excuse_section(output: Path, problem: str) -> dict[str, str]:
    """Return the name and the text of a MultiQC file that says what failed.

    Parameters
    ----------
    output
        The result; its name without extension is the sample's.
    problem
        What failed.
    """
    sample = sample_name(output)
    section = {
        **SECTION,
        "id": "sccr_imputation",
        "section_name": "Imputation",
        "description": "What was imputed, and how the values changed.",
        "plot_type": "html",
        "data": f"<p>{escape(readable(sample))}: {escape(readable(problem))}.</p>",
    }
    return as_files(sample, {section["id"]: section})
