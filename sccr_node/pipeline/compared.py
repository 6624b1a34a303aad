"""Results of other tools in a benchmark: checked before it begins, and read again when they are scored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from sccr_node.contract.benchmark import BenchmarkParameters
from sccr_node.contract.keys import MASK_KEY, MOLECULES_KEY
from sccr_node.contract.shared import Mechanism
from sccr_node.data.dataset import Dataset, open_dataset
from sccr_node.data.guard import listing, reading
from sccr_node.data.halves import HALF, Halves
from sccr_node.data.preparation import Preparation, Prepared, selected_values
from sccr_node.errors import InputProblem
from sccr_node.evaluation.benchmark import Candidate, Mask, Split
from sccr_node.evaluation.masks import Masked, mask_expression
from sccr_node.pipeline.hidden import (
    FACTOR_COLUMN,
    HIDDEN,
    TRUTH_LAYER,
    differing,
    hidden_since,
    of_other_data,
    refuse_other_scales,
    refuse_untouched,
    seed_of,
    warn_of_scale,
)
from sccr_node.runtime.console import Console
from sccr_node.runtime.words import quantity
from sccr_node.storage.copying import sha256_of

LOGS, HIDDEN_LOGS = "log1p of counts at a common depth", f"log1p(counts x obs[{FACTOR_COLUMN!r}])"
"""What to give instead of counts."""


@dataclass(frozen=True)
class Wanted:
    """What the input says that a candidate must be: its cells, its genes, which of them are scored, their values."""

    data: Dataset
    preparation: Preparation
    prepared: Prepared
    halves: Callable[[int], Halves]

    def expression(self, hidden: Mask | Split | None) -> Any:
        """Return what a tool was given."""
        if isinstance(hidden, Split):
            return self.halves(hidden.seed).training.expression
        return self.prepared.expression if hidden is None else _masked(self, hidden).expression

    def genes(self, hidden: Mask | Split | None) -> NDArray[np.intp]:
        """Return the genes that are scored: of halved molecules, those that were chosen in the training half."""
        if isinstance(hidden, Split):
            return self.halves(hidden.seed).preparation.genes
        return self.preparation.genes


def read_candidates(
    asked: BenchmarkParameters,
    data: Dataset,
    preparation: Preparation,
    prepared: Prepared,
    halves: Callable[[int], Halves],
    console: Console,
) -> list[Candidate]:
    """Check all candidates and return them; none is kept in memory.

    Parameters
    ----------
    asked
        Their names, files and layers.
    data, preparation, prepared
        The input.
    halves
        Returns both halves of its molecules for a seed.
    console
        Shows what each is.

    Raises
    ------
    InputProblem
        One has other cells or genes, another scale, or was made from something else than this input.
    """
    wanted = Wanted(data, preparation, prepared, halves)
    found: list[Candidate] = []
    for name, path in asked.candidate_files():
        layer = asked.candidate_layer.get(name)
        option = f"--candidate-layer {name}=LAYER"
        with open_dataset(path, layer) as opened:
            hidden = _hidden_from(opened, wanted)
            refuse_other_scales(opened, console, logs=HIDDEN_LOGS if hidden else LOGS, option=option)
            values = _aligned(opened, wanted, hidden)
            _check_values(opened, values, wanted, hidden, option)
            if isinstance(hidden, Split):
                warn_of_scale(_overestimate(values, wanted.halves(hidden.seed)), opened.source, console)
        console.say(f"candidate {name}: {opened.source}, made from {hidden or 'the full data'}")
        digest = f"{sha256_of(path)} {layer or 'X'}"
        if any(digest == other.digest for other in found):
            raise InputProblem(f"cannot compare {path} with itself: it is given as a candidate twice; give it once")
        if any((name, hidden) == (other.name, other.hidden) for other in found):
            raise InputProblem(
                f"cannot use {path} as {name}: another file of that name was made from the same data; choose another "
                "name"
            )
        found.append(Candidate(name, digest, hidden, partial(_read_again, path, layer, wanted, hidden)))
    return found


def _read_again(path: Path, layer: str | None, wanted: Wanted, hidden: Mask | Split | None) -> Any:
    with open_dataset(path, layer) as opened:
        return _aligned(opened, wanted, hidden)


def _aligned(candidate: Dataset, wanted: Wanted, hidden: Mask | Split | None) -> Any:
    """Return a candidate's values of the scored genes, in the order of the input; dense if most are stored."""
    cells = _places(wanted.data.cell_names, candidate.cell_names, "cell", candidate.source)
    if candidate.n_cells > len(cells):
        n_more = candidate.n_cells - len(cells)
        raise InputProblem(
            f"cannot score {candidate.source}: it has {quantity(n_more, 'extra cell')}; it must have exactly the "
            "cells of the input"
        )
    genes = wanted.genes(hidden)
    if not _same(candidate.gene_names, wanted.data.gene_names):  # names need not be unique if their order is kept
        genes = _places(wanted.data.gene_names[genes], candidate.gene_names, "gene", candidate.source)
    columns = np.unique(genes)
    values = selected_values(candidate, columns)
    values = values[cells][:, np.searchsorted(columns, genes)].astype(np.float32)
    if values.nnz * 2 > np.prod(values.shape):
        return values.toarray()
    return sparse.csr_matrix(values)


