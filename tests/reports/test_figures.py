"""Figures: a PNG that decodes to its input, round ticks, labels that do not overlap."""

import base64
import io
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.image import imread

from sccr_node.reports import figures
from sccr_node.reports.content import Embedding, Grouping, MarkerMap


def test_a_png_decodes_to_its_values():
    values = np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4)
    pixels = imread(io.BytesIO(figures.palette_png(values, ["#000000", "#ffffff"])), format="png")
    assert pixels.shape[:2] == (3, 4)
    assert pixels[..., 0] == pytest.approx(values, abs=1 / 255)


@pytest.mark.parametrize("most", [0.003, 0.37, 1.0, 7.2, 4321.0])
def test_ticks_are_few_round_and_within(most):
    ticks = figures._ticks(most)
    assert 3 <= len(ticks) <= 7 and ticks[0] == 0 and ticks[-1] <= most * (1 + 1e-9)
    step = ticks[1]
    assert round(step / 10 ** np.floor(np.log10(step)), 6) in (1, 2, 2.5, 5)


def test_every_cell_is_drawn_once():
    generator = np.random.default_rng(0)
    places = generator.standard_normal((300, 2)).astype(np.float32)
    grouping = Grouping("g", ["a", "b"], [1, 1], generator.integers(-1, 2, 300))
    drawn = ElementTree.fromstring(figures.scatter(places, grouping, Embedding("PCA", places, places), "before"))
    paths = [(path.get("class"), path.get("d")) for path in drawn.iter("path")]
    for number, name in enumerate(["others", "hue1", "hue2"]):
        assert sum(d.count("M") for css, d in paths if css == name) == (grouping.codes == number - 1).sum()


@pytest.mark.parametrize("letters", [1, 3])
@pytest.mark.parametrize("spread", [0, 5, 40, 200])
def test_labels_are_pushed_apart_and_stay_inside(spread, letters):
    generator = np.random.default_rng(spread)
    canvas = np.array([440.0, 400.0])
    places = np.clip(canvas * [0.5, 0.95] + spread * generator.standard_normal((figures.N_HUES, 2)), 0, canvas)
    rooms = np.full_like(places, [figures.LETTER * letters + 4, figures.LINE])
    apart = figures._apart(places, rooms, canvas, places, 2.0)
    overlap = rooms[0] - np.abs(apart[:, None] - apart[None])[np.triu_indices(len(places), k=1)]
    assert overlap.min(axis=1).max() < 0.5
    assert (apart >= rooms / 2).all() and (apart <= canvas - rooms / 2).all()


def test_a_label_that_had_to_move_has_a_line_to_its_group():
    generator = np.random.default_rng(0)
    codes = np.repeat(np.arange(8), 30)
    places = np.concatenate([0.1 * generator.standard_normal((210, 2)), [[9.0, 9.0]] * 30]).astype(np.float32)
    grouping = Grouping("g", list("abcdefgh"), [30] * 8, codes)
    drawn = ElementTree.fromstring(figures.scatter(places, grouping, Embedding("PCA", places, places), "before"))
    (numbers,) = [group for group in drawn.iter("g") if group.get("class") == "numbers"]
    assert [text.text for text in numbers.iter("text")] == list("abcdefgh")
    # Seven groups share a place: some of their labels have to leave it; the eighth is alone.
    assert 1 <= len(list(numbers.iter("path"))) <= 7


def test_a_label_does_not_cover_a_small_group():
    generator = np.random.default_rng(0)
    codes = np.repeat([0, 1, 2, 3], [1200, 30, 30, 3])

    def clump(n, x, y):
        return [x, y] + 0.01 * generator.standard_normal((n, 2))

    # The second group is in one place, and the third in three: a label would cover what is in any of them. The fourth
    # is tiny, and where the label of the first is wanted.
    places = [generator.standard_normal((1200, 2)), clump(30, 9, -9), clump(10, 9, 9), clump(10, 9, 0), clump(10, 0, 9)]
    places = np.concatenate([*places, clump(3, 0, 0)]).astype(np.float32)
    grouping = Grouping("g", list("abcd"), [1200, 30, 30, 3], codes)
    drawn = ElementTree.fromstring(figures.scatter(places, grouping, Embedding("PCA", places, places), "before"))
    texts = list(next(group for group in drawn.iter("g") if group.get("class") == "numbers").iter("text"))
    labels = np.array([[float(text.get("x")), float(text.get("y")) - 4.5] for text in texts])
    points = figures._fitted(places, 440, 400, 18)
    for group, label in enumerate(labels):
        away = np.abs(points - label)
        assert not (away[codes > 0] < [figures.LETTER / 2, figures.LINE / 2]).all(axis=1).any(), group
        # Near enough that one can see whose it is, without a line.
        assert np.linalg.norm(away[codes == group], axis=1).min() < 16, group
    # The label of a large group is on it, wherever it is densest.
    assert np.abs(points[codes == 0] - labels[0]).max(axis=1).min() < 2


def test_a_tiny_group_is_drawn_over_the_others():
    places = np.random.default_rng(0).standard_normal((500, 2)).astype(np.float32)
    codes = np.zeros(500, dtype=np.int64)
    codes[:4] = 1
    grouping = Grouping("g", ["many", "few"], [496, 4], codes)
    drawn = ElementTree.fromstring(figures.scatter(places, grouping, Embedding("PCA", places, places), "before"))
    (dots,) = [group for group in drawn.iter("g") if group.get("class") == "dots"]
    *_, last = dots.iter("path")
    assert last.get("class") == "hue2" and last.get("d").count("M") == 4
    assert float(last.get("stroke-width")) > float(dots.get("stroke-width"))


def test_groups_of_the_marker_figure_are_equally_wide():
    cell_groups = np.repeat([0, 1, 2], [40, 5, 40])
    shown = np.tile(cell_groups / 4, (2, 1)).astype(np.float32)
    markers = MarkerMap(["a", "b"], [0, 2], cell_groups, shown, shown)
    grouping = Grouping("g", ["x", "y", "z"], [40, 5, 40], cell_groups)
    drawn = ElementTree.fromstring(figures.marker_heat_map(markers, grouping, "before"))
    (bands,) = [group for group in drawn.iter("g") if group.get("class") == "bands"]
    assert len({band.get("width") for band in bands.iter("rect")}) == 1
    image = next(drawn.iter("image"))
    png = base64.b64decode(image.get("href").split(",")[1])
    pixels = imread(io.BytesIO(png), format="png")
    assert pixels.shape[:2] == (2, 120)
    assert [len(np.unique(pixels[0, begin : begin + 40], axis=0)) for begin in (0, 40, 80)] == [1, 1, 1]
    assert "85 cells" in drawn.get("aria-label")


def test_one_place_for_all_cells_is_no_problem():
    places = np.zeros((5, 2), dtype=np.float32)
    grouping = Grouping("g", ["a"], [5], np.zeros(5, dtype=np.int64))
    assert "nan" not in figures.scatter(places, grouping, Embedding("PCA", places, places), "after")


def test_short_names_stand_for_themselves():
    codes = np.zeros(3, dtype=np.int64)
    assert Grouping("g", ["3", "1"], [2, 1], codes).marks == ["3", "1"]
    assert Grouping("g", ["3", "T cell"], [2, 1], codes).marks == ["1", "2"]
