"""The numbers of the report as a table: those that MultiQC is given, each with its meaning."""

from __future__ import annotations

from sccr_node.reports.content import Content
from sccr_node.reports.multiqc import multiqc_content

COLUMNS = ("number", "value", "meaning")

PARTS = ("sccr_imputation", "sccr_general")
"""The parts of the MultiQC content that are single numbers, not plots."""


def numbers_of(content: Content) -> list[dict[str, str | float]]:
    """Return one row per number; a number that is in both parts appears once."""
    rows: dict[str, dict[str, str | float]] = {}
    parts = multiqc_content(content)
    for part in (parts[name] for name in PARTS):
        for name, value in part["data"][content.sample].items():
            header = part["headers"][name]
            unit = header.get("suffix", "").strip()
            title = f"{header['title']} ({unit})" if unit else header["title"]
            rows.setdefault(title, {"number": title, "value": value, "meaning": header.get("description", "")})
    return list(rows.values())
