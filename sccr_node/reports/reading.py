"""Collect the content of a report from a result and its run record, in blocks of cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from sccr_node import __version__
from sccr_node.contract.fields import fields_of_result
from sccr_node.contract.impute import ImputeParameters
from sccr_node.contract.methods import METHODS
from sccr_node.contract.record import RunRecord
from sccr_node.contract.report import CELLS_DRAWN
from sccr_node.contract.tuned import TUNING_KEY
from sccr_node.data.dataset import Dataset
from sccr_node.data.guard import listing, reading
from sccr_node.errors import InputProblem
from sccr_node.evaluation.masks import positions
from sccr_node.evaluation.neighborhoods import N_COMPONENTS, N_NEIGHBORS, nearest, own_neighbors_by_type
from sccr_node.numerics import Workspace
from sccr_node.numerics.pca import components_of
from sccr_node.reports.content import (
    BINS_PER_UNIT,
    MAX_LOG_VALUE,
    Content,
    Embedding,
    Fact,
    Grouping,
    Helps,
    MarkerMap,
    Pair,
    Relations,
    Resources,
    SmallGroup,
    Stage,
    Values,
    readable,
)
from sccr_node.reports.helps import helps_of
from sccr_node.reports.layout import SEED, find_clusters, lay_out
from sccr_node.results import Result
from sccr_node.runtime.console import Progress
from sccr_node.runtime.words import plural, quantity

FEWEST_DRAWN = 20
"""Cells that are drawn of every group (all, if it has fewer), or a sample would leave small groups out."""

MOST_GROUPS_TO_KEEP = 200
"""A column with more values than this is not one of groups."""

GROUPS_TOLD_APART = 30
GROUPS_IN_MARKER_MAP = 12
FEWEST_CELLS_OF_A_GROUP = 5
MARKERS_OF_A_GROUP = 3
CELLS_IN_MARKER_MAP = 480
PAIRS_LISTED = 10
GROUPS_LISTED = 10
REPORT_BLOCK_BYTES = 32 * 2**20

_N_BINS = BINS_PER_UNIT * MAX_LOG_VALUE


def content_of(
    result: Result,
    *,
    shown_as: Path,
    record: RunRecord | None = None,
    label_key: str | None = None,
    batch_key: str | None = None,
    with_cells: bool = True,
    progress: Progress | None = None,
) -> Content:
    """Collect what the HTML report and the MultiQC content show.

    Parameters
    ----------
    result
        A result, from a file or straight from its run.
    shown_as
        The file of the result; its name without suffix is the sample name.
    record
        The record of the same run.
    label_key, batch_key
        Columns of obs that colour the cells.
    with_cells
        Whether to compute embeddings, groups and markers, which takes most of the time.
    progress
        Called with a stage's name and the finished fraction.

    Raises
    ------
    InputProblem
        A column is missing, or the record belongs to a different run.
    """
    if record is not None:
        check_record(shown_as, record, result)
    notes: list[str] = []
    groupings = [
        _column_grouping(result.data, name, notes) for name in dict.fromkeys((label_key, batch_key)) if name is not None
    ]
    before = result.expression(progress)
    values = None
    if result.shown is None:
        notes.append("Imputed expression values: the run wrote only the embedding (--write embedding).")
    else:
        values = _values(before, result, progress)
    relations = _relations(result, before, notes)
    content = _facts(shown_as, result, record, values, relations)
    if with_cells:
        content = _with_cells(content, result, before, groupings, notes, progress)
    return replace(content, notes=notes)


def check_record(path: Path, record: RunRecord, result: Result) -> None:
    """Refuse the record of another run than the one that wrote a result.

    Raises
    ------
    InputProblem
        They differ in what both tell.
    """
    told = (record.method, record.input.n_cells, record.input.n_genes)
    seen = (str(result.about["method"]), result.data.n_cells, result.data.n_genes)
    if told != seen:
        raise InputProblem(
            "the run record belongs to a different run: it is of {} on {:,} cells x {:,} genes".format(*told)
            + ", but {} contains {} on {:,} cells x {:,} genes; give the record of this result".format(path, *seen)
        )
    # The path of a gene file, and anything that a later version also records, do not distinguish runs.
    names = [name for name in result.params if name != "genes" and name in record.params]
    differing = [name for name in names if record.params[name] != result.params[name]]
    said = [str(message) for message in np.atleast_1d(result.about.get("messages", []))]
    if record.messages[: len(said)] != said:  # a report that could not be composed is said after them
        differing.append("messages")
    if differing:
        raise InputProblem(
            f"the run record belongs to a different run than {path}: {listing(differing)} "
            f"{plural(len(differing), 'differs', 'differ')}; give the record of this result"
        )


def _column_grouping(data: Dataset, name: str, notes: list[str]) -> tuple[str, NDArray[np.object_]]:
    column = data.obs_column(name)
    if column.isna().all():
        notes.append(f"Cells coloured by {name}: the column has no value for any cell.")
    names = column.astype(str).to_numpy(dtype=object, copy=True)
    names[column.isna().to_numpy()] = None
    return name, names


def _values(before: Any, result: Result, progress: Progress | None) -> Values:
    assert result.shown is not None
    n_cells, n_genes = before.shape
    histograms = {name: np.zeros(_N_BINS, dtype=np.int64) for name in ("before", "observed", "unobserved")}
    sums = dict.fromkeys(("before", "observed", "unobserved", "change"), 0.0)
    n_observed = n_observed_zero = n_stored = 0
    for first, now in result.blocks(result.shown, REPORT_BLOCK_BYTES):
        if progress is not None:
            progress("compare values", first / n_cells)
        then = before[first : first + now.shape[0]]
        observed, kept = _at_entries_of(then, now)
        _count(histograms["before"], then.data)
        _count(histograms["observed"], observed)
        _count(histograms["unobserved"], now.data[~kept])
        sums["before"] += float(then.data.sum(dtype=np.float64))
        sums["observed"] += float(observed.sum(dtype=np.float64))
        sums["unobserved"] += float(now.data[~kept].sum(dtype=np.float64))
        sums["change"] += float(np.abs(observed - then.data).sum(dtype=np.float64))
        n_observed += then.nnz
        n_observed_zero += int((observed == 0).sum())
        n_stored += int((~kept).sum())
    n_unobserved = n_cells * n_genes - n_observed
    # Entries that are not stored are zero.
    histograms["unobserved"][0] += n_unobserved - n_stored
    if progress is not None:
        progress("compare values", 1.0)
    return Values(
        n_observed=n_observed,
        n_unobserved=n_unobserved,
        n_observed_zero=n_observed_zero,
        n_unobserved_zero=n_unobserved - n_stored,
        observed_before=histograms["before"],
        observed_after=histograms["observed"],
        unobserved_after=histograms["unobserved"],
        mean_observed_before=sums["before"] / max(1, n_observed),
        mean_observed_after=sums["observed"] / max(1, n_observed),
        mean_unobserved_after=sums["unobserved"] / max(1, n_unobserved),
        mean_change=sums["change"] / max(1, n_observed),
    )


def _at_entries_of(then: Any, now: Any) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return the values of ``now`` at the stored entries of ``then``, and which stored entries of ``now`` these are."""
    n_genes = then.shape[1]
    places = [positions(matrix) for matrix in (then, now)]
    marks = np.zeros(then.shape[0] * n_genes, dtype=np.float32)
    marks[places[1]] = now.data
    observed = marks[places[0]]
    marks[:] = 0
    marks[places[0]] = 1
    return observed, marks[places[1]] != 0


