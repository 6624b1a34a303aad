"""Whether an output is there already, as its record says: then nothing has to be computed."""

from __future__ import annotations

import os
from pathlib import Path

from sccr_node import __version__
from sccr_node.contract.fields import fields_of_result
from sccr_node.contract.impute import ImputeParameters
from sccr_node.contract.record import RunRecord, read_record
from sccr_node.contract.shared import GENE_CHOICES
from sccr_node.contract.tune import TUNED, given_numbers
from sccr_node.data.genes import digest_of_list
from sccr_node.data.guard import listing, reading
from sccr_node.errors import NotEnoughResources, OutputProblem, SccrError
from sccr_node.pipeline.manifest import place_of
from sccr_node.pipeline.plan import listed_genes
from sccr_node.pipeline.remote import fetched, stand_ins
from sccr_node.runtime.console import Console
from sccr_node.storage.copying import sha256_of, size_on_disk
from sccr_node.storage.files import write_text_atomically
from sccr_node.storage.places import place
from sccr_node.storage.places.address import Address


def is_finished(source: Path | Address, output: Path | Address, asked: ImputeParameters) -> bool:
    """Return whether an imputation was finished earlier: with this version, of these data, with these parameters.

    Nothing is downloaded but the record and a list of genes: remote data are known by their size and tag. Only an
    output that has not the tag of its record, and an input of a web server without tags, are downloaded, to compare
    their bytes.

    Parameters
    ----------
    source, output
        Input and output.
    asked
        The parameters, with a record.

    Raises
    ------
    OutputProblem
        There is an output with a record that does not match, and nothing may be replaced.
    """
    record_place = _record_of(asked)
    if not (_is_there(output) and _is_there(record_place) and _can_be_compared(source)):
        return False
    try:
        with fetched(record_place) as path:
            if not os.path.isfile(path):
                return False
            different = _difference(read_record(path), source, output, asked)
    except NotEnoughResources:
        raise
    except (SccrError, OSError) as problem:  # the record or the output is not what a finished run leaves
        different = str(problem)
    if different and not asked.force:
        raise OutputProblem(
            f"{output} already exists, and does not match its record {record_place} ({different}): give --force to "
            "replace it, or another name"
        )
    return not different


def is_left_over(output: Path | Address, asked: ImputeParameters) -> bool:
    """Return whether a run for this output was killed between its record, which is renamed first, and the output."""
    record_place = _record_of(asked)
    if _is_there(output) or not _is_there(record_place):
        return False
    try:
        with fetched(record_place) as path:
            return os.path.isfile(path) and read_record(path).result.path == str(output)
    except NotEnoughResources:
        raise
    except SccrError:
        return False


def _record_of(asked: ImputeParameters) -> Path | Address:
    assert asked.provenance is not None
    return place_of(asked.provenance)


def _is_there(what: Path | Address) -> bool:
    return os.path.lexists(what) if isinstance(what, Path) else place(what).exists()


def _can_be_compared(source: Path | Address) -> bool:
    # A pipe would be waited for.
    return _is_there(source) if isinstance(source, Address) else os.path.isfile(source) or os.path.isdir(source)


def _difference(record: RunRecord, source: Path | Address, output: Path | Address, asked: ImputeParameters) -> str:
    """Return in what an output, or what is asked for now, differs from a record; empty if in nothing."""
    if record.version != __version__:
        return f"written by version {record.version}"
    if changed := _changed_parameters(record, asked):
        return f"other parameters: {listing(changed, 5)}"
    beside = [name for name in (asked.report, asked.multiqc) if name is not None]
    missing = next((name for name in beside if not _is_there(place_of(name))), None)
    if missing is not None:
        return f"{missing} is missing"
    return _damage(record, output) or ("" if _is_input_of(record, source) else "other data in the input")


def _damage(record: RunRecord, output: Path | Address) -> str:
    """Return in what an output differs from what was written; empty if in nothing.

    Nothing is downloaded if the record has the tag of what is there. It has none if the run was killed just before it
    could be noted, and what was copied within a store has another one: then the bytes decide.
    """
    # The tag is noted with the size: one question to the store, if all is well.
    if isinstance(output, Address) and record.result.identity == place(output).identity():
        return ""
    if record.result.bytes != size_of(output):
        return "another size"
    if record.result.sha256 is None:
        return "the record has no checksum of the output"
    with fetched(output) as path, reading(path, "the bytes"):
        return "" if record.result.sha256 == sha256_of(path) else "other content than was written"


def note_identity(output: Path | Address, record: RunRecord, asked: ImputeParameters, console: Console) -> None:
    """Note the tag of a remote output, known only now, in its record: nothing is then downloaded to compare it."""
    if not isinstance(output, Address):
        return
    record_place = _record_of(asked)
    try:
        if size_of(output) != record.result.bytes:
            return  # not ours any more
        record.result.identity = place(output).identity()
        text = record.as_json()
        if isinstance(record_place, Path):
            write_text_atomically(record_place, text, replace=True)
            return
        # Published, not written: that begins an upload for trial, and no later run would end it if we were killed.
        with stand_ins() as near:
            path = near.of(record_place)
            write_text_atomically(path, text, replace=True)
            place(record_place).publish(path, force=True)
    except SccrError as problem:
        console.warn(f"{output} is complete, but its tag could not be noted in {record_place}: {problem}")


def size_of(what: Path | Address) -> int:
    """Return the bytes of a file or folder; of a remote one without downloading it."""
    return size_on_disk(what) if isinstance(what, Path) else place(what).size()


def _is_input_of(record: RunRecord, source: Path | Address) -> bool:
    """Return whether the input is that of a record: by its digest; a remote one by its address, size and tag.

    A remote one without a tag has to be fetched: its size alone says nothing.
    """
    if isinstance(source, Address):
        if record.input.path != str(source):
            return False
        identity = place(source).identity()
        if identity is not None:
            return record.input.identity == identity
    with fetched(source) as path, reading(path, "the bytes"):
        return record.input.sha256 == sha256_of(path)


def _changed_parameters(record: RunRecord, asked: ImputeParameters) -> list[str]:
    """Return the names of the parameters that affect the result and are others than in a record."""
    # What tuning found depends on nothing but the data and the other parameters.
    tuned = set(TUNED) - set(given_numbers(asked)) if asked.tune else set()
    compared = [name for name in fields_of_result(ImputeParameters) if name not in tuned and name != "genes"]
    now = asked.effective_parameters(asked.method_parameters())
    names = [name for name in compared if now.get(name) != record.params.get(name)]
    return names if _same_genes(record, asked) else [*names, "genes"]


def _same_genes(record: RunRecord, asked: ImputeParameters) -> bool:
    """Return whether the same genes are asked for as in a record: a list is compared by its names."""
    if asked.genes in GENE_CHOICES:
        return asked.genes == record.params.get("genes")
    with fetched(place_of(asked.genes)) as path:
        near = asked.model_copy(update={"genes": str(path)})
        listed = listed_genes(near) if path.is_file() else None  # a pipe could be read only once
        return listed is not None and digest_of_list(listed) == record.preparation.genes_sha256
