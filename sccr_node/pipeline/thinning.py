"""Held-out molecules from file to file: split the molecules of every cell, and score what a tool makes of one half."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from sccr_node import __version__
from sccr_node.contract.evaluate import EvaluateScoreParameters, EvaluateSplitMoleculesParameters
from sccr_node.contract.keys import MOLECULES_KEY
from sccr_node.contract.shared import PreparationParameters
from sccr_node.data.dataset import Dataset, open_dataset
from sccr_node.data.features import choose_features
from sccr_node.data.genes import ListedGene
from sccr_node.data.guard import reading
from sccr_node.data.halves import Halves, read_halves, refuse_other_than_counts
from sccr_node.data.logs import prepare_block
from sccr_node.data.preparation import decide_values, of_values, selected_values
from sccr_node.data.scale import Scaling
from sccr_node.errors import InputProblem
from sccr_node.evaluation.molecules import Block, HeldOut, Score, score_with_baselines
from sccr_node.numerics import Workspace
from sccr_node.pipeline.hidden import (
    FACTOR_COLUMN,
    HELD_OUT_LAYER,
    check_output,
    matching,
    refuse_other_scales,
    refuse_untouched,
    seed_of,
    tables_of,
    warn_of_scale,
    write_for_tools,
)
from sccr_node.pipeline.plan import open_input
from sccr_node.runtime.console import Console
from sccr_node.runtime.standins import as_shown
from sccr_node.runtime.words import plural, quantity

HELD_OUT_FACTOR_COLUMN = "sccr_held_out_factor"
"""Column of obs: the held-out half is scored as log1p(layers['held_out'] x factor)."""

SCORE_COLUMNS = (
    "candidate", "layer", "fraction", "seed", "n_entries", "mse", "mse_observed", "mse_unobserved", "floor",
    "explained", "deviance", "correlation",
)  # fmt: skip

SPLITTING = "split the molecules of"
"""What is done to whole counts, for the message that refuses other values."""


def split_molecules_file(
    input_path: Path, output_path: Path, asked: EvaluateSplitMoleculesParameters, console: Console
) -> None:
    """Write the training half of the molecules for any tool to impute, and beside it the held-out half.

    Parameters
    ----------
    input_path
        Counts, in any format that ``sccr impute`` reads.
    output_path
        The ``.h5ad`` file to write: the selected genes of all cells.
    asked
        Preparation, fraction and seed.
    console
        Shows findings.

    Raises
    ------
    SccrError
        Any failure that the user can act on; nothing is written in that case.
    """
    check_output("split molecules", input_path, output_path, asked)
    with open_input(input_path, asked) as (data, listed):
        features = choose_features(data, asked.feature_type)
        summary, scaling = decide_values(data, features, "counts", None, progress=console.progress)
        refuse_other_than_counts(data, summary, SPLITTING)
        console.show([summary.headline(), *of_values(data, scaling)])
        halves = halves_of(data, scaling, listed, asked, fraction=asked.fraction, seed=asked.seed, console=console)
        # What the values are, and the names, were told of the whole; genes are selected in the training half.
        told = of_values(data, halves.preparation.scaling)
        console.show(finding for finding in halves.preparation.findings if finding not in told)
        n_in_both = int(halves.in_both.sum())
        obs, var = tables_of(data, halves.preparation.genes)
    if n_in_both < len(obs):
        n_left_out = len(obs) - n_in_both
        console.warn(
            f"{_have(n_left_out)} no molecule in one of the halves, and will not be scored", n_cells_left_out=n_left_out
        )
    training, held_out = (_integers(half.values) for half in (halves.training, halves.held_out))
    obs[FACTOR_COLUMN] = halves.training.normalization.factors
    obs[HELD_OUT_FACTOR_COLUMN] = halves.held_out.normalization.factors
    write_for_tools(
        output_path,
        halves.training.expression,
        (obs, var),
        {"counts": training, HELD_OUT_LAYER: held_out},
        {MOLECULES_KEY: _record(asked, halves)},
        replace=asked.force,
    )
    n_training, n_both = halves.n_training, halves.n_training + halves.n_held_out
    console.say(
        f"wrote {output_path}: {training.shape[0]:,} cells × {training.shape[1]:,} genes; {n_training:,} of {n_both:,} "
        f"molecules for training (fraction {asked.fraction:g}, seed {asked.seed}), the others held out; both halves "
        f"scaled to a depth of {halves.target_sum:g}",
        output=str(output_path),
        n_cells=training.shape[0],
        n_genes=training.shape[1],
        n_molecules=n_both,
        n_molecules_training=n_training,
    )


def halves_of(
    data: Dataset,
    scaling: Scaling,
    listed: Sequence[ListedGene] | None,
    asked: PreparationParameters,
    *,
    fraction: float,
    seed: int,
    console: Console,
) -> Halves:
    """Split the molecules of a data set, and prepare both halves.

    Raises
    ------
    InputProblem
        Fewer than two cells have molecules in both halves.
    """
    halves = read_halves(
        data, scaling, asked.preparation(), fraction=fraction, seed=seed, listed=listed, progress=console.progress
    )
    n_in_both = int(halves.in_both.sum())
    if n_in_both < 2:
        raise InputProblem(
            f"cannot split the molecules of {data.source}: {_have(n_in_both)} molecules of the selected genes in both "
            "halves, and at least 2 must; give more cells, or deeper ones"
        )
    return halves


def to_score(halves: Halves, fraction: float) -> HeldOut:
    """Return both halves as predictions of the second are scored."""
    factors = halves.held_out.normalization.factors
    assert factors is not None  # counts have some
    return HeldOut(halves.training.expression, halves.held_out.values, factors, fraction)


def _have(n_cells: int) -> str:
    return f"{quantity(n_cells, 'cell')} {plural(n_cells, 'has', 'have')}"


def _integers(values: Any) -> sparse.csr_matrix:
    """Return counts in the type that most tools expect, if it can represent them."""
    largest = values.data.max(initial=0)
    return sparse.csr_matrix(values, dtype=np.int32 if largest <= np.iinfo(np.int32).max else np.int64)


def _record(asked: EvaluateSplitMoleculesParameters, halves: Halves) -> dict[str, Any]:
    return {
        "version": __version__,
        "fraction": asked.fraction,
        "seed": asked.seed,
        "target_sum": halves.target_sum,
        "normalize_by": asked.normalize_by,
        "n_training": halves.n_training,
        "n_held_out": halves.n_held_out,
        "preparation": asked.noted_preparation(),
    }


def scores_of(
    train_path: Path, candidate_path: Path, asked: EvaluateScoreParameters, console: Console
) -> list[dict[str, Any]]:
    """Compare a candidate with the held-out molecules.

    Returns
    -------
    Rows of a table: the candidate, then what it is compared with; each with how the molecules were split, and metrics.
    """
    held_out, how = _read(train_path, console)
    layer, opened = asked.layer, open_dataset(candidate_path, asked.layer, modality=asked.modality)
    with open_dataset(train_path) as train, opened as candidate:
        cells = matching(train.cell_names, candidate.cell_names, "cell", candidate.source)
        genes = matching(train.gene_names, candidate.gene_names, "gene", candidate.source)
        refuse_other_scales(candidate, console)
        work = Workspace(None, console.progress)
        try:
            scores = score_with_baselines(held_out, _blocks(candidate, cells, genes), as_shown(candidate_path), work)
        except ValueError as problem:
            raise InputProblem(f"cannot score against {train_path}: {problem}; split other data") from problem
        if layer is None and scores[0].mse == scores[1].mse:
            refuse_untouched(candidate, train, "it is the training data")
    console.close_bar()
    warn_of_scale(scores[0].overestimate, candidate.source, console)
    return [
        {"candidate": found.name, "layer": (layer or "X") if at == 0 else None, **how, **_metrics(found)}
        for at, found in enumerate(scores)
    ]


def _metrics(found: Score) -> dict[str, Any]:
    return {name: value for name, value in asdict(found).items() if name in SCORE_COLUMNS}


def _read(path: Path, console: Console) -> tuple[HeldOut, dict[str, Any]]:
    """Read both halves, and how they were split.

    Raises
    ------
    InputProblem
        The file is not as ``split-molecules`` wrote it.
    """
    with open_dataset(path) as data:
        record = data.element("uns", MOLECULES_KEY)
        with reading(path, f"uns[{MOLECULES_KEY!r}]"):
            how = {"fraction": float(record["fraction"]), "seed": seed_of(record)}
        training = selected_values(data, np.arange(data.n_genes), console.progress)
        factors = data.obs_column(HELD_OUT_FACTOR_COLUMN)
        with reading(path, f"obs[{HELD_OUT_FACTOR_COLUMN!r}]"):
            numbers = factors.to_numpy(dtype=np.float64)
        _refuse_another_x(path, data, training, console)
    with open_dataset(path, HELD_OUT_LAYER) as data:
        counts = selected_values(data, np.arange(data.n_genes), console.progress)
    for what, values, good in (
        (f"obs[{HELD_OUT_FACTOR_COLUMN!r}]", numbers, np.isfinite(numbers) & (numbers > 0)),
        (f"layers[{HELD_OUT_LAYER!r}]", counts.data, (counts.data > 0) & (counts.data == np.rint(counts.data))),
    ):
        if not good.all():
            raise InputProblem(
                f"cannot score against {path}: {what} is not as sccr evaluate split-molecules wrote it (it contains "
                f"{values[~good][0]:g}); give the file that it wrote"
            )
    return HeldOut(training, counts, numbers, how["fraction"]), how


def _refuse_another_x(path: Path, data: Dataset, training: Any, console: Console) -> None:
    """Refuse a file whose X is no longer the training half: a tool's output keeps everything else.

    Raises
    ------
    InputProblem
        X differs from the logs of the training counts.
    """
    factors = data.obs_column(FACTOR_COLUMN)
    with reading(path, f"obs[{FACTOR_COLUMN!r}]"):
        numbers = factors.to_numpy(dtype=np.float64)
    with open_dataset(path, "counts") as stored:
        counts = selected_values(stored, np.arange(stored.n_genes), console.progress)
    same = np.array_equal(counts.indptr, training.indptr) and np.array_equal(counts.indices, training.indices)
    if not (same and np.allclose(prepare_block(counts, numbers).data, training.data, rtol=1e-4, atol=1e-6)):
        raise InputProblem(
            f"cannot score against {path}: its X is not the training half, which layers['counts'] has; give the file "
            "that sccr evaluate split-molecules wrote first, then the candidate"
        )


def _blocks(candidate: Dataset, cells: NDArray[np.intp], genes: NDArray[np.intp]) -> Iterator[Block]:
    """Yield the candidate's values in the order of the training data's genes; the cells by their row there."""
    height = max(1, (1 << 20) // candidate.n_genes)
    in_order = np.array_equal(genes, np.arange(len(genes)))
    for first, block in candidate.blocks():
        for start in range(0, block.shape[0], height):
            rows = block[start : start + height].toarray().astype(np.float64)
            if not in_order:
                rows[:, genes] = rows.copy()
            yield cells[first + start : first + start + len(rows)], rows
