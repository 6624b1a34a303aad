"""The Galaxy tools in Galaxy itself: its linters, its templates, a real server and its real client."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import anndata
import click
import numpy as np
import pytest
from container_tools import Podman, set_up
from galaxy_server import ADMIN_KEY, CONTAINER_IMAGE, CONTAINER_USER, PASSWORD, TOOLS, GalaxyServer

from sccr_node.cli.app import cli
from sccr_node.cli.options import as_given
from sccr_node.contract.tune import TUNED
from tests.support.parameters import settle
from tools.faces.galaxy import MODELS

pytestmark = pytest.mark.platform

HERE = Path(__file__).parent
TOOL_NAMES = sorted(path.stem for path in TOOLS.glob("sccr_*.xml"))
WORKFLOW = TOOLS / "workflows" / "sccr-impute-and-cluster"
DATA = TOOLS / "test-data"
SCCR = Path(sys.executable).with_name("sccr")

# What a person may type, or a program may have called something.
HOSTILE = "a'b\"c; touch PWNED; $(touch PWNED) `touch PWNED` && | > PWNED #\\n ${HOME} %s Größe 細胞 ☃"


@pytest.fixture(scope="session")
def galaxy() -> dict[str, Path]:
    return {name: Path(folder) for name, folder in set_up("galaxy").items()}


@pytest.fixture(scope="session")
def planemo(galaxy: dict[str, Path]) -> Path:
    return galaxy["GALAXY_PLANEMO"] / "bin"


@pytest.fixture(scope="session")
def server(galaxy: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[GalaxyServer]:
    with GalaxyServer(tmp_path_factory.mktemp("galaxy"), galaxy["GALAXY_SERVER"]) as running:
        yield running


def finished(*command: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    words = [str(word) for word in command]
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=1800, **options)


# --- what Galaxy's tools say of the files ---


def test_planemo_finds_nothing_to_ask_for(planemo: Path) -> None:
    lint = finished(planemo / "planemo", "lint", "--fail_level", "warn", *sorted(TOOLS.glob("sccr_*.xml")))
    assert lint.returncode == 0, lint.stdout
    assert "WARNING" not in lint.stdout and "ERROR" not in lint.stdout


@pytest.mark.parametrize("name", TOOL_NAMES)
def test_test_cases_are_valid_forms(planemo: Path, name: str) -> None:
    validation = finished(planemo / "galaxy-tool-test-case-validation", "--json", TOOLS / f"{name}.xml")
    results = json.loads(validation.stdout)
    assert validation.returncode == 0, validation.stdout
    assert all(not case["validation_error"] for case in results["results"]), validation.stdout


def test_every_option_of_every_choice_is_taken_by_a_test(planemo: Path) -> None:
    for name in TOOL_NAMES:
        tool = expanded(planemo, name)
        tests = ElementTree.tostring(tool.find("tests"), encoding="unicode")  # type: ignore[arg-type]
        for select in tool.find("inputs").iter("param"):  # type: ignore[union-attr]
            if select.get("type") != "select":
                continue
            parameter = select.get("name") or select.get("argument", "")[2:].replace("-", "_")
            taken = set()
            for given in ElementTree.fromstring(tests).iter("param"):
                if given.get("name") == parameter:
                    taken |= set((given.get("value") or "").split(","))
            options = {option.get("value") for option in select.findall("option")}
            default = {option.get("value") for option in select.findall("option") if option.get("selected")}
            assert options <= taken | default, (name, parameter, options - taken)


def expanded(planemo: Path, name: str) -> ElementTree.Element:
    """Return a tool as Galaxy sees it, its macros in their places."""
    program = (
        "import sys; from galaxy.tool_util.loader import load_tool; from galaxy.util import xml_to_string; "
        "print(xml_to_string(load_tool(sys.argv[1]).getroot()))"
    )
    loaded = finished(planemo / "python", "-c", program, TOOLS / f"{name}.xml")
    assert loaded.returncode == 0, loaded.stderr
    return ElementTree.fromstring(loaded.stdout)


# --- the command lines that the templates render ---


def rendered(planemo: Path, name: str, states: list[dict[str, Any]]) -> list[dict[str, Any]]:
    request = json.dumps({"tool": str(TOOLS / f"{name}.xml"), "states": states})
    answer = finished(planemo / "python", HERE / "galaxy_render.py", input=request)
    assert answer.returncode == 0, answer.stderr
    document = json.loads(answer.stdout)
    assert document["schema_errors"] == []
    return document["rendered"]  # type: ignore[no-any-return]


def understood(command: str, free_text: dict[str, str], folder: Path) -> Any:
    """Return the parameters that sccr makes of a rendered command line; it refuses what it does not understand.

    The first command has the form's values; what follows it, the table of the report's numbers, has none.
    """
    command = command.replace("\n", " ")  # Galaxy's way of making one line of it
    harmless = " ".join(f"{program}() {{ :; }};" for program in ("ln", "mkdir", "mv"))
    shell = f'GALAXY_SLOTS=2 GALAXY_MEMORY_MB=2048; sccr() {{ printf "%s\\0" "$@" "&&"; }}; {harmless}\n{command}'
    (folder / "free_text.json").write_text(json.dumps(free_text))
    first, *further = finished("sh", "-euc", shell, cwd=folder).stdout.split("&&\0")[:-1]
    for words in further:
        parsed(words.split("\0")[:-1])
    name, given = parsed(first.split("\0")[:-1])
    assert given["config"] == Path("free_text.json")
    model = MODELS[name.replace("-", "_")]
    flags = {field: as_given(given[field]) for field in model.model_fields}
    return settle(model, flags, config=folder / "free_text.json", environ={})


def parsed(words: list[str]) -> tuple[str, dict[str, Any]]:
    """Return the name of a command and what it was given, as sccr's own parser has them."""
    name = words.pop(0)
    chosen = cli.get_command(click.Context(cli), name)
    if isinstance(chosen, click.Group):
        name = words.pop(0)
        chosen = chosen.get_command(click.Context(chosen), name)
    assert chosen is not None
    return name, chosen.make_context(name, words).params


