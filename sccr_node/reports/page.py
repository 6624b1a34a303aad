"""Render the content of a report as one self-contained HTML page."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from html import escape
from importlib.resources import files
from typing import Any

import jinja2
from markupsafe import Markup

from sccr_node import __version__
from sccr_node.evaluation.analyses import known_metrics
from sccr_node.reports import figures
from sccr_node.reports.content import (
    Content,
    Embedding,
    Fact,
    Grouping,
    Pair,
    Relations,
    Resources,
    Values,
    median_of_bins,
)
from sccr_node.reports.helps import parts_of
from sccr_node.runtime.resources import readable_bytes
from sccr_node.runtime.words import quantity

LOST_NEIGHBORS = 0.05
"""A small group whose share of own neighbours falls by more than this is marked: less may be chance."""


@dataclass(frozen=True, repr=False)
class Page:
    """A page in a notebook, where it is shown in a frame of its own: its styles are not those of the notebook.

    Attributes
    ----------
    html
        The page, which loads nothing and runs no scripts.
    """

    html: str

    def __repr__(self) -> str:
        """Say what it is: the page itself would fill the screen."""
        return f"<report of {len(self.html):,} characters of HTML: .html>"

    def _repr_html_(self) -> str:
        return f'<iframe srcdoc="{escape(self.html)}" style="width: 100%; height: 40em; border: 0"></iframe>'


@cache
def template(name: str) -> jinja2.Template:
    """Return a template of this folder."""
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda asked: files(__package__).joinpath(asked).read_text(encoding="utf-8")),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        auto_reload=False,
    )
    return environment.get_template(name)


def style() -> Markup:
    """Return the style sheet."""
    return Markup(files(__package__).joinpath("style.css").read_text(encoding="utf-8"))


def render(content: Content) -> str:
    """Return the page; all names from the data are escaped, and the page loads nothing and runs no scripts."""
    sections = [
        ("helps", "Does it help?", content.helps is not None),
        ("cells", "Cells", bool(content.embedding)),
        ("groups", "Small groups", bool(content.small_groups)),
        ("values", "Values", content.values is not None),
        ("markers", "Markers", content.markers is not None),
        ("relations", "Gene relations", content.relations is not None),
        ("evaluation", "Evaluation", bool(content.scores)),
        ("resources", "Time and memory", content.resources is not None),
        ("run", "Run details", True),
    ]
    parts: dict[str, Any] = {
        "content": content,
        "generator": __version__,
        "style": style(),
        "sections": [("summary", "Summary")] + [(anchor, title) for anchor, title, present in sections if present],
        "lead": _lead(content),
        "summary": _summary(content),
        "where": f"layers['{content.key}']" if content.values else f"obsm['X_{content.key}']",
        "helps": None if content.helps is None else parts_of(content.helps),
        "small_groups": _small_group_parts(content),
        "maps": [],
        "markers": None,
        "relations": None,
        "resources": None,
        "metrics": _metrics(content),
    }
    if content.embedding is not None:
        parts["maps"] = [_map(content.embedding, grouping, content) for grouping in content.groupings]
        parts["cells_text"] = _cells_text(content, content.embedding)
    if content.values is not None:
        parts |= _value_parts(content, content.values)
    if content.markers is not None:
        parts["markers"] = _marker_parts(content)
    if content.relations is not None:
        parts["relations"] = _relation_parts(content.relations)
    if content.resources is not None:
        parts["resources"] = _resource_parts(content.resources)
    return template("page.html.jinja").render(parts)


def percent(share: float) -> str:
    """Return a share as a percentage; only exactly 0 and 1 are shown as 0.0 % and 100.0 %."""
    if 0 < share < 0.001:
        return "under 0.1 %"
    if 0.999 < share < 1:
        return "over 99.9 %"
    return f"{100 * share:.1f} %"


def _short_percent(share: float) -> str:
    return percent(share).replace("under ", "<\u202f").replace("over ", ">\u202f").replace(" %", "\u202f%")


def duration(seconds: float) -> str:
    """Return a duration in seconds, minutes or hours, for people."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{int(seconds // 60)} min {int(seconds % 60)} s"
    return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60)} min"


def _lead(content: Content) -> str:
    taken = (
        "The input contained counts, which were normalised to a common depth and log-transformed."
        if content.scale == "counts"
        else "The input was already log-normalised and was used as it was."
    )
    return (
        f"{content.method} (sccr-node {content.version}) imputed {content.n_imputed_genes:,} of "
        f"{quantity(content.n_genes, 'gene')} in {quantity(content.n_cells, 'cell')}. {taken}"
    )