def _count(histogram: NDArray[np.int64], values: NDArray[np.floating]) -> None:
    bins = np.clip((values * BINS_PER_UNIT).astype(np.int64), 0, _N_BINS - 1)
    histogram += np.bincount(bins, minlength=_N_BINS)


def _relations(result: Result, before: Any, notes: list[str]) -> Relations | None:
    if result.relations is None:
        notes.append(
            "Gene relations: the result has no gene graph (scFP builds none; with --batch-key, each batch has its own)."
        )
        return None
    upper = sparse.triu(result.relations, k=1).tocoo()
    upper.eliminate_zeros()
    r = np.asarray(upper.data, dtype=np.float64)
    detected = np.zeros(result.data.n_genes)
    detected[result.genes] = np.bincount(before.indices, minlength=len(result.genes)) / max(1, before.shape[0])
    names = result.data.gene_names

    def listed(order: NDArray[np.intp]) -> list[Pair]:
        return [
            Pair(
                genes=(readable(names[upper.row[at]]), readable(names[upper.col[at]])),
                r=float(r[at]),
                detected=(float(detected[upper.row[at]]), float(detected[upper.col[at]])),
            )
            for at in order[:PAIRS_LISTED]
        ]

    by_value = np.argsort(r, kind="stable")
    n_associating, n_dissociating = int((r > 0).sum()), int((r < 0).sum())
    histogram = np.histogram(np.clip(r, -1, 1), bins=40, range=(-1, 1))[0]
    return Relations(
        coefficient=_coefficient(str(result.about["method"])),
        n_associating=n_associating,
        n_dissociating=n_dissociating,
        histogram=histogram.astype(np.int64),
        associating=listed(by_value[::-1][:n_associating]),
        dissociating=listed(by_value[:n_dissociating]),
        n_related_genes=len(np.unique(np.concatenate([upper.row, upper.col]))),
    )


