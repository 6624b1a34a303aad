"""One big run as many small ones: split a data set into batches, and gather them once each is imputed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sccr_node.contract.impute import layers_of, noted_parameters, outputs_of
from sccr_node.contract.keys import ResultKeys
from sccr_node.contract.methods import METHODS
from sccr_node.contract.record import BatchRecord, RunRecord, SearchRecord
from sccr_node.contract.scatter import GatherParameters, SplitParameters
from sccr_node.contract.shared import PLACE
from sccr_node.data.dataset import Dataset, open_dataset
from sccr_node.data.elements import check_cells
from sccr_node.data.genes import GeneChoice, gene_list_lines
from sccr_node.data.guard import listing, reading
from sccr_node.data.output import check_keys
from sccr_node.data.parts import PART_KEY, WHOLE_KEY, part_record, write_part
from sccr_node.data.written import results_in
from sccr_node.errors import InputProblem
from sccr_node.numerics.row_store import RowsOnDisk
from sccr_node.pipeline.impute import check_before, produce
from sccr_node.pipeline.needs import WORKING_BYTES, Extent, Needs, check_needs, written_bytes
from sccr_node.pipeline.plan import (
    Batch,
    Plan,
    batches_of,
    blend_of,
    check_output_scale,
    decide_and_show,
    of_batches,
    of_imputed_again,
    open_input,
)
from sccr_node.pipeline.run import BatchResults, assemble, prepare
from sccr_node.pipeline.side_files import SideFiles
from sccr_node.pipeline.tuned_before import digest_of_data
from sccr_node.results import Imputation, about_result, imputed_genes, open_result, plain, searches_in
from sccr_node.runtime.console import Clock, Console, Finding
from sccr_node.runtime.resources import memory_limit, usable_cpus
from sccr_node.runtime.words import in_ascii, quantity
from sccr_node.storage.files import written_folder
from sccr_node.storage.targets import PartsTarget, check_targets

GENES_FILE = "genes.txt"
DEPTH_FILE = "target_sum.txt"


def split_file(source: Path, asked: SplitParameters, *, console: Console) -> None:
    """Write one file per batch, with the genes and the target depth chosen over all cells.

    Parameters
    ----------
    source
        Any input that ``sccr impute`` accepts.
    asked
        The batch column, the folder, and how genes and depth are chosen.
    console
        Shows findings and progress.

    Raises
    ------
    SccrError
        Any failure that the user can act on; no folder is written in that case.
    """
    folder = Path(asked.outdir)
    target = PartsTarget(folder)
    with open_input(source, asked) as (data, listed):
        check_targets([target], [source, *asked.files_read()], force=asked.force)
        check_cells(data)
        check_keys(data, [("uns", PART_KEY)], overwrite=True)
        console.show(of_imputed_again(data, asked))
        batches = batches_of(data, asked.batch_key)
        preparation = decide_and_show(data, console, **asked.preparation(), listed=listed)
        text = f"{quantity(len(batches), 'batch', 'batches')} in obs[{asked.batch_key!r}], one file per batch"
        console.say(text, n_batches=len(batches))
        depth = preparation.read(data, console.progress).normalization.target_sum
        record = {
            "batch_key": asked.batch_key,
            "preparation": asked.noted_preparation(),
            "gene_messages": list(preparation.gene_messages),
            "scale": preparation.scale,
            "target_sum": depth,
            WHOLE_KEY: digest_of_data(data, preparation, batches),
        }
        names = file_names([batch.name for batch in batches])
        with written_folder(target, replace=asked.force) as staged:
            own = [GENES_FILE, *([] if depth is None else [DEPTH_FILE]), *names]
            target.mark(staged, own)
            lines = gene_list_lines(data.gene_names, preparation.genes)
            (staged / GENES_FILE).write_text("\n".join(lines) + "\n", encoding="utf-8")
            if depth is not None:
                (staged / DEPTH_FILE).write_text(f"{depth!r}\n", encoding="ascii")
            for number, (batch, name) in enumerate(zip(batches, names, strict=True)):
                of_part = {"batch": batch.name, **{key: value for key, value in record.items() if value is not None}}
                write_part(data, batch.cells, staged / name, of_part)
                console.progress("split", (number + 1) / len(names))
    console.close_bar()
    console.say(
        f"wrote {quantity(len(names), 'part')} to {folder}: {listing(names, 5)}", output=str(folder), n_parts=len(names)
    )
    advice = f"sccr impute PART OUTPUT --genes {folder / GENES_FILE}"
    if depth is not None:
        advice += f" --target-sum {depth!r}"
    console.say(f"impute each part with: {advice}; then run: sccr gather {source} OUTPUT PARTS...")


def file_names(batches: Sequence[str]) -> list[str]:
    """Return one file name per batch: the batch's name, in characters safe for every file system, shell and locale.

    Names in other scripts are spelt in Latin letters: Nextflow, as any Java program, cannot pass on other characters
    unless the locale is one of UTF-8, and the batches would be lost.
    """
    names: list[str] = []
    for batch in batches:
        plain_name = re.sub(r"[^A-Za-z0-9._-]+", "_", in_ascii(batch)).strip("._-")[:100] or "batch"
        stem, number = plain_name, 1
        # Some file systems are not case-sensitive.
        while f"{stem}.h5ad".lower() in (name.lower() for name in names):
            number += 1
            stem = f"{plain_name}_{number}"
        names.append(f"{stem}.h5ad")
    return names


def gather_files(
    source: Path,
    output: Path,
    part_paths: Sequence[Path],
    asked: GatherParameters,
    *,
    console: Console,
    command: Sequence[str] = (),
) -> RunRecord | None:
    """Gather imputed parts into what one ``sccr impute --batch-key`` over the whole data set would write.

    Parameters
    ----------
    source
        The data set that was split.
    output
        ``.h5ad`` or ``.zarr``.
    part_paths
        The outputs of ``sccr impute`` for every part, in any order.
    asked
        The parameters.
    console
        Shows findings and progress.
    command
        The command line, for the record.

    Returns
    -------
    The record of the run if one was asked for.

    Raises
    ------
    SccrError
        A part is missing, given twice, from a different data set, or imputed differently from the rest.
    """
    clock = console.clock()
    beside = SideFiles(record=None if asked.provenance is None else Path(asked.provenance))
    parts = [Part.read(path, asked.key_added) for path in part_paths]
    with reading(parts[0].path, "what the parts record"):
        _check_parts_agree(parts)
    whole = parts[0].preparation
    with open_dataset(source, whole.get("layer"), modality=whole.get("modality")) as data:
        check_before(data, output, asked, beside, part_paths)
        _check_same_cells(data, parts)
        with clock.stage("read"):
            plan = _plan(data, parts, asked, console)
        of_batch = {part.batch: part for part in parts}
        _check_batches(plan.batches, parts, of_batch)
        check_needs(plan.needs, console)

        def collect_parts(plan: Plan, console: Console, clock: Clock) -> Imputation:
            prepared, findings = prepare(plan, console, clock)
            results = collect(plan, of_batch, console)
            return assemble(plan, prepared, findings, results, console, clock)

        return produce(plan, output, asked, beside, collect_parts, console=console, clock=clock, command=command)


@dataclass(frozen=True)
class Part:
    """One imputed part, with what it records about the whole and about its imputation.

    Attributes
    ----------
    path, key
        The file, and the name of the result in it.
    rows, n_cells_whole
        Its rows in the whole, and the number of cells of the whole.
    batch, batch_key
        Its batch, and the batch column.
    preparation, scale, target_sum, gene_messages
        What ``sccr split`` decided over all cells.
    run, searches, genes
        What ``sccr impute`` recorded, among it the searches by groups, and the genes that it imputed.
    """

    path: Path
    key: str
    rows: NDArray[np.int64]
    n_cells_whole: int
    batch: str
    batch_key: str
    preparation: Mapping[str, Any]
    scale: str
    target_sum: float | None
    gene_messages: tuple[str, ...]
    run: Mapping[str, Any]
    searches: list[SearchRecord]
    genes: NDArray[np.intp]

    @classmethod
    def read(cls, path: Path, key: str) -> Part:
        """Read what a part records.

        Raises
        ------
        InputProblem
            It is not a part, or contains no result of that name.
        """
        with open_dataset(path, or_any=True) as data:
            record = part_record(data)
            if key not in results_in(data):
                raise InputProblem(
                    f"{path} contains no result {key!r} of sccr impute: impute it first, or give another --key-added"
                )
            run = about_result(data, key)
            with reading(path, f"uns[{PART_KEY!r}] and uns[{key!r}]"):
                for name in ("method", "write", "n_components"):
                    _ = run["params"][name]
                _ = run["input"]["scale"]
                searches = searches_in(run)
                return cls(
                    path=path,
                    key=key,
                    rows=record["rows"],
                    n_cells_whole=int(record["n_cells"]),
                    batch=str(record["batch"]),
                    batch_key=str(record["batch_key"]),
                    preparation=plain(record["preparation"]),
                    scale=str(record["scale"]),
                    target_sum=float(record["target_sum"]) if "target_sum" in record else None,
                    gene_messages=tuple(str(message) for message in record["gene_messages"]),
                    run=run,
                    searches=searches,
                    genes=imputed_genes(data, key),
                )

    def split_as(self) -> dict[str, Any]:
        """Return how the whole was split, which must be the same for all parts."""
        return {
            **self.preparation, "batch_key": self.batch_key, "target_sum found": self.target_sum, "scale": self.scale,
        }  # fmt: skip

    def imputed_as(self) -> dict[str, Any]:
        """Return how the part was imputed, which must be the same for all parts."""
        return {**self.run["params"], "version": self.run["version"], "scale": self.run["input"]["scale"]}


def collect(plan: Plan, of_batch: Mapping[str, Part], console: Console) -> BatchResults:
    """Combine the imputed rows of all parts, one part after the other."""
    rows = {output: RowsOnDisk(*plan.shape) for output in plan.outputs}
    n_nonzero = dict.fromkeys(plan.outputs, 0)
    for number, batch in enumerate(plan.batches):
        console.progress("collect", number / len(plan.batches))
        part = of_batch[batch.name]
        with open_result(part.path, part.key) as result:
            for output in plan.outputs:
                values = result.dense(output)
                n_nonzero[output] += int(np.count_nonzero(values))
                rows[output].put(batch.cells, values)
    console.close_bar()
    records = (BatchRecord(name=batch.name, n_cells=len(batch.cells), seconds={}) for batch in plan.batches)
    searches = [
        search.model_copy(update={"batch": batch.name})
        for batch in plan.batches
        for search in of_batch[batch.name].searches
    ]
    return BatchResults(rows, n_nonzero, None, tuple(records), tuple(searches))


def _plan(data: Dataset, parts: Sequence[Part], asked: GatherParameters, console: Console) -> Plan:
    """Return the plan of the one run that the parts stand for."""
    first = parts[0]
    decided = {name: value for name, value in first.preparation.items() if name not in PLACE}
    choice = GeneChoice(first.genes, [Finding(message) for message in first.gene_messages])
    batches = batches_of(data, first.batch_key)
    preparation = decide_and_show(data, console, **decided, choice=choice)
    check_output_scale(asked, data, preparation)
    run = first.run["params"]
    method, written = str(run["method"]), str(run["write"])
    n_components = int(run["n_components"]) if asked.n_components is None else asked.n_components
    noted = noted_parameters(
        {
            **run,
            **first.preparation,
            "key_added": asked.key_added,
            "output_scale": asked.output_scale,
            "batch_key": first.batch_key,
            "n_components": n_components,
        }
    )
    findings = of_batches(batches, first.batch_key, method)
    console.show(findings)
    keys = ResultKeys(asked.key_added, layers_of(written), relations=False, size_factors=asked.output_scale == "counts")
    settings = METHODS[method].complete({name: run.get(name) for name in METHODS[method].settings})
    return Plan(
        data=data,
        preparation=preparation,
        batches=batches,
        batch_key=first.batch_key,
        method=method,
        settings=settings,
        blend=blend_of(run),
        outputs=outputs_of(written),
        keys=keys,
        output_scale=asked.output_scale,
        n_components=n_components,
        noted=noted,
        # What was decided, over what was asked for: n_components, left unset, is that of the parts.
        params=asked.model_dump(mode="json") | noted,
        needs=Needs(
            # The largest part while it is read: its stored values with their column indices, and the dense rows.
            memory=WORKING_BYTES + data.in_memory_bytes + 12 * max(len(b.cells) for b in batches) * len(first.genes),
            memory_limit=asked.max_memory or memory_limit(),
            scratch=len(outputs_of(written)) * data.n_cells * len(first.genes) * 4,
            written=written_bytes(Extent.of(preparation), keys),
            seconds=2.0,
            threads=asked.threads or usable_cpus(),
        ),
        findings=(*preparation.findings, *findings),
    )


def _check_parts_agree(parts: Sequence[Part]) -> None:
    first = parts[0]
    for part in parts:
        for what, ours, theirs in (
            ("split", first.split_as(), part.split_as()),
            ("imputed", first.imputed_as(), part.imputed_as()),
        ):
            differing = [name for name in ours if ours[name] != theirs.get(name)] + [n for n in theirs if n not in ours]
            if differing:
                raise InputProblem(
                    f"{part.path} and {first.path} were {what} differently ({listing(differing)}): "
                    f"use the same parameters for every part"
                )
        if not np.array_equal(part.genes, first.genes):
            raise InputProblem(
                f"{part.path} and {first.path} have different imputed genes: use the same --genes for every part"
            )
    _check_as_split(first)


def _check_as_split(part: Part) -> None:
    params = part.run["params"]
    if part.run["input"]["scale"] != part.scale:
        raise InputProblem(
            f"{part.path} was imputed as {part.run['input']['scale']}, but the whole data set is {part.scale}: impute "
            f"the parts with --input-scale {part.scale}"
        )
    if part.scale == "counts":
        if params["target_sum"] != part.target_sum:
            raise InputProblem(
                f"{part.path} was imputed with --target-sum {params['target_sum']}: impute the parts with "
                f"--target-sum {part.target_sum!r}, the target depth of the whole data set (in {DEPTH_FILE})"
            )
        if params["normalize_by"] != part.preparation["normalize_by"]:
            raise InputProblem(
                f"{part.path} was imputed with --normalize-by {params['normalize_by']}, but split with "
                f"{part.preparation['normalize_by']}: use the same for both"
            )
    if params.get("layer") != part.preparation.get("layer"):
        raise InputProblem(
            f"{part.path} was imputed from a different layer than it was split for: use the same --layer for both"
        )
    scale = params.get("output_scale", "log1p")
    if scale != "log1p":
        # Rounded to float32 on the way, logarithms would not come back to the last bit.
        raise InputProblem(
            f"{part.path} was imputed with --output-scale {scale}: impute the parts without it, and give it to sccr "
            "gather"
        )
    if "batch_key" in params:
        raise InputProblem(f"{part.path} was imputed with --batch-key: leave it out, because a part is a single batch")
    if params["write"] not in ("denoised", "both"):
        raise InputProblem(
            f"{part.path} was imputed with --write {params['write']}, but the principal components need the "
            "denoised expression: impute the parts with --write denoised or both"
        )


def _check_same_cells(data: Dataset, parts: Sequence[Part]) -> None:
    for part in parts:
        with open_dataset(part.path, or_any=True) as opened:
            cells, genes = opened.cell_names, opened.gene_names
        if part.n_cells_whole != data.n_cells or not np.array_equal(data.cell_names[part.rows], cells):
            raise InputProblem(f"{part.path} was not split from {data.path}: its cells are different")
        if not np.array_equal(data.gene_names, genes):
            raise InputProblem(f"{part.path} was not split from {data.path}: its genes are different")


def _check_batches(batches: Sequence[Batch], parts: Sequence[Part], of_batch: Mapping[str, Part]) -> None:
    for part in parts:
        if of_batch[part.batch] is not part:
            raise InputProblem(
                f"{part.path} and {of_batch[part.batch].path} are both batch {part.batch!r}: give only one of them"
            )
    missing = [batch.name for batch in batches if batch.name not in of_batch]
    if missing:
        raise InputProblem(f"no part was given for {len(missing)} of the {len(batches)} batches: {listing(missing)}")
    for batch in batches:
        if not np.array_equal(batch.cells, of_batch[batch.name].rows):
            raise InputProblem(
                f"{of_batch[batch.name].path} does not contain the cells that batch {batch.name!r} has now: split again"
            )
