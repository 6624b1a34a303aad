"""What masked data and data with held-out molecules share: the file that a tool gets, and the checks of its output."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sccr_node.contract.keys import MASK_KEY, MOLECULES_KEY
from sccr_node.contract.shared import WritingParameters
from sccr_node.data.dataset import Dataset
from sccr_node.data.guard import listing, reading
from sccr_node.data.scale import LARGEST_LOG, refuse_not_finite
from sccr_node.data.summary import scan
from sccr_node.errors import InputProblem, UsageProblem
from sccr_node.runtime.console import Console
from sccr_node.runtime.words import quantity
from sccr_node.storage.files import is_named_h5ad, write_h5ad_atomically
from sccr_node.storage.store import quiet
from sccr_node.storage.targets import Target, check_targets

TRUTH_LAYER = "truth"
HELD_OUT_LAYER = "held_out"

FACTOR_COLUMN = "sccr_mask_factor"
"""Column of obs with size factors: counts in the file are scored as log1p(counts x factor)."""

RECORDED = {
    MASK_KEY: ("mechanism", "rate", "seed", "n_masked", "n_observed", "target_sum"),
    MOLECULES_KEY: ("fraction", "seed", "target_sum", "n_training", "n_held_out"),
}
"""What the records of hidden values say of the data, and of what was hidden in them."""

HIDDEN = {MASK_KEY: ("data that were masked", "mask"), MOLECULES_KEY: ("molecules that were split", "split")}
"""How data with hidden values are called in messages, and how they are made."""

MOST_NEGATIVE = 0.25
"""Share of negative values up to which a matrix can be log expression: tools that centre the genes have half."""

LIKELY = (0.8, 1.25)
"""Means of predictions, relative to the mean of the truth, that need no warning."""


def check_output(what: str, input_path: Path, output_path: Path, asked: WritingParameters) -> None:
    """Refuse an output that is no .h5ad file, or that must not be written.

    Raises
    ------
    SccrError
        It is one of these; ``what`` names the data in the message.
    """
    if not is_named_h5ad(output_path):
        raise UsageProblem(f"cannot write {output_path}: {what} are written as .h5ad; choose a name that ends in .h5ad")
    check_targets([Target(output_path)], [input_path, *asked.files_read()], force=asked.force)


def tables_of(data: Dataset, genes: NDArray[np.intp]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return ``obs``, and ``var`` of the selected genes."""
    obs = pd.DataFrame({name: data.obs_column(name).array for name in data.keys("obs")}, index=data.cell_names)
    var = pd.DataFrame(
        {name: data.var_column(name).array[genes] for name in data.keys("var")}, index=data.gene_names[genes]
    )
    return obs, var


def write_for_tools(
    output_path: Path,
    expression: Any,
    tables: tuple[pd.DataFrame, pd.DataFrame],
    layers: Mapping[str, Any],
    uns: Mapping[str, Any],
    *,
    replace: bool,
) -> None:
    """Write the data set that a tool gets."""
    import anndata as ad

    obs, var = tables
    with quiet():  # duplicate names in the input are not our concern
        adata = ad.AnnData(expression, obs=obs, var=var, layers=dict(layers), uns=dict(uns))
        write_h5ad_atomically(output_path, adata, replace=replace)


def matching(wanted: NDArray[Any], found: NDArray[Any], what: str, where: str) -> NDArray[np.intp]:
    """Return the position of every found name among the wanted ones.

    Parameters
    ----------
    wanted, found
        Names; those found can be in a different order.
    what
        ``cell`` or ``gene``.
    where
        Source of the names found.

    Raises
    ------
    InputProblem
        One has names that the other lacks, or names in a different order are not unique.
    """
    if len(wanted) == len(found) and (wanted == found).all():
        return np.arange(len(wanted))
    for names, others, verb, counted in ((wanted, found, "lacks", what), (found, wanted, "has", f"extra {what}")):
        differing = names[~np.isin(names, others)]
        if differing.size:
            raise InputProblem(
                f"cannot score {where}: it {verb} {quantity(differing.size, counted)} "
                f"({listing(differing.tolist(), 3)}); it must have exactly the cells and genes of the data that were "
                "made for it"
            )
    if len(np.unique(wanted)) < len(wanted) or len(wanted) != len(found):
        raise InputProblem(
            f"cannot score {where}: its {what}s are not in the order of the data that were made for it, and their "
            f"names are not unique; keep the order of the {what}s, or make their names unique first"
        )
    return np.asarray(pd.Index(wanted).get_indexer(pd.Index(found)), dtype=np.intp)


def seed_of(record: Mapping[str, Any]) -> int:
    """Return the seed that a record of hidden values names.

    Raises
    ------
    ValueError
        It is not a seed: rounded, it would stand for values that were not hidden.
    """
    seed = int(record["seed"])
    if seed != record["seed"] or seed < 0:
        raise ValueError(f"its seed is {record['seed']}")
    return seed


def differing(expected: Mapping[str, Any], found: Mapping[str, Any], *, within: float = 1e-5) -> list[str]:
    """Return the names of what a record says otherwise than the data do."""
    return [name for name, value in expected.items() if not _agree(value, found.get(name), within)]


