"""The plan of a run, decided once: findings, settings, outputs, needs; every refusal happens here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sccr_node.contract.impute import ImputeParameters
from sccr_node.contract.keys import OutputScale, ResultKeys
from sccr_node.contract.methods import METHODS, Output, Value
from sccr_node.contract.shared import GENE_CHOICES, AppendingParameters, PreparationParameters
from sccr_node.contract.tuned import TunedBefore
from sccr_node.data.dataset import Dataset, open_dataset
from sccr_node.data.features import choose_features
from sccr_node.data.genes import ListedGene, digest_of_list, genes_by_name, read_gene_list
from sccr_node.data.preparation import Preparation, decide_preparation
from sccr_node.data.written import is_result, places_of, results_in
from sccr_node.errors import InputProblem, UsageProblem
from sccr_node.evaluation.verdicts import Tuning
from sccr_node.methods import Blend
from sccr_node.pipeline.needs import Extent, Needs, needs_of
from sccr_node.pipeline.remote import fetched
from sccr_node.runtime.console import Console, Finding
from sccr_node.runtime.words import plural, quantity
from sccr_node.storage.checkpoints import CheckpointPlace, Checkpoints
from sccr_node.storage.places.address import Address, is_remote


@dataclass(frozen=True)
class Batch:
    """Cells that are imputed together: a name (empty without batches) and sorted row indices."""

    name: str
    cells: NDArray[np.intp]


@dataclass(frozen=True)
class Plan:
    """The plan of a run: complete, so that nothing below needs a default or a parameter.

    Attributes
    ----------
    data
        The opened input.
    preparation
        How its matrix becomes expression.
    batches, batch_key
        The cells that are imputed together, and the column that defines them.
    method, settings
        The method and all its parameters. The numbers of neighbours are those asked for, the same for every batch: a
        search cuts them to the cells of its batch, or to the genes. (The estimate
        cuts them, too.)
    blend
        What the denoised output is blended with; None for the method alone.
    outputs
        The outputs that the method must produce.
    keys
        The keys of the result.
    output_scale
        The scale of its layers.
    n_components
        Number of principal components.
    noted, params
        The parameters that affect the result, as ``uns`` records them; all parameters, for the run record.
    needs
        The estimated needs.
    findings
        What a reader of the result should know, as far as it is known before the run.
    tuning
        What tuning found; None if the numbers were not tuned in this run.
    tuned_before
        What ``sccr tune`` had found for these numbers and data; None if it had not.
    listed_sha256
        The digest of the list of genes; None if they are not listed.
    checkpoint_dir, checkpoints
        Where finished stages are kept, and what keeps them, once the input's digest is known; None if nowhere.
    """

    data: Dataset
    preparation: Preparation
    batches: tuple[Batch, ...]
    batch_key: str | None
    method: str
    settings: Mapping[str, Value]
    blend: Blend | None
    outputs: tuple[Output, ...]
    keys: ResultKeys
    output_scale: OutputScale
    n_components: int
    noted: Mapping[str, Any]
    params: Mapping[str, Any]
    needs: Needs
    findings: tuple[Finding, ...]
    tuning: Tuning | None = None
    tuned_before: TunedBefore | None = None
    listed_sha256: str | None = None
    checkpoint_dir: str | None = None
    checkpoints: Checkpoints | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Cells x imputed genes."""
        return self.data.n_cells, len(self.preparation.genes)


def listed_genes(asked: PreparationParameters) -> Sequence[ListedGene] | None:
    """Read the list of genes, if they are chosen by one; the command line has fetched it, Python has not."""
    if asked.genes in GENE_CHOICES:
        return None
    with fetched(Address.of(asked.genes) if is_remote(asked.genes) else Path(asked.genes)) as path:
        return read_gene_list(path, asked.from_config("genes"))


@contextmanager
def open_input(
    path: Path, asked: PreparationParameters, *, or_any: bool = False
) -> Iterator[tuple[Dataset, Sequence[ListedGene] | None]]:
    """Read the list of genes, if there is one, and open the input; a bad list is refused before a long reading.

    Parameters
    ----------
    path, asked
        The input, and what names its layer and the list.
    or_any
        As for :func:`~sccr_node.data.dataset.open_dataset`: the matrix is not read.
    """
    listed = listed_genes(asked)
    with open_dataset(path, asked.layer, or_any=or_any, modality=asked.modality) as data:
        yield data, listed