METHODS = {"sccr": ("denoised", "recovered", "both", "embedding"), "scfp": ("denoised", "embedding")}
METHODS["scbfp"] = METHODS["scfp"]
SCALES: tuple[dict[str, Any], ...] = (
    {"input_scale": "auto"},
    {"input_scale": "counts", "normalisation": {"normalize_by": "all", "target_sum": 1e4}},
    {"input_scale": "log1p"},
)
GENES: tuple[dict[str, Any], ...] = (
    {"genes": "top-variance", "n_top_genes": 500},
    {"genes": "highly-variable"},
    {"genes": "all"},
    {"genes": "file"},
)


def test_every_combination_of_the_form_is_a_command_that_sccr_takes(planemo: Path, tmp_path: Path) -> None:
    states = [
        {
            "method_choice": {"method": method, "write": write},
            "scale_choice": scale,
            "genes_choice": genes,
            "outputs": outputs,
            "batch_key": batch,
            "result": {"overwrite_keys": overwrite},
        }
        for (method, writes), scale, genes, (outputs, batch, overwrite) in itertools.product(
            METHODS.items(),
            SCALES,
            GENES,
            (([], "", False), (["report"], "sample", True), (["report", "record"], "", True)),
        )
        for write in writes
    ]
    for state, result in zip(states, rendered(planemo, "sccr_impute", states), strict=True):
        params = understood(result["command"], result["free_text"], tmp_path)
        choice = state["method_choice"]
        assert (params.method, params.write) == (choice["method"], choice["write"])
        assert params.input_scale == state["scale_choice"]["input_scale"]
        assert params.genes == {"file": "genes.txt"}.get(state["genes_choice"]["genes"], state["genes_choice"]["genes"])
        assert params.batch_key == (state["batch_key"] or None)
        assert params.overwrite_keys is state["result"]["overwrite_keys"]
        assert (params.report is not None) == ("report" in state["outputs"])
        assert (params.provenance is not None) == bool(state["outputs"])
        assert ("--numbers numbers.tsv" in result["command"]) == ("report" in state["outputs"])
        assert (params.threads, params.max_memory) == (2, 2048 * 10**6)
        # What the form leaves alone is what the command line leaves alone.
        plain = settle(type(params), {"method": params.method}, environ={})
        assert params.method_parameters() == plain.method_parameters()
        assert params.blend_parameters() == {}


