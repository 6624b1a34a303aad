"""Writes what the Nextflow workflow derives from the contract: schemas, parameters and the commands' options."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from sccr_node.contract.benchmark import BenchmarkParameters
from sccr_node.contract.fields import (
    DATA,
    EVALUATION,
    GENES,
    METHOD,
    NUMBERS,
    OUTPUT,
    REPORTING,
    RUNNING,
    extra_of,
    fields_of_result,
    flag,
    parameter,
)
from sccr_node.contract.impute import ImputeParameters
from sccr_node.contract.imputing import methods_by_setting
from sccr_node.contract.methods import DEFAULT_METHOD, METHODS
from sccr_node.contract.scatter import GatherParameters, SplitParameters
from sccr_node.contract.schemas import BOUNDS, REPOSITORY, json_schema
from sccr_node.contract.shared import GENE_CHOICES, Parameters, PreparationParameters
from sccr_node.contract.tune import TuneParameters

if TYPE_CHECKING:
    Imputation = str
else:
    Imputation = Literal[("none", *METHODS)]

PLATFORM = "Platform"

RAW_FILES = f"{REPOSITORY.replace('github.com', 'raw.githubusercontent.com')}/main"
"""Where a file of the repository can be had as it is: nf-core's schemas are known by such an address."""

QUOTE_FREE = "^[^']+$"
"""Pattern for every free text: it is passed to a shell between single quotes."""

WITHOUT_QUOTES = "given, without single quotes"
"""What matches it, in words."""