def make_plan(
    data: Dataset, asked: ImputeParameters, console: Console, *, listed: Sequence[ListedGene] | None = None
) -> Plan:
    """Read every value of the input, decide what to do with it, and show the findings.

    Parameters
    ----------
    data
        The opened input.
    asked
        The parameters.
    console
        Shows findings and progress.
    listed
        The genes, if they are listed elsewhere than in a file.

    Raises
    ------
    SccrError
        The input cannot be imputed as asked.
    """
    imputed_again = of_imputed_again(data, asked)
    batches = batches_of(data, asked.batch_key)
    preparation = decide_and_show(data, console, **asked.preparation(), listed=listed)
    check_output_scale(asked, data, preparation)
    settings = asked.method_parameters()
    findings = [*imputed_again, *of_batches(batches, asked.batch_key, asked.method)]
    console.show([*findings, *_of_small_groups(data, asked.label_key, int(settings.get("k_cell", 0)))])
    return Plan(
        data=data,
        preparation=preparation,
        batches=batches,
        batch_key=asked.batch_key,
        method=asked.method,
        settings=settings,
        blend=blend_of(asked.blend_parameters()),
        outputs=asked.outputs,
        keys=asked.result_keys(),
        output_scale=asked.output_scale,
        n_components=asked.n_components,
        noted=asked.result_parameters(settings),
        params=asked.effective_parameters(settings),
        needs=needs_of(data, asked, Extent.of(preparation), [len(batch.cells) for batch in batches], settings),
        findings=(*preparation.findings, *findings),
        listed_sha256=None if listed is None else digest_of_list(listed),
        checkpoint_dir=asked.checkpoint_dir,
    )


def needs_by_header(data: Dataset, asked: ImputeParameters, *, listed: Sequence[ListedGene] | None = None) -> Needs:
    """Return the most that a run needs, and refuse what can be refused before any value is read.

    Parameters
    ----------
    data, asked, listed
        As for :func:`make_plan`.

    Raises
    ------
    SccrError
        The names, columns or labels are not what was asked for.
    """
    batches = batches_of(data, asked.batch_key)
    counted = choose_features(data, asked.feature_type).counted
    named = genes_by_name(data, counted, genes=asked.genes, listed=listed, missing=asked.genes_missing)
    n_genes = min(asked.n_top_genes, int(counted.sum())) if named is None else len(named.columns)
    sizes = [len(batch.cells) for batch in batches]
    return needs_of(data, asked, Extent.at_most(data, n_genes), sizes, asked.method_parameters())


def with_checkpoints(plan: Plan, digest: Callable[[], str], console: Console) -> Plan:
    """Return the plan with what keeps finished stages, if that was asked for.

    Parameters
    ----------
    plan
        The plan.
    digest
        Returns what identifies the input; only called if it is needed.
    console
        Shows what happens to checkpoints.
    """
    return replace(plan, checkpoints=plan.checkpoints or opened_checkpoints(plan.checkpoint_dir, digest, console))


def opened_checkpoints(folder: str | None, digest: Callable[[], str], console: Console) -> Checkpoints | None:
    """Return what keeps finished stages in a folder; None without one."""
    return None if folder is None else CheckpointPlace(folder, digest()).opened(console.say, console.warn)


def blend_of(params: Mapping[str, Any]) -> Blend | None:
    """Return the blend that parameters, or those that a result records, ask for."""
    return Blend(float(params["low_rank_share"]), int(params["low_rank"])) if "low_rank_share" in params else None


def decide_and_show(data: Dataset, console: Console, **asked: Any) -> Preparation:
    """Decide how a matrix becomes expression (:func:`~sccr_node.data.preparation.decide_preparation`), and say so."""
    preparation = decide_preparation(data, progress=console.progress, **asked)
    console.show([preparation.headline(), *preparation.findings])
    return preparation


