"""The figures of the report, as inline SVG: coloured by its style sheet, light, dark or printed, at any size."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Sequence
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from sccr_node.reports.content import BINS_PER_UNIT, Embedding, Grouping, Helps, MarkerMap, Relations, Values
from sccr_node.runtime.words import quantity

N_HUES = 30
"""Group colours in the style sheet, which can be told apart; no more groups than these are shown by themselves."""

SCATTER_LAYERS = 6
DENSITY_CELL = 40.0
LONGEST_LABEL = 18

TINY_SHARE = 0.01
"""A group with less than this share of the cells is drawn larger, and over the others: it would be overlooked."""

LETTER, LINE = 11.0, 18.0
"""Room that a letter of a label takes, and a line: on phones, where labels are largest compared with the figure."""

LABEL_STEP = 4.0
"""Distance of the places that are tried for a label."""

NEAR = 25.0
"""The dots of a group that are this near to its label are what the label shows: it must not cover most of them."""

FAR = 20.0
"""A label that had to move farther than this from its group has a line to it."""

_LIGHT_HEAT = ("#f1f3f6", "#cfe3f0", "#86bfdd", "#3487bd", "#15508c", "#0a2450")
_DARK_HEAT = ("#1c222b", "#1d3f62", "#2270a6", "#45a7d4", "#a3e0f1", "#f6fcff")


def _number(value: object) -> str:
    if isinstance(value, float | np.floating):
        return f"{float(value):.1f}".removesuffix(".0")
    return str(value)


def put(parent: ElementTree.Element, tag: str, text: str | None = None, **attributes: object) -> ElementTree.Element:
    """Add an SVG element; underscores in attribute names become hyphens, and numbers get one decimal."""
    named = {name.rstrip("_").replace("_", "-"): _number(value) for name, value in attributes.items()}
    element = ElementTree.SubElement(parent, tag, named)
    element.text = text
    return element


def canvas(width: float, height: float, alternative: str) -> ElementTree.Element:
    """Begin a figure; the alternative text describes what it shows."""
    return ElementTree.Element(
        "svg",
        {"viewBox": f"0 0 {_number(width)} {_number(height)}", "role": "img", "aria-label": alternative},
    )


def markup(figure: ElementTree.Element) -> str:
    """Return a figure as inline SVG; the serialiser escapes all text."""
    return ElementTree.tostring(figure, encoding="unicode")


def short_name(name: str, longest: int = LONGEST_LABEL) -> str:
    """Return a name that fits beside a figure."""
    return name if len(name) <= longest else name[: longest - 1] + "…"


def scatter(places: NDArray[np.float32], grouping: Grouping, embedding: Embedding, when: str) -> str:
    """Draw cells in two dimensions, each group in its own colour and labelled where it is densest.

    Parameters
    ----------
    places
        Plotted cells x 2.
    grouping
        Their groups.
    embedding
        Names the dimensions.
    when
        "before" or "after".
    """
    width, height, margin = 440.0, 400.0, 18.0
    alternative = (
        f"Scatter plot: {embedding.technique} of {len(places):,} cells {when} imputation, coloured by {grouping.title}"
    )
    n_groups = quantity(len(grouping.names) + grouping.n_others, "group")
    figure = canvas(width, height, f"{alternative} ({n_groups}).")
    points = _fitted(places, width, height, margin)
    radius = float(np.clip(170 / np.sqrt(max(1, len(places))), 1.5, 4.0))
    cells = put(figure, "g", class_="dots", stroke_width=2 * radius)
    sizes = np.bincount(grouping.codes[grouping.codes >= 0], minlength=len(grouping.names))
    tiny = sizes < TINY_SHARE * len(points)
    # Groups are mixed over several layers: with one layer per group, the last group would hide the others.
    layer_of = np.random.default_rng(0).integers(SCATTER_LAYERS, size=len(points))
    put(cells, "path", d=_dots(points[grouping.codes < 0]), class_="others")
    for layer in range(SCATTER_LAYERS):
        for group in np.flatnonzero(~tiny).tolist():
            inside = (grouping.codes == group) & (layer_of == layer)
            if inside.any():
                put(cells, "path", d=_dots(points[inside]), class_=_hue(group))
    shown = np.flatnonzero(sizes).tolist()
    for group in shown:
        if tiny[group]:
            dots = _dots(points[grouping.codes == group])
            put(cells, "path", d=dots, class_=_hue(group), stroke_width=3 * radius)
    numbers = put(figure, "g", class_="numbers")
    marks = [grouping.marks[group] for group in shown]
    middles = np.array([_middle(points[grouping.codes == group]) for group in shown]).reshape(-1, 2)
    rooms = np.array([(LETTER * len(mark) + 4, LINE) for mark in marks]).reshape(-1, 2)
    dots_of = [points[grouping.codes == group] for group in shown]
    clumps = [_clump(*each, radius) for each in zip(dots_of, middles, rooms, strict=True)]
    # A tiny group is not to be covered by the label of another one either, wherever its cells are.
    uncovered = [dots if tiny[group] else clump for group, dots, clump in zip(shown, dots_of, clumps, strict=True)]
    size = np.array([width, height])
    labels = _apart(middles, rooms, size, np.concatenate([np.empty((0, 2)), *uncovered]), radius)
    for place, middle, clump in zip(labels, middles, clumps, strict=True):
        gap = np.linalg.norm(clump - place, axis=1).min(initial=np.inf)
        if np.linalg.norm(place - middle) > FAR and gap > LINE:
            (x, y), (to_x, to_y) = place.tolist(), middle.tolist()
            put(numbers, "path", d=f"M{x:.1f} {y:.1f}L{to_x:.1f} {to_y:.1f}")
    for mark, (x, y) in zip(marks, labels.tolist(), strict=True):
        put(numbers, "text", mark, x=x, y=y + 4.5)
    axes = put(figure, "g", class_="axes")
    put(axes, "path", d=f"M8 {height - 48:.0f}V{height - 8:.0f}H48", class_="corner")
    put(axes, "text", f"{embedding.technique} 1", x=54, y=height - 4)
    put(axes, "text", f"{embedding.technique} 2", x=12, y=height - 54, transform=f"rotate(-90 12 {height - 54:.0f})")
    return markup(figure)


def _middle(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a point where the group is densest, so that its label lies on the group whatever the group's shape."""
    cells = np.floor(points / DENSITY_CELL).astype(np.int64)
    _, which, sizes = np.unique(cells, axis=0, return_inverse=True, return_counts=True)
    densest = points[which.ravel() == sizes.argmax()]
    return np.asarray(densest[np.square(densest - np.median(densest, axis=0)).sum(axis=1).argmin()])