def _coefficient(method: str) -> str:
    """Return the name of the coefficient that relates genes; Pearson's r for methods unknown to this version."""
    cosine = method in METHODS and METHODS[method].relation == "cosine"
    return "cosine" if cosine else "Pearson's r"


def _facts(
    path: Path, result: Result, record: RunRecord | None, values: Values | None, relations: Relations | None
) -> Content:
    data, noted = result.data, result.about
    scale = str(noted["input"]["scale"])
    facts = [Fact("Result", readable(path.name))]
    resources = None
    software = [Fact("sccr-node", readable(noted["version"]), "of the imputation")]
    messages = [readable(message) for message in np.atleast_1d(noted.get("messages", []))]
    parameters = noted["params"]
    reason = ""
    if record is not None:
        source, preparation = record.input, record.preparation
        reason = readable(source.scale_reason)
        messages = [readable(message) for message in record.messages]
        parameters = record.params
        facts += [
            Fact("Input", readable(Path(source.path).name), f"{source.format}, SHA-256 {source.sha256}"),
            Fact("Matrix", "X" if source.layer is None else f"layer {readable(source.layer)}"),
            Fact("Genes imputed", f"{preparation.n_genes_imputed:,}", f"--genes {readable(preparation.genes_choice)}"),
        ]
        if preparation.target_sum is not None:
            by = "the imputed genes" if preparation.normalize_by == "selected" else "all genes"
            facts.append(Fact("Target depth", f"{preparation.target_sum:,.6g}", f"total per cell over {by}"))
        facts += [
            Fact("Empty cells", f"{preparation.n_empty_cells:,}", "express none of the imputed genes; skipped"),
            Fact("Empty genes", f"{preparation.n_empty_genes:,}", "imputed genes not expressed in any cell; skipped"),
        ]
        if record.batches:
            facts.append(Fact("Batches", f"{len(record.batches):,}", "each imputed separately"))
        facts += [
            Fact("Written", ", ".join(readable(name) for name in record.result.keys)),
            Fact("Started", readable(record.started)),
            Fact("Command", readable(" ".join(record.command)) or "called from Python"),
        ]
        software += [Fact(readable(name), readable(version)) for name, version in record.software.items()]
        resources = resources_of(record)
    else:
        facts += [
            Fact("Matrix", "X" if data.layer is None else f"layer {readable(data.layer)}"),
            Fact("Genes imputed", f"{len(result.genes):,}", f"choice: {readable(noted['input'].get('genes', ''))}"),
        ]
    software.append(Fact("sccr-node", __version__, "of this report"))
    zeros_before = values.zeros_before if values else (record.result.zeros_before if record else None)
    return Content(
        sample=readable(sample_name(path)),
        key=result.keys.layer("recovered" if result.shown == "recovered" else "denoised"),
        file=readable(path.name),
        method=METHODS[str(noted["method"])].title if noted["method"] in METHODS else readable(noted["method"]),
        version=readable(noted["version"]),
        scale=scale,
        scale_reason=reason,
        n_cells=data.n_cells,
        n_genes=data.n_genes,
        n_imputed_genes=len(result.genes),
        what=result.shown or "embedding",
        values=values,
        zeros_before=zeros_before,
        zeros_after=values.zeros_after if values else None,
        relations=relations,
        resources=resources,
        facts=facts,
        parameters=_parameter_facts(parameters),
        software=software,
        messages=messages,
        helps=_helps(result, record),
    )


