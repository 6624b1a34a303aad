"""The page as text: what it says, that names are inert, that colours stand out from their background."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from importlib.metadata import version
from importlib.resources import files
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from sccr_node import __version__
from sccr_node.contract.record import RunRecord
from sccr_node.reports.content import readable
from sccr_node.reports.figures import N_HUES
from sccr_node.reports.layout import Layout
from sccr_node.reports.page import duration, percent, render
from sccr_node.reports.reading import GROUPS_TOLD_APART
from sccr_node.reports.scores import read_scores

from .conftest import HOSTILE, record_of
from .conftest import content as content_from

pytestmark = pytest.mark.usefixtures("without_umap")


class Outline(HTMLParser):
    """Collects the tags with their attributes, and the headings' levels."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def of(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag == name]


@pytest.fixture(scope="module")
def page(made, tmp_path_factory) -> str:
    scores = tmp_path_factory.mktemp("scores") / "scores.tsv"
    scores.write_text("method\trate\tmae\nsccr\t0.4\t0.22812\nnone\t0.4\t\n")
    content = content_from(
        made.path, record=RunRecord.model_validate(record_of(made)), label_key="label", batch_key="one"
    )
    return render(replace(content, scores=[read_scores(scores)]))


def test_it_is_one_file_without_scripts(page):
    outline = Outline(page)
    assert not outline.of("script") and not outline.of("link")[1:] and not outline.of("iframe")
    links = [value for _, attributes in outline.tags for name, value in attributes.items() if name in ("src", "href")]
    assert links and all(value.startswith(("#", "data:")) for value in links)
    assert "url(" not in page and "@import" not in page
    policy = next(a["content"] for a in outline.of("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")


def test_every_figure_has_a_text_and_every_table_its_heads(page):
    outline = Outline(page)
    figures = outline.of("svg")
    assert len(figures) == 10
    assert all(figure["role"] == "img" and len(figure["aria-label"]) > 20 for figure in figures)
    assert len({figure["aria-label"] for figure in figures}) == 10
    # A caption inside would be cut where a table is wider than the screen: it stands above, and the table has a name.
    assert not outline.of("caption") and all(table["aria-label"] for table in outline.of("table"))
    assert all(head["scope"] in ("col", "row") for head in outline.of("th"))


def test_headings_and_landmarks_are_in_order(page):
    tags = [tag for tag, _ in Outline(page).tags]
    levels = [int(tag[1]) for tag in tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in zip(levels, levels[1:], strict=False))
    assert [tag for tag in tags if tag in ("header", "nav", "main", "footer")] == ["header", "nav", "main", "footer"]
    ids = [attributes["id"] for _, attributes in Outline(page).tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = [attributes["href"][1:] for attributes in Outline(page).of("a")]
    assert set(targets) <= set(ids)


def test_it_says_what_was_run(page, made):
    zeros = 100 * (made.before == 0).mean()
    for said in (
        "40 of 60 genes",
        "150 cells",
        f"{zeros:.1f}\u202f%",
        "512 MB",
        "4.0 s",
        "numpy",
        "layers[&#39;sccr&#39;]",
    ):
        assert said in page, said
    for word in ("differential expression", "co-expression", "The counts in the file are unchanged"):
        assert word in page
    assert "0.2281" in page and "Mean absolute error" in page


def test_hostile_names_are_inert(hostile):
    content = content_from(hostile.path, label_key="label")
    page = render(content)
    assert HOSTILE not in page
    assert "&lt;script&gt;window.harmed" in page
    outline = Outline(page)
    assert not outline.of("script") and not outline.of("img")
    assert not any(name.startswith("on") for _, attributes in outline.tags for name in attributes)


def test_names_that_break_lines_or_reorder_text_are_replaced():
    assert readable("gene\x00\n\u202egnp") == "gene\ufffd\ufffd\ufffdgnp"
    assert readable("\ud800") == "\ufffd"
    assert readable("Größe β-actin 細胞") == "Größe β-actin 細胞"


def test_without_record_and_label_it_still_stands(made):
    page = render(content_from(made.path))
    assert "no label column was given" in page
    assert 'id="resources"' not in page and 'id="evaluation"' not in page


@pytest.mark.parametrize(
    ("share", "said"),
    [(0.0, "0.0 %"), (1.0, "100.0 %"), (0.00001, "under 0.1 %"), (0.99999, "over 99.9 %"), (0.5, "50.0 %")],
)
def test_shares(share, said):
    assert percent(share) == said


def test_times():
    assert [duration(seconds) for seconds in (0.04, 59.94, 61, 7322)] == ["0.0 s", "59.9 s", "1 min 1 s", "2 h 2 min"]


def themes() -> dict[str, dict[str, str]]:
    style = files("sccr_node.reports").joinpath("style.css").read_text()
    light, dark = (
        dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", part)) for part in style.split("@media screen", 1)[:2]
    )
    dark = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", style.split("@media screen", 1)[1].split("* {", 1)[0]))
    return {"light": light, "dark": {**light, **dark}}


def luminance(colour: str) -> float:
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    bright, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_colours_stand_out(theme):
    colours = themes()[theme]
    for name in ("ink", "quiet", "accent"):
        for behind in ("paper", "panel"):
            assert contrast(colours[name], colours[behind]) >= 4.5, (name, behind)
    assert contrast(colours["caution"], colours["caution-paper"]) >= 4.5
    for name in ("before", "after", "plus", "minus", "focus"):
        assert contrast(colours[name], colours["paper"]) >= 3, name
    for number in range(1, N_HUES + 1):
        hue = colours[f"hue{number}"]
        assert contrast(hue, colours["panel"]) >= 3, number
        assert contrast(hue, colours["paper"]) >= 3, number  # the number in the legend's badge
    ramp = [luminance(colours[f"heat{step}"]) for step in range(6)]
    assert ramp == sorted(ramp, reverse=theme == "light")


def linear_channels(colour: str) -> np.ndarray:
    channels = np.array([int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)])
    return np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)


def oklab_distance(one: str, other: str) -> float:
    """Return the distance of two colours in OKLab, which is about as large as it looks."""
    to_cones = [[0.41222, 0.53633, 0.05145], [0.21190, 0.68070, 0.10740], [0.08830, 0.28172, 0.62998]]
    to_lab = [[0.21045, 0.79362, -0.00407], [1.97800, -2.42859, 0.45059], [0.02590, 0.78277, -0.80868]]
    places = [np.array(to_lab) @ np.cbrt(np.array(to_cones) @ linear_channels(colour)) for colour in (one, other)]
    return float(np.linalg.norm(places[0] - places[1]))


def cielab(colour: str) -> np.ndarray:
    to_xyz = [[0.41246, 0.35758, 0.18044], [0.21267, 0.71515, 0.07218], [0.01933, 0.11919, 0.95030]]
    x, y, z = np.cbrt(np.array(to_xyz) @ linear_channels(colour) / [0.95047, 1, 1.08883])
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def ciede2000(one: str | np.ndarray, other: str | np.ndarray) -> float:
    """Return the difference of two colours as Sharma, Wu and Dalal (2005) compute it; not for almost black ones."""
    labs = np.array([cielab(each) if isinstance(each, str) else each for each in (one, other)])
    lightness, a, b = labs.T

    def share(chroma):
        return np.sqrt(chroma**7 / (chroma**7 + 25.0**7))

    a = a * (1 + 0.5 * (1 - share(np.hypot(a, b).mean())))
    chroma, hue = np.hypot(a, b), np.degrees(np.arctan2(b, a)) % 360
    turned = (hue[1] - hue[0] + 180) % 360 - 180
    middle, between, mean_chroma = hue[0] + turned / 2, lightness.mean(), chroma.mean()
    cosines = sum(
        weight * np.cos(np.radians(times * middle + shift))
        for weight, times, shift in ((-0.17, 1, -30), (0.24, 2, 0), (0.32, 3, 6), (-0.2, 4, -63))
    )
    of_lightness = np.diff(lightness)[0] / (1 + 0.015 * (between - 50) ** 2 / np.sqrt(20 + (between - 50) ** 2))
    of_chroma = np.diff(chroma)[0] / (1 + 0.045 * mean_chroma)
    of_hue = 2 * np.sqrt(chroma.prod()) * np.sin(np.radians(turned / 2)) / (1 + 0.015 * mean_chroma * (1 + cosines))
    rotation = -np.sin(np.radians(60 * np.exp(-(((middle % 360 - 275) / 25) ** 2)))) * 2 * share(mean_chroma)
    return float(np.sqrt(of_lightness**2 + of_chroma**2 + of_hue**2 + rotation * of_chroma * of_hue))


@pytest.mark.parametrize(
    ("one", "other", "difference"),
    [
        ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
        ((50, 2.5, 0), (73, 25, -18), 27.1492),
        ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
        ((36.4612, 47.8580, 18.3852), (36.2715, 50.5065, 21.2231), 1.4146),
    ],
)
def test_the_difference_of_colours_is_the_published_one(one, other, difference):
    assert ciede2000(np.array(one), np.array(other)) == pytest.approx(difference, abs=1e-4)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_groups_can_be_told_apart_by_their_colours(theme):
    assert GROUPS_TOLD_APART <= N_HUES
    colours = themes()[theme]
    hues = [colours[f"hue{number}"] for number in range(1, N_HUES + 1)]

    def nearest(names, distance):
        return min(distance(one, other) for one, other in combinations(names, 2))

    # 0.02 is about what can be seen at all; the usual palettes of 20 have pairs below 0.05.
    assert nearest(hues, oklab_distance) > 0.1 and nearest(hues[:20], oklab_distance) > 0.11
    assert nearest([*hues, colours["others"]], oklab_distance) > 0.085
    # OKLab thinks that blues are farther from each other than they look; here, 2 can be seen, and 10 at a glance.
    assert nearest(hues, ciede2000) > 14 and nearest(hues[:20], ciede2000) > 15
    style = files("sccr_node.reports").joinpath("style.css").read_text()
    for number in range(1, N_HUES + 1):
        assert f".hue{number} {{ --hue: var(--hue{number}); }}" in style


def test_it_names_the_versions_of_what_was_used(made, page):
    assert f"<td>{__version__} <small>of this report</small></td>" in page
    assert "<td>0.1.0 <small>of the imputation</small></td>" in page and "<td>2.0.0</td>" in page
    # Without labels there are clusters, and somebody found them.
    without = content_from(made.path)
    assert [(fact.name, fact.note) for fact in without.software] == [
        ("sccr-node", "of the imputation"),
        ("sccr-node", "of this report"),
        ("scipy", "clusters of this report"),
    ]


def test_it_names_the_version_of_what_placed_the_cells(made, monkeypatch):
    places = np.zeros((len(made.labels), 2), dtype=np.float32)
    layout = Layout("UMAP", places, places, None, ("igraph",))
    monkeypatch.setattr("sccr_node.reports.reading.lay_out", lambda *given: layout)
    notes = [(fact.name, fact.value, fact.note) for fact in content_from(made.path).software]
    assert ("igraph", version("igraph"), "maps of this report") in notes


def test_the_template_and_style_are_in_the_package():
    names = {Path(str(part)).name for part in files("sccr_node.reports").iterdir()}
    assert {"page.html.jinja", "style.css"} <= names
