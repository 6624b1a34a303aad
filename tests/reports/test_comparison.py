"""The page of a benchmark: its numbers, its names, and that it needs nothing else."""

from html.parser import HTMLParser

from sccr_node.evaluation.standings import standings
from sccr_node.reports.comparison import comparison_page


class Tables(HTMLParser):
    """The cells of all tables, and every address on the page."""

    def __init__(self, page):
        super().__init__()
        self.tables, self.addresses, self.open = [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.addresses += [value for name, value in attributes if name in ("href", "src")]
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("th", "td"):
            self.tables[-1][-1].append("")
        self.open.append(tag)

    def handle_endtag(self, tag):
        self.open.pop() if self.open[-1] == tag else self.open.remove(tag)

    def handle_data(self, data):
        if {"th", "td"} & set(self.open[-3:]):
            self.tables[-1][-1][-1] += data


ROWS = [
    {"task": "recovery", "method": method, "mechanism": "mcar", "rate": rate, "seed": seed, "mae": error + seed / 100}
    for method, error in (("none", 0.8), ("sccr", 0.3), ("<b>mine</b>", 0.5))
    for rate in (0.2, 0.4)
    for seed in (0, 1)
] + [{"task": "clustering", "method": "sccr", "algorithm": "leiden", "seed": 0, "ari": 0.7}]


def test_it_shows_means_spreads_and_ranks():
    page = comparison_page(standings(ROWS), source="a&b.h5ad", shape=(1000, 80), n_seeds=2)
    found = Tables(page)
    overall, recovery, clustering = found.tables
    assert overall[1:] == [["scCR", "0.00"], ["<b>mine</b>", "0.50"], ["no imputation", "1.00"]]
    assert recovery[0] == ["method", "20% dropped (mcar)", "40% dropped (mcar)"]
    assert recovery[1][:2] == ["no imputation", "0.8050 ± 0.0071 3 of 3"]
    assert clustering == [["method", "leiden"], ["scCR", "0.700 1 of 1"]]
    assert "1,000 cells, 80 genes; 2 seeds" in page and "<h1>a&amp;b.h5ad</h1>" in page
    assert "<b>mine" not in page and "<script" not in page
    assert all(address.startswith("#") or address == "data:," for address in found.addresses)


def test_without_any_rank():
    rows = [{"task": "clustering", "method": "sccr", "algorithm": "leiden", "seed": 0, "ari": None}]
    found = Tables(comparison_page(standings(rows), source="x", shape=(1, 1), n_seeds=1))
    assert found.tables == [[["method", "mean rank"], ["scCR", ""]], [["method", "leiden"], ["scCR", ""]]]


def test_with_one_seed_nothing_is_said_of_deviations():
    one = [row for row in ROWS if row["seed"] == 0]
    page = comparison_page(standings(one), source="x", shape=(1, 1), n_seeds=1)
    assert "deviation" not in page and "±" not in page and "With one seed" in page
    assert "deviation" in comparison_page(standings(ROWS), source="x", shape=(1, 1), n_seeds=2)


def test_what_uses_the_labels_is_called_a_bound_and_does_not_count():
    rows = [
        {"task": "clustering", "method": method, "algorithm": algorithm, "seed": 0, "ari": ari}
        for method, values in (("none", (0.5, 0.9)), ("sccr", (0.6, 0.8)))
        for algorithm, ari in zip(("leiden", "leiden_best"), values, strict=True)
    ]
    page = comparison_page(standings(rows), source="x", shape=(1, 1), n_seeds=1)
    overall, clustering = Tables(page).tables
    assert overall[1:] == [["scCR", "0.00"], ["no imputation", "1.00"]]
    assert clustering[0] == ["method", "leiden", "leiden_best"] and "leiden_best uses the labels" in page


def test_no_caption_is_inside_a_box_that_scrolls():
    assert "<caption" not in comparison_page(standings(ROWS), source="x", shape=(1, 1), n_seeds=2)
