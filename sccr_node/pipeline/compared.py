"""Results of other tools in a benchmark: checked before it begins, and read again when they are scored."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from sccr_node.contract.benchmark import BenchmarkParameters
from sccr_node.contract.shared import Mechanism
from sccr_node.data.dataset import Dataset, open_dataset
from sccr_node.data.guard import listing, reading
from sccr_node.data.preparation import Preparation, Prepared, selected_values
from sccr_node.errors import InputProblem
from sccr_node.evaluation.benchmark import Candidate, Mask
from sccr_node.evaluation.masks import Masked, mask_expression
from sccr_node.pipeline.hidden import (
    FACTOR_COLUMN,
    MASK_KEY,
    MOLECULES_KEY,
    TRUTH_LAYER,
    refuse_other_scales,
    refuse_untouched,
)
from sccr_node.runtime.console import Console
from sccr_node.runtime.words import quantity
from sccr_node.storage.copying import sha256_of

LOGS, MASKED_LOGS = "log1p of counts at a common depth", f"log1p(counts x obs[{FACTOR_COLUMN!r}])"
"""What to give instead of counts."""

MOST_NEGATIVE = 0.25
"""Share of negative values up to which a matrix can be log expression: tools that centre the genes have half."""


@dataclass(frozen=True)
class Wanted:
    """What the input says that a candidate must be: its cells, its genes, which of them are scored, their values."""

    data: Dataset
    preparation: Preparation
    prepared: Prepared

    @property
    def genes(self) -> NDArray[Any]:
        """Names of the genes that are scored."""
        return np.asarray(self.data.gene_names[self.preparation.genes])


def read_candidates(
    asked: BenchmarkParameters, data: Dataset, preparation: Preparation, prepared: Prepared, console: Console
) -> list[Candidate]:
    """Check all candidates and return them; none is kept in memory.

    Parameters
    ----------
    asked
        Their names, files and layers.
    data, preparation, prepared
        The input.
    console
        Shows what each is.

    Raises
    ------
    InputProblem
        One has other cells or genes, another scale, or was made from something else than this input.
    """
    wanted = Wanted(data, preparation, prepared)
    found: list[Candidate] = []
    for name, path in asked.candidate_files():
        layer = asked.candidate_layer.get(name)
        option = f"--candidate-layer {name}=LAYER"
        with open_dataset(path, layer) as opened:
            mask = _mask_of(opened, wanted)
            refuse_other_scales(opened, console, logs=MASKED_LOGS if mask else LOGS, option=option)
            values = _aligned(opened, wanted)
            _check_values(opened, values, wanted, mask, option)
        what = "the full data" if mask is None else f"{mask.rate:.0%} dropped ({mask.mechanism}), seed {mask.seed}"
        console.say(f"candidate {name}: {opened.source}, made from {what}")
        digest = f"{sha256_of(path)} {layer or 'X'}"
        if any(digest == other.digest for other in found):
            raise InputProblem(f"cannot compare {path} with itself: it is given as a candidate twice; give it once")
        if any((name, mask) == (other.name, other.mask) for other in found):
            raise InputProblem(
                f"cannot use {path} as {name}: another file of that name was made from the same data; choose another "
                "name"
            )
        found.append(Candidate(name, digest, mask, partial(_read_again, path, layer, wanted)))
    return found


def _read_again(path: Path, layer: str | None, wanted: Wanted) -> Any:
    with open_dataset(path, layer) as opened:
        return _aligned(opened, wanted)


def _aligned(candidate: Dataset, wanted: Wanted) -> Any:
    """Return a candidate's values of the scored genes, in the order of the input; dense if most are stored."""
    cells = _places(wanted.data.cell_names, candidate.cell_names, "cell", candidate.source)
    if candidate.n_cells > len(cells):
        n_more = candidate.n_cells - len(cells)
        raise InputProblem(
            f"cannot score {candidate.source}: it adds {quantity(n_more, 'cell')}; it must have exactly the cells of "
            "the input"
        )
    if _same(candidate.gene_names, wanted.data.gene_names):
        genes = wanted.preparation.genes  # names need not be unique if their order is kept
    else:
        genes = _places(wanted.genes, candidate.gene_names, "gene", candidate.source)
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


def _check_values(candidate: Dataset, values: Any, wanted: Wanted, mask: Mask | None, option: str) -> None:
    """Refuse values that are centred, or those that the tool was given."""
    stored = values if isinstance(values, np.ndarray) else values.data
    n_negative = int((stored < 0).sum())
    if n_negative > MOST_NEGATIVE * np.prod(values.shape):
        share = n_negative / np.prod(values.shape)
        raise InputProblem(
            f"cannot score {candidate.source}: {share:.0%} of its values are negative, as if genes had been centred or "
            f"scaled; give log expression, or another {option}"
        )
    if candidate.layer is not None:
        return
    if mask is not None:
        truth = _masked(wanted, mask).truth.tocoo()
        if not np.asarray(values[truth.row, truth.col]).any():
            refuse_untouched(candidate, wanted.data, "it is zero at every masked entry", option)
    elif abs(wanted.prepared.expression - sparse.csr_matrix(values)).max() == 0:
        refuse_untouched(candidate, wanted.data, "it is the same as the input", option)


def _masked(wanted: Wanted, mask: Mask) -> Masked:
    return mask_expression(wanted.prepared.expression, mask.rate, mask.mechanism, mask.seed)


def _mask_of(candidate: Dataset, wanted: Wanted) -> Mask | None:
    """Return how the data that a candidate was made from were masked; None if it was made from the full data.

    Raises
    ------
    InputProblem
        It was made from data with held-out molecules, or from other data than the input.
    """
    recorded, known = (
        {key for key in (MASK_KEY, MOLECULES_KEY) if data.has_key("uns", key)} for data in (candidate, wanted.data)
    )
    if MOLECULES_KEY in recorded - known:
        raise InputProblem(
            f"cannot score {candidate.source}: it was made from one half of the molecules; sccr evaluate score "
            "compares it with the other half"
        )
    if MASK_KEY not in recorded - known:
        if not known and FACTOR_COLUMN in candidate.keys("obs"):
            raise InputProblem(
                f"cannot score {candidate.source}: it was made from masked data (it has obs[{FACTOR_COLUMN!r}]), but "
                f"uns[{MASK_KEY!r}], which says how they were masked, is gone; copy it from the masked file"
            )
        return None
    with reading(candidate.path, f"uns[{MASK_KEY!r}]"):
        record = candidate.element("uns", MASK_KEY)
        mechanism: Mechanism = "mnar" if record["mechanism"] == "mnar" else "mcar"
        mask = Mask(mechanism, float(record["rate"]), int(record["seed"]))
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
    differs = any((own := found[name]) is None or not np.isclose(own, value) for name, value in expected.items())
    if differs or (candidate.has_key("layers", TRUTH_LAYER) and not _is_truth(candidate, masked, wanted)):
        raise InputProblem(
            f"cannot score {candidate.source}: it was made from data that were masked otherwise, or from other data "
            f"(uns[{MASK_KEY!r}]); mask this input with the same genes and target depth as here"
        )
    return mask


def _is_truth(candidate: Dataset, masked: Masked, wanted: Wanted) -> bool:
    """Return whether the truth that a file still contains is the one that the mask hides."""
    with open_dataset(candidate.path, TRUTH_LAYER) as opened:
        truth = sparse.csr_matrix(_aligned(opened, wanted))
    return truth.nnz == masked.truth.nnz and bool(abs(truth - masked.truth).max() < 1e-4)
