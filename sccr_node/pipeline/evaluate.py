"""The evaluating commands from file to file: mask, score, cluster, relations."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from sccr_node import __version__
from sccr_node.contract.evaluate import (
    EvaluateClusterParameters,
    EvaluateMaskParameters,
    EvaluateRelationsParameters,
    EvaluateScoreParameters,
)
from sccr_node.contract.impute import RELATING
from sccr_node.contract.keys import ResultKeys
from sccr_node.contract.methods import METHODS
from sccr_node.contract.shared import Parameters, PreparationParameters
from sccr_node.data.dataset import InputData, open_input
from sccr_node.data.guard import listing
from sccr_node.data.preparation import GeneChoice, Preparation, Prepared, decide_preparation, selected_values
from sccr_node.data.summary import LARGEST_LOG, MatrixSummary, refuse_not_finite, scan
from sccr_node.errors import InputProblem, UsageProblem
from sccr_node.evaluation import analyses
from sccr_node.evaluation.analyses.clustering import SUMMARY_COLUMNS, Settings, averages, compare
from sccr_node.evaluation.analyses.recovery import recovery
from sccr_node.evaluation.masks import drop_entries, mask_expression, positions
from sccr_node.evaluation.relations import Shares, shares_in_data, shares_in_graph, strongest_pairs
from sccr_node.methods import Expression, load
from sccr_node.numerics import Workspace
from sccr_node.pipeline.tables import as_json, as_tsv, write_tables
from sccr_node.results import imputed_genes, results_in
from sccr_node.runtime.console import Console
from sccr_node.runtime.resources import usable_cpus
from sccr_node.storage.files import write_h5ad_atomically
from sccr_node.storage.store import quiet
from sccr_node.storage.targets import Target, check_targets

MASK_KEY = "sccr_mask"
"""Where masked data say in ``uns`` how they were masked."""

FACTOR_COLUMN = "sccr_mask_factor"
"""Column of obs: log1p(counts x factor) is the scale that masked counts are scored on."""

TRUTH_LAYER = "truth"

SHARE_COLUMNS = ("pairs", "n_pairs", "n_associating", "n_dissociating", "associating", "dissociating")
PAIR_COLUMNS = ("kind", "gene_1", "gene_2", "r")

GENE_FIELDS = ("genes", "n_top_genes")
PREPARATION_FIELDS = ("input_scale", *GENE_FIELDS, "normalize_by", "target_sum")


def mask_file(input_path: Path, output_path: Path, asked: EvaluateMaskParameters, console: Console) -> None:
    """Write prepared, masked data for any tool to impute: logs in X, counts in a layer, the truth in another.

    Parameters
    ----------
    input_path
        What ``sccr impute`` reads.
    output_path
        The ``.h5ad`` file to write: the chosen genes of all cells.
    asked
        Preparation, rate, mechanism and seed.
    console
        Where it says what it found.

    Raises
    ------
    SccrError
        Nothing has been written then.
    """
    import anndata as ad

    if output_path.suffix != ".h5ad":
        raise UsageProblem(f"{output_path}: masked data are written as .h5ad; name the file so")
    check_targets([Target(output_path)], [input_path, *asked.files_read()], force=asked.force)
    with open_input(input_path, asked.layer) as data:
        preparation, prepared = prepare(data, asked, console)
        try:
            masked = mask_expression(prepared.expression, asked.rate, asked.mechanism, asked.seed)
        except ValueError as problem:
            raise InputProblem(f"{data.source} cannot be masked: {problem}") from problem
        obs = pd.DataFrame({name: data.obs_column(name).array for name in data.keys("obs")}, index=data.cell_names)
        var = pd.DataFrame(
            {name: data.var_column(name).array[preparation.genes] for name in data.keys("var")},
            index=data.gene_names[preparation.genes],
        )
    layers = {TRUTH_LAYER: masked.truth}
    if preparation.scale == "counts":
        layers["counts"] = drop_entries(prepared.values, masked.truth)
        obs[FACTOR_COLUMN] = prepared.normalization.factors
    n_observed = masked.truth.nnz + masked.expression.nnz
    record: dict[str, Any] = {
        "version": __version__,
        "rate": asked.rate,
        "mechanism": asked.mechanism,
        "seed": asked.seed,
        "n_observed": n_observed,
        "n_masked": masked.truth.nnz,
        "input_scale": preparation.scale,
    }
    if masked.strength is not None:
        record["lambda"] = masked.strength
    if prepared.normalization.target_sum is not None:
        record["target_sum"] = prepared.normalization.target_sum
        record["normalize_by"] = asked.normalize_by
    with quiet():  # names that occur twice are the input's affair
        adata = ad.AnnData(masked.expression, obs=obs, var=var, layers=layers, uns={MASK_KEY: record})
        write_h5ad_atomically(output_path, adata, replace=asked.force)
    console.say(
        f"wrote {output_path}: {adata.n_obs:,} cells x {adata.n_vars:,} genes, {masked.truth.nnz:,} of "
        f"{n_observed:,} observed entries set to zero ({asked.mechanism}, seed {asked.seed})"
    )


def score_file(
    masked_path: Path,
    candidate_path: Path,
    asked: EvaluateScoreParameters,
    console: Console,
    *,
    output: Path | None,
    json_file: Path | None,
) -> None:
    """Compare a candidate with the truth at exactly the masked entries, and write the table.

    Parameters
    ----------
    masked_path
        What ``sccr evaluate mask`` wrote.
    candidate_path
        Any tool's output on it: the same cells and genes, in any order.
    asked
        Which layer of the candidate.
    console
        Where it says what it found.
    output, json_file
        The table as TSV (None for standard output) and as JSON (None for none).

    Raises
    ------
    InputProblem
        Either file is not what it should be, or their cells or genes differ.
    """
    _check_tables([output, json_file], [masked_path, candidate_path, *asked.files_read()], asked.force)
    row = score_candidate(masked_path, candidate_path, asked.layer, console)
    write_tables(as_tsv([row], list(row)), output, {json_file: as_json(row)}, force=asked.force)


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
        A result of any tool.
    asked
        Labels, matrix, seeds and the numbers of the clustering.
    console
        Where it says what it found.
    output, json_file
        The table as TSV (None for standard output), and with every single clustering as JSON (None for none).

    Raises
    ------
    UsageProblem
        A library is missing, or a parameter has no effect on what is clustered.
    InputProblem
        The file does not have what is to be clustered or compared.
    """
    _check_tables([output, json_file], [input_path, *asked.files_read()], asked.force)
    need_libraries(["clustering"])
    if asked.obsm is not None:
        _refuse_without_effect(
            asked,
            (*PREPARATION_FIELDS, "n_components"),
            f"coordinates are clustered as they are (obsm[{asked.obsm!r}])",
        )
    with open_input(input_path, asked.layer) as data:
        types = read_types(data, asked.label_key, console)
        labelled = types >= 0
        cells = _expression_to_cluster(data, asked, console) if asked.obsm is None else read_obsm(data, asked.obsm)
    settings = Settings(
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

    A result of ``sccr impute`` has a gene graph, which is read; of other data the graph is built, with the method's
    published numbers.

    Parameters
    ----------
    input_path
        A result, or what ``sccr impute`` reads.
    asked
        Preparation, method, name of the result and how many pairs.
    console
        Where it says what it found.
    output, json_file, pairs_file
        The shares of all pairs of genes in the data and of the graph's edges as TSV (None for standard output), both
        tables as JSON, and the strongest pairs of each kind as TSV (None for none).

    Raises
    ------
    UsageProblem
        A parameter has no effect on a graph that is read.
    InputProblem
        The file does not have what is to be counted.
    """
    _check_tables([output, json_file, pairs_file], [input_path, *asked.files_read()], asked.force)
    key = ResultKeys(asked.key).gene_graph
    with open_input(input_path, asked.layer) as data:
        stored = data.is_stored and data.has_key("varp", key)
        layer = _imputed_layer(data, asked) if stored else asked.layer
    with open_input(input_path, layer) as data:
        names = data.gene_names
        if stored:
            console.say(f"the gene graph is read from varp[{key!r}] of {input_path}")
            graph, genes, prepared = _stored_graph(data, asked, console)
        else:
            preparation, prepared = prepare(data, asked, console)
            genes = preparation.genes
            console.say(f"{input_path} has no varp[{key!r}]: the gene graph of {asked.method} is built")
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


def prepare(
    data: InputData,
    asked: PreparationParameters,
    console: Console,
    *,
    genes: NDArray[np.intp] | None = None,
    any_scale: bool = False,
) -> tuple[Preparation, Prepared]:
    """Choose genes and normalise, as the step does before it imputes, and say what was found.

    Parameters
    ----------
    data
        An opened input.
    asked
        Which genes, which depth.
    console
        Where it shows what it found.
    genes
        Columns to take instead of choosing them.
    any_scale
        Take values that are neither counts nor logarithms as they are: other tools write small negative values.

    Raises
    ------
    InputProblem
        The input cannot be prepared; NaN and infinities in any case.
    """
    choice = None if genes is None else GeneChoice(genes, [])
    preparation = decide_preparation(
        data, **asked.preparation(), choice=choice, any_scale=any_scale, progress=console.progress
    )
    console.say(preparation.headline())
    console.show(preparation.findings)
    return preparation, preparation.read(data, console.progress)


def need_libraries(chosen: Iterable[str]) -> None:
    """Refuse to begin if a library that analyses need is not installed.

    Raises
    ------
    UsageProblem
        One is missing.
    """
    for name in chosen:
        if missing := analyses.missing_libraries([name]):
            title = analyses.load(name).title
            raise UsageProblem(f"{title} needs {', '.join(missing)}: install them with pip install 'sccr-node[full]'")


def without_effect(asked: Parameters, names: Collection[str]) -> list[str]:
    """Return, of parameters that a run does not read, those that were given, by the names that their user knows.

    Defaults do not count, given or not: forms pass all values, also those that nobody has touched.
    """
    return [
        asked.source_of(name)
        for name, field in type(asked).model_fields.items()
        if name in names and name in asked.model_fields_set and getattr(asked, name) != field.default
    ]


def _refuse_without_effect(asked: Parameters, names: Collection[str], why: str) -> None:
    if idle := without_effect(asked, names):
        raise UsageProblem(f"{', '.join(idle)} would have no effect: {why}; leave it out")


def _check_tables(outputs: Iterable[Path | None], inputs: Iterable[Path], force: bool) -> None:
    check_targets([Target(output) for output in outputs if output is not None], inputs, force=force)


def score_candidate(masked_path: Path, candidate_path: Path, layer: str | None, console: Console) -> dict[str, Any]:
    """Compare a candidate with the truth at exactly the masked entries.

    Returns
    -------
    One row of a table: what was compared, how it was masked, and the metrics.
    """
    with open_input(masked_path) as data:
        if not (data.has_key("uns", MASK_KEY) and data.has_key("layers", TRUTH_LAYER)):
            raise InputProblem(f"{masked_path} was not written by sccr evaluate mask: it has no layer {TRUTH_LAYER!r}")
        record = data.element("uns", MASK_KEY)
    with open_input(masked_path, TRUTH_LAYER) as masked:
        truth = selected_values(masked, np.arange(masked.n_genes))
        with open_input(candidate_path, layer) as candidate:
            cells = matching(masked.cell_names, candidate.cell_names, "cells", candidate.source)
            genes = matching(masked.gene_names, candidate.gene_names, "genes", candidate.source)
            _refuse_other_scales(scan(candidate, console.progress, counted=np.ones(candidate.n_genes, bool)), console)
            true, imputed = _at_masked_entries(truth[cells][:, genes].tocsr(), candidate)
    return {
        "candidate": str(candidate_path),
        "layer": layer or "X",
        "mechanism": str(record["mechanism"]),
        "rate": float(record["rate"]),
        "seed": int(record["seed"]),
        **asdict(recovery(true, imputed)),
    }


def matching(wanted: NDArray[Any], found: NDArray[Any], what: str, where: str) -> NDArray[np.intp]:
    """Return, for every name found, its place among the wanted ones.

    Parameters
    ----------
    wanted, found
        Names; those found may come in another order.
    what
        ``cells`` or ``genes``.
    where
        What the names were found in.

    Raises
    ------
    InputProblem
        One has names that the other lacks, or names in another order are not unique.
    """
    if len(wanted) == len(found) and (wanted == found).all():
        return np.arange(len(wanted))
    for names, others, problem in ((wanted, found, "lacks"), (found, wanted, "has besides them")):
        differing = names[~np.isin(names, others)]
        if differing.size:
            raise InputProblem(
                f"{where} is not made from the masked data: it {problem} {differing.size} {what} "
                f"({listing(differing.tolist(), 3)}); score the output of a tool that keeps all cells and genes"
            )
    if len(np.unique(wanted)) < len(wanted) or len(wanted) != len(found):
        raise InputProblem(
            f"{where} has its {what} in another order, and their names repeat: keep the order of the masked data"
        )
    return np.asarray(pd.Index(wanted).get_indexer(pd.Index(found)), dtype=np.intp)


def _refuse_other_scales(summary: MatrixSummary, console: Console) -> None:
    refuse_not_finite(summary)
    if not summary.n_nonzeros:
        console.warn(f"{summary.source} holds nothing but zeros")
    elif summary.all_integers:
        raise InputProblem(
            f"{summary.source} holds counts (integers up to {summary.maximum:g}), and the truth is logarithms: "
            f"give log1p(counts x obs[{FACTOR_COLUMN!r}]), or another --layer"
        )
    elif summary.maximum > LARGEST_LOG:
        raise InputProblem(
            f"{summary.source} holds values up to {summary.maximum:g}, more than log1p of counts reaches: if these are "
            f"denoised counts, give log1p(counts x obs[{FACTOR_COLUMN!r}])"
        )


def _at_masked_entries(truth: sparse.csr_matrix, candidate: InputData) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the true values and the candidate's at the same entries; cells and genes in the candidate's order."""
    truth.sort_indices()
    imputed = np.zeros(truth.nnz)
    for first, block in candidate.blocks():
        start, end = truth.indptr[first], truth.indptr[first + block.shape[0]]
        asked = positions(truth[first : first + block.shape[0]])
        stored = positions(block)
        at = np.searchsorted(stored, asked)
        there = at < stored.size
        there[there] = stored[at[there]] == asked[there]
        imputed[start:end][there] = block.data[at[there]]
    return truth.data, imputed


def _expression_to_cluster(data: InputData, asked: EvaluateClusterParameters, console: Console) -> sparse.csr_matrix:
    """Return the log expression that is to be clustered, cells x genes."""
    # A choice of genes that was asked for comes before the one that the file notes.
    genes = None if asked.model_fields_set & set(GENE_FIELDS) else genes_of_layer(data, asked.layer)
    if genes is not None:
        console.say(f"layer {asked.layer!r} is a result of sccr impute: its {len(genes):,} imputed genes are clustered")
    _, prepared = prepare(data, asked, console, genes=genes, any_scale=True)
    return sparse.csr_matrix(prepared.expression)


def read_types(data: InputData, label_key: str, console: Console) -> NDArray[np.int64]:
    """Return the type of each cell as a number from 0, and -1 for cells without one.

    Parameters
    ----------
    data
        An opened input.
    label_key
        A column of obs: strings, categories, integers or booleans; empty strings count as missing.
    console
        Where it says how many cells have none.

    Raises
    ------
    InputProblem
        There is no such column, it holds measurements, or fewer than two types or as many as cells.
    """
    column = data.obs_column(label_key)
    where = f"obs[{label_key!r}] of {data.path}"
    missing = column.isna().to_numpy() | (column.astype(str).str.strip() == "").to_numpy()
    labels = column[~missing]
    if labels.empty:
        raise InputProblem(f"{where} has no label at all: every value is missing")
    if pd.api.types.is_float_dtype(labels.dtype):
        numbers = labels.to_numpy(dtype=float)
        if not (numbers == np.rint(numbers)).all():
            raise InputProblem(
                f"{where} holds measurements (such as {numbers[0]:g}), not cell types: name another column"
            )
    types = np.full(len(column), -1, dtype=np.int64)
    types[~missing], names = pd.factorize(labels.astype(str), sort=True)
    if len(names) < 2:
        raise InputProblem(f"{where} has one label only ({names[0]!r}): there is nothing to tell apart")
    if len(names) == len(labels):
        raise InputProblem(f"{where} has as many labels as cells ({len(names)}): these are names, not cell types")
    if missing.any():
        console.say(f"{int(missing.sum()):,} cells without a label in {where} are left out")
    return types


def genes_of_layer(data: InputData, layer: str | None) -> NDArray[np.intp] | None:
    """Return the genes that ``sccr impute`` imputed in a layer; None if the layer is not its result."""
    for key in results_in(data):
        if layer in [ResultKeys(key).layer(output) for output in ("denoised", "recovered")]:
            return imputed_genes(data, key)
    return None


def read_obsm(data: InputData, key: str) -> NDArray[np.float32]:
    """Return coordinates of the cells.

    Raises
    ------
    InputProblem
        There are none of that name, or one is not a number.
    """
    if not data.has_key("obsm", key):
        raise InputProblem(f"{data.path} has no obsm[{key!r}]; it has {listing(data.keys('obsm'))}")
    element = data.element("obsm", key)
    try:
        dense = element if isinstance(element, np.ndarray | pd.DataFrame) else element.toarray()
        coordinates = np.asarray(dense, dtype=np.float32)
    except (AttributeError, TypeError, ValueError) as problem:
        raise InputProblem(f"obsm[{key!r}] of {data.path} is not a table of numbers") from problem
    if not np.isfinite(coordinates).all():
        first = int(np.argmax(~np.isfinite(coordinates).all(axis=1)))
        raise InputProblem(
            f"obsm[{key!r}] of {data.path} holds NaN or infinite values (first: cell {str(data.cell_names[first])!r})"
        )
    return coordinates


def _share_row(pairs: str, shares: Shares) -> dict[str, Any]:
    return {
        "pairs": pairs,
        **asdict(shares),
        "associating": shares.associating,
        "dissociating": shares.dissociating,
    }


def _imputed_layer(data: InputData, asked: EvaluateRelationsParameters) -> str | None:
    """Return the layer that a result was made from, unless another is asked for."""
    if asked.layer is not None or not data.has_key("uns", asked.key):
        return asked.layer
    layer = data.element("uns", asked.key).get("params", {}).get("layer")
    return None if layer is None else str(layer)


def _stored_graph(
    data: InputData, asked: EvaluateRelationsParameters, console: Console
) -> tuple[sparse.csr_matrix, NDArray[np.intp], Prepared]:
    key = ResultKeys(asked.key).gene_graph
    _refuse_without_effect(
        asked, GENE_FIELDS, f"the gene graph in varp[{key!r}] of {data.path} is read, with the genes that it joins"
    )
    _compare_methods(data, asked, console)
    graph = sparse.csr_matrix(data.element("varp", key))
    if data.has_key("var", ResultKeys(asked.key).imputed):
        genes = imputed_genes(data, asked.key)
    else:
        genes = np.flatnonzero(np.diff(graph.indptr))
    if not genes.size or graph.nnz == 0:
        raise InputProblem(f"varp[{key!r}] of {data.path} joins no genes: impute with --method {' or '.join(RELATING)}")
    _, prepared = prepare(data, asked, console, genes=genes)
    return sparse.csr_matrix(graph[genes][:, genes]), genes, prepared


def _compare_methods(data: InputData, asked: EvaluateRelationsParameters, console: Console) -> None:
    """Refuse a method that is not the stored graph's; only warn if it is the default, which forms always pass."""
    noted = data.element("uns", asked.key).get("method") if data.has_key("uns", asked.key) else None
    if "method" not in asked.model_fields_set or asked.method == noted:
        return
    key = ResultKeys(asked.key).gene_graph
    whose = f"the gene graph in varp[{key!r}] of {data.path} is read" + (f", which is of {noted}" if noted else "")
    if without_effect(asked, ["method"]):
        raise UsageProblem(
            f"{asked.source_of('method')} {asked.method} would have no effect: {whose}; leave it out, or name a --key "
            "that the file does not have, to build a graph"
        )
    if noted:
        console.warn(f"{whose}: {asked.source_of('method')} {asked.method} has no effect")


def _built_graph(prepared: Prepared, asked: EvaluateRelationsParameters, console: Console) -> sparse.csr_matrix:
    method = METHODS[asked.method]
    work = Workspace(asked.threads, console.progress)
    # The gene graph comes with every output: the cheapest will do.
    result = load(method.name).impute(Expression.of(prepared.expression), work, method.outputs[:1], method.complete({}))
    assert result.relations is not None
    return result.relations
