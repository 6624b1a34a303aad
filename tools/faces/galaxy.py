"""Writes the Galaxy tools' parameter macros from the contract, so that form and command line cannot disagree."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

from sccr_node.contract.benchmark import COMPARED, BenchmarkParameters
from sccr_node.contract.evaluate import (
    EvaluateClusterParameters,
    EvaluateMaskParameters,
    EvaluateRelationsParameters,
    EvaluateScoreParameters,
    EvaluateSplitMoleculesParameters,
)
from sccr_node.contract.fields import NUMBERS, flag
from sccr_node.contract.impute import ImputeParameters
from sccr_node.contract.imputing import methods_by_setting
from sccr_node.contract.methods import CLUSTERED_FROM, DEFAULT_METHOD, METHODS, Method
from sccr_node.contract.schemas import json_schema
from sccr_node.contract.shared import GENE_CHOICES, Parameters
from sccr_node.contract.tune import TUNABLE, TUNED, TuneParameters
from sccr_node.evaluation import analyses

MODELS: dict[str, type[Parameters]] = {
    "impute": ImputeParameters,
    "mask": EvaluateMaskParameters,
    "split_molecules": EvaluateSplitMoleculesParameters,
    "score": EvaluateScoreParameters,
    "cluster": EvaluateClusterParameters,
    "relations": EvaluateRelationsParameters,
    "benchmark": BenchmarkParameters,
    "tune": TuneParameters,
}
"""The models whose parameters the tools offer, and the prefix of their macros."""

ONLY_METHODS = {"tune": TUNABLE}
"""The methods of a model that does not accept all of them."""

TUNES = frozenset({"tune"})
"""The models whose command tunes whatever is not given; the others do so only if asked."""

OF_ALL_METHODS = ("neighbor_search", "low_rank_share", "low_rank")
"""What the section *Advanced* has for every method, after the method's own numbers."""

NOT_OFFERED = frozenset(
    {
        # Galaxy gives the job its CPUs, memory and a folder of its own, and the tool requests its own files.
        *("threads", "max_memory", "work_dir", "checkpoint_dir", "provenance", "report", "multiqc"),
        # A job writes to its own folder, once; its log is text that Galaxy shows.
        *("force", "dry_run", "log_format", "quiet", "debug"),
        # A history's data set of AnnData has no modalities.
        "modality",
        # Files of one's own, any number of them with a name each: scored one by one, by the task for it.
        *("candidate", "candidate_layer"),
    }
)

WITHOUT_CHOICE = frozenset({"split_molecules_input_scale"})
"""Macros that are not written, because their choice has only one meaning."""

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
        "file": "Genes from a list",
    },
    "neighbor_search": {
        "auto": "Choose by the number of cells (recommended)",
        "exact": "Compare all cells with each other",
        "clustered": "Compare the cells of similar groups (for many cells)",
    },
    "analyses": {name: analyses.load(name).question for name in analyses.names()},
    "genes_missing": {"error": "Stop if a gene is not in the data", "skip": "Impute the others"},
    "normalize_by": {"selected": "The genes to impute (as published)", "all": "All genes"},
    "write": {
        "denoised": "Denoised expression: for looking at genes and cells",
        "recovered": "Recovered expression: before denoising",
        "both": "Both",
        "embedding": "No expression: only principal components and gene relations",
    },
    "mechanism": {
        "mcar": "At random (MCAR)",
        "mnar": "Low expression more often (MNAR)",
    },
    "methods": {
        "none": "No imputation (the masked data unchanged)",
        "gene-mean": "Mean observed value of the gene",
        "gene-and-cell-mean": "Mean observed value of the gene, plus the offset of the cell",
        "pca": "Principal components alone",
        **{method.name: method.title for method in METHODS.values()},
    },
    "output_scale": {
        "log1p": "Logarithms: ln(normalised counts + 1)",
        "normalized": "Normalised counts",
        "counts": "Counts, at each cell's own depth (requires counts as input)",
    },
    "compression": {"auto": "Yes (recommended)", "gzip": "gzip", "none": "No"},
}
"""What the form shows for the values of a choice: the field's words instead of the command line's."""

