"""What the evaluating commands do, from input file to the tables they print."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from sccr_node import __version__
from sccr_node.contract.benchmark import BenchmarkParameters
from sccr_node.contract.evaluate import EvaluateClusterParameters, EvaluateRelationsParameters
from sccr_node.contract.impute import RELATING
from sccr_node.contract.keys import ResultKeys
from sccr_node.contract.methods import METHODS
from sccr_node.data.dataset import InputData, open_input
from sccr_node.data.preparation import Prepared
from sccr_node.errors import InputProblem, UsageProblem
from sccr_node.evaluation.benchmark import COLUMNS, Journal, run_benchmark
from sccr_node.evaluation.clustering import Clustering, compare
from sccr_node.evaluation.files import genes_of_layer, prepare, read_obsm, read_types
from sccr_node.evaluation.relations import Shares, shares_in_data, shares_in_graph, strongest_pairs
from sccr_node.evaluation.tables import write_tables
from sccr_node.methods import Expression, load
from sccr_node.numerics import Workspace
from sccr_node.results import imputed_genes
from sccr_node.runtime.console import Console
from sccr_node.runtime.resources import usable_cpus
from sccr_node.storage.copying import sha256_of

METRICS = ("ari", "nmi", "accuracy", "silhouette")
CLUSTER_COLUMNS = (
    "algorithm",
    "n_cells",
    "n_types",
    "n_seeds",
    "n_clusters",
    *(name for metric in METRICS for name in (metric, f"{metric}_sd")),
    "silhouette_types",
)
SHARE_COLUMNS = ("pairs", "n_pairs", "n_associating", "n_dissociating", "associating", "dissociating")
PAIR_COLUMNS = ("kind", "gene_1", "gene_2", "r")

RUNNING_FIELDS = {"log_format", "quiet", "debug", "force", "threads"}
"""Fields that no row of a benchmark depends on, but for its seconds and peak memory."""

CLUSTERING_NEEDS = ("sklearn", "scanpy", "igraph")


def need_clustering_libraries() -> None:
    """Refuse to begin where the libraries that cluster are not installed.

    Raises
    ------
    UsageProblem
        One is missing.
    """
    missing = [name for name in CLUSTERING_NEEDS if find_spec(name) is None]
    if missing:
        raise UsageProblem(f"clustering needs {', '.join(missing)}: install them with pip install 'sccr-node[full]'")


def cluster_file(input_path: Path, params: EvaluateClusterParameters, console: Console) -> dict[str, Any]:
    """Cluster the cells of a file and compare the clusters with its labels.

    Parameters
    ----------
    input_path
        A result of any tool.
    params
        Labels, matrix, seeds and the numbers of the clustering.
    console
        Where it says what it found.

    Returns
    -------
    ``summary`` (one row for each algorithm, mean and sample standard deviation over the seeds) and ``runs``.
    """
    need_clustering_libraries()
    with open_input(input_path, params.layer) as data:
        types = read_types(data, params.label_key, console)
        labelled = types >= 0
        if params.obsm is not None:
            cells = read_obsm(data, params.obsm)[labelled]
            n_components = None
        else:
            # A choice of genes that was asked for comes before the one that the file notes.
            genes = None if "genes" in params.model_fields_set else genes_of_layer(data, params.layer)
            if genes is not None:
                console.say(
                    f"layer {params.layer!r} is a result of sccr impute: its {len(genes):,} imputed genes are clustered"
                )
            _, prepared = prepare(data, params, console, genes=genes, any_scale=True)
            cells = prepared.expression[labelled].toarray()
            n_components = params.n_components
    types = types[labelled]
    found = list(
        compare(
            cells,
            types,
            seeds=params.seed_list(),
            n_restarts=params.n_restarts,
            n_neighbors=params.n_neighbors,
            resolution=params.resolution,
            n_components=n_components,
            threads=usable_cpus(),
            progress=console.progress,
        )
    )
    console.close_bar()
    return {"summary": summaries(found, types), "runs": [asdict(run) for run in found]}


def summaries(found: Sequence[Clustering], types: NDArray[np.int64]) -> list[dict[str, Any]]:
    """Return one row for each algorithm: means and sample standard deviations (NaN for one seed) over the seeds.

    Parameters
    ----------
    found
        One clustering for each algorithm and seed.
    types
        The types of the cells that were clustered.
    """
    rows = []
    for algorithm in dict.fromkeys(run.algorithm for run in found):
        runs = [run for run in found if run.algorithm == algorithm]
        row: dict[str, Any] = {
            "algorithm": algorithm,
            "n_cells": len(types),
            "n_types": len(np.unique(types)),
            "n_seeds": len(runs),
            "n_clusters": float(np.mean([run.n_clusters for run in runs])),
        }
        for metric in METRICS:
            values = [getattr(run, metric) for run in runs]
            row[metric] = float(np.mean(values))
            row[f"{metric}_sd"] = float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")
        row["silhouette_types"] = runs[0].silhouette_types
        rows.append(row)
    return rows


def relations_file(input_path: Path, params: EvaluateRelationsParameters, console: Console) -> dict[str, Any]:
    """Count and list the gene relations of a file.

    A result of ``sccr impute`` has a gene graph, which is read; of other data the graph is built, with the method's
    published numbers.

    Parameters
    ----------
    input_path
        A result, or what ``sccr impute`` reads.
    params
        Preparation, method, name of the result and how many pairs.
    console
        Where it says what it found.

    Returns
    -------
    ``shares`` (of all pairs of genes in the data, and of the graph's edges) and ``pairs`` (the strongest of each kind).
    """
    key = ResultKeys(params.key).gene_graph
    with open_input(input_path, params.layer) as data:
        stored = data.is_stored and data.has_key("varp", key)
        layer = _imputed_layer(data, params) if stored else params.layer
    with open_input(input_path, layer) as data:
        names = data.gene_names
        if stored:
            console.say(f"the gene graph is read from varp[{key!r}] of {input_path}")
            graph, genes, prepared = _stored_graph(data, params, console)
        else:
            preparation, prepared = prepare(data, params, console)
            genes = preparation.genes
            console.say(f"{input_path} has no varp[{key!r}]: the gene graph of {params.method} is built")
            graph = _built_graph(prepared, params, console)
    in_data = shares_in_data(prepared.expression, console.progress)
    in_graph = shares_in_graph(graph)
    console.close_bar()
    kinds = zip(("associating", "dissociating"), strongest_pairs(graph, params.n_pairs), strict=True)
    pairs = [
        {
            "kind": kind,
            "gene_1": str(names[genes[pair.first]]),
            "gene_2": str(names[genes[pair.second]]),
            "r": pair.weight,
        }
        for kind, listed in kinds
        for pair in listed
    ]
    return {"shares": [_share_row("data", in_data), _share_row("graph", in_graph)], "pairs": pairs}


def _share_row(pairs: str, shares: Shares) -> dict[str, Any]:
    return {
        "pairs": pairs,
        **asdict(shares),
        "associating": shares.associating,
        "dissociating": shares.dissociating,
    }


def _imputed_layer(data: InputData, params: EvaluateRelationsParameters) -> str | None:
    """Return the layer that a result was made from, unless another is asked for."""
    if params.layer is not None or not data.has_key("uns", params.key):
        return params.layer
    layer = data.element("uns", params.key).get("params", {}).get("layer")
    return None if layer is None else str(layer)


def _stored_graph(
    data: InputData, params: EvaluateRelationsParameters, console: Console
) -> tuple[sparse.csr_matrix, NDArray[np.intp], Prepared]:
    key = ResultKeys(params.key).gene_graph
    graph = sparse.csr_matrix(data.element("varp", key))
    if data.has_key("var", ResultKeys(params.key).imputed):
        genes = imputed_genes(data, params.key)
    else:
        genes = np.flatnonzero(np.diff(graph.indptr))
    if not genes.size or graph.nnz == 0:
        raise InputProblem(f"varp[{key!r}] of {data.path} joins no genes: impute with --method {' or '.join(RELATING)}")
    _, prepared = prepare(data, params, console, genes=genes)
    return sparse.csr_matrix(graph[genes][:, genes]), genes, prepared


def _built_graph(prepared: Prepared, params: EvaluateRelationsParameters, console: Console) -> sparse.csr_matrix:
    method = METHODS[params.method]
    work = Workspace(params.threads, console.progress)
    # The gene graph comes with every output: the cheapest will do.
    result = load(method.name).impute(Expression.of(prepared.expression), work, method.outputs[:1], method.complete({}))
    assert result.relations is not None
    return result.relations


def benchmark_file(
    input_path: Path, params: BenchmarkParameters, console: Console, *, output: Path | None, json_file: Path | None
) -> None:
    """Compare methods on a file and write the table.

    Parameters
    ----------
    input_path
        What ``sccr impute`` reads.
    params
        Preparation, methods, rates, seeds, labels.
    console
        Where it says how far it is.
    output
        The table (TSV); None for standard output, and then an interrupted benchmark begins anew.
    json_file
        The table as JSON, with what was compared; None for none.
    """
    if params.label_key is not None:
        need_clustering_libraries()
    with open_input(input_path, params.layer) as data:
        types = None if params.label_key is None else read_types(data, params.label_key, console)
        preparation, prepared = prepare(data, params, console)
    about = {
        "version": __version__,
        "sha256": sha256_of(input_path),
        "n_cells": prepared.expression.shape[0],
        "n_genes": prepared.expression.shape[1],
        "scale": preparation.scale,
        "params": params.model_dump(exclude=RUNNING_FIELDS),
    }
    fingerprint = {
        **about,
        "params": params.model_dump(exclude=RUNNING_FIELDS | {"methods", "rates", "seeds"}),
        "genes": sha256(preparation.genes.astype(np.int64).tobytes()).hexdigest(),  # a gene file may have changed
    }
    path = None if output is None else output.with_name(output.name + ".runs.jsonl")
    journal = Journal(path, fingerprint, force=params.force)
    rows = run_benchmark(prepared.expression, types, params, journal, console)
    write_tables(rows, COLUMNS, {**about, "rows": rows}, output=output, json_file=json_file)
    journal.remove()