class WorkflowParameters(Parameters):
    """The workflow's own parameters, besides those of the imputation and the benchmark."""

    input: str | None = parameter(
        None,
        title="Samplesheet",
        description="CSV file with columns sample and path; optionally batch_key, imputation, imputed_integration.",
        group=DATA,
        pattern=r"^[^']+\.csv$",
        expects="the path to a file whose name ends in .csv, without single quotes",
    )
    outdir: str = parameter(
        "results",
        title="Output folder",
        description="Folder to which the results are published.",
        group=DATA,
        pattern=QUOTE_FREE,
        expects=WITHOUT_QUOTES,
    )
    imputation: Imputation = parameter(
        DEFAULT_METHOD,
        title="Imputation",
        description="Method for samples without one in the samplesheet; none leaves a sample as it is.",
        group=METHOD,
    )
    imputed_integration: bool = parameter(
        False,
        title="Impute the working matrix",
        description=(
            "Make the imputed layer the matrix X that later steps use, and keep the former X in "
            "layers['unimputed']. Otherwise X stays, and the result is an additional layer."
        ),
        group=METHOD,
    )
    tune: bool = parameter(
        False,
        title="Tune",
        description=(
            "Find the smoothing and the share and rank of principal components for every sample on held-out molecules "
            "first (sccr tune), and say whether imputation helps. Requires counts; it has no effect on samples that "
            "are imputed by another method than scCR."
        ),
        group=METHOD,
    )
    fetch: bool = parameter(
        False,
        title="Fetch remote samples",
        description=(
            "Have sccr fetch samples at s3://, gs://, az:// and https:// addresses, with credentials from the "
            "environment, instead of Nextflow, which requires a plugin for the first three."
        ),
        group=DATA,
    )
    scatter: bool = parameter(
        False,
        title="Scatter batches",
        description=(
            "Run one task per batch for samples that have a batch column, and gather the results: for data too "
            "large for one machine. The gathered file is the same as that of a single run."
        ),
        group=RUNNING,
    )
    report: bool = parameter(
        True,
        title="Report",
        description="Write a report and MultiQC content for every imputed sample that is not scattered.",
        group=REPORTING,
    )
    multiqc: bool = parameter(
        False,
        title="MultiQC",
        description="Combine the samples' MultiQC content in one MultiQC report (MultiQC runs in its own container).",
        group=REPORTING,
    )
    benchmark: bool = parameter(
        False,
        title="Benchmark",
        description="Mask entries of every sample and compare how well the methods recover them.",
        group=EVALUATION,
    )
    publish_dir_mode: Literal["copy", "copyNoFollow", "link", "move", "rellink", "symlink"] = parameter(
        "copy", title="Publishing", description="How results are published to the output folder.", group=OUTPUT
    )
    queue: str | None = parameter(
        None,
        title="Queue",
        description="Partition (slurm) or job queue (awsbatch).",
        group=PLATFORM,
        pattern=r"^[^']*$",
        expects=WITHOUT_QUOTES,
    )
    cluster_options: str | None = parameter(
        None,
        title="Cluster options",
        description="Further options for the scheduler, such as an account (slurm).",
        group=PLATFORM,
        pattern=r"^[^']*$",
        expects=WITHOUT_QUOTES,
    )
    bucket: str | None = parameter(
        None,
        title="Bucket",
        description="Bucket or container of the work folder (awsbatch: s3://…, googlebatch: gs://…, azurebatch: az://…).",
        group=PLATFORM,
        pattern=r"^(s3|gs|az)://[^'\s]+$",
        expects="an address that begins with s3://, gs:// or az://, without blanks and single quotes",
    )
    region: str | None = parameter(
        None,
        title="Region",
        description="Region (awsbatch) or location (googlebatch, azurebatch).",
        group=PLATFORM,
        pattern=r"^[A-Za-z0-9-]*$",
        expects="letters, digits and -",
    )
    project: str | None = parameter(
        None,
        title="Project",
        description="Project (googlebatch).",
        group=PLATFORM,
        pattern=r"^[A-Za-z0-9:._-]*$",
        expects="letters, digits and : . _ -",
    )
    account: str | None = parameter(
        None,
        title="Account",
        description="Name of the Batch and storage account (azurebatch); keys come from the environment.",
        group=PLATFORM,
        pattern=r"^[A-Za-z0-9._-]*$",
        expects="letters, digits and . _ -",
    )
    namespace: str | None = parameter(
        None,
        title="Namespace",
        description="Namespace (k8s).",
        group=PLATFORM,
        pattern=r"^[A-Za-z0-9-]*$",
        expects="letters, digits and -",
    )
    storage_claim: str | None = parameter(
        None,
        title="Storage claim",
        description="Persistent volume claim that contains the work folder (k8s).",
        group=PLATFORM,
        pattern=r"^[A-Za-z0-9.-]*$",
        expects="letters, digits and . -",
    )
    trace_report_suffix: str | None = parameter(
        None,
        title="Suffix of the execution reports",
        description="Distinguishes the execution reports of several runs in one folder (default: the start time).",
        group=PLATFORM,
        pattern=r"^[A-Za-z0-9_.-]+$",
        expects="letters, digits and _ . -",
    )
    help: bool = parameter(False, title="Help", description="Print all parameters and stop.", group=RUNNING)
    version: bool = parameter(
        False, title="Version", description="Print the workflow's version and stop.", group=RUNNING
    )


class Section(NamedTuple):
    """A section of the schema.

    Its key, what it is about, its icon (Font Awesome, as nf-core's forms have them), and its title if that is not the
    group's name.
    """

    key: str
    description: str
    icon: str
    title: str = ""


OF_SAMPLES = {
    "method": "meta.sccr_method",
    "layer": "meta.counts_layer",
    "batch_key": "meta.batch_col",
    "target_sum": "meta.target_sum",
}
"""Fields that may differ from sample to sample: where a process finds them."""

_OF_RESULT = fields_of_result(ImputeParameters)

STEP_FIELDS = tuple(
    name
    for name in ImputeParameters.model_fields
    if (name in _OF_RESULT and name not in ("method", "tune")) or name in ("overwrite_keys", "label_key")
)
"""The fields of sccr impute that the workflow has too; Nextflow manages files, threads, memory and messages."""

PREFIXED: dict[str, type[Parameters]] = {"tune_": TuneParameters, "benchmark_": BenchmarkParameters}
"""Commands whose own fields are parameters of the workflow under a prefix."""

