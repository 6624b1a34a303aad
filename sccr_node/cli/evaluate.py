"""The commands ``sccr evaluate mask|split-molecules|score|cluster|relations``."""

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
    EvaluateSplitMoleculesParameters,
)
from sccr_node.evaluation.metrics import explanations
from sccr_node.runtime.console import Console

HERE = "sccr_node.cli.evaluate"

EVALUATE_COMMANDS = {
    "mask": (f"{HERE}:mask", "Hide observed entries, to test how well a tool recovers them."),
    "split-molecules": (f"{HERE}:split_molecules", "Hold out molecules, to test how well a tool predicts them."),
    "score": (f"{HERE}:score", "Compare any tool's output with the values that were hidden from it."),
    "cluster": (f"{HERE}:cluster", "Cluster the cells and compare the clusters with known cell types."),
    "relations": (f"{HERE}:relations", "Count positively and negatively correlated pairs of genes."),
}


@click.command(cls=LazyGroup, lazy=EVALUATE_COMMANDS)
def evaluate() -> None:
    """Evaluate imputation by any tool, on held-out molecules or as the scFP, scBFP and scCR papers do."""


@contract_command(
    EvaluateMaskParameters,
    arguments=[path_argument("input"), path_argument("output", written=True)],
    summary=(
        "Hide observed entries, to test how well a tool recovers them. INPUT is any data set that sccr impute reads; "
        "OUTPUT (.h5ad) has log expression in X and counts in layers['counts'], with the same entries set to zero in "
        "both. The true values are in layers['truth']. Run any tool on it, then sccr evaluate score."
    ),
)
def mask(params: EvaluateMaskParameters, console: Console, input: Path, output: Path) -> None:
    """Write a masked data set."""
    from sccr_node.pipeline.masking import mask_file

    mask_file(input, output, params, console)


@contract_command(
    EvaluateSplitMoleculesParameters,
    arguments=[path_argument("input"), path_argument("output", written=True)],
    summary=(
        "Hold out molecules, to test how well a tool predicts them. INPUT must contain counts, in any format that sccr "
        "impute reads. Molecules are assigned to the two parts independently: OUTPUT (.h5ad) has the log expression of "
        "the training part in X, its counts in layers['counts'] and the other part in layers['held_out']. Run any tool "
        "on it, then sccr evaluate score. Unlike masked entries, held-out molecules also test predictions where "
        "nothing was observed."
    ),
)
def split_molecules(params: EvaluateSplitMoleculesParameters, console: Console, input: Path, output: Path) -> None:
    """Write a data set with held-out molecules."""
    from sccr_node.pipeline.thinning import split_molecules_file

    split_molecules_file(input, output, params, console)


@contract_command(
    EvaluateScoreParameters,
    arguments=[path_argument("train"), path_argument("candidate")],
    extra_options=TABLE_OPTIONS,
    summary=(
        "Compare any tool's output with the values that were hidden from it. TRAIN is an output of sccr evaluate mask "
        "or sccr evaluate split-molecules; CANDIDATE is what the tool made of it: log expression of the same cells and "
        "genes, in any order. Errors at masked entries follow the papers. Only observed values can be masked, so these "
        "errors favour tools that never predict zero and cannot detect overestimation. Held-out molecules test all "
        "entries; the candidate is compared with no imputation (row 'nothing'), the gene means, and a PCA at the rank "
        "that scores best."
    ),
    epilog=explanations(
        (
            *("rmse", "mae", "median_ae", "cosine"),
            *("mse", "mse_observed", "mse_unobserved", "floor", "explained", "deviance", "correlation"),
        )
    ),
)
def score(
    params: EvaluateScoreParameters,
    console: Console,
    train: Path,
    candidate: Path,
    output: Path | None,
    json_file: Path | None,
) -> None:
    """Score a candidate."""
    from sccr_node.pipeline.scoring import score_file

    score_file(train, candidate, params, console, output=output, json_file=json_file)


@contract_command(
    EvaluateClusterParameters,
    arguments=[path_argument("input")],
    extra_options=TABLE_OPTIONS,
    summary=(
        "Cluster the cells and compare the clusters with known cell types. Uses k-means, as in the papers, and "
        "Leiden on a neighbour graph. Prints the mean and standard deviation over the seeds."
    ),
    epilog=explanations(("ari", "nmi", "accuracy", "silhouette", "silhouette_types")),
)
def cluster(
    params: EvaluateClusterParameters, console: Console, input: Path, output: Path | None, json_file: Path | None
) -> None:
    """Cluster cells and compare the clusters with known types."""
    from sccr_node.pipeline.evaluate import cluster_file

    cluster_file(input, params, console, output=output, json_file=json_file)


@contract_command(
    EvaluateRelationsParameters,
    arguments=[path_argument("input")],
    extra_options=(
        *TABLE_OPTIONS,
        file_option("--pairs", help_text="Also write the strongest pairs of each kind to this file (TSV)."),
    ),
    summary=(
        "Count positively and negatively correlated pairs of genes, among all pairs (rows 'data') and among the edges "
        "of the gene graph (rows 'graph'). The graph is read from INPUT if sccr impute wrote it, and built otherwise."
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
