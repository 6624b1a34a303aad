"""Writes the Galaxy tools' parameter macros from the contract, so that the form and the command line cannot differ."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

from sccr_node.contract.benchmark import BenchmarkParameters
from sccr_node.contract.evaluate import (
    EvaluateClusterParameters,
    EvaluateMaskParameters,
    EvaluateRelationsParameters,
    EvaluateScoreParameters,
)
from sccr_node.contract.fields import NUMBERS, flag
from sccr_node.contract.impute import ImputeParameters, methods_by_setting
from sccr_node.contract.methods import DEFAULT_METHOD, METHODS
from sccr_node.contract.shared import GENE_CHOICES, Parameters

MODELS: dict[str, type[Parameters]] = {
    "impute": ImputeParameters,
    "mask": EvaluateMaskParameters,
    "score": EvaluateScoreParameters,
    "cluster": EvaluateClusterParameters,
    "relations": EvaluateRelationsParameters,
    "benchmark": BenchmarkParameters,
}
"""The models whose parameters the tools offer, and the prefix of their macros."""

NOT_OFFERED = frozenset(
    {
        # Galaxy gives the job its CPUs and its memory, and the tool asks for its files by itself.
        *("threads", "max_memory", "provenance", "report", "multiqc"),
        # A job writes into a folder of its own, once; its log is text that Galaxy shows.
        *("force", "dry_run", "log_format", "quiet", "debug"),
    }
)

OPTION_LABELS: dict[str, dict[str, str]] = {
    "method": {
        method.name: f"{method.title}: {method.idea}" + " (recommended)" * (method.name == DEFAULT_METHOD)
        for method in METHODS.values()
    },
    "input_scale": {
        "auto": "Detect (recommended)",
        "counts": "Counts (raw, or corrected for ambient RNA)",
        "log1p": "Normalised and log-transformed",
    },
    "genes": {
        "top-variance": "The most variable genes",
        "highly-variable": "The genes marked as highly variable in the data (var: highly_variable)",
        "all": "All genes",
        "file": "The genes of a list",
    },
    "normalize_by": {"selected": "The genes to impute (as published)", "all": "All genes"},
    "write": {
        "denoised": "Denoised expression: for clustering and embedding",
        "recovered": "Recovered expression: before denoising",
        "both": "Both",
        "embedding": "No expression: only principal components and gene relations",
    },
    "mechanism": {
        "mcar": "At random (MCAR)",
        "mnar": "Low expression more often (MNAR)",
    },
    "methods": {
        "none": "No imputation (the masked data as they are)",
        **{method.name: method.title for method in METHODS.values()},
    },
    "compression": {"auto": "Yes (recommended)", "gzip": "gzip", "none": "No"},
}
"""What the form shows for the values of a choice: the field's words, where the contract has the command line's."""

FORM_HELP = {
    # Where the contract explains the command line's words; in a form, the labels of the options do that already.
    "impute_method": (
        "scCR is the method of the paper (NeurIPS 2024); the other two are its relatives, which it was compared with."
    ),
    "relations_method": "Which method's gene graph is built where the data do not hold one.",
    "impute_genes": (
        "Only these genes are imputed and take part in finding similar cells; no gene is dropped from the data. The "
        "paper takes the 2,000 genes of highest variance."
    ),
    "impute_write": "The principal components of the imputed genes and the gene relations are written in any case.",
    "impute_input_scale": (
        "Counts are normalised and log-transformed before imputation; log-normalised values are used as they are. "
        "Detection looks at every value and says what it found."
    ),
    "impute_n_top_genes": "How many of the most variable genes to impute; more than there are means all of them.",
    "impute_layer": (
        "Name of the layer that holds the values to impute, for example counts. Leave empty for the main matrix (X)."
    ),
    "impute_key_added": (
        "The layer that is written has this name; so have, with X_ before it, the principal components (obsm) and, "
        "with _relations and _imputed behind it, the gene relations (varp) and the mark of the imputed genes (var)."
    ),
    "impute_n_components": "How many principal components of the imputed genes to write, for neighbours and UMAP.",
    "impute_compression": "Of what is added to the data.",
    "impute_overwrite_keys": "Otherwise the job stops where the data hold a result of this name.",
    "mask_mechanism": (
        "At random, every observed entry is as likely to be dropped as another; else entries of low expression are "
        "dropped more often, as in real data."
    ),
    "mask_rate": "Between 0 and 1.",
    "cluster_seeds": "The random parts are repeated with each seed; more seeds tell how far the numbers vary.",
    "benchmark_rates": "Numbers between 0 and 1, separated by commas; each share is a test of its own.",
    "benchmark_mechanism": "Low expression is lost more often in real data; the papers hide values at random.",
    "benchmark_methods": "Each method imputes the same masked data.",
}
"""What the form says in place of the contract's description, by the name of the macro."""