BLEND = (
    "How much of the result comes from principal components of the measured expression, from 0 (the published method "
    "alone) to 1. This blend is ours, not part of the published methods."
)

SEARCH = (
    "With similar groups, about 99% of the nearest cells are found, and the share is recorded. Chosen by the "
    f"number of cells: all cells are compared if there are fewer than {CLUSTERED_FROM:,} (in a batch)."
)

TYPES = "Name of the column in the table of cells (obs) with the known cell types"

FORM_HELP = {
    # For parameters whose description explains the command line's values; in a form, the option labels do that already.
    "impute_method": (
        "scCR is the method of the NeurIPS 2024 paper; the other two are related methods that it was compared with."
    ),
    "relations_method": "The method whose gene graph is built if the data do not contain one.",
    "impute_genes": (
        "Only these genes are imputed and used to find similar cells; no gene is removed from the data. The "
        "paper uses the 2,000 genes with the highest variance."
    ),
    "impute_genes_missing": "What to do if a gene of the list is not in the data.",
    "impute_write": (
        "The principal components of the imputed genes are always written, and so are the gene relations if there is "
        "one gene graph (scFP builds none; with a batch column, each batch has its own)."
    ),
    "impute_input_scale": (
        "Counts are normalised and log-transformed before imputation; log-normalised values are used as they are. "
        "Detection checks every value and reports what it found."
    ),
    "impute_log_base": (
        "Only if the base is neither e nor noted in the data (by scanpy, in uns: log1p); for example 2. The result is "
        "in natural logarithms."
    ),
    "impute_n_top_genes": "Number of most variable genes to impute; if there are fewer genes, all of them are imputed.",
    "impute_tune": (
        "Hold out half of the molecules, and tune the smoothing (beta) and the blend to predict them best; the "
        "report says whether imputation helps on these data. Requires counts and scCR, and takes about three times as "
        "long. Parameters that you change below are kept."
    ),
    "impute_low_rank_share": f"{BLEND} Leave empty for 0, or for the best weight if tuned.",
    "tune_low_rank_share": f"{BLEND} Leave empty to find the best weight.",
    "impute_low_rank": "Number of principal components; leave empty for 20, or for the best number if tuned.",
    "tune_low_rank": "Number of principal components; leave empty to find the best number.",
    "impute_neighbor_search": SEARCH,
    "tune_neighbor_search": SEARCH,
    "impute_layer": (
        "Name of the layer that contains the values to impute, e.g. counts. Leave empty for the main matrix (X)."
    ),
    "impute_feature_type": (
        "Only for data that contain more than genes, such as antibodies or peaks: the labels of those to impute in the "
        "column feature_types of the table of genes (var), separated by commas. Leave empty to impute gene expression."
    ),
    "impute_batch_key": (
        "Name of the column in the table of cells (obs) that says which sample or batch a cell is from. Each is "
        "imputed separately: no expression passes from one to another. Genes and target depth are chosen once, over "
        "all cells. Leave empty if all cells come from one sample."
    ),
    "impute_label_key": f"{TYPES}, which colour the plots of the report. Leave empty if they are not known.",
    "impute_key_added": (
        "Name of the new layer. The principal components have the same name with the prefix X_; the gene relations "
        "and the marks of imputed genes have the suffixes _relations and _imputed."
    ),
    "impute_n_components": "Number of principal components of the imputed genes to write, for neighbours and UMAP.",
    "impute_output_scale": (
        "Scale of the imputed expression, for tools that expect another than logarithms. All else, such as principal "
        "components and the report, is computed on logarithms."
    ),
    "impute_compression": "Applies to what is added to the data.",
    "impute_overwrite_keys": "Otherwise the job stops if the data already contain a result with this name.",
    "mask_mechanism": (
        "At random, all observed entries are equally likely to be hidden; otherwise, entries of low expression are "
        "hidden more often, as in real dropout."
    ),
    "mask_rate": "Between 0 and 1: of the values that are not zero, so many are set to zero.",
    "mask_seed": "Start of the random numbers; the same seed hides the same values.",
    "cluster_label_key": f"{TYPES} (required). Cells without a type are left out.",
    "cluster_layer": (
        "Layer with the expression to cluster; scCR impute writes sccr. Leave empty for the main matrix (X)."
    ),
    "cluster_obsm": (
        "Name of the coordinates of the cells (in obsm) to cluster; scCR impute writes X_sccr. Leave empty to cluster "
        "expression."
    ),
    "cluster_seeds": (
        "Starts of the random numbers, separated by commas. The random steps are repeated with each; more seeds show "
        "how much the scores vary."
    ),
    "cluster_n_restarts": "How often k-means starts anew; the best result is kept (20 in the papers).",
    "cluster_n_neighbors": "How many cells each cell is joined to before Leiden clustering, itself included.",
    "relations_layer": "Layer with the values to relate genes by. Leave empty for the one that was imputed, or else X.",
    "relations_key": "The result of scCR impute whose gene relations are read, by the name that it was given there.",
    "relations_n_pairs": "How many of the strongest pairs are listed, of each kind.",
    "score_layer": (
        "Layer of the tool's output with the imputed log values. Leave empty for the main matrix (X). On held-out "
        "molecules, score the layer that you would use: for scCR, sccr. On hidden values, score scCR's recovered "
        "expression, as its paper does (the layer sccr_recovered, which scCR impute writes on request); for scFP and "
        "scBFP, the layer sccr."
    ),
    "benchmark_rates": "Numbers between 0 and 1, separated by commas; each share is tested separately.",
    "benchmark_label_key": (
        f"{TYPES}, for the analyses that require them. Leave empty if the cell types are not known."
    ),
    "benchmark_order_key": (
        "Name of the column in the table of cells (obs) with numbers that order the cells, such as day or stage; for "
        "the analysis of pseudotime. Leave empty if no order is known."
    ),
    "benchmark_mechanism": "In real data, low expression is lost more often; the papers hide values at random.",
    "benchmark_analyses": (
        "Those of hidden values and of held-out molecules require no cell types; the others require the column with "
        "known cell types, unless they say otherwise."
    ),
    "split_molecules_fraction": (
        "Between 0 and 1. The noise floor, and how much of the predictable variation is explained, are only known for "
        "0.5."
    ),
    "split_molecules_seed": "Start of the random numbers; the same seed holds out the same molecules.",
    "tune_max_cells": (
        "If there are more cells, so many are drawn at random; the parameters found apply to all cells. 0: all cells."
    ),
    "tune_seed": "Start of the random numbers; the same seed holds out the same molecules.",
    "benchmark_methods": (
        "Each method imputes the same masked data. Those before scCR are simple baselines that any method should beat."
    ),
}
"""What the form says instead of the contract's description, by the name of the macro."""