def forms() -> dict[str, list[dict[str, Any]]]:
    """Return what is filled in in the forms of the other tools, by tool."""
    prepared = [{"scale_choice": scale, "genes_choice": genes} for scale, genes in itertools.product(SCALES, GENES)]
    depth = {"normalize_by": "all", "target_sum": 500}
    return {
        "sccr_benchmark": [{"methods": ["none", "scfp"], "order_key": "day", **state} for state in prepared],
        "sccr_evaluate_cluster": [
            {"label_key": "cell type", "matrix_choice": matrix}
            for matrix in ({"matrix": "expression", "layer": "sccr"}, {"matrix": "embedding", "obsm": "X_sccr"})
        ],
        "sccr_evaluate_mask": [{"mechanism": "mnar", **state} for state in prepared],
        "sccr_evaluate_relations": [{"method": "scbfp", "key": "other", **state} for state in prepared],
        "sccr_evaluate_score": [{"layer": "sccr", "details": True}],
        "sccr_evaluate_split_molecules": [
            {"fraction": 0.7, "layer": "x", "normalisation": depth, "genes_choice": genes} for genes in GENES
        ],
        "sccr_tune": [{"advanced": {"beta": 0.8}, "max_cells": 500, **state} for state in [{}, *prepared]],
    }


@pytest.mark.parametrize(("name", "states"), forms().items())
def test_every_form_is_a_command_that_sccr_takes(
    planemo: Path, tmp_path: Path, name: str, states: list[dict[str, Any]]
) -> None:
    for state, result in zip(states, rendered(planemo, name, states), strict=True):
        params = understood(result["command"], result["free_text"], tmp_path)
        given = {
            **state,
            **state.get("matrix_choice", {}),
            **state.get("normalisation", {}),
            **state.get("advanced", {}),
        }
        given |= {"methods": "none,scfp"} if "methods" in state else {}
        for field in given.keys() & type(params).model_fields.keys():
            assert getattr(params, field) == given[field], field
        scale = state.get("scale_choice", {})
        assert getattr(params, "input_scale", "auto") == scale.get("input_scale", "auto")
        if "genes_choice" in state:
            genes = state["genes_choice"]["genes"]
            assert params.genes == {"file": "genes.txt"}.get(genes, genes)


def test_all_forms_are_tried() -> None:
    assert sorted([*forms(), "sccr_impute"]) == TOOL_NAMES


def test_a_form_of_tune_that_nobody_filled_in_leaves_everything_to_be_tuned(planemo: Path, tmp_path: Path) -> None:
    (result,) = rendered(planemo, "sccr_tune", [{}])
    params = understood(result["command"], result["free_text"], tmp_path)
    plain = settle(type(params), {}, environ={})
    assert params.method_parameters() == plain.method_parameters()
    assert [getattr(params, name) for name in TUNED] == [None] * len(TUNED)


def test_free_text_reaches_sccr_as_typed_and_never_the_command_line(planemo: Path, tmp_path: Path) -> None:
    typed = {"layer": HOSTILE, "batch_key": HOSTILE + "\nline", "label_key": HOSTILE, "outputs": ["report"]}
    (harmless, hostile) = rendered(planemo, "sccr_impute", [{"outputs": ["report"]}, typed])
    assert hostile["command"] == harmless["command"]
    params = understood(hostile["command"], hostile["free_text"], tmp_path)
    assert (params.layer, params.batch_key, params.label_key) == (HOSTILE, HOSTILE + "\nline", HOSTILE)