FORM_TITLES = {
    "impute_input_scale": "Counts or logs?",
    "impute_layer": "Layer with the values to impute",
    "impute_overwrite_keys": "Replace an earlier result of this name",
    "impute_label_key": "Column of cell types, for the report",
    "mask_rate": "Share of the observed values to hide",
    "mask_mechanism": "Which values to hide",
    "cluster_label_key": "Column of known cell types",
    "benchmark_label_key": "Column of known cell types",
    "benchmark_rates": "Shares of the observed values to hide",
    "benchmark_mechanism": "Which values to hide",
}
"""What the form calls a parameter whose title in the contract needs its flag beside it, by the name of the macro."""

FORM_NOTES = {
    "impute_batch_key": "Leave empty if all cells come from one sample.",
    "impute_target_sum": "Leave empty for the median.",
    "score_layer": (
        "Of scCR, score the recovered expression (the layer sccr_recovered, which scCR impute writes on request): "
        "the denoised layer is smoothed for clustering. Of scFP and scBFP, score the layer sccr."
    ),
    "cluster_layer": "scCR impute writes the layer sccr. Leave empty for the main matrix (X).",
    "cluster_obsm": "scCR impute writes X_sccr. Leave empty to cluster expression.",
    "benchmark_label_key": "Leave empty where cell types are not known.",
}
"""What the form adds to the contract's description, by the name of the macro."""

PATTERN_MESSAGES = {
    "seeds": "Whole numbers separated by commas, such as 0,1,2.",
    "rates": "Numbers between 0 and 1 separated by commas, such as 0.2,0.4.",
}
"""What is wrong where a text does not have the form that the contract asks for; names have the rest."""

HIGHEST_SLIDER = 1_000_000

INDENT = "    "


def macros_text() -> str:
    """Return the text of ``galaxy/parameter_macros.xml``.

    There is one macro ``<model>_<field>`` for each parameter that a tool offers; where commands share a parameter, the
    first one's macro serves all of them. The numbers of the methods stand together in ``impute_numbers_<method>``, and
    the token ``@IMPUTE_NUMBERS_<METHOD>@`` holds their part of the command line.
    """
    root = ElementTree.Element("macros")
    root.append(ElementTree.Comment(" Written by `make faces` from sccr_node/contract/: change it there. "))
    root.append(_sanitizer())
    written: dict[str, list[dict[str, Any]]] = {}
    for prefix, model in MODELS.items():
        fields = model.model_json_schema()["properties"]
        for name, field in fields.items():
            known = written.setdefault(name, [])
            if name in NOT_OFFERED or field["group"] == NUMBERS or field in known:
                continue
            known.append(field)
            root.append(_macro(f"{prefix}_{name}", [_parameter(prefix, name, field)]))
            if name == "write":
                root.append(_macro(f"{prefix}_write_single", [_parameter(prefix, name, _single_output(field))]))
        numbers = {name: field for name, field in fields.items() if field["group"] == NUMBERS}
        for method in METHODS if numbers else ():
            own = {name: field for name, field in numbers.items() if method in methods_by_setting()[name]}
            root.append(_macro(f"{prefix}_numbers_{method}", [_number(name, own[name], method) for name in own]))
            token = ElementTree.SubElement(root, "token", name=f"@{prefix.upper()}_NUMBERS_{method.upper()}@")
            token.text = "\n" + "\n".join(_in_command(name, field) for name, field in own.items()) + "\n"
    ElementTree.indent(root, INDENT)
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def offered(model: type[Parameters]) -> list[str]:
    """Return the names of a model's fields that a tool offers, in the contract's order."""
    return [name for name in model.model_fields if name not in NOT_OFFERED]


def _macro(name: str, parameters: list[ElementTree.Element]) -> ElementTree.Element:
    macro = ElementTree.Element("xml", name=name)
    macro.extend(parameters)
    return macro


def _sanitizer() -> ElementTree.Element:
    # The tools hand free text over in a file, as it was typed; were it ever put on a command line, no character that
    # means something to a shell would be left.
    sanitizer = ElementTree.Element("sanitizer", invalid_char="")
    valid = ElementTree.SubElement(sanitizer, "valid", initial="string.ascii_letters,string.digits")
    for character in "_-.,":
        ElementTree.SubElement(valid, "add", value=character)
    return _macro("free_text", [sanitizer])


def _parameter(prefix: str, name: str, field: dict[str, Any]) -> ElementTree.Element:
    kinds = {kind["type"]: kind for kind in field.get("anyOf", [field]) if kind["type"] != "null"}
    field = {**field, "title": FORM_TITLES.get(f"{prefix}_{name}", field["title"])}
    help_text = _help(prefix, name, field)
    if choices := _choices(name, field):
        attributes = {"argument": flag(name), "type": "select"}
        several = name == "methods"
        if several:
            attributes |= {"multiple": "true", "optional": "false"}
        attributes["label"] = field["title"]
        if help_text:
            attributes["help"] = help_text
        select = ElementTree.Element("param", attributes)
        for value in choices:
            option = ElementTree.SubElement(select, "option", value=value)
            option.text = OPTION_LABELS[name].get(value, value)
            if value in (field["default"].split(",") if several else [field["default"]]):
                option.set("selected", "true")
        return select
    if "boolean" in kinds:
        return _boolean(name, field, field["default"], help_text)
    for kind, galaxy_type in (("integer", "integer"), ("number", "float")):
        if kind in kinds:
            # A number beside a keyword (median|NUMBER): leaving the box empty stands for the keyword.
            keyword = kinds.get("string", {}).get("const")
            value = "" if field["default"] in (None, keyword) else _written(field["default"])
            return _numeric(name, field, kinds[kind], galaxy_type, value, help_text)
    return _text(name, field, kinds["string"], help_text)


