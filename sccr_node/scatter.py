"""Splits a data set into its batches and gathers them once each is imputed: one big run as many small ones."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from sccr_node.anndata_io.preparation import GeneChoice, gene_list_lines, selected_values
from sccr_node.anndata_io.reading import InputData, listing, open_input
from sccr_node.anndata_io.side_files import replace_folder_atomically
from sccr_node.anndata_io.splitting import part_record, write_part
from sccr_node.anndata_io.targets import MARKER, PartsTarget, check_targets
from sccr_node.errors import InputProblem, UsageProblem
from sccr_node.examination import Batch, examine
from sccr_node.feedback import Feedback
from sccr_node.methods import Imputed
from sccr_node.params import GatherParameters, ImputeParameters, PreparationParameters, SplitParameters
from sccr_node.provenance import RunRecord
from sccr_node.running import prepare
from sccr_node.step import check_before, produce

GENES_FILE = "genes.txt"
DEPTH_FILE = "target_sum.txt"

_PREPARATION = [name for name in PreparationParameters.model_fields if name not in ("log_format", "quiet", "debug")]


def split_file(input_path: Path, params: SplitParameters, *, feedback: Feedback) -> None:
    """Write one file for each batch, with the genes and the target depth chosen over all cells.

    Parameters
    ----------
    input_path
        Anything that ``sccr impute`` takes.
    params
        The batch column, the folder, and how genes and depth are chosen.
    feedback
        Where it says what it finds and does.

    Raises
    ------
    SccrError
        Any failure that the user can act on; no folder has been written then.
    """
    folder = Path(params.outdir)
    as_impute = ImputeParameters(
        batch_key=params.batch_key, **{name: getattr(params, name) for name in _PREPARATION if _given(params, name)}
    ).settled({"genes": params.source_of("genes")}, None)
    with open_input(input_path, params.layer) as data:
        target = PartsTarget(folder)
        check_targets([target], [input_path, *params.files_read()], force=params.force)
        examined = examine(data, as_impute, feedback)
        _, found = prepare(data, examined, params, feedback)
        depth = found.target_sum
        preparation = {name: value for name in _PREPARATION if (value := getattr(params, name)) is not None}
        with replace_folder_atomically(target) as staged:
            lines = gene_list_lines(data.gene_names, examined.genes)
            (staged / GENES_FILE).write_text("\n".join(lines) + "\n", encoding="utf-8")
            if depth is not None:
                (staged / DEPTH_FILE).write_text(f"{depth!r}\n", encoding="ascii")
            names = file_names([batch.name for batch in examined.batches])
            own = [GENES_FILE, *([] if depth is None else [DEPTH_FILE]), *names]
            (staged / MARKER).write_text(json.dumps({"files": own}, indent=1) + "\n", encoding="utf-8")
            for number, (batch, name) in enumerate(zip(examined.batches, names, strict=True)):
                record = {
                    "batch": batch.name,
                    "batch_key": params.batch_key,
                    "preparation": preparation,
                    "gene_messages": examined.gene_messages,
                    "scale": examined.scale,
                    "target_sum": depth,
                }
                write_part(data, batch.cells, staged / name, {k: v for k, v in record.items() if v is not None})
                feedback.progress("split", (number + 1) / len(names))
    feedback.say(f"wrote {len(names)} parts to {folder}: {listing(names, 5)}")
    advice = f"sccr impute PART OUTPUT --genes {folder / GENES_FILE}"
    if depth is not None:
        advice += f" --target-sum {depth!r}"
    feedback.say(f"impute each with: {advice}; then: sccr gather {input_path} OUTPUT PARTS...")


def _given(params: PreparationParameters, name: str) -> bool:
    return name in params.model_fields_set and getattr(params, name) is not None


def file_names(batches: Sequence[str]) -> list[str]:
    """Return a file name for each batch: its own name, in characters that every file system and shell takes."""
    names: list[str] = []
    for batch in batches:
        plain = re.sub(r"[^A-Za-z0-9._-]+", "_", batch).strip("._-")[:100] or "batch"
        stem, number = plain, 1
        # Some file systems do not tell capitals apart.
        while f"{stem}.h5ad".lower() in (name.lower() for name in names):
            number += 1
            stem = f"{plain}_{number}"
        names.append(f"{stem}.h5ad")
    return names


def gather_files(
    input_path: Path,
    output_path: Path,
    part_paths: Sequence[Path],
    params: GatherParameters,
    *,
    feedback: Feedback,
    command: Sequence[str] = (),
) -> RunRecord:
    """Put the imputed parts of a data set together: what one ``sccr impute --batch-key`` over all of it writes.

    Parameters
    ----------
    input_path
        What was split.
    output_path
        ``.h5ad`` or ``.zarr``.
    part_paths
        What ``sccr impute`` made of every part, in any order.
    params
        The parameters.
    feedback
        Where it says what it finds and does.
    command
        The command line, for the record.

    Returns
    -------
    The record of the run.

    Raises
    ------
    SccrError
        A part is missing, given twice, of another data set, or imputed in another way than the rest.
    """
    with ExitStack() as opened:
        parts = [Part(opened.enter_context(open_input(path)), params.key_added) for path in part_paths]
        whole = _common_parameters(parts, params)
        data = opened.enter_context(open_input(input_path, whole.layer))
        check_before(data, output_path, whole, part_paths)
        _check_same_cells(data, parts)
        genes = parts[0].imputed_genes
        examined = examine(data, whole, feedback, choice=GeneChoice(genes, parts[0].gene_messages))
        holders = {part.batch: part for part in parts}
        _check_batches(examined.batches, holders)

        def from_part(
            expression: sparse.csr_matrix, batch: Batch, params: ImputeParameters, feedback: Feedback
        ) -> Imputed:
            part = holders[batch.name]
            return Imputed(
                denoised=part.layer(params.key_added, genes),
                recovered=part.layer(f"{params.key_added}_recovered", genes) if params.wants_recovered else None,
            )

        return produce(data, output_path, examined, whole, feedback, command, from_part)


class Part:
    """One imputed part, and what it says of the whole and of its imputation.

    Parameters
    ----------
    data
        The opened file.
    key
        The name of the result in it.

    Raises
    ------
    InputProblem
        It is no part, or was not imputed under that name.
    """

    def __init__(self, data: InputData, key: str) -> None:
        from anndata.io import read_elem

        self.data = data
        record = part_record(data)
        if not data.has_key("uns", key) or not data.has_key("var", f"{key}_imputed"):
            raise InputProblem(
                f"{data.path} holds no result {key!r} of sccr impute: impute it first, or see --key-added"
            )
        self.rows: NDArray[np.int64] = record["rows"]
        self.n_cells_whole = int(record["n_cells"])
        self.batch = str(record["batch"])
        self.batch_key = str(record["batch_key"])
        self.preparation = _plain(record["preparation"])
        self.gene_messages = [str(message) for message in record["gene_messages"]]
        self.scale = str(record["scale"])
        self.target_sum = float(record["target_sum"]) if "target_sum" in record else None
        self.run = _plain(dict(read_elem(data.root["uns"][key])))
        self.imputed_genes = np.flatnonzero(np.asarray(data.var_column(f"{key}_imputed"), dtype=bool))

    def layer(self, key: str, genes: NDArray[np.intp]) -> NDArray[np.float32]:
        """Return the imputed genes of a layer, cells x genes."""
        with open_input(self.data.path, key) as layer:
            return np.asarray(selected_values(layer, genes).toarray(), dtype=np.float32)


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """Return a record with numpy's scalars as Python's."""
    return {
        name: _plain(value) if isinstance(value, dict) else value.item() if isinstance(value, np.generic) else value
        for name, value in values.items()
    }


def _common_parameters(parts: Sequence[Part], params: GatherParameters) -> ImputeParameters:
    """Return the parameters of the one run that the parts stand for.

    Raises
    ------
    InputProblem
        The parts were split or imputed in different ways, or not as they were split.
    """
    if not parts:
        raise UsageProblem("no parts were given: name what sccr impute made of every part")
    first = parts[0]
    for part in parts:
        for what, ours, theirs in (
            ("split", _split_of(first), _split_of(part)),
            ("imputed", _imputation_of(first), _imputation_of(part)),
        ):
            differing = [name for name in ours if ours[name] != theirs.get(name)] + [n for n in theirs if n not in ours]
            if differing:
                raise InputProblem(
                    f"{part.data.path} and {first.data.path} were {what} differently ({listing(differing)}): "
                    f"use the same parameters for every part"
                )
        if not np.array_equal(part.imputed_genes, first.imputed_genes):
            raise InputProblem(f"{part.data.path} and {first.data.path} have other genes imputed: use the same --genes")
    _check_as_split(first)
    numbers = {
        name: value
        for name, value in first.run["params"].items()
        if name in ImputeParameters.model_fields and name not in (*_PREPARATION, "key_added", "batch_key")
    }
    if params.n_components is not None:
        numbers["n_components"] = params.n_components
    preparation = dict(first.preparation)
    if preparation["genes"] != "top-variance":
        preparation.pop("n_top_genes", None)
    if preparation["input_scale"] == "log1p":
        preparation = {k: v for k, v in preparation.items() if k not in ("normalize_by", "target_sum")}
    appending = {name: getattr(params, name) for name in params.model_fields_set if name != "n_components"}
    return ImputeParameters(batch_key=first.batch_key, **(preparation | numbers | appending))


def _split_of(part: Part) -> dict[str, Any]:
    return {**part.preparation, "batch_key": part.batch_key, "target_sum found": part.target_sum, "scale": part.scale}


def _imputation_of(part: Part) -> dict[str, Any]:
    return {**part.run["params"], "version": part.run["version"], "scale": part.run["input"]["scale"]}


def _check_as_split(part: Part) -> None:
    params = part.run["params"]
    if part.run["input"]["scale"] != part.scale:
        raise InputProblem(
            f"{part.data.path} was imputed as {part.run['input']['scale']}, but the whole is {part.scale}: impute the "
            f"parts with --input-scale {part.scale}"
        )
    if part.scale == "counts":
        if params["target_sum"] != part.target_sum:
            raise InputProblem(
                f"{part.data.path} was imputed at the target depth {params['target_sum']}: impute the parts with "
                f"--target-sum {part.target_sum!r}, the depth of the whole (in {DEPTH_FILE})"
            )
        if params["normalize_by"] != part.preparation["normalize_by"]:
            raise InputProblem(
                f"{part.data.path} was imputed with --normalize-by {params['normalize_by']}, but split with "
                f"{part.preparation['normalize_by']}: use the same for both"
            )
    if params.get("layer") != part.preparation.get("layer"):
        raise InputProblem(f"{part.data.path} was imputed from another layer than it was split for: use the same")
    if "batch_key" in params:
        raise InputProblem(f"{part.data.path} was imputed with --batch-key: leave it out, a part is one batch")
    if params["write"] not in ("denoised", "both"):
        raise InputProblem(
            f"{part.data.path} was imputed with --write {params['write']}, but the principal components need the "
            "denoised expression: impute the parts with --write denoised or both"
        )


def _check_same_cells(data: InputData, parts: Sequence[Part]) -> None:
    for part in parts:
        if part.n_cells_whole != data.n_cells or not np.array_equal(data.cell_names[part.rows], part.data.cell_names):
            raise InputProblem(f"{part.data.path} was not split off {data.path}: its cells are others")
        if not np.array_equal(data.gene_names, part.data.gene_names):
            raise InputProblem(f"{part.data.path} was not split off {data.path}: its genes are others")


def _check_batches(batches: Sequence[Batch], holders: dict[str, Part]) -> None:
    missing = [batch.name for batch in batches if batch.name not in holders]
    if missing:
        raise InputProblem(f"no part was given for {len(missing)} of {len(batches)} batches: {listing(missing)}")
    for batch in batches:
        if not np.array_equal(batch.cells, holders[batch.name].rows):
            raise InputProblem(
                f"{holders[batch.name].data.path} holds other cells than batch {batch.name!r} has now: split again"
            )
