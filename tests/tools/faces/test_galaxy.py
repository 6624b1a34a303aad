import json
import re
from xml.etree import ElementTree

import pytest
import yaml

import sccr_node
from sccr_node.contract.evaluate import EvaluateClusterParameters
from sccr_node.contract.impute import ImputeParameters
from sccr_node.contract.methods import METHODS
from sccr_node.contract.tune import TUNABLE, TUNED, TuneParameters
from tests.support import REPOSITORY
from tests.support.parameters import published_defaults
from tools.faces.galaxy import (
    FORM_HELP,
    FORM_NOTES,
    FORM_TITLES,
    MODELS,
    NOT_OFFERED,
    OF_ALL_METHODS,
    OPTION_LABELS,
    macros_text,
    offered,
)

TOOLS = REPOSITORY / "galaxy"
MACROS = ElementTree.fromstring(macros_text())
MACRO_NAMES = [macro.get("name", "") for macro in MACROS.findall("xml")]
TOOL_NAMES = sorted(path.stem for path in TOOLS.glob("sccr_*.xml"))
WORKFLOW = TOOLS / "workflows" / "sccr-impute-and-cluster"


def macro(name: str) -> ElementTree.Element:
    (found,) = (macro for macro in MACROS.findall("xml") if macro.get("name") == name)
    return found


def parameter(name: str) -> ElementTree.Element:
    (only,) = macro(name).findall("param")
    return only


def method_choice(method: str) -> ElementTree.Element:
    """Return what the form shows once a method has been chosen."""
    (found,) = (when for when in macro("impute_method_choice").iter("when") if when.get("value") == method)
    return found


def token(name: str) -> str:
    """Return the part of a command line that is derived."""
    (found,) = (found for found in MACROS.findall("token") if found.get("name") == name)
    return found.text or ""


def setting(method: str, name: str) -> ElementTree.Element:
    return next(param for param in settings_of(method) if param.get("argument") == "--" + name.replace("_", "-"))


def settings_of(method: str) -> list[ElementTree.Element]:
    shown = method_choice(method).findall("section[@name='advanced']/param")
    return [param for param in shown if (param.get("argument") or "")[2:].replace("-", "_") not in OF_ALL_METHODS]


def select(argument: str, within: ElementTree.Element) -> ElementTree.Element:
    (found,) = (param for param in within.findall("param") if param.get("argument") == argument)
    return found


def values(choice: ElementTree.Element) -> list[str | None]:
    return [option.get("value") for option in choice.findall("option")]


def tool(name: str) -> ElementTree.Element:
    return ElementTree.parse(TOOLS / f"{name}.xml").getroot()


def test_checked_in_macros_are_what_the_contract_says() -> None:
    assert (TOOLS / "parameter_macros.xml").read_text(encoding="utf-8") == macros_text()


def test_no_macro_is_written_twice() -> None:
    assert len(MACRO_NAMES) == len(set(MACRO_NAMES))


def test_every_parameter_is_offered_or_said_not_to_be() -> None:
    fields = set().union(*(model.model_fields for model in MODELS.values()))
    assert fields >= NOT_OFFERED
    text = (TOOLS / "macros.xml").read_text() + "".join(path.read_text() for path in TOOLS.glob("sccr_*.xml"))
    used = set(re.findall(r'<expand macro="(\w+)"', text))
    shown = {param.get("argument") for name in used & set(MACRO_NAMES) for param in macro(name).iter("param")}
    for model in MODELS.values():
        assert {"--" + name.replace("_", "-") for name in offered(model)} <= shown
    # Nothing is derived for nobody.
    assert set(MACRO_NAMES) <= used


@pytest.mark.parametrize("method", METHODS)
def test_numbers_have_the_published_defaults_and_reach_the_command(method: str) -> None:
    command = token("@IMPUTE_ADVANCED@")
    assert re.findall(r"#(?:el)?if \$method_choice\.method == '(\w+)'", command) == list(METHODS)
    own_part = command.split(f"$method_choice.method == '{method}'")[1].split("#elif")[0]
    own = {name: values[method] for name, values in published_defaults().items() if method in values}
    following = METHODS[method].follows
    assert len(settings_of(method)) == len(own) + len(following)
    for name in following:
        shown = setting(method, name)
        assert (shown.get("value"), shown.get("optional")) == ("", "true")
        value = f"$method_choice.advanced.{name}"
        assert f"#if str({value}) != ''\n--{name.replace('_', '-')} '{value}'\n#end if\n" in own_part
    for name, value in own.items():
        shown = setting(method, name)
        if isinstance(value, bool):
            assert shown.get("checked") == str(value).lower()
        else:
            assert float(shown.get("value", "")) == value
            assert f"--{name.replace('_', '-')} '$method_choice.advanced.{name}'" in own_part
        assert f"$method_choice.advanced.{name}" in own_part
        assert (shown.get("help") or "").strip()
    for name in OF_ALL_METHODS:
        assert f"--{name.replace('_', '-')} '$method_choice.advanced.{name}'" in command