FORM_TITLES = {
    "impute_input_scale": "Counts or logs?",
    "impute_layer": "Layer with the values to impute",
    "impute_overwrite_keys": "Replace an earlier result with this name",
    "impute_label_key": "Column with cell types, for the report",
    "mask_rate": "Share of the observed values to hide",
    "mask_mechanism": "Which values to hide",
    "split_molecules_fraction": "Share of the molecules that the tool gets",
    "cluster_label_key": "Column with known cell types",
    "benchmark_label_key": "Column with known cell types",
    "benchmark_rates": "Shares of the observed values to hide",
    "benchmark_mechanism": "Which values to hide",
}
"""Form labels for parameters whose title in the contract is unclear without its flag, by the name of the macro."""

FORM_NOTES = {
    "impute_target_sum": "Leave empty for the median.",
}
"""What the form adds to the contract's description, by the name of the macro."""

HIGHEST_SLIDER = 1_000_000

INDENT = "    "


def macros_text() -> str:
    """Return the text of ``galaxy/parameter_macros.xml``.

    There is one macro ``<model>_<field>`` per parameter that a tool offers; if commands share a parameter, the first
    one's macro serves all of them. If there are several methods, the macro ``<model>_method_choice`` contains all of
    them, each with its own outputs and settings; if there is one, ``<model>_advanced`` contains its settings. The token
    ``@<MODEL>_ADVANCED@`` contains the settings' part of the command line.
    """
    root = ElementTree.Element("macros")
    root.append(ElementTree.Comment(" Written by `make faces` from sccr_node/contract/: change it there. "))
    written: dict[str, list[dict[str, Any]]] = {}
    for prefix, model in MODELS.items():
        fields = json_schema(model)["properties"]
        numbers = {name: field for name, field in fields.items() if field["group"] == NUMBERS}
        chosen_together = {"method", "write", *numbers, *OF_ALL_METHODS} if numbers else set()
        for name, field in fields.items():
            known = written.setdefault(name, [])
            if name in NOT_OFFERED | chosen_together or field in known or f"{prefix}_{name}" in WITHOUT_CHOICE:
                continue
            known.append(field)
            root.append(_macro(f"{prefix}_{name}", [_parameter(prefix, name, field)]))
        if numbers:
            own = {
                method: {name: field for name, field in numbers.items() if method in methods_by_setting()[name]}
                for method in ONLY_METHODS.get(prefix, METHODS)
            }
            sections = {method: _advanced(prefix, fields, method, settings) for method, settings in own.items()}
            if len(own) > 1:
                root.append(_macro(f"{prefix}_method_choice", [_method_choice(prefix, fields, sections)]))
            else:
                root.append(_macro(f"{prefix}_advanced", list(sections.values())))
            token = ElementTree.SubElement(root, "token", name=f"@{prefix.upper()}_ADVANCED@")
            token.text = _advanced_in_command(prefix, fields, own)
    ElementTree.indent(root, INDENT)
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def offered(model: type[Parameters]) -> list[str]:
    """Return the names of a model's fields that a tool offers, in the contract's order."""
    return [name for name in model.model_fields if name not in NOT_OFFERED]


