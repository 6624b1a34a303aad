import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

import sccr_node
from sccr_node.contract.evaluate import EvaluateClusterParameters
from sccr_node.contract.impute import ImputeParameters
from sccr_node.contract.methods import METHODS
from tests.support.parameters import published_defaults
from tools.faces.galaxy import (
    FORM_HELP,
    FORM_NOTES,
    FORM_TITLES,
    MODELS,
    NOT_OFFERED,
    OPTION_LABELS,
    macros_text,
    offered,
)

REPOSITORY = Path(__file__).resolve().parents[3]
TOOLS = REPOSITORY / "galaxy"
MACROS = ElementTree.fromstring(macros_text())
MACRO_NAMES = [macro.get("name", "") for macro in MACROS.findall("xml")]


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


def setting(method: str, name: str) -> ElementTree.Element:
    return next(param for param in settings_of(method) if param.get("argument") == "--" + name.replace("_", "-"))


def settings_of(method: str) -> list[ElementTree.Element]:
    return method_choice(method).findall("section[@name='numbers']/param")


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
    assert set(MACRO_NAMES) - used == {"free_text"}


@pytest.mark.parametrize("method", METHODS)
def test_numbers_have_the_published_defaults_and_reach_the_command(method: str) -> None:
    (command,) = (token.text or "" for token in MACROS.findall("token") if token.get("name") == "@IMPUTE_NUMBERS@")
    assert re.findall(r"#(?:el)?if \$method_choice\.method == '(\w+)'", command) == list(METHODS)
    token = command.split(f"$method_choice.method == '{method}'")[1].split("#elif")[0]
    own = {name: values[method] for name, values in published_defaults().items() if method in values}
    following = METHODS[method].follows
    assert len(settings_of(method)) == len(own) + len(following)
    for name in following:
        shown = setting(method, name)
        assert (shown.get("value"), shown.get("optional")) == ("", "true")
        value = f"$method_choice.numbers.{name}"
        assert f"#if str({value}) != ''\n--{name.replace('_', '-')} '{value}'\n#end if\n" in token
    for name, value in own.items():
        shown = setting(method, name)
        if isinstance(value, bool):
            assert shown.get("checked") == str(value).lower()
        else:
            assert float(shown.get("value", "")) == value
            assert f"--{name.replace('_', '-')} '$method_choice.numbers.{name}'" in token
        assert f"$method_choice.numbers.{name}" in token
        assert (shown.get("help") or "").strip()


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
    assert set(FORM_HELP) | set(FORM_NOTES) | set(FORM_TITLES) <= {*MACRO_NAMES, "impute_method", "impute_write"}
    fields = set().union(*(model.model_fields for model in MODELS.values()))
    assert set(OPTION_LABELS) <= fields


def test_a_name_that_is_needed_must_be_given() -> None:
    assert EvaluateClusterParameters.model_fields["label_key"].is_required()
    needed = parameter("cluster_label_key")
    assert needed.get("optional") is None
    assert [check.get("type") for check in needed.findall("validator")] == ["empty_field"]


@pytest.mark.parametrize("name", ["sccr_impute", "sccr_evaluate"])
def test_free_text_is_sanitised_and_kept_off_the_command_line(name: str) -> None:
    root = tool(name)
    command = root.findtext("command") or ""
    free_text = root.findtext("configfiles/configfile") or ""
    for text in MACROS.iter("param"):
        if text.get("type") == "text":
            assert [expand.get("macro") for expand in text.findall("expand")] == ["free_text"]
            field = (text.get("argument") or "")[2:].replace("-", "_")
            assert not re.search(rf"\$[\w.]*\b{field}\b", command), field
    # Every value on the command line stands in single quotes, but for flags, which Galaxy takes from the XML.
    variables = {
        "$tune",
        "$result.overwrite_keys",
        "$outputs",
        "$scale",
        "$chosen_genes",
        "$task",
        "$task_choice.details",
    }
    lines = [line for line in command.splitlines() if not line.strip().startswith("#")]
    for line in lines:
        for variable in re.findall(r"(?<!\\)\$[\w.]+", line):
            assert f"'{variable}'" in line or variable in variables, line
    # The file has the values as they were typed, not as they were sanitised.
    assert all(".value" in word for word in re.findall(r"\$\w*(?:layer|_key|obsm|seeds|rates)\b[\w.]*", free_text))


def test_the_version_is_the_packages() -> None:
    tokens = {
        token.get("name"): token.text for token in ElementTree.parse(TOOLS / "macros.xml").getroot().findall("token")
    }
    assert tokens["@TOOL_VERSION@"] == sccr_node.__version__
    recipe = (REPOSITORY / "conda" / "recipe" / "meta.yaml").read_text()
    assert f'{{% set version = "{sccr_node.__version__}" %}}' in recipe
    workflow = (TOOLS / "workflows" / "impute_and_cluster.gxwf.yml").read_text()
    assert f"tool_version: {sccr_node.__version__}+galaxy{tokens['@VERSION_SUFFIX@']}" in workflow


def test_tool_shed_description_has_what_it_needs() -> None:
    shed = yaml.safe_load((TOOLS / ".shed.yml").read_text())
    assert shed["categories"] == ["Single Cell", "Transcriptomics"]
    assert shed["type"] == "unrestricted"
    assert {"name", "owner", "description", "homepage_url", "long_description", "remote_repository_url"} <= set(shed)


def test_test_data_are_small() -> None:
    assert sum(path.stat().st_size for path in (TOOLS / "test-data").rglob("*")) < 1_000_000