def _same(names: NDArray[Any], others: NDArray[Any]) -> bool:
    return len(names) == len(others) and bool((names == others).all())


def _places(wanted: NDArray[Any], found: NDArray[Any], what: str, where: str) -> NDArray[np.intp]:
    """Return where each wanted name is among those found."""
    if _same(wanted, found):
        return np.arange(len(wanted))
    missing = wanted[~np.isin(wanted, found)]
    if missing.size:
        way_out = "" if what == "cell" else ", or choose the genes to score with --genes"
        which = "all cells of the input" if what == "cell" else "all genes that are scored"
        raise InputProblem(
            f"cannot score {where}: it lacks {quantity(missing.size, what)} of the input "
            f"({listing(missing.tolist(), 3)}); it must have {which}{way_out}"
        )
    if len(np.unique(wanted)) < len(wanted) or len(np.unique(found)) < len(found):
        raise InputProblem(
            f"cannot score {where}: its {what}s are not those of the input in the same order, and their names are not "
            f"unique; keep the order of the {what}s, or make their names unique first"
        )
    return np.asarray(pd.Index(found).get_indexer(pd.Index(wanted)), dtype=np.intp)


def _overestimate(values: Any, halves: Halves) -> float:
    """Return the mean of predictions, divided by that of the held-out values, in the cells that are scored."""
    scored = np.flatnonzero(halves.in_both)
    predicted, true = (rows[scored].sum(dtype=np.float64) for rows in (values, halves.held_out.expression))
    return float(predicted / true)


def _check_values(candidate: Dataset, values: Any, wanted: Wanted, hidden: Mask | Split | None, option: str) -> None:
    """Refuse values that the tool was given."""
    if candidate.layer is not None:
        return
    if isinstance(hidden, Mask):
        truth = _masked(wanted, hidden).truth.tocoo()
        if not np.asarray(values[truth.row, truth.col]).any():
            refuse_untouched(candidate, wanted.data, "it is zero at every masked entry", option)
    elif abs(wanted.expression(hidden) - sparse.csr_matrix(values)).max() == 0:
        what = "it is the same as the input" if hidden is None else "it is the training half as it was"
        refuse_untouched(candidate, wanted.data, what, option)


def _masked(wanted: Wanted, mask: Mask) -> Masked:
    return mask_expression(wanted.prepared.expression, mask.rate, mask.mechanism, mask.seed)


