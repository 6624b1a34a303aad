"""Make a layer of a data set its matrix X, for tools that read only X."""

from __future__ import annotations

from pathlib import Path

from sccr_node.contract.promote import PromoteParameters
from sccr_node.data.dataset import open_dataset
from sccr_node.data.output import check_keys, stage_output
from sccr_node.data.written import MOVED, moved_record, places_of, results_in
from sccr_node.errors import InputProblem, UsageProblem
from sccr_node.pipeline.impute import publish
from sccr_node.runtime.console import Console
from sccr_node.storage.formats import format_of_copy, format_of_output
from sccr_node.storage.targets import check_targets


def promote_file(source: Path, output: Path, asked: PromoteParameters, *, console: Console) -> None:
    """Copy a data set, and rename in the copy: X to a layer, and another layer to X.

    Parameters
    ----------
    source
        ``.h5ad`` or ``.zarr``.
    output
        The copy, in the same format.
    asked
        The layers.
    console
        Shows what was written.

    Raises
    ------
    SccrError
        Any failure that the user can act on; nothing is written in that case.
    """
    format_of_output(output)
    with open_dataset(source, asked.layer, or_raw=False, modality=asked.modality) as data:
        store = format_of_copy(output, data.store)
        check_targets([store.target(output)], [source, *asked.files_read()], force=asked.force)
        if data.store is not store:
            raise UsageProblem(
                f"cannot write {output}: the format of {source} is kept; choose a name that ends in "
                f"{data.store.suffix if data.store else '.h5ad or .zarr'}"
            )
        if data.has_key("layers", asked.former):
            raise InputProblem(f"{source} already has layers[{asked.former!r}]: give another --former")
        check_keys(data, [("layers", asked.former)], overwrite=True)
        had_matrix = "X" in data.root
        renamed = {f"layers/{asked.layer}": "X", **({"X": f"layers/{asked.former}"} if had_matrix else {})}
        moved = {key: moved_record(places_of(data, key), renamed) for key in results_in(data)}
        with stage_output(data, output, force=asked.force) as copy:
            if had_matrix:
                copy.move("X", f"layers/{asked.former}")
            copy.move(f"layers/{asked.layer}", "X")
            # So that a result is known as one wherever it is (sccr impute asks).
            for key, record in moved.items():
                copy.write_in_uns(key, MOVED, record)
            copy.finish()
            publish(copy, {}, force=asked.force)
    former = f"; the former X is layers[{asked.former!r}]" if had_matrix else ""
    console.say(f"wrote {output}: X is the former layers[{asked.layer!r}]{former}", output=str(output))
