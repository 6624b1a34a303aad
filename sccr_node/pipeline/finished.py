"""Whether an output is there already, as its record says: then nothing has to be computed."""

from __future__ import annotations

import os
from pathlib import Path

from sccr_node import __version__
from sccr_node.contract.fields import extra_of
from sccr_node.contract.impute import ImputeParameters
from sccr_node.contract.record import RunRecord, read_record
from sccr_node.contract.shared import GENE_CHOICES
from sccr_node.contract.tune import TUNED, given_numbers
from sccr_node.data.genes import digest_of_list
from sccr_node.data.guard import listing, reading
from sccr_node.errors import OutputProblem, SccrError
from sccr_node.pipeline.plan import listed_genes
from sccr_node.pipeline.side_files import SideFiles
from sccr_node.results import open_result
from sccr_node.storage.copying import sha256_of, size_on_disk


def is_finished(source: Path, output: Path, asked: ImputeParameters) -> bool:
    """Return whether an imputation was finished earlier: with this version, of these data, with these parameters.

    Parameters
    ----------
    source, output, asked
        As for :func:`~sccr_node.pipeline.impute.impute_file`, with a record.

    Raises
    ------
    OutputProblem
        There is an output with a record that does not match, and nothing may be replaced.
    """
    record_path = _record_of(asked)
    can_be_hashed = os.path.isfile(source) or os.path.isdir(source)  # a pipe would be waited for
    if not os.path.lexists(output) or not os.path.isfile(record_path) or not can_be_hashed:
        return False
    try:
        different = _difference(read_record(record_path), source, output, asked)
    except (SccrError, OSError) as problem:  # the record or the output is not what a finished run leaves
        different = str(problem)
    if different and not asked.force:
        raise OutputProblem(
            f"{output} already exists, and does not match its record {record_path} ({different}): give --force to "
            "replace it, or another name"
        )
    return not different


def is_left_over(output: Path, asked: ImputeParameters) -> bool:
    """Return whether a run for this output was killed between its record, which is renamed first, and the output."""
    record_path = _record_of(asked)
    if os.path.lexists(output) or not os.path.isfile(record_path):
        return False
    try:
        return read_record(record_path).result.path == str(output)
    except SccrError:
        return False


def _record_of(asked: ImputeParameters) -> Path:
    assert asked.provenance is not None
    return Path(asked.provenance)


def _difference(record: RunRecord, source: Path, output: Path, asked: ImputeParameters) -> str:
    """Return in what an output, or what is asked for now, differs from a record; empty if in nothing."""
    if record.version != __version__:
        return f"written by version {record.version}"
    if changed := _changed_parameters(record, asked):
        return f"other parameters: {listing(changed, 5)}"
    missing = next((path for path in SideFiles.of(asked).paths if not path.exists()), None)
    if missing is not None:
        return f"{missing} is missing"
    if record.result.bytes != size_on_disk(output):
        return "another size"
    from sccr_node.report.reading import check_record  # slow to import, and most rows have no output yet

    with open_result(output, asked.key_added) as result:
        check_record(output, record, result)
    with reading(source, "the bytes"):
        return "" if record.input.sha256 == sha256_of(source) else "other data in the input"


def _changed_parameters(record: RunRecord, asked: ImputeParameters) -> list[str]:
    """Return the names of the parameters that affect the result and are others than in a record."""
    # What tuning found depends on nothing but the data and the other parameters.
    tuned = set(TUNED) - set(given_numbers(asked)) if asked.tune else set()
    compared = [
        name
        for name, field in ImputeParameters.model_fields.items()
        if extra_of(field)["affects_result"] and name not in tuned and name != "genes"
    ]
    now = asked.effective_parameters(asked.method_parameters())
    names = [name for name in compared if now.get(name) != record.params.get(name)]
    return names if _same_genes(record, asked) else [*names, "genes"]


def _same_genes(record: RunRecord, asked: ImputeParameters) -> bool:
    """Return whether the same genes are asked for as in a record: a list is compared by its names."""
    if asked.genes in GENE_CHOICES:
        return asked.genes == record.params.get("genes")
    listed = listed_genes(asked) if Path(asked.genes).is_file() else None  # a pipe could be read only once
    return listed is not None and digest_of_list(listed) == record.preparation.genes_sha256