def resources_of(record: RunRecord) -> Resources:
    """Return time and memory of a run."""
    took = record.resources
    return Resources(
        stages=[Stage(readable(name), seconds) for name, seconds in took.seconds.items()],
        total_seconds=took.total_seconds,
        threads=took.threads,
        peak_memory=took.peak_memory_bytes,
        estimated_memory=took.estimated_memory_bytes,
        memory_limit=took.memory_limit_bytes,
    )


def _helps(result: Result, record: RunRecord | None) -> Helps | None:
    if TUNING_KEY in result.about:
        noted, where = result.about[TUNING_KEY], f"uns[{result.key!r}][{TUNING_KEY!r}]"
    elif record is not None and record.tuning is not None:
        noted, where = record.tuning, "the tuning in the record"
    else:
        return None
    with reading(result.data.path, where):
        return helps_of(noted, result.params)


def sample_name(result: Path) -> str:
    """Return the sample name for MultiQC: the name of the result's file without folder and suffix."""
    return result.name.removesuffix(".gz").rsplit(".", 1)[0] or result.name


def _parameter_facts(parameters: Mapping[str, Any]) -> list[Fact]:
    fields = ImputeParameters.model_fields
    known = [name for name in fields_of_result(ImputeParameters) if name in parameters]
    shown = known + sorted(name for name in parameters if name not in fields)
    return [
        Fact(readable(name), _readable_value(parameters[name]), str(fields[name].title) if name in fields else "")
        for name in shown
        if parameters[name] is not None
    ]


def _readable_value(value: Any) -> str:
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, float | np.floating):
        return f"{float(value):g}"
    return readable(value)


def _with_cells(
    content: Content,
    result: Result,
    before: Any,
    labels: list[tuple[str, NDArray[np.object_]]],
    notes: list[str],
    progress: Progress | None,
) -> Content:
    drawn = _draw(result.data.n_cells, [column for _, column in labels])
    if len(drawn) < 3 or result.components is None:
        notes.append(
            "Embeddings of the cells: the result has "
            + ("no principal components." if len(drawn) >= 3 else f"only {quantity(result.data.n_cells, 'cell')}.")
        )
        return replace(content, n_drawn=len(drawn))
    components = result.components[drawn]
    expression = before[drawn]
    if progress is not None:
        progress("embed cells", 0.0)
    # One thread: few cells are plotted, and sccr report has no --threads option to respect.
    unimputed = components_of(sparse.csr_matrix(expression), N_COMPONENTS, threads=1)
    layout = lay_out(unimputed, components, progress)
    drawn_by = [Fact(name, installed_version(name), "maps of this report") for name in layout.packages]
    software = [*content.software, *drawn_by]
    groupings = [grouping for name, column in labels if (grouping := _grouping(name, column, drawn)) is not None]
    if not groupings:
        clusters = find_clusters(components, layout.graph)
        groupings = [replace(_grouping_of_codes(clusters.title, clusters.codes), found_here=True)]
        software += [Fact(name, installed_version(name), "clusters of this report") for name in clusters.packages]
    if progress is not None:
        progress("embed cells", 1.0)
    markers = None
    output = result.shown
    if output is not None:
        names = [readable(name) for name in result.data.gene_names[result.genes]]
        markers = _marker_map(expression, groupings[0], names, lambda rows: result.rows(output, drawn[rows]))
        if markers is None:
            notes.append("Marker genes: they require at least two groups of at least five cells.")
    return replace(
        content,
        n_drawn=len(drawn),
        groupings=groupings,
        software=software,
        embedding=Embedding(layout.technique, layout.before, layout.after),
        small_groups=[] if groupings[0].found_here else _small_groups(labels[0][1], drawn, unimputed, components),
        markers=markers,
    )