def _number(name: str, field: dict[str, Any], method: str) -> ElementTree.Element:
    """Return one number of a method, with the published value as its default, or empty where it follows another."""
    if "follows" in field:
        same_as = ImputeParameters.model_fields[field["follows"]].title
        help_text = f"{field['description']} Leave empty for the same as: {same_as}."
        return _numeric(name, field, _kind(field), "integer", "", help_text)
    published = field["published_defaults"][method]
    if isinstance(published, bool):
        said = "yes" if published else "no"
    else:
        said = _written(published)
    help_text = f"{field['description']} Published for {METHODS[method].title}: {said}."
    if isinstance(published, bool):
        return _boolean(name, field, published, help_text)
    kind = _kind(field)
    galaxy_type = "integer" if kind["type"] == "integer" else "float"
    return _numeric(name, field, kind, galaxy_type, _written(published), help_text)


def _kind(field: dict[str, Any]) -> dict[str, Any]:
    """Return the part of a number's schema that bounds it."""
    return next(kind for kind in field["anyOf"] if kind["type"] in ("integer", "number"))


def _in_command(name: str, field: dict[str, Any]) -> str:
    """Return one number's words on the command line; Galaxy has checked that it is a number."""
    value = f"$method_choice.numbers.{name}"
    is_boolean = any(kind["type"] == "boolean" for kind in field["anyOf"])
    if "follows" in field:
        return f"#if str({value}) != ''\n{flag(name)} '{value}'\n#end if"
    return value if is_boolean else f"{flag(name)} '{value}'"


def _choices(name: str, field: dict[str, Any]) -> list[str]:
    if name == "genes":
        return [*GENE_CHOICES, "file"]
    if name == "methods":
        return ["none", *METHODS]
    return list(field.get("enum", []))


def _help(prefix: str, name: str, field: dict[str, Any]) -> str:
    macro = f"{prefix}_{name}"
    return " ".join(filter(None, [FORM_HELP.get(macro, field["description"]), FORM_NOTES.get(macro, "")]))


def _single_output(field: dict[str, Any]) -> dict[str, Any]:
    """Return the choice of outputs for a method that has one output only."""
    return {**field, "enum": [value for value in field["enum"] if value not in ("recovered", "both")]}


def _boolean(name: str, field: dict[str, Any], default: bool, help_text: str) -> ElementTree.Element:
    return ElementTree.Element(
        "param",
        argument=flag(name),
        type="boolean",
        truevalue=flag(name),
        falsevalue=f"--no-{flag(name)[2:]}",
        checked=_written(default),
        label=field["title"],
        help=help_text,
    )


def _numeric(
    name: str, field: dict[str, Any], kind: dict[str, Any], galaxy_type: str, value: str, help_text: str
) -> ElementTree.Element:
    attributes = {"argument": flag(name), "type": galaxy_type}
    for bound, attribute in (("minimum", "min"), ("exclusiveMinimum", "min"), ("maximum", "max")):
        # Galaxy draws a slider between two bounds: none is of use where the upper one only keeps a number in its type.
        if bound in kind and kind[bound] <= HIGHEST_SLIDER:
            attributes[attribute] = _written(kind[bound])
    attributes["value"] = value
    if not value:
        attributes["optional"] = "true"
    attributes |= {"label": field["title"], "help": help_text}
    numeric = ElementTree.Element("param", attributes)
    if "exclusiveMinimum" in kind or "exclusiveMaximum" in kind:
        check = ElementTree.SubElement(numeric, "validator", type="in_range", message="This number must be above 0.")
        for bound, attribute in (("exclusiveMinimum", "min"), ("exclusiveMaximum", "max")):
            if bound in kind:
                check.attrib |= {attribute: _written(kind[bound]), f"exclude_{attribute}": "true"}
    return numeric


def _text(name: str, field: dict[str, Any], kind: dict[str, Any], help_text: str) -> ElementTree.Element:
    required = "default" not in field
    attributes = {"argument": flag(name), "type": "text", "value": field.get("default") or ""}
    if not required and field["default"] is None:
        attributes["optional"] = "true"
    attributes |= {"label": field["title"], "help": help_text}
    text = ElementTree.Element("param", attributes)
    ElementTree.SubElement(text, "expand", macro="free_text")
    if required:
        ElementTree.SubElement(text, "validator", type="empty_field", message="This name is needed.")
    if "pattern" in kind:
        check = ElementTree.SubElement(
            text,
            "validator",
            type="regex",
            message=PATTERN_MESSAGES.get(
                name, "A name starts with a letter or an underscore; letters, digits and _ . - may follow."
            ),
        )
        check.text = kind["pattern"]
    return text


def _written(value: bool | int | float) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
