"""The evaluation commands from file to file: cluster and relations, and what all of them share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from sccr_node.contract.evaluate import (
    EvaluateClusterParameters,
    EvaluateRelationsParameters,
)
from sccr_node.contract.imputing import RELATING
from sccr_node.contract.keys import ResultKeys, possible_keys
from sccr_node.contract.methods import METHODS
from sccr_node.contract.shared import PreparationParameters
from sccr_node.data.dataset import Dataset, open_dataset
from sccr_node.data.genes import GeneChoice, ListedGene
from sccr_node.data.guard import among
from sccr_node.data.preparation import Preparation, Prepared
from sccr_node.data.written import is_result, results_in
from sccr_node.errors import InputProblem, UsageProblem
from sccr_node.evaluation import analyses
from sccr_node.evaluation.analyses.clustering import SUMMARY_COLUMNS, ClusteringSettings, averages, compare
from sccr_node.evaluation.relations import Shares, shares_in_data, shares_in_graph, strongest_pairs
from sccr_node.methods import Expression, load
from sccr_node.numerics import Workspace
from sccr_node.pipeline.plan import decide_and_show, open_input
from sccr_node.pipeline.tables import as_json, as_tsv, write_tables
from sccr_node.results import imputed_genes
from sccr_node.runtime.console import Console
from sccr_node.runtime.resources import usable_cpus
from sccr_node.runtime.words import plural, quantity
from sccr_node.storage.targets import Target, check_targets

SHARE_COLUMNS = ("pairs", "n_pairs", "n_associating", "n_dissociating", "associating", "dissociating")
PAIR_COLUMNS = ("kind", "gene_1", "gene_2", "r")

GENE_FIELDS = ("genes", "n_top_genes")
PREPARATION_FIELDS = ("input_scale", "log_base", *GENE_FIELDS, "normalize_by", "target_sum")


def cluster_file(
    input_path: Path,
    asked: EvaluateClusterParameters,
    console: Console,
    *,
    output: Path | None,
    json_file: Path | None,
) -> None:
    """Cluster the cells of a file, compare the clusters with its labels, and write the table.

    Parameters
    ----------
    input_path
        An output of any tool.
    asked
        Labels, matrix, seeds and the parameters of the clustering.
    console
        Shows findings and progress.
    output, json_file
        Files for the table as TSV (None: standard output) and, with every single clustering, as JSON (None: not
        written).

    Raises
    ------
    UsageProblem
        A library is missing, or a parameter has no effect on what is clustered.
    InputProblem
        The file lacks the matrix to cluster or the types to compare.
    """
    check_tables([output, json_file], [input_path, *asked.files_read()], asked.force)
    need_libraries(["clustering"])
    if asked.obsm is not None:
        asked.refuse_without_effect(
            (*PREPARATION_FIELDS, "n_components"),
            f"the coordinates in obsm[{asked.obsm!r}] are clustered as they are",
        )
    with open_input(input_path, asked, or_any=asked.obsm is not None) as (data, listed):
        types = read_types(data, asked.label_key, console)
        labelled = types >= 0
        if asked.obsm is None:
            cells: Any = _expression_to_cluster(data, asked, console, listed)
        else:
            cells = read_obsm(data, asked.obsm)
    settings = ClusteringSettings(
        n_restarts=asked.n_restarts,
        n_neighbors=asked.n_neighbors,
        resolution=asked.resolution,
        n_components=asked.n_components if asked.obsm is None else None,
    )
    cells, types = cells[labelled], types[labelled]
    dense = cells if isinstance(cells, np.ndarray) else cells.toarray()
    found = list(
        compare(
            dense,
            types,
            settings,
            seeds=asked.seed_list(),
            threads=usable_cpus(),
            progress=console.progress,
        )
    )
    console.close_bar()
    summary = averages(found, types)
    document = {"summary": summary, "runs": [asdict(run) for run in found]}
    write_tables(as_tsv(summary, SUMMARY_COLUMNS), output, {json_file: as_json(document)}, force=asked.force)


def relations_file(
    input_path: Path,
    asked: EvaluateRelationsParameters,
    console: Console,
    *,
    output: Path | None,
    json_file: Path | None,
    pairs_file: Path | None,
) -> None:
    """Count and list the gene relations of a file, and write the tables.

    The gene graph is read if the input is a result of ``sccr impute``; otherwise it is built with the method's
    published parameters.

    Parameters
    ----------
    input_path
        A result, or any data set that ``sccr impute`` reads.
    asked
        Preparation, method, name of the result and number of pairs.
    console
        Shows findings and progress.
    output, json_file, pairs_file
        Files for the shares among all pairs in the data and among the graph's edges as TSV (None: standard output), for
        both tables as JSON, and for the strongest pairs of each kind as TSV (None: not written).

    Raises
    ------
    UsageProblem
        A parameter has no effect on a stored graph.
    InputProblem
        The input cannot be prepared, or its graph has no edges.
    """
    check_tables([output, json_file, pairs_file], [input_path, *asked.files_read()], asked.force)
    key = ResultKeys(asked.key).gene_graph
    with open_input(input_path, asked, or_any=True) as (data, listed):
        stored = data.is_stored and data.has_key("varp", key)
        layer = _imputed_layer(data, asked) if stored else asked.layer
    with open_dataset(input_path, layer, modality=asked.modality) as data:
        names = data.gene_names
        if stored:
            console.say(f"using the gene graph in varp[{key!r}] of {input_path}")
            graph, genes, prepared = _stored_graph(data, asked, console)
        else:
            preparation, prepared = decide_and_prepare(data, asked, console, listed=listed)
            genes = preparation.genes
            console.say(f"{input_path} has no varp[{key!r}]: building the gene graph of {METHODS[asked.method].title}")
            graph = _built_graph(prepared, asked, console)
    in_data = shares_in_data(prepared.expression, console.progress)
    in_graph = shares_in_graph(graph)
    console.close_bar()
    kinds = zip(("associating", "dissociating"), strongest_pairs(graph, asked.n_pairs), strict=True)
    pairs = [
        {
            "kind": kind,
            "gene_1": str(names[genes[edge.first]]),
            "gene_2": str(names[genes[edge.second]]),
            "r": edge.weight,
        }
        for kind, listed in kinds
        for edge in listed
    ]
    shares = [_share_row("data", in_data), _share_row("graph", in_graph)]
    beside = {json_file: as_json({"shares": shares, "pairs": pairs}), pairs_file: as_tsv(pairs, PAIR_COLUMNS)}
    write_tables(as_tsv(shares, SHARE_COLUMNS), output, beside, force=asked.force)


def decide_and_prepare(
    data: Dataset,
    asked: PreparationParameters,
    console: Console,
    *,
    listed: Sequence[ListedGene] | None = None,
    genes: NDArray[np.intp] | None = None,
    any_scale: bool = False,
) -> tuple[Preparation, Prepared]:
    """Select genes and normalise, as ``sccr impute`` does, and show the findings.

    Parameters
    ----------
    data
        An opened input.
    asked
        Genes and target depth.
    console
        Shows findings and progress.
    listed
        The genes, if they are listed.
    genes
        Columns to use instead of selecting genes.
    any_scale
        Use values that are neither counts nor logs as they are: other tools write small negative values.

    Raises
    ------
    InputProblem
        The input cannot be prepared, or contains NaN or infinite values.
    """
    choice = None if genes is None else GeneChoice(genes, [])
    preparation = decide_and_show(
        data,
        console,
        **asked.preparation(),
        listed=listed,
        choice=choice,
        any_scale=any_scale,
        is_result=any_scale and is_result(data),
    )
    return preparation, preparation.read(data, console.progress)


def need_libraries(chosen: Iterable[str]) -> None:
    """Refuse to begin if a library that the analyses require is not installed.

    Raises
    ------
    UsageProblem
        A library is missing.
    """
    for name in chosen:
        if missing := libraries_to_install(name):
            raise UsageProblem(f"{name} requires {missing}")


def libraries_to_install(name: str) -> str:
    """Return the libraries that an analysis requires and that are not installed, and how to install them, as text."""
    missing = analyses.missing_libraries([name])
    if not missing:
        return ""
    extra, are = analyses.load(name).extra, plural(len(missing), "is", "are")
    return (
        f"{', '.join(missing)}, which {are} not installed: run pip install 'sccr-node[{extra}]', or, in a checkout, "
        f"pip install '.[{extra}]'"
    )


def check_tables(outputs: Iterable[Path | None], inputs: Iterable[Path], force: bool) -> None:
    """Refuse tables that must not be written."""
    check_targets([Target(output) for output in outputs if output is not None], inputs, force=force)


def _expression_to_cluster(
    data: Dataset, asked: EvaluateClusterParameters, console: Console, listed: Sequence[ListedGene] | None
) -> sparse.csr_matrix:
    """Return the log expression to cluster, cells x genes."""
    # Genes that the user selected take precedence over those that the file records.
    genes = None if asked.model_fields_set & set(GENE_FIELDS) else genes_of_layer(data, asked.layer)
    if genes is not None:
        console.say(
            f"layers[{asked.layer!r}] is a result of sccr impute: using its {quantity(len(genes), 'imputed gene')}"
        )
    _, prepared = decide_and_prepare(data, asked, console, listed=listed, genes=genes, any_scale=True)
    return sparse.csr_matrix(prepared.expression)


def read_types(data: Dataset, label_key: str, console: Console) -> NDArray[np.int64]:
    """Return the type of each cell as a number from 0, or -1 if it has none.

    Parameters
    ----------
    data
        An opened input.
    label_key
        A column of obs: strings, categories, integers or booleans; empty strings count as missing.
    console
        Shows how many cells have no type.

    Raises
    ------
    InputProblem
        The column does not exist or contains measurements, or has fewer than two types or as many types as cells.
    """
    column = data.obs_column(label_key)
    where = f"obs[{label_key!r}] of {data.path}"
    missing = column.isna().to_numpy() | (column.astype(str).str.strip() == "").to_numpy()
    labels = column[~missing]
    if labels.empty:
        raise InputProblem(f"cannot use {where} as cell types: every value is missing; name another column")
    if pd.api.types.is_float_dtype(labels.dtype):
        numbers = labels.to_numpy(dtype=float)
        if not (numbers == np.rint(numbers)).all():
            raise InputProblem(
                f"cannot use {where} as cell types: it contains measurements (e.g. {numbers[0]:g}); name another column"
            )
    types = np.full(len(column), -1, dtype=np.int64)
    types[~missing], names = pd.factorize(labels.astype(str), sort=True)
    if len(names) < 2:
        raise InputProblem(
            f"cannot use {where} as cell types: it has only one label ({names[0]!r}); name another column"
        )
    if len(names) == len(labels):
        raise InputProblem(
            f"cannot use {where} as cell types: each of the {len(names)} cells has a different label; name "
            "another column"
        )
    if n_missing := int(missing.sum()):
        console.say(
            f"{quantity(n_missing, 'cell')} without a label in {where} {plural(n_missing, 'is', 'are')} excluded"
        )
    return types


def read_order(data: Dataset, order_key: str, console: Console) -> NDArray[np.float64]:
    """Return the known order of each cell as a number, or NaN if it is not known.

    Parameters
    ----------
    data
        An opened input.
    order_key
        A column of obs with numbers, or with categories that are numbers.
    console
        Shows for how many cells the order is not known.

    Raises
    ------
    InputProblem
        The column does not exist, contains anything but finite numbers, or fewer than two different ones.
    """
    column = data.obs_column(order_key)
    where = f"obs[{order_key!r}] of {data.path}"
    try:
        plain = column.astype(object) if isinstance(column.dtype, pd.CategoricalDtype) else column
        order = pd.to_numeric(plain).to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError) as problem:
        raise InputProblem(
            f"cannot use {where} as the order of the cells: it does not contain numbers; name another column"
        ) from problem
    if np.isinf(order).any():
        raise InputProblem(f"cannot use {where} as the order of the cells: it contains infinite values; correct them")
    if len(np.unique(order[~np.isnan(order)])) < 2:
        raise InputProblem(
            f"cannot use {where} as the order of the cells: it has fewer than two different values; name another column"
        )
    if n_missing := int(np.isnan(order).sum()):
        console.say(
            f"{quantity(n_missing, 'cell')} without a value in {where} {plural(n_missing, 'has', 'have')} no order"
        )
    return order


def genes_of_layer(data: Dataset, layer: str | None) -> NDArray[np.intp] | None:
    """Return the genes that ``sccr impute`` imputed in a layer; None if the layer is not its result."""
    for key in results_in(data):
        if ("layers", layer) in possible_keys(key):
            return imputed_genes(data, key)
    return None


def read_obsm(data: Dataset, key: str) -> NDArray[np.float32]:
    """Return coordinates of the cells.

    Raises
    ------
    InputProblem
        There is no such key, or it contains a value that is not a finite number.
    """
    if not data.has_key("obsm", key):
        raise InputProblem(f"{data.path} has no obsm[{key!r}]; it has {among(key, data.keys('obsm'))}")
    element = data.element("obsm", key)
    try:
        # Duplicates are summed, which must not overflow the stored type.
        is_dense = isinstance(element, np.ndarray | pd.DataFrame)
        dense = element if is_dense else element.astype(np.float64).toarray()
        coordinates = np.asarray(dense, dtype=np.float32)
    except (AttributeError, TypeError, ValueError) as problem:
        raise InputProblem(
            f"cannot cluster obsm[{key!r}] of {data.path}: it is not a numeric array; name another --obsm"
        ) from problem
    if not np.isfinite(coordinates).all():
        first = int(np.argmax(~np.isfinite(coordinates).all(axis=1)))
        raise InputProblem(
            f"cannot cluster obsm[{key!r}] of {data.path}: it contains NaN or infinite values (first: cell "
            f"{str(data.cell_names[first])!r}); remove these cells, or name another --obsm"
        )
    return coordinates


def _share_row(pairs: str, shares: Shares) -> dict[str, Any]:
    return {
        "pairs": pairs,
        **asdict(shares),
        "associating": shares.associating,
        "dissociating": shares.dissociating,
    }


def _imputed_layer(data: Dataset, asked: EvaluateRelationsParameters) -> str | None:
    """Return the layer that a result was imputed from, unless another was given."""
    if asked.layer is not None or not data.has_key("uns", asked.key):
        return asked.layer
    layer = data.element("uns", asked.key).get("params", {}).get("layer")
    return None if layer is None else str(layer)


def _stored_graph(
    data: Dataset, asked: EvaluateRelationsParameters, console: Console
) -> tuple[sparse.csr_matrix, NDArray[np.intp], Prepared]:
    key = ResultKeys(asked.key).gene_graph
    asked.refuse_without_effect(
        GENE_FIELDS, f"the gene graph in varp[{key!r}] of {data.path} is used, with its own genes"
    )
    _compare_methods(data, asked, console)
    graph = data.gene_graph(key)
    if data.has_key("var", ResultKeys(asked.key).imputed):
        genes = imputed_genes(data, asked.key)
    else:
        genes = np.flatnonzero(np.diff(graph.indptr))
    if not genes.size or graph.nnz == 0:
        raise InputProblem(
            f"cannot count gene relations: varp[{key!r}] of {data.path} has no edges; impute with --method "
            f"{' or '.join(RELATING)}"
        )
    _, prepared = decide_and_prepare(data, asked, console, genes=genes)
    return sparse.csr_matrix(graph[genes][:, genes]), genes, prepared


def _compare_methods(data: Dataset, asked: EvaluateRelationsParameters, console: Console) -> None:
    """Refuse a method other than the stored graph's; only warn if it is the default, which forms always pass."""
    noted = data.element("uns", asked.key).get("method") if data.has_key("uns", asked.key) else None
    if "method" not in asked.model_fields_set or asked.method == noted:
        return
    key = ResultKeys(asked.key).gene_graph
    whose = f"the gene graph in varp[{key!r}] of {data.path}" + (f" (method {noted})" if noted else "") + " is used"
    if asked.without_effect(["method"]):
        raise UsageProblem(
            f"{asked.source_of('method')} {asked.method} would have no effect: {whose}; omit it, or build a new "
            "graph by giving a --key that is not in the file"
        )
    if noted:
        console.warn(f"{whose}: {asked.source_of('method')} {asked.method} has no effect")


def _built_graph(prepared: Prepared, asked: EvaluateRelationsParameters, console: Console) -> sparse.csr_matrix:
    method = METHODS[asked.method]
    work = Workspace(asked.threads, console.progress)
    # Every output comes with the gene graph: the cheapest is enough.
    result = load(method.name).impute(Expression.of(prepared.expression), work, method.outputs[:1], method.complete({}))
    assert result.relations is not None
    return result.relations
