"""MultiQC custom content with the numbers of the report: general statistics, a table and plots, as *_mqc.json."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sccr_node.reports.content import BINS_PER_UNIT, Content
from sccr_node.reports.figures import value_range
from sccr_node.storage.targets import SharedFolder

SECTION = {
    "parent_id": "sccr",
    "parent_name": "sccr",
    "parent_description": (
        "imputes single-cell RNA-seq expression with scCR or a related method. Use imputed values for plots, and for "
        "clustering where sccr tune finds no harm; not for tests of differential expression or co-expression. The "
        "counts are unchanged."
    ),
}

CONTENT_IDS = ("sccr_general", "sccr_imputation", "sccr_relations", "sccr_values", "sccr_stages")


def multiqc_file_name(sample: str, content_id: str) -> str:
    """Return the file name of one part; MultiQC recognises custom content by the suffix."""
    return re.sub(r"[^\w.+-]", "_", f"{sample}.{content_id}") + "_mqc.json"


def multiqc_target(sample: str, folder: Path) -> SharedFolder:
    """Return the target of a sample's content: its own files in a folder that samples can share."""
    return SharedFolder(folder, [multiqc_file_name(sample, content_id) for content_id in CONTENT_IDS])


def multiqc_files(content: Content) -> dict[str, str]:
    """Return the ``*_mqc.json`` files of a result: text by file name."""
    return as_files(content.sample, multiqc_content(content))


def as_files(sample: str, parts: Mapping[str, Any]) -> dict[str, str]:
    """Return a sample's parts, given by id, as files: text by file name."""
    return {
        multiqc_file_name(sample, content_id): json.dumps(part, indent=1, ensure_ascii=False) + "\n"
        for content_id, part in parts.items()
    }


def multiqc_content(content: Content) -> dict[str, dict[str, Any]]:
    """Return the parts by id, without those that the result has no data for."""
    parts = {"sccr_general": _general(content), "sccr_imputation": _table(content)}
    if content.relations is not None:
        parts["sccr_relations"] = _relations(content)
    if content.values is not None:
        parts["sccr_values"] = _values(content)
    if content.resources is not None:
        parts["sccr_stages"] = _stages(content)
    return parts


def _rounded_percent(share: float) -> float:
    return round(100 * share, 3)


def _general(content: Content) -> dict[str, Any]:
    numbers: dict[str, float] = {"sccr_cells": content.n_cells, "sccr_genes": content.n_imputed_genes}
    if content.zeros_before is not None:
        numbers["sccr_zeros_before"] = _rounded_percent(content.zeros_before)
    if content.zeros_after is not None:
        numbers["sccr_zeros_after"] = _rounded_percent(content.zeros_after)
    if content.helps is not None:
        numbers["sccr_explained"] = _rounded_percent(content.helps.chosen[1])
    if content.resources is not None:
        numbers["sccr_seconds"] = round(content.resources.total_seconds, 2)
        numbers["sccr_memory"] = round(content.resources.peak_memory / 1e9, 3)
    headers: dict[str, dict[str, Any]] = {
        "sccr_cells": {"title": "Cells", "description": "Number of cells", "format": "{:,.0f}", "scale": "Greys"},
        "sccr_genes": {
            "title": "Genes imputed",
            "description": "Number of imputed genes",
            "format": "{:,.0f}",
            "scale": "Greys",
            "hidden": True,
        },
        "sccr_zeros_before": {
            "title": "Zeros before",
            "description": "Percentage of zeros in the imputed genes before imputation",
            "suffix": "%",
            "min": 0,
            "max": 100,
            "scale": "Oranges",
        },
        "sccr_zeros_after": {
            "title": "Zeros after",
            "description": "Percentage of zeros in the imputed genes after imputation",
            "suffix": "%",
            "min": 0,
            "max": 100,
            "scale": "Blues",
        },
        "sccr_explained": {
            "title": "Explained",
            "description": "Share of the predictable variation that imputation explains (sccr tune)",
            "suffix": "%",
            "max": 100,
            "scale": "Greens",
        },
        "sccr_seconds": {
            "title": "Time",
            "description": "Wall-clock time of the run in seconds",
            "suffix": " s",
            "scale": "Purples",
            "hidden": True,
        },
        "sccr_memory": {
            "title": "Memory",
            "description": "Peak memory (resident set size) of the run",
            "suffix": " GB",
            "scale": "Purples",
            "hidden": True,
        },
    }
    return {
        "id": "sccr_general",
        "plot_type": "generalstats",
        "headers": {name: {"namespace": "sccr", **headers[name]} for name in numbers},
        "data": {content.sample: numbers},
    }