def _summary(content: Content) -> list[Fact]:
    numbers = [
        Fact("Cells", f"{content.n_cells:,}"),
        Fact("Genes imputed", f"{content.n_imputed_genes:,}", f"of {content.n_genes:,}"),
    ]
    if content.zeros_before is not None and content.zeros_after is not None:
        zeros = f"{_short_percent(content.zeros_before)} → {_short_percent(content.zeros_after)}"
        numbers.append(Fact("Zeros", zeros, "of the entries of imputed genes"))
    elif content.zeros_before is not None:
        numbers.append(Fact("Zeros before", _short_percent(content.zeros_before), "of the entries of imputed genes"))
    if content.relations is not None:
        related = content.relations
        n_pairs = related.n_associating + related.n_dissociating
        numbers.append(Fact("Gene relations", f"{n_pairs:,}", f"{percent(1 - related.share_associating)} dissociating"))
    if content.resources is not None:
        took = content.resources
        numbers += [
            Fact("Time", duration(took.total_seconds), f"on {quantity(took.threads, 'thread')}"),
            Fact("Peak memory", readable_bytes(took.peak_memory), f"{readable_bytes(took.estimated_memory)} estimated"),
        ]
    return numbers


def _cells_text(content: Content, embedding: Embedding) -> str:
    technique = (
        "UMAP of the leading principal components: nearby cells are similar, but distances between groups mean little. "
        "The second map starts from the first, so a group moves only if its data changed."
        if embedding.technique == "UMAP"
        else "The first two principal components, computed separately for each map."
    )
    some = (
        f" Of the {content.n_cells:,} cells, {content.n_drawn:,} are shown, chosen at random with a fixed seed, and "
        "more of groups with few cells."
        if content.n_drawn < content.n_cells
        else ""
    )
    return (
        f"Each point is a cell. {technique}{some} Imputation always makes groups look tighter: that is smoothing, not "
        "evidence that a group is real."
    )


def _map(embedding: Embedding, grouping: Grouping, content: Content) -> dict[str, Any]:
    further = []
    if grouping.n_others:
        further.append(f"{quantity(grouping.n_others, 'smaller group')}")
    if grouping.n_missing:
        further.append(f"no value: {quantity(grouping.n_missing, 'cell')}")
    return {
        "heading": (
            f"{grouping.title} of the imputed data (no label column was given)"
            if grouping.found_here
            else f"Coloured by {grouping.title}"
        ),
        "before": Markup(figures.scatter(embedding.before, grouping, embedding, "before")),
        "after": Markup(figures.scatter(embedding.after, grouping, embedding, "after")),
        "after_note": "imputed expression" if content.what == "embedding" else f"{content.what} expression",
        "groups": _groups(grouping),
        "further": further,
    }


def _groups(grouping: Grouping) -> list[dict[str, Any]]:
    return [
        {
            "position": position,
            "mark": mark,
            "hue": position + 1,
            "name": "" if mark == name else name,
            "size": f"{size:,}",
        }
        for position, (mark, name, size) in enumerate(zip(grouping.marks, grouping.names, grouping.sizes, strict=True))
    ]


def _small_group_parts(content: Content) -> dict[str, Any] | None:
    if not content.small_groups:
        return None
    worse = [group.after < group.before - LOST_NEIGHBORS for group in content.small_groups]
    points = f"lost more than {100 * LOST_NEIGHBORS:g} percentage points"
    lost = f"None of them has {points}."
    if any(worse):
        has = quantity(sum(worse), "of them has", "of them have")
        lost = f"{has} {points} (marked ↓): for such cells, use the unimputed data."
    return {
        "title": content.groupings[0].title,
        "text": (
            "Smoothing makes cells of a small group resemble the cells around them. These are the smallest groups, "
            "with the share of a cell’s nearest cells (in principal components) that belong to its group, before and "
            f"after imputation. {lost}"
        ),
        "rows": [
            {
                "name": group.name,
                "size": f"{group.size:,}",
                "before": percent(group.before),
                "after": percent(group.after),
                "lost": lost_some,
            }
            for group, lost_some in zip(content.small_groups, worse, strict=True)
        ],
    }