def _agree(value: Any, other: Any, within: float) -> bool:
    if value is None or other is None or isinstance(value, str) or isinstance(other, str):
        return value is other or (isinstance(value, str) and value == other)
    return bool(np.isclose(float(other), float(value), rtol=within))


def hidden_since(candidate: Dataset, given: Dataset) -> dict[str, list[str]]:
    """Return what was hidden in the data that a candidate was made from, but not, or not so, in the data given.

    Returns
    -------
    dict
        At most one key of ``uns``, and the names of what its records say differently: none if ``given`` has no record.

    Raises
    ------
    InputProblem
        It has two kinds of hidden values: one of them was hidden from nobody knows what.
    """
    found: dict[str, list[str]] = {}
    for key, names in RECORDED.items():
        if not candidate.has_key("uns", key):
            continue
        if not given.has_key("uns", key):
            found[key] = []
            continue
        own, known = (data.element("uns", key) for data in (candidate, given))
        with reading(candidate.path, f"uns[{key!r}]"):
            seed_of(own)
            recorded = {name: own[name] if name in known else own.get(name) for name in names}
        with reading(given.path, f"uns[{key!r}]"):
            if otherwise := differing(recorded, known):
                found[key] = otherwise
    if len(found) > 1:
        raise InputProblem(
            f"cannot score {candidate.source}: it has two kinds of hidden values (uns has "
            f"{' and '.join(map(repr, found))}), and it was made from one of them; remove the other from uns"
        )
    return found


def of_other_data(candidate: Dataset, key: str, why: str, remedy: str) -> InputProblem:
    """Return the problem of a candidate that was made from other hidden values than those that it is scored at."""
    what, _ = HIDDEN[key]
    return InputProblem(
        f"cannot score {candidate.source}: it was made from {what} differently, or from other data ({why}); {remedy}"
    )


def refuse_untouched(candidate: Dataset, given: Dataset, how: str, option: str = "--layer") -> None:
    """Refuse a candidate whose X is as it was given to the tool, if there are layers that the tool added.

    Parameters
    ----------
    candidate, given
        Its output and its input.
    how
        How it can be told, for the message.
    option
        The option that names a layer.
    """
    others = [name for name in candidate.keys("layers") if name not in given.keys("layers")]
    if others:
        raise InputProblem(
            f"cannot score {candidate.source}: {how}, as if nothing had been imputed; name the layer to score with "
            f"{option}: {listing(others)}"
        )


def refuse_other_scales(
    candidate: Dataset,
    console: Console,
    *,
    logs: str = f"log1p(counts x obs[{FACTOR_COLUMN!r}])",
    option: str = "--layer",
) -> None:
    """Refuse a candidate that cannot be log expression.

    Parameters
    ----------
    candidate
        Any tool's output.
    console
        Shows progress.
    logs
        What to give instead of counts, for the message.
    option
        The option that names another layer.

    Raises
    ------
    InputProblem
        It contains NaN or infinite values, counts, values too high or too low for logs, or centred ones.
    """
    summary = scan(candidate, console.progress, counted=np.ones(candidate.n_genes, bool))
    refuse_not_finite(summary)
    if summary.vanishes:
        only = f"values that vanish as float32 (at most {summary.maximum:g})" if summary.n_nonzeros else "zeros"
        console.warn(f"{summary.source} contains only {only}")
    elif summary.minimum < -LARGEST_LOG:
        raise InputProblem(
            f"cannot score {summary.source}: it contains values down to {summary.minimum:g}, too low for log "
            f"expression; give {logs}, or another {option}"
        )
    elif summary.all_integers and not summary.is_too_large:
        raise InputProblem(
            f"cannot score {summary.source}: it contains counts (integers up to {summary.maximum:g}), but the truth is "
            f"log expression; give {logs}, or another {option}"
        )
    elif summary.maximum > LARGEST_LOG:
        raise InputProblem(
            f"cannot score {summary.source}: it contains values up to {summary.maximum:g}, too high for log "
            f"expression; if they are denoised counts, give {logs}"
        )
    elif summary.negative.n > MOST_NEGATIVE * summary.n_cells * summary.n_genes:
        share = summary.negative.n / (summary.n_cells * summary.n_genes)
        raise InputProblem(
            f"cannot score {summary.source}: {share:.0%} of its values are negative, as if genes had been centred or "
            f"scaled; give {logs}, or another {option}"
        )


def warn_of_scale(overestimate: float, source: str, console: Console) -> None:
    """Warn if predictions are, on average, far from the held-out values.

    Parameters
    ----------
    overestimate
        The mean prediction, divided by the mean truth.
    source
        What the predictions are.
    console
        Shows the warning.
    """
    least, most = LIKELY
    if not least <= overestimate <= most:
        console.warn(
            f"the values of {source} are on average {overestimate:.3g} times the held-out ones: either the tool "
            f"{'over' if overestimate > 1 else 'under'}estimates, or its values are on a different scale from X "
            f"of the training data, which is log1p(counts x obs[{FACTOR_COLUMN!r}])"
        )