def _clump(
    points: NDArray[np.float64], middle: NDArray[np.float64], room: NDArray[np.float64], radius: float
) -> NDArray[np.float64]:
    """Return the dots around the middle of a group if a label there would cover most of them, otherwise none."""
    away = np.abs(points - middle)
    near = np.square(away).sum(axis=1) < NEAR**2
    covered = (away[near] < room / 2 + radius).all(axis=1)
    return points[near] if covered.mean() > 0.5 else points[:0]


def _hue(group: int) -> str:
    """Return the style sheet's class of a group."""
    return f"hue{group + 1}"


def _apart(
    wanted: NDArray[np.float64],
    rooms: NDArray[np.float64],
    canvas_size: NDArray[np.float64],
    uncovered: NDArray[np.float64],
    radius: float,
) -> NDArray[np.float64]:
    """Place labels where they are wanted, or as near to it as the labels before them and some dots leave room.

    Parameters
    ----------
    wanted, rooms
        The middles of the labels, and their widths and heights (labels x 2 each).
    canvas_size
        Width and height of the figure, which no label leaves.
    uncovered, radius
        Dots that no label covers, unless there is no other room (dots x 2), and their radius.
    """
    low, high = rooms / 2, canvas_size - rooms / 2
    steps = [np.arange(-size, size + LABEL_STEP, LABEL_STEP) for size in canvas_size]
    offsets = np.stack(np.meshgrid(*steps), axis=-1).reshape(-1, 2)
    offsets = offsets[np.argsort(np.square(offsets).sum(axis=1), kind="stable")]
    places = np.clip(wanted, low, high)
    # How many of the dots are to the left of, and above, each whole coordinate.
    edges = [np.arange(size + 2) for size in canvas_size]
    dots_before = np.zeros([len(each) for each in edges], dtype=np.int64)
    dots_before[1:, 1:] = np.histogram2d(uncovered[:, 0], uncovered[:, 1], bins=edges)[0].cumsum(axis=0).cumsum(axis=1)
    last = canvas_size.astype(np.int64) + 1
    for label in range(len(places)):
        tried = places[label] + offsets
        tried = tried[((tried >= low[label]) & (tried <= high[label])).all(axis=1)]
        needed = (rooms[:label] + rooms[label]) / 2
        free = ~(np.abs(tried[:, None] - places[:label]) < needed).all(axis=2).any(axis=1)
        x0, y0 = np.clip(np.floor(tried - rooms[label] / 2 - radius).astype(np.int64), 0, last).T
        x1, y1 = np.clip(np.ceil(tried + rooms[label] / 2 + radius).astype(np.int64), 0, last).T
        n_covered = dots_before[x1, y1] - dots_before[x0, y1] - dots_before[x1, y0] + dots_before[x0, y0]
        # A figure that is full: labels cover dots, or overlap.
        places[label] = tried[(2 * free + (free & (n_covered == 0))).argmax()]
    return places