def test_name_of_the_data_heads_the_report_and_harms_nothing(planemo: Path, tmp_path: Path) -> None:
    names = {
        "PBMC 3k.h5ad": "PBMC_3k",
        HOSTILE: None,
        "../../x": "_.._x",
        "--force": "force",
        "": "cells",
        "Größe": "Größe",
        "x" * 500: "x" * 100,
        "細" * 100: "細" * 33,  # 300 bytes: no file system would take them with an ending
        "x" + "𝒳" * 100: "x" + "𝒳" * 24,  # no letter is cut in two
    }
    results = rendered(planemo, "sccr_impute", [{"input": name} for name in names])
    for (name, expected), result in zip(names.items(), results, strict=True):
        (written,) = set(re.findall(r"'result/([^']*)\.h5ad'", result["command"]))
        assert expected in (None, written), name
        assert re.fullmatch(r"[\w][\w.-]*", written) and "PWNED; " not in result["command"]
        understood(result["command"], result["free_text"], tmp_path)
        (tmp_path / f"{written}.h5ad").touch()


# --- the server ---


@pytest.mark.parametrize("name", TOOL_NAMES)
def test_every_test_of_the_tool_passes_on_a_real_server(
    planemo: Path, server: GalaxyServer, name: str, tmp_path: Path
) -> None:
    path = TOOLS / f"{name}.xml"
    results = tmp_path / "results.json"
    run = finished(
        *(planemo / "planemo", "test", "--engine", "external_galaxy", "--galaxy_url", server.url),
        *("--galaxy_admin_key", ADMIN_KEY, "--test_timeout", "300", "--test_output_json", results),
        *("--test_output", tmp_path / "results.html", path),
        env=patient_environment(),
    )
    assert results.exists(), run.stdout + run.stderr + server.log()[-3000:]
    tests = json.loads(results.read_text())["tests"]
    assert len(tests) == len(ElementTree.parse(path).getroot().findall("tests/test"))
    problems = {test["id"]: test["data"] for test in tests if test["data"]["status"] != "success"}
    assert not problems, json.dumps(problems, indent=1)[:6000]


def patient_environment() -> dict[str, str]:
    return {**os.environ, "GALAXY_TEST_DEFAULT_WAIT": "300"}


def run_tool(
    planemo: Path,
    server: GalaxyServer,
    folder: Path,
    inputs: dict[str, Any],
    uploads: dict[str, tuple[Path, str]],
    *,
    tool: str = "sccr_impute",
    email: str = "biologist@example.org",
) -> dict[str, Any]:
    request = {
        "url": server.url,
        "key": ADMIN_KEY,
        "email": email,
        "uploads": {name: (str(path), kind) for name, (path, kind) in uploads.items()},
        "tool": tool,
        "inputs": inputs,
        "folder": str(folder),
    }
    answer = finished(planemo / "python", HERE / "galaxy_client.py", input=json.dumps(request))
    assert answer.returncode == 0, answer.stderr[-3000:] + server.log()[-3000:]
    return json.loads(answer.stdout)  # type: ignore[no-any-return]


def test_the_result_is_the_command_lines_to_the_byte(planemo: Path, server: GalaxyServer, tmp_path: Path) -> None:
    inputs = {
        "input": {"upload": "cells.h5ad"},
        "method_choice": {"method": "sccr", "write": "both", "advanced": {"k_cell": 10}},
        "genes_choice": {"genes": "top-variance", "n_top_genes": 120},
        "batch_key": "batch",
        "outputs": ["record"],
    }
    answer = run_tool(planemo, server, tmp_path, inputs, {"cells.h5ad": (DATA / "simulated.h5ad", "h5ad")})
    assert answer["job"]["state"] == "ok", answer["job"]["stderr"]
    expected = tmp_path / "expected.h5ad"
    words = ("--write", "both", "--k-cell", "10", "--n-top-genes", "120", "--batch-key", "batch", "--threads", "1")
    subprocess.run([SCCR, "impute", DATA / "simulated.h5ad", expected, *words, "--quiet"], check=True)
    imputed = Path(answer["outputs"]["imputed"]["path"])
    assert imputed.read_bytes() == expected.read_bytes()
    result = anndata.read_h5ad(imputed)
    assert np.isfinite(np.asarray(result.obsm["X_sccr"])).all()
    record = json.loads(Path(answer["outputs"]["record"]["path"]).read_text())
    # What Galaxy says a job may use is what the step keeps to.
    assert record["resources"]["memory_limit_bytes"] == 4096 * 10**6
    assert "imputed data (sccr)" in answer["outputs"]["imputed"]["name"]