OWN_FIELDS = {
    prefix: tuple(
        name
        for name, field in model.model_fields.items()
        if name not in STEP_FIELDS and extra_of(field)["group"] == EVALUATION
    )
    for prefix, model in PREFIXED.items()
}
"""These fields, by prefix."""

CHOSEN_OVER_ALL_BATCHES = ("modality", "genes", "n_top_genes", "label_key", "output_scale")
"""Fields that split decides for all batches (each batch's run uses what split wrote), that gather decides, or that only
a report needs."""

OPTIONS: dict[str, tuple[str, ...]] = {
    "SCCR_TUNE": tuple(name for name in TuneParameters.model_fields if name in STEP_FIELDS)
    + tuple(f"tune_{name}" for name in OWN_FIELDS["tune_"]),
    "SCCR_IMPUTE": ("method", *STEP_FIELDS),
    # A part is one batch.
    "SCCR_IMPUTE_BATCH": (
        "method",
        *(name for name in STEP_FIELDS if name not in ("batch_key", *CHOSEN_OVER_ALL_BATCHES)),
    ),
    # Its command requires the batch key: the module has an input for it.
    "SCCR_SPLIT": tuple(name for name in SplitParameters.model_fields if name in STEP_FIELDS and name != "batch_key"),
    "SCCR_GATHER": tuple(name for name in GatherParameters.model_fields if name in STEP_FIELDS),
    "SCCR_PROMOTE": ("key_added",),
    "SCCR_BENCHMARK": tuple(name for name in PreparationParameters.model_fields if name in STEP_FIELDS)
    + ("label_key",)
    + tuple(f"benchmark_{name}" for name in OWN_FIELDS["benchmark_"]),
}
"""Which parameters become options of each process's command."""

NAMED_OTHERWISE = {("SCCR_PROMOTE", "key_added"): "layer"}
"""Fields of a process's command that differ in name from the parameter: what was added is what becomes X."""

SECTIONS = {
    # The key under which nf-core's tools look for input and outdir.
    DATA: Section(
        "input_output_options",
        "The samples, what of them is read, and where results go.",
        "table",
        "Input/output options",
    ),
    GENES: Section("genes_and_normalisation", "Which genes are imputed, and how counts are normalised.", "dna"),
    METHOD: Section("method", "How samples are imputed; the samplesheet can differ per sample.", "project-diagram"),
    NUMBERS: Section(
        "numbers_of_the_method", "The published values are the defaults; --tune finds better ones.", "sliders-h"
    ),
    OUTPUT: Section("output", "What is written, and how it is published.", "folder-open"),
    REPORTING: Section("report", "Pages to look at.", "chart-bar"),
    EVALUATION: Section("evaluation", "Whether imputation helps, and which method does best.", "balance-scale"),
    RUNNING: Section("running", "How the work is divided.", "cogs"),
    PLATFORM: Section("platform", "Where tasks run: what a site's profile needs to know.", "server"),
}
"""The sections of the schema, in the order of a form."""

HIDDEN = ("trace_report_suffix",)


def workflow_fields() -> dict[str, Any]:
    """Return all parameters of the workflow: the name of each and its pydantic field."""
    fields: dict[str, Any] = dict(WorkflowParameters.model_fields)
    fields.update({name: ImputeParameters.model_fields[name] for name in STEP_FIELDS})
    for prefix, model in PREFIXED.items():
        fields.update({f"{prefix}{name}": model.model_fields[name] for name in OWN_FIELDS[prefix]})
    return fields


def _source_of(name: str) -> tuple[type[Parameters], str]:
    """Return the model that a parameter comes from, and its name there."""
    if name in WorkflowParameters.model_fields:
        return WorkflowParameters, name
    for prefix, model in PREFIXED.items():
        if name.removeprefix(prefix) in OWN_FIELDS[prefix] and name.startswith(prefix):
            return model, name.removeprefix(prefix)
    return ImputeParameters, name