def check_output_scale(asked: AppendingParameters, data: Dataset, preparation: Preparation) -> None:
    """Refuse to write counts of data that are logarithms: how deep each cell was sequenced is not known.

    Raises
    ------
    UsageProblem
        That was asked for.
    """
    if asked.output_scale == "counts" and preparation.scale != "counts":
        raise UsageProblem(
            f"{asked.source_of('output_scale')} counts requires counts, but {data.source} was treated as logarithms "
            f"({preparation.scaling.reason}): give --output-scale normalized, or choose counts with --layer"
        )


def batches_of(data: Dataset, batch_key: str | None) -> tuple[Batch, ...]:
    """Return the batches, sorted by name; a single nameless batch if there is no batch column.

    Raises
    ------
    InputProblem
        The column does not exist or has missing values.
    """
    if batch_key is None:
        return (Batch("", np.arange(data.n_cells)),)
    column = data.obs_column(batch_key)
    missing = column.isna().to_numpy()
    if missing.any():
        first = str(data.cell_names[int(np.argmax(missing))])
        raise InputProblem(
            f"obs[{batch_key!r}] of {data.path} has no value for {quantity(int(missing.sum()), 'cell')} "
            f"(first: {first!r}): fill in what is missing, or remove those cells"
        )
    labels = column.astype(str).to_numpy()
    names, codes = np.unique(labels, return_inverse=True)
    return tuple(Batch(str(name), np.flatnonzero(codes == code)) for code, name in enumerate(names))


def of_imputed_again(data: Dataset, asked: PreparationParameters) -> list[Finding]:
    """Return a warning if the matrix is a result of sccr impute itself.

    Raises
    ------
    InputProblem
        It is, and the scale that only a result has was not asked for.
    """
    if not is_result(data):
        return []
    if asked.input_scale != "log1p":
        known = [places_of(data, key) for key in results_in(data)]
        raise InputProblem(
            f"{data.source} is a result of sccr impute already: {_instead_of_result(data, known)}, or give "
            "--input-scale log1p to impute the result again"
        )
    what = "X" if data.layer is None else f"layer {data.layer!r}"
    return [Finding(f"{what} is a result of sccr impute already, and is imputed again", warning=True)]


def _instead_of_result(data: Dataset, known: Sequence[Mapping[str, str]]) -> str:
    """Say how to impute what the result was made from."""
    if all(places["X"] == "X" for places in known):
        return "leave out --layer to impute X"
    former = [places["X"].removeprefix("layers/") for places in known if places["X"] != "X"]
    there = next((name for name in former if data.has_key("layers", name)), None)
    return "choose another matrix with --layer" if there is None else f"give --layer {there} to impute the former X"


def of_batches(batches: tuple[Batch, ...], batch_key: str | None, method: str) -> list[Finding]:
    """Return what a reader of the result should know about the batches."""
    if batch_key is None:
        return []
    what = f"{quantity(len(batches), 'batch', 'batches')} in obs[{batch_key!r}]"
    findings = [Finding(f"{what}, each imputed separately", fields={"n_batches": len(batches)})]
    if METHODS[method].relation is not None:
        findings.append(Finding("no gene relations are written, because each batch has its own gene graph"))
    return findings


def _of_small_groups(data: Dataset, label_key: str | None, k_cell: int) -> list[Finding]:
    """Return a warning about labels with too few cells; only shown, because labels do not affect the result."""
    if label_key is None or not k_cell:
        return []
    sizes = data.obs_column(label_key).astype(str).value_counts()
    # A column of as many labels as cells is not one of groups.
    small = sizes[sizes < k_cell] if len(sizes) < data.n_cells / 2 else sizes[:0]
    if not len(small):
        return []
    which = plural(len(small), "group", "groups")
    text = (
        f"{len(small)} {which} in obs[{label_key!r}] {plural(len(small), 'has', 'have')} fewer than "
        f"k_cell = {k_cell} cells (the smallest: {str(small.index[-1])!r}, {int(small.iloc[-1])}): most of their "
        "neighbours are cells of other groups, and imputation makes them more alike"
    )
    return [Finding(text, warning=True)]
