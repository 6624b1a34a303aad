"""Figures: a PNG that decodes to its input, round ticks, labels that do not overlap."""

import io
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.image import imread

from sccr_node.report import figures
from sccr_node.report.content import Embedding, Grouping


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


def test_numbers_are_pushed_apart_and_stay_inside():
    places = np.array([[200.0, 200.0]] * 6 + [[2.0, 2.0]])
    apart = figures._apart(places, 440, 400)
    gaps = np.abs(apart[:, None] - apart[None])[np.triu_indices(7, k=1)] / [20, 16]
    assert np.hypot(*gaps.T).min() > 0.9
    assert apart.min() >= 12


def test_one_place_for_all_cells_is_no_problem():
    places = np.zeros((5, 2), dtype=np.float32)
    grouping = Grouping("g", ["a"], [5], np.zeros(5, dtype=np.int64))
    assert "nan" not in figures.scatter(places, grouping, Embedding("PCA", places, places), "after")


def test_short_names_stand_for_themselves():
    codes = np.zeros(3, dtype=np.int64)
    assert Grouping("g", ["3", "1"], [2, 1], codes).marks == ["3", "1"]
    assert Grouping("g", ["3", "T cell"], [2, 1], codes).marks == ["1", "2"]
