"""The Nextflow workflow's derived files, and whether the hand-written ones agree with them."""

import json
import re
from pathlib import Path

import jsonschema
import pytest
import yaml

from sccr_node import __version__
from sccr_node.cli.app import cli
from sccr_node.contract.methods import METHODS
from tests.support import REPOSITORY
from tools.faces.nextflow import (
    OPTIONS,
    derived_texts,
    parameters_schema,
    property_of,
    samplesheet_schema,
    workflow_fields,
)

NEXTFLOW = REPOSITORY / "nextflow"
MODULES = sorted((NEXTFLOW / "modules" / "sccr").glob("*/main.nf"))
SUBWORKFLOWS = sorted((NEXTFLOW / "subworkflows" / "local").glob("h5ad_*/main.nf"))


@pytest.mark.parametrize("path", derived_texts())
def test_the_checked_in_file_is_what_make_faces_writes(path: str) -> None:
    assert (REPOSITORY / path).read_text(encoding="utf-8") == derived_texts()[path]


@pytest.mark.parametrize("path", ["nextflow_schema.json", "assets/schema_input.json"])
def test_the_schemas_are_json_schemas(path: str) -> None:
    jsonschema.Draft202012Validator.check_schema(json.loads((NEXTFLOW / path).read_text(encoding="utf-8")))


def test_every_parameter_stands_in_one_section_and_in_the_configuration() -> None:
    sections = parameters_schema()["$defs"].values()
    named = [name for section in sections for name in section["properties"]]
    assert sorted(named) == sorted(workflow_fields())
    configured = re.findall(r"^    (\w+) +=", (NEXTFLOW / "conf" / "parameters.config").read_text(), re.MULTILINE)
    assert sorted(configured) == sorted(workflow_fields())


@pytest.mark.parametrize("process", OPTIONS)
def test_every_option_is_one_of_the_command(process: str) -> None:
    name = process.removeprefix("SCCR_").removesuffix("_BATCH").lower()
    command = cli.get_command(None, name)  # type: ignore[arg-type]
    assert command is not None
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    text = (NEXTFLOW / "conf" / "parameters.config").read_text()
    block = re.search(rf"withName: '{process}' {{(.*?)\n    }}", text, re.DOTALL)
    assert block is not None
    used = set(re.findall(r"""['"](--[a-z-]+)""", block[1]))
    assert used and used <= known


def test_bounds_and_choices_are_the_contracts() -> None:
    assert property_of("alpha") | {"minimum": 0.0, "maximum": 1.0, "methods": ["sccr"]} == property_of("alpha")
    assert property_of("k_gene")["methods"] == ["sccr", "scbfp"]
    assert property_of("k_cell").get("methods", list(METHODS)) == [
        name for name, method in METHODS.items() if "k_cell" in method.settings
    ]
    assert property_of("imputation")["enum"] == ["none", *METHODS]
    assert property_of("target_sum")["type"] == ["string", "number"]
    median_or_number = {"type": "object", "properties": {"target_sum": property_of("target_sum")}}
    jsonschema.validate({"target_sum": "median"}, median_or_number)
    jsonschema.validate({"target_sum": 1e4}, median_or_number)
    for wrong in ("mean", 0):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({"target_sum": wrong}, median_or_number)


@pytest.mark.parametrize("name", [name for name in workflow_fields() if property_of(name)["type"] == "string"])
def test_no_text_can_leave_its_quotes(name: str) -> None:
    schema = property_of(name)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate("x'; touch y; '", schema)


def test_every_pattern_is_explained_in_words() -> None:
    schemas = [property_of(name) for name in workflow_fields()]
    schemas += samplesheet_schema()["items"]["properties"].values()
    patterned = [schema for schema in schemas if "pattern" in schema]
    assert len(patterned) > 20
    for schema in patterned:
        assert re.fullmatch(r"must [^\\^$*+?{}]+", schema["errorMessage"]), schema


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.parent.name)
def test_a_module_names_this_version_and_nothing_else(module: Path) -> None:
    text = module.read_text()
    # The build's own part is Bioconda's to choose, at the release.
    containers = re.findall(r"'(\S+/sccr-node:\S+)'", text)
    assert containers == [
        f"{place}/sccr-node:{__version__}--py312h0000000_0"
        for place in ("https://depot.galaxyproject.org/singularity", "quay.io/biocontainers")
    ]
    dependencies = yaml.safe_load((module.parent / "environment.yml").read_text())["dependencies"]
    assert f"bioconda::sccr-node={__version__}" in dependencies


NF_TESTS = sorted(NEXTFLOW.rglob("*.nf.test"))


def names_of_tests(file: Path) -> list[str]:
    return re.findall(r'test\("([^"]+)"\)', file.read_text())


def snapshots_of(file: Path) -> dict[str, dict[str, object]]:
    snapshots: dict[str, dict[str, object]] = json.loads(file.with_name(f"{file.name}.snap").read_text())
    return snapshots


def test_every_module_subworkflow_and_the_workflow_have_their_tests() -> None:
    tested = {path.parent / "tests" / "main.nf.test" for path in (*MODULES, *SUBWORKFLOWS)}
    assert set(NF_TESTS) == tested | {NEXTFLOW / "tests" / "default.nf.test"}