def property_of(name: str) -> dict[str, Any]:
    """Return the JSON Schema of one parameter in the keywords that nf-core's schema builder knows.

    Parameters
    ----------
    name
        A key of :func:`workflow_fields`.
    """
    field = workflow_fields()[name]
    own = name in WorkflowParameters.model_fields
    expected = extra_of(field).get("expects", WITHOUT_QUOTES)
    model, there = _source_of(name)
    body = dict(json_schema(model)["properties"][there])
    alternatives = [choice for choice in body.pop("anyOf", []) if choice.get("type") != "null"]
    if len(alternatives) == 1:
        body.update(alternatives[0])
    elif alternatives:
        # "median" or a number: nf-core's builder knows no anyOf; a pattern binds text only, a bound numbers only.
        body["type"] = [choice["type"] for choice in alternatives]
        words = [choice["const"] for choice in alternatives if "const" in choice]
        body["pattern"] = f"^({'|'.join(words)})$"
        expected = " or ".join([*words, "a number"])
        for choice in alternatives:
            body.update({key: choice[key] for key in BOUNDS if key in choice})
    schema: dict[str, Any] = {"type": body["type"]}
    if own and field.default is not None:
        schema["default"] = field.default
    schema["description"] = body["description"]
    for key in ("enum", *BOUNDS, "pattern"):
        if key in body:
            schema[key] = body[key]
    if name == "input":
        schema.update(
            {"format": "file-path", "exists": True, "mimetype": "text/csv", "schema": "assets/schema_input.json"}
        )
    if name == "outdir":
        schema["format"] = "directory-path"
    if schema["type"] == "string" and not {"enum", "pattern"} & set(schema):
        schema["pattern"] = QUOTE_FREE
    if "pattern" in schema:
        schema["errorMessage"] = f"must be {expected}"
    if not own:
        schema["help_text"] = _help_text(field)
    having = methods_by_setting().get(name, METHODS)
    if len(having) < len(METHODS):
        schema["methods"] = list(having)
    if name in HIDDEN:
        schema["hidden"] = True
    return {key: value for key, value in schema.items() if value != ""}


def _help_text(field: Any) -> str:
    from sccr_node.cli.options import default_text

    default = default_text(field)
    return f"If not set, the command's default applies: {default}." if default else ""


def parameters_schema() -> dict[str, Any]:
    """Return ``nextflow_schema.json``: every parameter of the workflow, in the sections of a form."""
    sections: dict[str, dict[str, Any]] = {}
    for group, (key, description, icon, title) in SECTIONS.items():
        names = [name for name, field in workflow_fields().items() if _group(name, field) == group]
        sections[key] = {
            "title": title or group,
            "type": "object",
            "description": description,
            "fa_icon": f"fas fa-{icon}",
            "properties": {name: property_of(name) for name in names},
        }
        required = [name for name in names if name in ("input", "outdir")]
        if required:
            sections[key]["required"] = required
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"{RAW_FILES}/nextflow/nextflow_schema.json",
        "title": "sccr-node/sccr-node pipeline parameters",
        "description": "scCR imputation of single-cell RNA-seq, per sample",
        "type": "object",
        "$defs": sections,
        "allOf": [{"$ref": f"#/$defs/{key}"} for key in sections],
    }


def _group(name: str, field: Any) -> str:
    return str(extra_of(field)["group"])