def hostile_cells(path: Path) -> None:
    cells = anndata.read_h5ad(DATA / "simulated.h5ad")
    cells.layers.clear()
    cells.layers[HOSTILE] = cells.X.copy()
    cells.obs[HOSTILE + "\nsecond line"] = cells.obs["batch"].to_numpy()
    cells.obs["kinds"] = [f"{HOSTILE} {kind}" for kind in cells.obs["cell_type"]]
    cells.write_h5ad(path)


def test_hostile_names_come_through_as_data(planemo: Path, server: GalaxyServer, tmp_path: Path) -> None:
    hostile_cells(tmp_path / "hostile.h5ad")
    (tmp_path / "genes.txt").write_text("gene_001\ngene_002\ngene_003\n$(touch PWNED)\n", encoding="utf-8")
    uploads = {HOSTILE: (tmp_path / "hostile.h5ad", "h5ad")}
    inputs = {
        "input": {"upload": HOSTILE},
        "layer": HOSTILE,
        "batch_key": HOSTILE + "\nsecond line",
        "label_key": "kinds",
        "outputs": ["report", "record"],
    }
    answer = run_tool(planemo, server, tmp_path, inputs, uploads)
    assert answer["job"]["state"] == "ok", answer["job"]["stderr"]
    params = json.loads(Path(answer["outputs"]["record"]["path"]).read_text())["params"]
    assert (params["layer"], params["batch_key"]) == (HOSTILE, HOSTILE + "\nsecond line")

    listed = inputs | {"genes_choice": {"genes": "file", "gene_list": {"upload": "genes"}}, "outputs": []}
    answer = run_tool(planemo, server, tmp_path, listed, uploads | {"genes": (tmp_path / "genes.txt", "txt")})
    assert answer["job"]["state"] == "error"
    assert "$(touch PWNED)" in answer["job"]["stderr"]

    refused = run_tool(planemo, server, tmp_path, inputs | {"result": {"key_added": "x; touch PWNED"}}, uploads)
    assert "A letter or an underscore, followed by" in refused["refused"]
    assert not list(server.folder.rglob("PWNED*"))
    assert not list(Path.home().glob("PWNED*"))


def test_a_job_runs_in_the_shipped_image(
    planemo: Path, server: GalaxyServer, podman: Podman, open_folder: Path, tmp_path: Path
) -> None:
    tagged = podman("tag", podman.image, CONTAINER_IMAGE)
    assert tagged.returncode == 0, tagged.stderr
    server.use_containers(
        shutil.which("podman") or "podman",
        {name: value for name, value in podman.environment.items() if os.environ.get(name) != value},
    )
    inputs = {"input": {"upload": "cells.h5ad"}, "label_key": "cell_type", "outputs": ["report", "record"]}
    uploads = {"cells.h5ad": (DATA / "simulated.h5ad", "h5ad")}
    answer = run_tool(planemo, server, tmp_path, inputs, uploads, email=CONTAINER_USER)
    assert answer["job"]["state"] == "ok", answer["job"]["stderr"] + server.log()[-3000:]
    record = json.loads(Path(answer["outputs"]["record"]["path"]).read_text())
    # The image has a Python of its own; this machine's would have said its own version.
    in_image = podman.output("python3", "-c", "import sys; print('%d.%d.%d' % sys.version_info[:3])").strip()
    assert record["software"]["python"] == in_image
    result = anndata.read_h5ad(answer["outputs"]["imputed"]["path"])
    assert result.layers["sccr"].shape == (120, 200)
    table = Path(answer["outputs"]["numbers"]["path"]).read_text().splitlines()
    assert "Cells\t120\t" in table