def _table(content: Content) -> dict[str, Any]:
    row: dict[str, str | float] = {
        "method": content.method,
        "version": content.version,
        "scale": content.scale,
        "cells": content.n_cells,
        "genes": content.n_genes,
        "genes_imputed": content.n_imputed_genes,
    }
    if content.values is not None:
        row["mean_observed_before"] = round(content.values.mean_observed_before, 4)
        row["mean_observed_after"] = round(content.values.mean_observed_after, 4)
        row["mean_imputed"] = round(content.values.mean_unobserved_after, 4)
    if content.helps is not None:
        row["values"], row["neighbours"] = (answer.answer for answer in content.helps.answers)
    if content.relations is not None:
        row["relations"] = content.relations.n_associating + content.relations.n_dissociating
    headers: dict[str, dict[str, Any]] = {
        "method": {"title": "Method"},
        "version": {"title": "Version", "description": "Version of sccr-node"},
        "scale": {"title": "Input", "description": "Scale of the input: counts or log1p"},
        "cells": {"title": "Cells", "format": "{:,.0f}"},
        "genes": {"title": "Genes", "format": "{:,.0f}", "hidden": True},
        "genes_imputed": {"title": "Genes imputed", "format": "{:,.0f}"},
        "mean_observed_before": {
            "title": "Observed, before",
            "description": "Mean log expression of the observed (non-zero) entries before imputation",
            "format": "{:,.2f}",
        },
        "mean_observed_after": {
            "title": "Observed, after",
            "description": "Mean log expression of the same entries after imputation",
            "format": "{:,.2f}",
        },
        "mean_imputed": {
            "title": "Imputed",
            "description": "Mean log expression, after imputation, of the entries that were zero before",
            "format": "{:,.2f}",
        },
        "values": {"title": "Values", "description": "Whether imputed values are closer to the truth (sccr tune)"},
        "neighbours": {"title": "Neighbours", "description": "Whether cells keep their neighbours (sccr tune)"},
        "relations": {"title": "Gene relations", "description": "Pairs in the gene graph", "format": "{:,.0f}"},
    }
    return {
        **SECTION,
        "id": "sccr_imputation",
        "section_name": "Imputation",
        "description": "Input, imputed genes, and mean expression before and after imputation.",
        "plot_type": "table",
        "pconfig": {"id": "sccr_imputation_table", "title": "sccr: imputation", "namespace": "sccr"},
        "headers": {name: headers[name] for name in row},
        "data": {content.sample: row},
    }


def _relations(content: Content) -> dict[str, Any]:
    assert content.relations is not None
    return {
        **SECTION,
        "id": "sccr_relations",
        "section_name": "Gene relations",
        "description": (
            "Pairs of genes in the gene graph: associating genes are positively correlated, dissociating genes "
            "negatively."
        ),
        "plot_type": "bargraph",
        "pconfig": {"id": "sccr_relations_plot", "title": "sccr: gene relations", "ylab": "Pairs of genes"},
        "categories": {
            "associating": {"name": "Associating", "color": "#1f6fb2"},
            "dissociating": {"name": "Dissociating", "color": "#bf4d08"},
        },
        "data": {
            content.sample: {
                "associating": content.relations.n_associating,
                "dissociating": content.relations.n_dissociating,
            }
        },
    }


def _values(content: Content) -> dict[str, Any]:
    assert content.values is not None
    values = content.values
    bins_in_one, n_bins = value_range(values)
    counts = values.unobserved_after.copy()
    counts[0] -= values.n_unobserved_zero
    coarse = counts[: bins_in_one * n_bins].reshape(n_bins, bins_in_one).sum(axis=1)
    width = bins_in_one / BINS_PER_UNIT
    shares = 100 * coarse / max(1, values.n_unobserved)
    return {
        **SECTION,
        "id": "sccr_values",
        "section_name": "Imputed values",
        "description": (
            "Log expression, after imputation, of the entries that were zero before, excluding entries that stay zero."
        ),
        "plot_type": "linegraph",
        "pconfig": {
            "id": "sccr_values_plot",
            "title": "sccr: imputed values",
            "xlab": "Log expression",
            "ylab": "Entries (%)",
            "ymin": 0,
        },
        "data": {
            content.sample: {
                str(round((position + 0.5) * width, 3)): round(float(share), 4) for position, share in enumerate(shares)
            }
        },
    }


def _stages(content: Content) -> dict[str, Any]:
    assert content.resources is not None
    return {
        **SECTION,
        "id": "sccr_stages",
        "section_name": "Time",
        "description": "Wall-clock time of each stage in seconds.",
        "plot_type": "bargraph",
        "pconfig": {
            "id": "sccr_stages_plot",
            "title": "sccr: time per stage",
            "ylab": "Seconds",
            "cpswitch": False,
        },
        "data": {content.sample: {stage.name: round(stage.seconds, 3) for stage in content.resources.stages}},
    }
