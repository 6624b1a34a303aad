"""The commands ``sccr evaluate mask|score|cluster|relations``."""

from __future__ import annotations

from pathlib import Path

import click

from sccr_node.cli.groups import LazyGroup
from sccr_node.cli.options import TABLE_OPTIONS, contract_command, file_option, path_argument
from sccr_node.contract.evaluate import (
    EvaluateClusterParameters,
    EvaluateMaskParameters,
    EvaluateRelationsParameters,
    EvaluateScoreParameters,
)
from sccr_node.evaluation.metrics import explanations
from sccr_node.runtime.console import Console

HERE = "sccr_node.cli.evaluate"

EVALUATE_COMMANDS = {
    "mask": (f"{HERE}:mask", "Set observed entries to zero and keep their values aside."),
    "score": (f"{HERE}:score", "Compare any tool's output with the masked entries."),
    "cluster": (f"{HERE}:cluster", "Compare clusters with known cell types."),
    "relations": (f"{HERE}:relations", "Count the genes that go together and that avoid each other."),
}


@click.command(cls=LazyGroup, lazy=EVALUATE_COMMANDS)
def evaluate() -> None:
    """Evaluate imputation, by any tool, as the papers of scFP, scBFP and scCR do."""


@contract_command(
    EvaluateMaskParameters,
    arguments=[path_argument("input"), path_argument("output")],
    summary=(
        "Set observed entries to zero and keep their values aside. INPUT is what sccr impute reads; OUTPUT is an .h5ad "
        "file with the prepared, masked logs in X, the counts masked alike in layers['counts'], and the truth in "
        "layers['truth']: run any tool on it, and give its output to sccr evaluate score."
    ),
)
def mask(params: EvaluateMaskParameters, console: Console, input: Path, output: Path) -> None:
    """Write masked data."""
    from sccr_node.pipeline.evaluate import mask_file

    mask_file(input, output, params, console)


@contract_command(
    EvaluateScoreParameters,
    arguments=[path_argument("masked"), path_argument("candidate")],
    extra_options=TABLE_OPTIONS,
    summary=(
        "Compare any tool's output with the masked entries. MASKED is what sccr evaluate mask wrote, CANDIDATE the "
        "output of any tool on it, as logs, with the same cells and genes in any order."
    ),
    epilog=explanations(("rmse", "mae", "median_ae", "cosine")),
)
def score(
    params: EvaluateScoreParameters,
    console: Console,
    masked: Path,
    candidate: Path,
    output: Path | None,
    json_file: Path | None,
) -> None:
    """Score a candidate."""
    from sccr_node.pipeline.evaluate import score_file

    score_file(masked, candidate, params, console, output=output, json_file=json_file)


@contract_command(
    EvaluateClusterParameters,
    arguments=[path_argument("input")],
    extra_options=TABLE_OPTIONS,
    summary=(
        "Compare clusters with known cell types. Clusters the cells of INPUT (any matrix of it) by k-means, as the "
        "papers do, and by Leiden on a neighbour graph, and prints mean and standard deviation over the seeds."
    ),
    epilog=explanations(("ari", "nmi", "accuracy", "silhouette", "silhouette_types")),
)
def cluster(
    params: EvaluateClusterParameters, console: Console, input: Path, output: Path | None, json_file: Path | None
) -> None:
    """Cluster and compare."""
    from sccr_node.pipeline.evaluate import cluster_file

    cluster_file(input, params, console, output=output, json_file=json_file)


@contract_command(
    EvaluateRelationsParameters,
    arguments=[path_argument("input")],
    extra_options=(
        *TABLE_OPTIONS,
        file_option("--pairs", help_text="Write the strongest pairs of each kind as a table (TSV)."),
    ),
    summary=(
        "Count the genes that go together and that avoid each other, among all pairs of genes and among the edges of "
        "the gene graph. INPUT is a result of sccr impute, whose graph is read, or data whose graph is built."
    ),
)
def relations(
    params: EvaluateRelationsParameters,
    console: Console,
    input: Path,
    output: Path | None,
    json_file: Path | None,
    pairs: Path | None,
) -> None:
    """Count and list gene relations."""
    from sccr_node.pipeline.evaluate import relations_file

    relations_file(input, params, console, output=output, json_file=json_file, pairs_file=pairs)