@pytest.mark.parametrize("file", NF_TESTS, ids=lambda file: file.parents[1].name)
def test_every_test_has_its_stub_and_the_snapshot_of_a_real_run(file: Path) -> None:
    tests = names_of_tests(file)
    refusals = {name for name in tests if "fails" in name or "refused" in name}
    real = {name for name in tests if not name.endswith("- stub")} - refusals
    assert real
    assert {f"{name} - stub" for name in real} == {name for name in tests if name.endswith("- stub")}
    # What nf-test wrote in real runs; none is written by hand.
    snapshots = snapshots_of(file)
    assert set(snapshots) == set(tests) - refusals
    for snapshot in snapshots.values():
        assert {"nf-test", "nextflow"} == set(snapshot["meta"])  # type: ignore[call-overload]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.parent.name)
def test_a_module_is_tested_on_what_it_refuses_and_its_snapshots_are_of_this_version(module: Path) -> None:
    file = module.parent / "tests" / "main.nf.test"
    assert any("fails and writes nothing" in name for name in names_of_tests(file))
    for snapshot in snapshots_of(file).values():
        assert f'"{__version__}"' in json.dumps(snapshot["content"])


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.parent.name)
def test_a_module_takes_by_name_only_what_its_command_requires(module: Path) -> None:
    """All else goes through ``ext.args``, as nf-core asks for."""
    inputs = re.search(r"    input:\n(.*?)\n\n", module.read_text(), re.DOTALL)
    assert inputs is not None
    values = re.findall(r"^    val (\w+)", inputs[1], re.MULTILINE)
    assert values == {"split": ["batch_key"], "impute": ["with_report"]}.get(module.parent.name, [])


def test_the_schema_is_called_as_nf_core_calls_it_after_the_manifest() -> None:
    config = (NEXTFLOW / "nextflow.config").read_text()
    manifest = dict(re.findall(r"^    (\w+) += '(.+)'$", config, re.MULTILINE))
    schema = parameters_schema()
    assert schema["title"] == f"{manifest['name']} pipeline parameters"
    assert schema["description"] == manifest["description"]
    assert schema["$id"].startswith(f"https://raw.githubusercontent.com/{manifest['name']}/main/")
    main = schema["$defs"]["input_output_options"]
    assert {"input", "outdir"} == set(main["required"]) < set(main["properties"])


def test_the_manifest_and_the_container_name_this_version() -> None:
    assert f"version         = '{__version__}'" in (NEXTFLOW / "nextflow.config").read_text()
    assert f"'ghcr.io/sccr-node/sccr-node:{__version__}'" in (NEXTFLOW / "conf" / "base.config").read_text()


def test_every_section_says_what_it_is_about() -> None:
    for section in parameters_schema()["$defs"].values():
        assert section["description"].endswith(".")
        assert re.fullmatch(r"fas fa-[a-z-]+", section["fa_icon"])


@pytest.mark.parametrize("script", SUBWORKFLOWS, ids=lambda script: script.parent.name)
def test_a_subworkflow_names_what_it_consists_of_and_what_it_takes_and_gives(script: Path) -> None:
    text, about = script.read_text(), yaml.safe_load((script.parent / "meta.yml").read_text())
    assert about["name"] == script.parent.name
    assert re.findall(r"^workflow (\w+) {", text, re.MULTILINE) == [script.parent.name.upper()]
    # Nothing local: nf-core's subworkflows consist of nf-core's modules and subworkflows.
    included = re.findall(r"^include .* from '\.\./(?:\.\./\.\./modules/)?([\w/]+)'$", text, re.MULTILINE)
    assert about["components"] == included
    assert all(name.startswith(("sccr/", "h5ad_")) for name in included)
    for heading, key in (("take", "input"), ("emit", "output")):
        block = re.search(rf"    {heading}:\n((?:    \w.*\n)+)", text)
        assert block is not None
        assert [next(iter(each)) for each in about[key]] == re.findall(r"^    (\w+)", block[1], re.MULTILINE)


def test_functions_are_in_camel_case_as_nf_core_asks_for() -> None:
    names = [
        name for path in NEXTFLOW.rglob("*.nf") for name in re.findall(r"^def (\w+)\(", path.read_text(), re.MULTILINE)
    ]
    assert len(names) > 20
    assert [name for name in names if not re.fullmatch(r"[a-z][A-Za-z]+", name)] == []


def test_the_places_of_every_profile_are_parameters() -> None:
    used = {
        name
        for path in (NEXTFLOW / "conf").rglob("*.config")
        for name in re.findall(r"params\.(\w+)", path.read_text(encoding="utf-8"))
    }
    assert {"queue", "bucket", "region", "project", "account", "namespace", "storage_claim"} <= used
    assert used <= set(workflow_fields())


def test_no_file_holds_a_credential() -> None:
    suspicious = re.compile(r"(secret|access|account|storage)_?key\s*=|password\s*=|token\s*=|AKIA[0-9A-Z]{16}", re.I)
    for path in NEXTFLOW.rglob("*"):
        if path.suffix in (".config", ".nf", ".json", ".yml"):
            assert not suspicious.search(path.read_text(encoding="utf-8")), path