def _value_parts(content: Content, values: Values) -> dict[str, Any]:
    n_unobserved = max(1, values.n_unobserved)
    medians = median_of_bins(values.observed_before), median_of_bins(values.observed_after)
    stays = percent(values.n_unobserved_zero / n_unobserved)
    changes = (
        "Denoising not only fills the zeros but also smooths the measured values."
        if content.what == "denoised"
        else "Recovered expression keeps the observed entries and fills the zeros."
    )
    return {
        "values_text": (
            f"All {values.n_observed + values.n_unobserved:,} entries (cells × imputed genes). {changes} "
            f"Observed entries changed by {values.mean_change:.2f} on average."
        ),
        "observed": Markup(figures.value_histogram(values, "observed")),
        "observed_note": (
            f"{values.n_observed:,}: median {medians[0]:.2f} before, {medians[1]:.2f} after; mean "
            f"{values.mean_observed_before:.2f} before, {values.mean_observed_after:.2f} after"
        ),
        "imputed": Markup(figures.value_histogram(values, "imputed")),
        "imputed_note": (
            f"{values.n_unobserved:,}: median {median_of_bins(values.unobserved_after):.2f}, mean "
            f"{values.mean_unobserved_after:.2f} after; "
            + ("none stay zero" if not values.n_unobserved_zero else f"{stays} stay zero (not shown)")
        ),
    }


def _marker_parts(content: Content) -> dict[str, Any]:
    assert content.markers is not None
    markers, grouping = content.markers, content.groupings[0]
    shown = set(markers.cell_groups.tolist())
    return {
        "before": Markup(figures.marker_heat_map(markers, grouping, "before")),
        "after": Markup(figures.marker_heat_map(markers, grouping, "after")),
        "groups": [group for group in _groups(grouping) if group["position"] in shown and group["name"]],
        "text": (
            f"The genes that best distinguish the {len(shown)} largest groups, chosen by their expression before "
            f"imputation, in {quantity(markers.before.shape[1], 'cell')} of these groups. One row per gene, one column "
            "per cell (wider in groups with few cells). Each gene is scaled to the 95th percentile of its measured "
            "non-zero values, in both figures."
        ),
    }


def _relation_parts(relations: Relations) -> dict[str, Any]:
    share = relations.share_associating
    n_pairs = relations.n_associating + relations.n_dissociating

    def listed(pairs: list[Pair]) -> list[dict[str, Any]]:
        return [
            {
                "genes": pair.genes,
                "r": f"{pair.r:.3f}".replace("-", "−"),
                "detected": " / ".join(percent(share) for share in pair.detected),
            }
            for pair in pairs
        ]

    return {
        "text": (
            f"The method related {quantity(n_pairs, 'pair')} of {quantity(relations.n_related_genes, 'gene')}. "
            "Associating genes are positively correlated; dissociating genes are negatively correlated, like "
            "markers of different cell types."
        ),
        "histogram": Markup(figures.relation_histogram(relations)),
        "share": Markup(
            figures.share_bar(
                [("plus", share), ("minus", 1 - share)] if n_pairs else [],
                f"{quantity(n_pairs, 'pair')}: {percent(share)} associating, {percent(1 - share)} dissociating."
                if n_pairs
                else "There are no related pairs.",
            )
        ),
        "plus": f"{relations.n_associating:,} associating" + (f" ({percent(share)})" if n_pairs else ""),
        "minus": f"{relations.n_dissociating:,} dissociating" + (f" ({percent(1 - share)})" if n_pairs else ""),
        "tables": [
            ("Strongest associating pairs", listed(relations.associating)),
            ("Strongest dissociating pairs", listed(relations.dissociating)),
        ],
    }


def _resource_parts(resources: Resources) -> dict[str, Any]:
    total = max(resources.total_seconds, sum(stage.seconds for stage in resources.stages), 1e-9)
    limit = f" (limit: {readable_bytes(resources.memory_limit)})" if resources.memory_limit is not None else ""
    return {
        "text": (
            f"The run took {duration(resources.total_seconds)} on {quantity(resources.threads, 'thread')}. Its peak "
            f"memory was {readable_bytes(resources.peak_memory)}; the estimate before it started was "
            f"{readable_bytes(resources.estimated_memory)}{limit}."
        ),
        "stages": [
            {
                "name": stage.name,
                "seconds": f"{stage.seconds:.2f}",
                "width": f"{80 * stage.seconds / total:.2f}",
                "share": percent(stage.seconds / total),
            }
            for stage in resources.stages
        ],
    }


def _metrics(content: Content) -> list[tuple[str, str]]:
    used = {column for table in content.scores for column in table.columns}
    return [(name, metric.explained) for name, metric in known_metrics().items() if name in used]