def _fitted(places: NDArray[np.float32], width: float, height: float, margin: float) -> NDArray[np.float64]:
    low, high = places.min(axis=0).astype(np.float64), places.max(axis=0).astype(np.float64)
    span = np.maximum(high - low, 1e-9)
    scale = min((width - 2 * margin) / span[0], (height - 2 * margin) / span[1])
    centred = (places - (low + high) / 2) * scale
    return np.asarray(np.column_stack([width / 2 + centred[:, 0], height / 2 - centred[:, 1]]))


def _dots(points: NDArray[np.float64]) -> str:
    # A line of zero length with round ends is a dot, in a fifth of the bytes of a circle element.
    return "".join(f"M{x:.1f} {y:.1f}h0" for x, y in points.tolist())


def _ticks(most: float, n_ticks: int = 5) -> list[float]:
    """Return round numbers from 0 to at most ``most``."""
    if most <= 0:
        return [0.0]
    rough = most / n_ticks
    power = 10.0 ** np.floor(np.log10(rough))
    step = float(next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999))
    return [step * position for position in range(int(most / step + 1e-9) + 1)]


def _coarser(counts: NDArray[np.int64], bins_in_one: int, n_bins: int) -> NDArray[np.int64]:
    return np.asarray(counts[: bins_in_one * n_bins].reshape(n_bins, bins_in_one).sum(axis=1))


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def value_range(values: Values) -> tuple[int, int]:
    """Return how many bins make one bar, and how many bars are drawn: all but the highest 1 in 5,000 entries."""
    everything = values.observed_before + values.observed_after + values.unobserved_after
    total = int(everything.sum())
    upper = int(np.searchsorted(np.cumsum(everything), total * (1 - 1 / 5000))) + 1 if total else 1
    bins_in_one = 2 if upper <= 100 else 4
    return bins_in_one, min(-(-upper // bins_in_one) + 1, len(everything) // bins_in_one)


def value_histogram(values: Values, which: str) -> str:
    """Draw the distribution of log expression over the entries that were observed, or that were zero.

    Parameters
    ----------
    values
        The histograms.
    which
        "observed": before as an area, after as a line; "imputed": after as an area, excluding zeros.
    """
    bins_in_one, n_bins = value_range(values)
    n_entries = max(1, values.n_observed if which == "observed" else values.n_unobserved)
    if which == "observed":
        areas = [("before", values.observed_before)]
        lines = [("after", values.observed_after)]
        alternative = (
            f"Histogram of log expression of the {values.n_observed:,} observed entries: mean "
            f"{values.mean_observed_before:.2f} before and {values.mean_observed_after:.2f} after imputation."
        )
    else:
        filled = values.unobserved_after.copy()
        filled[0] -= values.n_unobserved_zero
        areas = [("after", filled)]
        lines = []
        alternative = (
            f"Histogram of log expression after imputation of the {values.n_unobserved:,} entries that were zero "
            f"before: mean {values.mean_unobserved_after:.2f}; "
            f"{_percent(values.n_unobserved_zero / n_entries)} of them stay zero."
        )
    series = [
        (name, _coarser(counts, bins_in_one, n_bins) / n_entries, filled)
        for filled, group in ((True, areas), (False, lines))
        for name, counts in group
    ]
    width, height, left, bottom, top, right = 440.0, 250.0, 46.0, 40.0, 12.0, 8.0
    figure = canvas(width, height, alternative)
    most = max(float(shares.max()) for _, shares, _ in series) * 1.06 or 1.0
    bar = (width - left - right) / n_bins

    def up(share: float) -> float:
        return height - bottom - share / most * (height - bottom - top)

    axes = put(figure, "g", class_="axes")
    for share in _ticks(most, 4):
        put(axes, "path", d=f"M{left:.0f} {up(share):.1f}H{width - right:.0f}", class_="grid")
        put(axes, "text", _percent(share), x=left - 6, y=up(share) + 4, class_="end")
    unit = bar * BINS_PER_UNIT / bins_in_one
    for value in range(int(n_bins * bins_in_one / BINS_PER_UNIT) + 1):
        put(axes, "text", str(value), x=left + value * unit, y=height - bottom + 17, class_="middle")
    put(
        axes,
        "text",
        "log expression, ln(1 + depth-normalised count)",
        x=(left + width - right) / 2,
        y=height - 5,
        class_="middle",
    )
    for name, shares, is_area in series:
        steps = "".join(f"V{up(share):.1f}h{bar:.2f}" for share in shares.tolist())
        base = f"M{left:.0f} {height - bottom:.0f}"
        end = f"V{height - bottom:.0f}" + ("z" if is_area else "")
        put(figure, "path", d=f"{base}{steps}{end}", class_=f"{'area' if is_area else 'line'} {name}")
    put(axes, "path", d=f"M{left:.0f} {height - bottom:.0f}H{width - right:.0f}", class_="baseline")
    return markup(figure)


def relation_histogram(relations: Relations) -> str:
    """Draw the strength of the gene graph's pairs: dissociating on the left, associating on the right."""
    width, height, left, bottom, top, right = 440.0, 250.0, 46.0, 40.0, 12.0, 12.0
    figure = canvas(
        width,
        height,
        f"Histogram of {relations.coefficient} of the pairs in the gene graph: {relations.n_associating:,} associating "
        f"(positive) and {relations.n_dissociating:,} dissociating (negative).",
    )
    counts = relations.histogram
    n_bins = len(counts)
    most = float(counts.max()) * 1.06 or 1.0
    bar = (width - left - right) / n_bins

    def up(count: float) -> float:
        return height - bottom - count / most * (height - bottom - top)

    axes = put(figure, "g", class_="axes")
    for count in _ticks(most, 4):
        put(axes, "path", d=f"M{left:.0f} {up(count):.1f}H{width - right:.0f}", class_="grid")
        put(axes, "text", f"{count:,.6g}", x=left - 6, y=up(count) + 4, class_="end")
    for value in (-1.0, -0.5, 0.0, 0.5, 1.0):
        put(
            axes,
            "text",
            f"{value:g}".replace("-", "−"),
            x=left + (value + 1) / 2 * (width - left - right),
            y=height - bottom + 17,
            class_="middle",
        )
    put(axes, "text", relations.coefficient, x=(left + width - right) / 2, y=height - 5, class_="middle")
    for position, count in enumerate(counts.tolist()):
        if count:
            put(
                figure,
                "rect",
                x=left + position * bar + 0.5,
                y=up(count),
                width=bar - 1,
                height=height - bottom - up(count),
                class_="minus" if position < n_bins // 2 else "plus",
            )
    put(axes, "path", d=f"M{left:.0f} {height - bottom:.0f}H{width - right:.0f}", class_="baseline")
    return markup(figure)


SERIES = {"denoised": "before", "blend": "after"}
"""The style sheet's class for each line of the curve."""


def strength_curve(helps: Helps) -> str:
    """Draw what is explained at each strength of smoothing, with and without the blend, and what was chosen."""
    width, height, left, bottom, top, right = 520.0, 300.0, 46.0, 40.0, 14.0, 16.0
    n = len(helps.betas)
    said = f"beta = {helps.chosen[0]:g} explains {helps.chosen[1]:.0%}"
    figure = canvas(
        width, height, f"Share of the predictable variation explained at {n} strengths of smoothing; chosen: {said}."
    )

    def across(position: float) -> float:
        return left + 14 + position / max(1, n - 1) * (width - left - right - 28)

    def up(share: float) -> float:
        return height - bottom - min(1.0, max(0.0, share)) * (height - bottom - top)

    axes = put(figure, "g", class_="axes")
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        put(axes, "path", d=f"M{left:.0f} {up(share):.1f}H{width - right:.0f}", class_="grid")
        put(axes, "text", f"{share:.0%}", x=left - 6, y=up(share) + 4, class_="end")
    for position, beta in enumerate(helps.betas):
        put(axes, "text", f"{beta:g}", x=across(position), y=height - bottom + 17, class_="middle")
    put(axes, "text", "smoothing (beta)", x=(left + width - right) / 2, y=height - 5, class_="middle")
    for name, shares in helps.lines.items():
        # What explains less than the gene means is below the picture.
        points = [(across(at), up(share)) for at, share in enumerate(shares) if share >= 0]
        if points:
            path = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
            put(figure, "path", d=f"M{path}", class_=f"line {SERIES[name]}")
    if helps.chosen[0] in helps.betas:
        position = helps.betas.index(helps.chosen[0])
        put(figure, "circle", cx=across(position), cy=up(helps.chosen[1]), r=6, class_="chosen")
    put(axes, "path", d=f"M{left:.0f} {height - bottom:.0f}H{width - right:.0f}", class_="baseline")
    return markup(figure)


def share_bar(parts: Sequence[tuple[str, float]], alternative: str) -> str:
    """Draw shares that sum to one as a stacked bar; each part is a style sheet class and a share."""
    figure = canvas(440, 14, alternative)
    figure.set("preserveAspectRatio", "none")
    figure.set("class", "share")
    begin = 0.0
    for name, share in parts:
        put(figure, "rect", x=begin, y=0, width=share * 440, height=14, class_=name)
        begin += share * 440
    return markup(figure)


def marker_heat_map(markers: MarkerMap, grouping: Grouping, when: str) -> str:
    """Draw marker gene expression, with one row per gene and one column per cell, groups side by side.

    All groups are equally wide, or the label of a tiny one would cover its neighbours': its cells are wider.

    Parameters
    ----------
    markers
        Expression from 0 to 1.
    grouping
        Names of the groups.
    when
        "before" or "after".
    """
    shown = markers.before if when == "before" else markers.after
    row, left, top, right = 13.0, 96.0, 24.0, 4.0
    width, height = 440.0, top + row * len(markers.genes) + 4
    n_cells = shown.shape[1]
    groups = list(dict.fromkeys(markers.cell_groups.tolist()))
    members = [np.flatnonzero(markers.cell_groups == group) for group in groups]
    n_columns = max(len(cells) for cells in members)
    columns = np.concatenate([cells[np.arange(n_columns) * len(cells) // n_columns] for cells in members])
    span = (width - left - right) / len(groups)
    zeros = float((shown == 0).mean())
    figure = canvas(
        width,
        height,
        f"Heat map {when} imputation: {quantity(len(markers.genes), 'marker gene')} in {quantity(n_cells, 'cell')} of "
        f"{quantity(len(set(markers.gene_groups)), 'group')} of {grouping.title}; {_percent(zeros)} of the entries are "
        "zero.",
    )
    for theme, colours in (("light", _LIGHT_HEAT), ("dark", _DARK_HEAT)):
        put(
            figure,
            "image",
            x=left,
            y=top,
            width=width - left - right,
            height=row * len(markers.genes),
            href=_data_uri(palette_png(shown[:, columns], colours)),
            preserveAspectRatio="none",
            class_=f"heat only-{theme}",
        )
    strip = put(figure, "g", class_="bands")
    for position, group in enumerate(groups):
        begin = left + position * span
        put(strip, "rect", x=begin + 0.5, y=top - 6, width=span - 1, height=4, class_=_hue(group))
        put(strip, "text", grouping.marks[group], x=begin + span / 2, y=top - 9, class_="middle")
    names = put(figure, "g", class_="axes genes")
    for position, gene in enumerate(markers.genes):
        label = put(names, "text", short_name(gene, 12), x=left - 6, y=top + row * (position + 0.5) + 3.6, class_="end")
        if position and markers.gene_groups[position] != markers.gene_groups[position - 1]:
            put(figure, "path", d=f"M{left:.0f} {top + row * position:.1f}H{width - right:.0f}", class_="gap")
        if len(gene) > 12:
            put(label, "title", gene)
    return markup(figure)


def palette_png(values: NDArray[np.float32], colours: Sequence[str]) -> bytes:
    """Return values from 0 to 1 as a PNG with a palette, one pixel per value.

    Parameters
    ----------
    values
        Rows x columns.
    colours
        Colours of equally spaced values from 0 to 1, as ``#rrggbb``.
    """
    anchors = np.array([[int(colour[at : at + 2], 16) for at in (1, 3, 5)] for colour in colours])
    at = np.linspace(0, 1, len(anchors))
    palette = np.column_stack([np.interp(np.linspace(0, 1, 256), at, anchors[:, channel]) for channel in range(3)])
    pixels = np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
    # Each line of a PNG begins with the number of its filter (0: none).
    lines = np.hstack([np.zeros((len(pixels), 1), dtype=np.uint8), pixels])
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 8, 3, 0, 0, 0)
    parts = [
        (b"IHDR", header),
        (b"PLTE", np.rint(palette).astype(np.uint8).tobytes()),
        (b"IDAT", zlib.compress(lines.tobytes(), 9)),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts
    )


def _data_uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