def samplesheet_schema() -> dict[str, Any]:
    """Return ``assets/schema_input.json``: the columns of the samplesheet."""
    choices = ["none", *METHODS]
    batch_key = ImputeParameters.model_fields["batch_key"].description
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"{RAW_FILES}/nextflow/assets/schema_input.json",
        "title": "sccr-node workflow samplesheet",
        "description": "The samples, one per line",
        "type": "array",
        "items": {
            "type": "object",
            "properties": {
                "sample": {
                    "type": "string",
                    # The files of a scattered batch have two such names and an ending; a file name has 255 bytes.
                    "pattern": "^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$",
                    "description": "Name of the sample; its results are named after it.",
                    "errorMessage": (
                        "must begin with a letter or digit; only letters, digits and _ . - may follow, up to 100 in all"
                    ),
                    "meta": ["id"],
                },
                "path": {
                    "type": "string",
                    "format": "path",
                    "exists": True,
                    "pattern": QUOTE_FREE,
                    "errorMessage": f"must be {WITHOUT_QUOTES}",
                    "description": (
                        "The sample after quality control: .h5ad, .zarr, 10x .h5 or a 10x folder. A relative path is "
                        "looked up in the launch folder, then in the samplesheet's folder."
                    ),
                },
                "batch_key": {
                    "type": "string",
                    "pattern": QUOTE_FREE,
                    "errorMessage": f"must be {WITHOUT_QUOTES}",
                    "description": batch_key,
                    "meta": ["batch_col"],
                },
                "imputation": {
                    "type": "string",
                    "enum": choices,
                    "description": "Method for this sample; overrides the parameter imputation.",
                    "meta": ["imputation"],
                },
                "imputed_integration": {
                    "type": "boolean",
                    "description": "Overrides the parameter imputed_integration for this sample.",
                    "meta": ["imputed_integration"],
                },
            },
            "required": ["sample", "path"],
        },
        "uniqueEntries": ["sample"],
    }


def option_expression(process: str, name: str) -> str:
    """Return the configuration's expression that turns a parameter into its option, or null if it is not set.

    Parameters
    ----------
    process
        A key of :data:`OPTIONS`.
    name
        A key of :func:`workflow_fields` or of :data:`OF_SAMPLES`.
    """
    option = flag(NAMED_OTHERWISE.get((process, name), _source_of(name)[1]))
    if (value := OF_SAMPLES.get(name)) is not None:
        absent = f"{value} in [null, '', 'X']" if name == "layer" else f"!{value}"
        return f"""{absent} ? null : "{option} '${{{value}}}'\""""
    absent = f"params.{name} == null"
    if name == "genes":
        absent = f"!(params.genes in [{', '.join(repr(choice) for choice in GENE_CHOICES)}])"
    if property_of(name)["type"] == "boolean":
        return f"""{absent} ? null : "${{params.{name}}}" == 'true' ? '{option}' : '--no-{option[2:]}'"""
    return f"""{absent} ? null : "{option} '${{params.{name}}}'\""""


def configuration_text() -> str:
    """Return the text of ``conf/parameters.config``: the parameters' defaults, and the options they turn into."""
    lines = [
        "// The parameters, and how they become the commands' options: derived from the contract by `make faces`.",
        "",
        "params {",
    ]
    width = max(len(name) for name in workflow_fields())
    for name in workflow_fields():
        default = WorkflowParameters.model_fields[name].default if name in WorkflowParameters.model_fields else None
        written = (
            "new java.util.Date().format('yyyy-MM-dd_HH-mm-ss')" if name == "trace_report_suffix" else _groovy(default)
        )
        lines.append(f"    {name.ljust(width)} = {written}")
    lines += ["}", "", "process {"]
    for process, names in OPTIONS.items():
        lines += [f"    withName: '{process}' {{", "        ext.args = { ["]
        lines += [f"            {option_expression(process, name)}," for name in names]
        lines += ["        ].findAll().join(' ') }", "    }"]
    lines.append("}")
    return "\n".join(lines) + "\n"


def _groovy(value: object) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"'{value}'" if isinstance(value, str) else str(value)


def derived_texts() -> dict[str, str]:
    """Return the workflow's derived files: the path of each inside the repository, and its text."""
    return {
        "nextflow/nextflow_schema.json": json.dumps(parameters_schema(), indent=4, ensure_ascii=False) + "\n",
        "nextflow/assets/schema_input.json": json.dumps(samplesheet_schema(), indent=4, ensure_ascii=False) + "\n",
        "nextflow/conf/parameters.config": configuration_text(),
    }
