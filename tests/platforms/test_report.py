"""The report in a real browser, and its numbers in a real MultiQC."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from container_tools import set_up

pytestmark = pytest.mark.platform

HERE = Path(__file__).parent
HOSTILE = "<script>window.harmed = true</script><img src=x onerror='window.harmed = true'>"


@pytest.fixture(scope="session")
def tools() -> dict[str, str]:
    return set_up("report")


@pytest.fixture(scope="session")
def result(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated data set with hostile names, imputed by the command; the record lies beside it."""
    import anndata

    folder = tmp_path_factory.mktemp("report")
    sccr(["simulate", str(folder / "in.h5ad"), "--n-cells", "300", "--n-genes", "200", "--n-batches", "2"])
    data = anndata.read_h5ad(folder / "in.h5ad")
    data.obs_names = [HOSTILE + name for name in data.obs_names]
    data.var_names = [HOSTILE + name for name in data.var_names]
    data.obs["label"] = [f"{HOSTILE}type {at % 3} with a name that is far too long for a phone" for at in range(300)]
    data.write_h5ad(folder / "in.h5ad")
    output = folder / "sample<b>&1.h5ad"
    sccr(
        [
            "impute",
            str(folder / "in.h5ad"),
            str(output),
            "--provenance",
            str(folder / "record.json"),
            "--n-top-genes",
            "150",
        ]
    )
    return output


def sccr(arguments: list[str]) -> None:
    done = subprocess.run([sys.executable, "-m", "sccr_node", *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def looked_at(page: Path, tools: dict[str, str], screenshots: Path) -> dict:
    command = [tools["SCCR_REPORT_PYTHON"], str(HERE / "report_browser.py"), tools["SCCR_CHROMIUM"], str(page)]
    done = subprocess.run([*command, str(screenshots)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


@pytest.fixture(scope="session")
def seen(result: Path, tools: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict:
    """What the browser found on the page."""
    scores = result.parent / "scores.tsv"
    scores.write_text("method\trate\tmae\n" + f"{HOSTILE}\t0.4\t0.2\n" * 3)
    page = result.parent / "report.html"
    options = ["--provenance", str(result.parent / "record.json"), "--scores", str(scores)]
    sccr(["report", str(result), "-o", str(page), *options, "--label-key", "label", "--batch-key", "batch"])
    assert page.stat().st_size < 1_000_000
    return looked_at(page, tools, tmp_path_factory.mktemp("shots"))


def test_nothing_is_said_and_nothing_is_fetched(seen):
    assert seen["said"] == []
    assert seen["requests"] == []


def test_hostile_names_are_shown_and_do_nothing(seen):
    for view in seen["views"].values():
        assert view["harmed"] is None
        assert view["scripts"] == view["foreign"] == 0
        assert view["heading"] == "sample<b>&1"


def test_every_figure_is_there_with_a_text(seen):
    for view in seen["views"].values():
        figures = view["figures"]
        assert len(figures) == 10
        assert all(figure["caption"] and len(figure["alternative"]) > 20 and figure["area"] > 10 for figure in figures)
        assert view["images_shown"] == 2  # each heat map in one of its two palettes


def test_it_fits_every_width_and_can_be_read_in_every_theme(seen):
    for name, view in seen["views"].items():
        assert view["scroll_width"] <= view["width"], name
        assert view["faint"] == [], name
        assert view["small"] == 0, name


def test_focus_is_visible_and_print_is_on_white(seen):
    text, outline, top = seen["focus"]
    assert text == "Skip to the report" and outline == "solid" and top >= 0
    assert seen["paper"] == "rgb(255, 255, 255)"
    assert len(seen["printed"]) == 11
    assert all(width > 280 and height < 800 for width, height in seen["printed"])


def test_the_tables_of_the_tuning_page_are_whole_on_a_laptop(result, tools, tmp_path):
    sccr(
        ["tune", str(result.with_name("in.h5ad")), "-o", str(tmp_path / "t.yaml"), "--report", str(tmp_path / "t.html")]
    )
    page = tmp_path / "unfolded.html"
    page.write_text((tmp_path / "t.html").read_text().replace("<details>", "<details open>"))
    views = looked_at(page, tools, tmp_path / "shots")["views"]
    assert views["light"]["cut"] == views["laptop"]["cut"] == views["projector"]["cut"] == []
    for name, view in views.items():
        assert view["scroll_width"] <= view["width"] and view["faint"] == [], name


def test_multiqc_picks_all_of_it_up(result, tools, tmp_path):
    folder = tmp_path / "content"
    record = str(result.parent / "record.json")
    sccr(["report", str(result), "--provenance", record, "--multiqc", str(folder)])
    other = result.with_name("other.h5ad")
    other.write_bytes(result.read_bytes())
    sccr(["report", str(other), "--provenance", record, "--multiqc", str(folder)])
    command = [
        tools["SCCR_REPORT_PYTHON"],
        "-m",
        "multiqc",
        "--no-version-check",
        "--strict",
        "--outdir",
        str(tmp_path),
    ]
    done = subprocess.run([*command, str(folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    data = json.loads((tmp_path / "multiqc_data" / "multiqc_data.json").read_text())
    statistics = {
        sample: numbers
        for section in data["report_general_stats_data"].values()
        for sample, numbers in (section.items() if isinstance(section, dict) else [])
    }
    assert len(statistics) == 2 and "other" in statistics
    written = json.loads((result.parent / "record.json").read_text())["result"]
    assert statistics["other"]["sccr_zeros_before"] == pytest.approx(100 * written["zeros_before"], abs=1e-2)
    assert statistics["other"]["sccr_zeros_after"] == pytest.approx(100 * written["zeros_after"], abs=1e-2)
    plots = set(data["report_plot_data"])
    assert {"sccr_imputation_table", "sccr_relations_plot", "sccr_values_plot", "sccr_stages_plot"} <= plots
    page = (tmp_path / "multiqc_report.html").read_text()
    assert "not for tests of differential expression" in page