def _hidden_from(candidate: Dataset, wanted: Wanted) -> Mask | Split | None:
    """Return what was hidden in the data that a candidate was made from; None if it was made from the full data.

    Raises
    ------
    InputProblem
        It was made from other data than the input.
    """
    hidden = hidden_since(candidate, wanted.data)
    if MOLECULES_KEY in hidden:
        return _split_of(candidate, wanted)
    if MASK_KEY in hidden:
        return _mask_of(candidate, wanted)
    known = any(wanted.data.has_key("uns", key) for key in (MASK_KEY, MOLECULES_KEY))
    if not known and FACTOR_COLUMN in candidate.keys("obs"):
        raise InputProblem(
            f"cannot score {candidate.source}: it was made from data with hidden values (it has "
            f"obs[{FACTOR_COLUMN!r}]), but uns[{MASK_KEY!r}] or uns[{MOLECULES_KEY!r}], which says what was hidden, is "
            "gone; copy it from the file that the tool was given"
        )
    return None


def _split_of(candidate: Dataset, wanted: Wanted) -> Split:
    """Return how the molecules were split, if these halves are the input's."""
    with reading(candidate.path, f"uns[{MOLECULES_KEY!r}]"):
        record = candidate.element("uns", MOLECULES_KEY)
        fraction, split = float(record["fraction"]), Split(seed_of(record))
    if fraction != HALF:
        raise InputProblem(
            f"cannot score {candidate.source}: it was made from {fraction:.0%} of the molecules, and a benchmark "
            "compares halves; score it with sccr evaluate score"
        )
    halves = wanted.halves(split.seed)
    found = {"target_sum": halves.target_sum, "n_training": halves.n_training, "n_held_out": halves.n_held_out}
    with reading(candidate.path, f"uns[{MOLECULES_KEY!r}]"):
        otherwise = differing({name: float(record[name]) for name in found}, found, within=1e-6)
    if otherwise:
        raise _of_other_data(candidate, MOLECULES_KEY, f"{listing(otherwise)} of uns[{MOLECULES_KEY!r}] differ")
    return split


def _mask_of(candidate: Dataset, wanted: Wanted) -> Mask:
    """Return how entries were masked, if they are entries of the input."""
    with reading(candidate.path, f"uns[{MASK_KEY!r}]"):
        record = candidate.element("uns", MASK_KEY)
        mechanism: Mechanism = "mnar" if record["mechanism"] == "mnar" else "mcar"
        mask = Mask(mechanism, float(record["rate"]), seed_of(record))
        expected = {name: float(record[name]) for name in ("n_masked", "n_observed", "target_sum") if name in record}
    try:
        masked = _masked(wanted, mask)
    except (KeyError, ValueError) as problem:
        raise InputProblem(
            f"cannot score {candidate.source}: its uns[{MASK_KEY!r}] is not a mask ({problem})"
        ) from problem
    found: dict[str, float | None] = {
        "n_masked": masked.truth.nnz,
        "n_observed": masked.truth.nnz + masked.expression.nnz,
        "target_sum": wanted.prepared.normalization.target_sum,
    }
    if differing(expected, found) or (
        candidate.has_key("layers", TRUTH_LAYER) and not _is_truth(candidate, masked, wanted)
    ):
        raise _of_other_data(candidate, MASK_KEY, f"uns[{MASK_KEY!r}]")
    return mask


def _of_other_data(candidate: Dataset, key: str, why: str) -> InputProblem:
    _, way_out = HIDDEN[key]
    return of_other_data(candidate, key, why, f"{way_out} this input with the same genes and target depth as here")


def _is_truth(candidate: Dataset, masked: Masked, wanted: Wanted) -> bool:
    """Return whether the truth that a file still contains is the one that the mask hides."""
    with open_dataset(candidate.path, TRUTH_LAYER) as opened:
        truth = sparse.csr_matrix(_aligned(opened, wanted, None))
    return truth.nnz == masked.truth.nnz and bool(abs(truth - masked.truth).max() < 1e-4)