def test_the_form_of_tune_leaves_open_what_is_tuned() -> None:
    assert TUNABLE == ("sccr",)
    command = token("@TUNE_ADVANCED@")
    (section,) = macro("tune_advanced").findall("section[@name='advanced']")
    shown = {(param.get("argument") or "")[2:].replace("-", "_"): param for param in section}
    assert set(shown) == {*published_defaults(), *METHODS["sccr"].follows, *OF_ALL_METHODS}
    for name in TUNED:
        assert (shown[name].get("value"), shown[name].get("optional")) == ("", "true")
        assert f"#if str($advanced.{name}) != ''\n--{name.replace('_', '-')} '$advanced.{name}'\n#end if\n" in command
    assert "Leave empty to find the best number. Published for scCR: 0.99." in (shown["beta"].get("help") or "")
    assert set(offered(TuneParameters)) - set(shown) <= {
        field
        for field in TuneParameters.model_fields
        if f"tune_{field}" in MACRO_NAMES or f"impute_{field}" in MACRO_NAMES
    } | {"method"}


def test_bounds_of_the_form_are_those_of_the_contract() -> None:
    alpha = setting("sccr", "alpha")
    assert (alpha.get("min"), alpha.get("max")) == ("0", "1")
    assert parameter("impute_n_top_genes").get("min") == "1"
    (above_zero,) = parameter("mask_rate").findall("validator")
    assert above_zero.attrib.items() >= {"min": "0", "exclude_min": "true"}.items()
    assert (parameter("impute_target_sum").get("min"), parameter("impute_target_sum").get("max")) == ("0.001", None)
    assert parameter("impute_target_sum").get("optional") == "true"
    # No slider from 0 to four thousand million.
    assert parameter("mask_seed").get("max") is None
    (pattern,) = parameter("impute_key_added").findall("validator")
    assert re.match(pattern.text or "", "sccr") and not re.match(pattern.text or "", "; touch x")


def test_values_of_choices_are_the_command_lines() -> None:
    together = {
        "method": select("--method", next(macro("impute_method_choice").iter("conditional"))),
        "write": select("--write", method_choice("sccr")),
    }
    for name in ("input_scale", "normalize_by", "write", "compression", "method"):
        schema = ImputeParameters.model_json_schema()["properties"][name]
        shown = together.get(name)
        if shown is None:
            shown = parameter(f"impute_{name}")
        assert values(shown) == schema["enum"]
        assert [option.get("value") for option in shown if option.get("selected")] == [schema["default"]]


def test_a_method_offers_only_what_it_can_write() -> None:
    assert [when.get("value") for when in macro("impute_method_choice").iter("when")] == list(METHODS)
    for name, method in METHODS.items():
        offered_outputs = values(select("--write", method_choice(name)))
        assert ("recovered" in offered_outputs) == ("both" in offered_outputs) == ("recovered" in method.outputs)
        assert {"denoised", "embedding"} <= set(offered_outputs)


def test_every_choice_is_said_in_words() -> None:
    for choice in MACROS.iter("param"):
        if choice.get("type") == "select":
            name = (choice.get("argument") or "")[2:].replace("-", "_")
            assert set(values(choice)) <= set(OPTION_LABELS[name])
            assert all(option.text for option in choice)


def test_no_words_are_left_for_what_is_gone() -> None:
    # The method and its outputs are chosen together, in one macro.
    chosen_together = {"impute_method", "impute_write"}
    chosen_together |= {f"{prefix}_{name}" for prefix in ("impute", "tune") for name in OF_ALL_METHODS}
    assert set(FORM_HELP) | set(FORM_NOTES) | set(FORM_TITLES) <= {*MACRO_NAMES, *chosen_together}
    fields = set().union(*(model.model_fields for model in MODELS.values()))
    assert set(OPTION_LABELS) <= fields


def test_a_name_that_is_needed_must_be_given() -> None:
    assert EvaluateClusterParameters.model_fields["label_key"].is_required()
    needed = parameter("cluster_label_key")
    assert needed.get("optional") is None
    assert [check.get("type") for check in needed.findall("validator")] == ["empty_field"]


