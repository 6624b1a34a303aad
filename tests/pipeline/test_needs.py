"""What a run is estimated to need: whatever is asked for is in it."""

import json
import re
import subprocess
import sys

import pytest

from tests.support import REPOSITORY

LUNG = REPOSITORY / "docs/data/mouse_lung.h5ad"


def _estimate(sccr, *options):
    code, _, shown = sccr("impute", LUNG, "out.h5ad", "--dry-run", *options)
    assert code == 0, shown
    found = re.search(r"estimate: (\d+) MB of memory .* about (\d+) s", shown)
    return int(found[1]), int(found[2])


def test_a_report_is_in_the_estimate_and_refused_before_any_work(sccr, refused):
    alone, with_report = _estimate(sccr), _estimate(sccr, "--report", "page.html")
    assert with_report[0] > alone[0] and with_report[1] > alone[1]
    between = f"{(alone[0] + with_report[0]) // 2}MB"
    words = ["not enough memory: the report needs about", "leave out --report"]
    refused(75, words, "impute", LUNG, "out.h5ad", "--report", "page.html", "--max-memory", between)


@pytest.mark.parametrize("options", [[], ["--report", "page.html"]])
def test_the_peak_of_real_cells_is_below_the_estimate_but_not_far(tmp_path, options):
    command = ["impute", LUNG, "out.h5ad", "--quiet", "--provenance", "record.json", *options]
    subprocess.run([sys.executable, "-m", "sccr_node", *map(str, command)], check=True, cwd=tmp_path)
    took = json.loads((tmp_path / "record.json").read_text())["resources"]
    assert took["estimated_memory_bytes"] / 1.5 < took["peak_memory_bytes"] < 1.1 * took["estimated_memory_bytes"]