def _small_groups(
    column: NDArray[np.object_], drawn: NDArray[np.intp], before: NDArray[np.float32], after: NDArray[np.float32]
) -> list[SmallGroup]:
    """Return how the smallest groups keep their neighbours; groups of one cell have none."""
    labels = pd.Series(column[drawn], dtype=object)
    everywhere = pd.Series(column, dtype=object).value_counts()
    sizes = labels.value_counts()
    sizes = sizes[sizes > 1].sort_values(key=lambda plotted: everywhere[plotted.index], kind="stable")[:GROUPS_LISTED]
    if len(sizes) < 2 or len(drawn) <= N_NEIGHBORS:
        return []
    codes = pd.Categorical(labels, categories=sizes.index).codes
    # A group of n cells has at most n - 1 of a cell's neighbours.
    most = np.minimum(N_NEIGHBORS, sizes.to_numpy() - 1)
    own = []
    for coordinates in (before, after):
        shares = own_neighbors_by_type(nearest(coordinates, N_NEIGHBORS, Workspace(1)), codes)
        own.append(shares[-len(sizes) :] * N_NEIGHBORS / most)  # before them: cells of groups that are not listed
    return [
        SmallGroup(readable(name), int(everywhere[name]), float(was), float(now))
        for name, was, now in zip(sizes.index, *own, strict=True)
    ]


def _draw(n_cells: int, columns: Sequence[NDArray[np.object_]]) -> NDArray[np.intp]:
    """Return the cells to plot: all, or a sample, and more of the groups that would have hardly any cell in it."""
    if n_cells <= CELLS_DRAWN:
        return np.arange(n_cells)
    generator = np.random.default_rng(SEED)
    drawn = np.zeros(n_cells, dtype=bool)
    drawn[generator.choice(n_cells, CELLS_DRAWN, replace=False)] = True
    for column in columns:
        codes, groups = pd.factorize(column)  # -1: no value
        if len(groups) > MOST_GROUPS_TO_KEEP:
            continue
        for group in np.flatnonzero(np.bincount(codes[drawn & (codes >= 0)], minlength=len(groups)) < FEWEST_DRAWN):
            left = np.flatnonzero((codes == group) & ~drawn)
            lacking = FEWEST_DRAWN - int((drawn & (codes == group)).sum())
            drawn[generator.permutation(left)[:lacking]] = True
    return np.flatnonzero(drawn)


def _grouping(name: str, column: NDArray[np.object_], drawn: NDArray[np.intp]) -> Grouping | None:
    present = pd.Series([value for value in column if value is not None], dtype=object)
    sizes = present.value_counts(sort=True)
    if not len(sizes):
        return None
    order = sorted(sizes.index, key=lambda group: (-sizes[group], group))
    told_apart = order if len(order) <= GROUPS_TOLD_APART else order[: GROUPS_TOLD_APART - 1]
    positions = {group: position for position, group in enumerate(told_apart)}
    return Grouping(
        title=readable(name),
        names=[readable(group) for group in told_apart],
        sizes=[int(sizes[group]) for group in told_apart],
        codes=np.array([positions.get(group, -1) for group in column[drawn]], dtype=np.int64),
        n_others=len(order) - len(told_apart),
        n_missing=len(column) - len(present),
    )