def test_form_and_report_in_the_real_client(
    planemo: Path, galaxy: dict[str, Path], server: GalaxyServer, tmp_path: Path
) -> None:
    server.put("/api/sanitize_allow?tool_id=sccr_impute")
    inputs = {"input": {"upload": "cells.h5ad"}, "label_key": "cell_type", "outputs": ["report"]}
    uploads = {"cells.h5ad": (DATA / "simulated.h5ad", "h5ad")}
    answer = run_tool(planemo, server, tmp_path, inputs, uploads, email="looker@example.org")
    assert answer["job"]["state"] == "ok", answer["job"]["stderr"]
    pictures = Path(os.environ.get("SCCR_SCREENSHOTS", tmp_path))
    request = {
        "url": server.url,
        "email": "looker@example.org",
        "password": PASSWORD,
        "history": answer["history"],
        "tools": TOOL_NAMES,
        "report": answer["outputs"]["report"]["id"],
        "folder": str(pictures),
        "chromium": shutil.which("chromium"),
    }
    looked = finished(
        galaxy["GALAXY_BROWSER"] / "bin" / "python", HERE / "galaxy_screens.py", input=json.dumps(request)
    )
    assert looked.returncode == 0, looked.stderr[-3000:]
    seen = json.loads(looked.stdout)
    impute = seen["sccr_impute"]
    # In the order in which a biologist decides; the numbers of the method stay folded up until they are asked for.
    asked = ["Annotated data matrix", "Method", "Layer with", "Counts or logs?", "Genes to impute", "Batch column"]
    places = [impute["closed"].index(label) for label in asked]
    assert places == sorted(places)
    assert "Neighbours per cell" not in impute["closed"] and "Neighbours per cell" in impute["open"]
    assert "Published for scCR: 15" in impute["open"]
    assert "What to cluster" in seen["sccr_evaluate_cluster"]["closed"]
    for name in TOOL_NAMES:
        assert "The parts of an AnnData file" in seen[name]["closed"], name
    assert "cell_type" in seen["report"] and "scCR" in seen["report"]
    for picture in (*(f"{name}{kind}.png" for name in TOOL_NAMES for kind in ("", "_open")), "report.png"):
        assert (pictures / picture).stat().st_size > 20_000


# --- the workflow ---


def test_the_workflow_is_one_that_iwc_would_take(planemo: Path) -> None:
    for lint in (
        finished(planemo / "gxwf-lint", WORKFLOW / "impute-and-cluster.ga"),
        finished(planemo / "planemo", "workflow_lint", "--iwc", "--fail_level", "warn", WORKFLOW),
    ):
        assert lint.returncode == 0, lint.stdout + lint.stderr
        assert "WARNING" not in lint.stdout and "ERROR" not in lint.stdout


def test_the_server_takes_the_workflow_and_our_step_of_it(planemo: Path, server: GalaxyServer) -> None:
    workflow = json.loads((WORKFLOW / "impute-and-cluster.ga").read_text())
    for step in workflow["steps"].values():
        if "/sccr_impute/" in (step.get("tool_id") or ""):
            step["tool_id"] = "sccr_impute"  # from here, not from the Tool Shed
    request = {"url": server.url, "key": ADMIN_KEY, "email": "author@example.org", "workflow": workflow}
    answer = finished(planemo / "python", HERE / "galaxy_client.py", input=json.dumps(request))
    assert answer.returncode == 0, answer.stderr[-3000:] + server.log()[-3000:]
    taken = json.loads(answer.stdout)
    labels, expected = ({key: step["label"] for key, step in found["steps"].items()} for found in (taken, workflow))
    assert labels == expected
    (ours,) = (step for step in taken["steps"].values() if step["tool_id"] == "sccr_impute")
    assert ours["errors"] is None
    assert set(ours["input_connections"]) == {"input", "batch_key", "tune"}
    assert {output["name"] for output in ours["outputs"]} == {"imputed", "report", "numbers"}