def _macro(name: str, parameters: list[ElementTree.Element]) -> ElementTree.Element:
    macro = ElementTree.Element("xml", name=name)
    macro.extend(parameters)
    return macro


def _parameter(prefix: str, name: str, field: dict[str, Any]) -> ElementTree.Element:
    kinds = {kind["type"]: kind for kind in field.get("anyOf", [field]) if kind["type"] != "null"}
    field = {**field, "title": FORM_TITLES.get(f"{prefix}_{name}", field["title"])}
    help_text = _help(prefix, name, field)
    if choices := _choices(name, field):
        attributes = {"argument": flag(name), "type": "select"}
        several = name in ("methods", "analyses")
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


def _method_choice(
    prefix: str, fields: dict[str, Any], sections: dict[str, ElementTree.Element]
) -> ElementTree.Element:
    """Return the choice of a method; each one shows what it can write, and its own settings in a folded section."""
    choice = ElementTree.Element("conditional", name="method_choice")
    choice.append(_parameter(prefix, "method", fields["method"]))
    for method, section in sections.items():
        when = ElementTree.SubElement(choice, "when", value=method)
        when.append(_parameter(prefix, "write", _available_outputs(fields["write"], METHODS[method])))
        when.append(section)
    return choice


def _advanced(
    prefix: str, fields: dict[str, Any], method: str, numbers: dict[str, dict[str, Any]]
) -> ElementTree.Element:
    """Return the folded section with a method's own numbers, and with what all methods have."""
    title = f"Advanced: parameters of {METHODS[method].title}"
    help_text = "The values are the published ones."
    if method in TUNABLE:
        help_text += (
            " They smoothed too strongly on all data that we tried: let the tool tune them, or change them yourself."
        )
    section = ElementTree.Element("section", name="advanced", title=title, expanded="false", help=help_text)
    section.extend(_number(prefix, name, field, method) for name, field in numbers.items())
    section.extend(_parameter(prefix, name, fields[name]) for name in OF_ALL_METHODS)
    return section


def _advanced_in_command(prefix: str, fields: dict[str, Any], numbers: dict[str, dict[str, dict[str, Any]]]) -> str:
    """Return the part of the command line with the settings of the method that was chosen."""
    place = "$method_choice.advanced" if len(numbers) > 1 else "$advanced"
    lines: list[str] = []
    for method, own in numbers.items():
        if len(numbers) > 1:
            lines.append(f"#{'elif' if lines else 'if'} $method_choice.method == '{method}'")
        lines += [
            _in_command(f"{place}.{name}", name, field, _shown(prefix, name, field, method))
            for name, field in own.items()
        ]
    if len(numbers) > 1:
        lines.append("#end if")
    lines += [_in_command(f"{place}.{name}", name, fields[name], fields[name]["default"]) for name in OF_ALL_METHODS]
    return "\n" + "\n".join(lines) + "\n"