@pytest.mark.parametrize("name", TOOL_NAMES)
def test_free_text_is_kept_off_the_command_line(name: str) -> None:
    root = tool(name)
    command = root.findtext("command") or ""
    free_text = root.findtext("configfiles/configfile") or ""
    assert "@FREE_TEXT@" in free_text
    typed = re.findall(r"'(\w+)': \$([\w.]+)", free_text)
    for field, variable in typed:
        assert variable.rsplit(".")[-1] == field
    for text in MACROS.iter("param"):
        if text.get("type") == "text":
            field = (text.get("argument") or "")[2:].replace("-", "_")
            assert not re.search(rf"\$[\w.]*\b{field}\b", command), field
    # Every text that the form has is in the file, and nothing else.
    used = [found for found in MACRO_NAMES if f'<expand macro="{found}"/>' in (TOOLS / f"{name}.xml").read_text()]
    texts = {
        param.get("argument") for found in used for param in macro(found).iter("param") if param.get("type") == "text"
    }
    assert {"--" + field.replace("_", "-") for field, _ in typed} == texts
    # Every value on the command line stands in single quotes, but for flags, which Galaxy takes from the XML.
    flags = {"$tune", "$result.overwrite_keys"}
    for line in (line for line in command.splitlines() if not line.strip().startswith("#")):
        for variable in re.findall(r"(?<!\\)\$\{?[\w.]+", line):
            assert re.search(rf"'[^' ]*{re.escape(variable)}[^' ]*'", line) or variable in flags, line


@pytest.mark.parametrize("name", TOOL_NAMES)
def test_every_tool_has_the_parts_that_reviewers_look_for(name: str) -> None:
    root = tool(name)
    assert (root.get("id"), root.get("profile")) == (name, "@PROFILE@")
    assert [macro.text for macro in root.findall("macros/import")] == ["macros.xml", "parameter_macros.xml"]
    help_text = root.findtext("help") or ""
    headings = ("**What it does**", "**Inputs**", "**Outputs**", "@ANNDATA@", "@MORE@")
    places = [help_text.index(heading) for heading in headings]
    assert places == sorted(places)
    shared = {expand.get("macro") for expand in root.findall("expand")}
    assert shared == {"edam", "creators", "requirements", "stdio", "version_command", "citations"}
    tests = root.findall("tests/test")
    assert any(test.get("expect_failure") for test in tests) and any(test.get("expect_num_outputs") for test in tests)


def test_the_papers_of_all_methods_are_cited_and_no_container_is_named() -> None:
    shared = ElementTree.parse(TOOLS / "macros.xml").getroot()
    citations = shared.findall("xml[@name='citations']/citations/citation")
    (scbfp,) = re.findall(r"bbae\d+", METHODS["scbfp"].reference)
    (scfp,) = re.findall(r"arXiv:(\d+\.\d+)", METHODS["scfp"].reference)
    dois = {citation.text for citation in citations if citation.get("type") == "doi"}
    assert dois >= {f"10.1093/bib/{scbfp}", f"10.48550/arXiv.{scfp}"}
    assert "um2024sccr" in "".join(citation.text or "" for citation in citations if citation.get("type") == "bibtex")
    assert not list(shared.iter("container"))


def test_the_version_is_the_packages() -> None:
    tokens = {
        token.get("name"): token.text for token in ElementTree.parse(TOOLS / "macros.xml").getroot().findall("token")
    }
    assert tokens["@TOOL_VERSION@"] == sccr_node.__version__
    recipe = (REPOSITORY / "conda" / "recipe" / "meta.yaml").read_text()
    assert f'{{% set version = "{sccr_node.__version__}" %}}' in recipe
    version = f"{sccr_node.__version__}+galaxy{tokens['@VERSION_SUFFIX@']}"
    workflow = json.loads((WORKFLOW / "impute-and-cluster.ga").read_text())
    ours = [step for step in workflow["steps"].values() if "/sccr_" in (step.get("tool_id") or "")]
    assert ours and all(step["tool_version"] == version for step in ours)
    assert all(step["tool_id"].endswith(f"/{version}") for step in ours)


def test_tool_shed_description_has_what_it_needs() -> None:
    shed = yaml.safe_load((TOOLS / ".shed.yml").read_text())
    assert shed["categories"] == ["Single Cell", "Transcriptomics"]
    assert shed["type"] == "unrestricted"
    assert {"name", "owner", "description", "homepage_url", "long_description", "remote_repository_url"} <= set(shed)


def test_test_data_are_small() -> None:
    assert sum(path.stat().st_size for path in (TOOLS / "test-data").rglob("*")) < 1_000_000