def _grouping_of_codes(title: str, clusters: NDArray[np.int64]) -> Grouping:
    grouping = _grouping(title, clusters.astype(str).astype(object), np.arange(len(clusters)))
    assert grouping is not None
    return replace(grouping, names=[f"cluster {number + 1}" for number in range(len(grouping.names))])


def strongest_markers(
    expression: Any, codes: NDArray[np.int64], groups: list[int], n_each: int = MARKERS_OF_A_GROUP
) -> list[tuple[int, int]]:
    """Choose genes that distinguish a group from all other cells.

    Parameters
    ----------
    expression
        Cells x genes, sparse: measured values, so that imputation does not affect the choice.
    codes
        Group of each cell.
    groups
        The groups to find markers for.
    n_each
        Maximum number of genes per group; each gene is a marker of only one group.

    Returns
    -------
    list
        Pairs of gene column and group, with the largest differences of means in units of the standard deviation.
    """
    squares = expression.multiply(expression).tocsr()
    total, total_squares = (np.asarray(matrix.sum(axis=0)).ravel() for matrix in (expression, squares))
    n_cells = expression.shape[0]
    chosen: list[tuple[int, int]] = []
    taken = np.zeros(expression.shape[1], dtype=bool)
    for group in groups:
        inside = codes == group
        n_inside, n_outside = int(inside.sum()), n_cells - int(inside.sum())
        sums, sums_squares = (np.asarray(matrix[inside].sum(axis=0)).ravel() for matrix in (expression, squares))
        means = sums / n_inside, (total - sums) / n_outside
        variances = (
            np.maximum(0, sums_squares / n_inside - means[0] ** 2),
            np.maximum(0, (total_squares - sums_squares) / n_outside - means[1] ** 2),
        )
        # The constant keeps a nearly constant gene from having a huge effect.
        effect = (means[0] - means[1]) / np.sqrt((variances[0] + variances[1]) / 2 + 0.01)
        effect[taken] = -np.inf
        for gene in np.argsort(-effect, kind="stable")[:n_each]:
            if effect[gene] > 0:
                chosen.append((int(gene), group))
                taken[gene] = True
    return chosen


def _marker_map(expression: Any, grouping: Grouping, names: list[str], rows_after: Any) -> MarkerMap | None:
    codes = grouping.codes
    groups = [group for group in range(len(grouping.names)) if (codes == group).sum() >= FEWEST_CELLS_OF_A_GROUP][
        :GROUPS_IN_MARKER_MAP
    ]
    if len(groups) < 2:
        return None
    chosen = strongest_markers(expression, codes, groups)
    if not chosen:
        return None
    generator = np.random.default_rng(SEED)
    each = CELLS_IN_MARKER_MAP // len(groups)
    cells = np.concatenate(
        [
            generator.choice(members, min(each, len(members)), replace=False)
            for group in groups
            for members in [np.flatnonzero(codes == group)]
        ]
    )
    genes = np.array([gene for gene, _ in chosen])
    before = expression[cells][:, genes].toarray().T
    order = np.argsort(cells)
    after = np.empty_like(before)
    after[:, order] = rows_after(cells[order])[:, genes].toarray().T
    # Both are scaled by the upper end of the measured values.
    top = np.array([np.quantile(row[row > 0], 0.95) if (row > 0).any() else 1.0 for row in before])[:, None]
    return MarkerMap(
        genes=[names[gene] for gene in genes],
        gene_groups=[group for _, group in chosen],
        cell_groups=codes[cells],
        before=np.clip(before / top, 0, 1).astype(np.float32),
        after=np.clip(after / top, 0, 1).astype(np.float32),
    )