def _shown(prefix: str, name: str, field: dict[str, Any], method: str) -> Any:
    """Return what the form has for a number of a method; None if the box is empty, for what is found or followed."""
    if "follows" in field or (prefix in TUNES and name in TUNED):
        return None
    return field["published_defaults"][method]


def _number(prefix: str, name: str, field: dict[str, Any], method: str) -> ElementTree.Element:
    """Return one setting of a method, with the published value as its default, or empty."""
    tuned = prefix in TUNES and name in TUNED
    published = field.get("published_defaults", {}).get(method)
    help_text = field["description"]
    if tuned:
        help_text += " Leave empty to find the best number."
    elif "follows" in field:
        same_as = ImputeParameters.model_fields[field["follows"]].title
        help_text += f" Leave empty for the same as: {same_as}."
    if published is not None:
        said = {True: "yes", False: "no"}[published] if isinstance(published, bool) else _written(published)
        help_text += f" Published for {METHODS[method].title}: {said}."
    shown = _shown(prefix, name, field, method)
    if isinstance(shown, bool):
        return _boolean(name, field, shown, help_text)
    kind = _kind(field)
    galaxy_type = "integer" if kind["type"] == "integer" else "float"
    return _numeric(name, field, kind, galaxy_type, "" if shown is None else _written(shown), help_text)


def _kind(field: dict[str, Any]) -> dict[str, Any]:
    """Return the part of a number's schema that bounds it."""
    return next(kind for kind in field["anyOf"] if kind["type"] in ("integer", "number"))


def _in_command(value: str, name: str, field: dict[str, Any], shown: Any) -> str:
    """Return one setting's part of the command line; Galaxy has checked that it is a number or a choice.

    A box that may be empty is only passed if it is not. A number that can be tuned is only passed if it is not the one
    that the form had, because numbers that are given are not tuned.
    """
    if isinstance(shown, bool):
        return value
    passed = f"{flag(name)} '{value}'"
    if shown is None:
        return f"#if str({value}) != ''\n{passed}\n#end if"
    if name in TUNED:
        return f"#if float(str({value})) != {shown!r}\n{passed}\n#end if"
    return passed


def _choices(name: str, field: dict[str, Any]) -> list[str]:
    if name == "genes":
        return [*GENE_CHOICES, "file"]
    if name == "methods":
        return list(COMPARED)
    if name == "analyses":
        return analyses.names()
    return list(field.get("enum", []))


def _help(prefix: str, name: str, field: dict[str, Any]) -> str:
    macro = f"{prefix}_{name}"
    return " ".join(filter(None, [FORM_HELP.get(macro, field["description"]), FORM_NOTES.get(macro, "")]))


def _available_outputs(field: dict[str, Any], method: Method) -> dict[str, Any]:
    """Return the choice of outputs without those that need a recovered matrix, if the method has none."""
    if "recovered" in method.outputs:
        return field
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
        # Galaxy draws a slider between two bounds, which is useless if the upper one only keeps a number in its type.
        if bound in kind and kind[bound] <= HIGHEST_SLIDER:
            attributes[attribute] = _written(kind[bound])
    attributes["value"] = value
    if not value:
        attributes["optional"] = "true"
    attributes |= {"label": field["title"], "help": help_text}
    numeric = ElementTree.Element("param", attributes)
    if "exclusiveMinimum" in kind or "exclusiveMaximum" in kind:
        check = ElementTree.SubElement(numeric, "validator", type="in_range", message="The number must be above 0.")
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
    if required:
        ElementTree.SubElement(text, "validator", type="empty_field", message="This name is required.")
    if "pattern" in kind:
        message = f"{field['expects'][0].upper()}{field['expects'][1:]}."
        check = ElementTree.SubElement(text, "validator", type="regex", message=message)
        check.text = kind["pattern"]
    return text


def _written(value: bool | int | float) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
