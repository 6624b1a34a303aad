"""Score any tool's output from file to file, on whichever kind of hidden truth the data have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sccr_node.contract.evaluate import EvaluateScoreParameters
from sccr_node.contract.keys import MASK_KEY, MOLECULES_KEY
from sccr_node.data.dataset import open_dataset
from sccr_node.data.guard import listing
from sccr_node.errors import InputProblem
from sccr_node.pipeline import masking, thinning
from sccr_node.pipeline.evaluate import check_tables
from sccr_node.pipeline.hidden import HELD_OUT_LAYER, TRUTH_LAYER, hidden_since, of_other_data
from sccr_node.pipeline.tables import as_json, as_tsv, write_tables
from sccr_node.runtime.console import Console

LAYERS = {MASK_KEY: TRUTH_LAYER, MOLECULES_KEY: HELD_OUT_LAYER}
"""Where each kind of hidden truth is, by the key of ``uns`` that records it."""


def score_file(
    train_path: Path,
    candidate_path: Path,
    asked: EvaluateScoreParameters,
    console: Console,
    *,
    output: Path | None,
    json_file: Path | None,
) -> None:
    """Compare a candidate with the values that were hidden from the tool, and write the table.

    Parameters
    ----------
    train_path
        An output of ``sccr evaluate mask`` or ``sccr evaluate split-molecules``.
    candidate_path
        Any tool's output for it: the same cells and genes, in any order.
    asked
        The layer of the candidate.
    console
        Shows findings.
    output, json_file
        Files for the table as TSV (None: standard output) and as JSON (None: not written).

    Raises
    ------
    InputProblem
        Either file is not what it should be, or their cells or genes differ.
    """
    check_tables([output, json_file], [train_path, candidate_path, *asked.files_read()], asked.force)
    document: Any
    key = hidden_truth(train_path)
    opened = open_dataset(candidate_path, asked.layer, modality=asked.modality)
    with open_dataset(train_path) as train, opened as candidate:
        for other, names in hidden_since(candidate, train).items():
            why = f"{listing(names)} of uns[{other!r}] differ" if names else f"uns has {other!r}"
            raise of_other_data(candidate, other, why, f"give a tool's output for {train_path}")
    if key == MASK_KEY:
        row = masking.score_candidate(train_path, candidate_path, asked, console)
        rows, columns, document = [row], tuple(row), row
    else:
        rows = thinning.scores_of(train_path, candidate_path, asked, console)
        columns, document = thinning.SCORE_COLUMNS, {"layer": asked.layer or "X", "scores": rows}
    write_tables(as_tsv(rows, columns), output, {json_file: as_json(document)}, force=asked.force)


def hidden_truth(path: Path) -> str:
    """Return the key of ``uns`` that records how values were hidden.

    Raises
    ------
    InputProblem
        None were, or in two ways, or the values are not there.
    """
    with open_dataset(path) as data:
        found = [key for key in LAYERS if data.has_key("uns", key)]
        if len(found) > 1:
            raise InputProblem(
                f"cannot score against {path}: it has two kinds of hidden values (uns has "
                f"{' and '.join(map(repr, found))}); give a file as sccr evaluate mask or split-molecules wrote it"
            )
        if not found:
            raise InputProblem(
                f"cannot score against {path}: it was not written by sccr evaluate mask or split-molecules (uns has "
                f"neither {MASK_KEY!r} nor {MOLECULES_KEY!r}); give their output first, then the candidate"
            )
        (key,) = found
        if not data.has_key("layers", LAYERS[key]):
            raise InputProblem(
                f"cannot score against {path}: it lacks layers[{LAYERS[key]!r}], the values that were hidden; give the "
                "file as sccr evaluate mask or split-molecules wrote it"
            )
    return key
