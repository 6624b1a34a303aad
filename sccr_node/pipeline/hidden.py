"""What masked data and data with held-out molecules share: the file that a tool gets, and the checks of its output."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sccr_node.contract.shared import WritingParameters
from sccr_node.data.dataset import Dataset
from sccr_node.data.guard import listing
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
        It contains NaN or infinite values, counts, or values too high for logs.
    """
    summary = scan(candidate, console.progress, counted=np.ones(candidate.n_genes, bool))
    refuse_not_finite(summary)
    if not summary.n_nonzeros:
        console.warn(f"{summary.source} contains only zeros")
    elif summary.all_integers:
        raise InputProblem(
            f"cannot score {summary.source}: it contains counts (integers up to {summary.maximum:g}), but the truth is "
            f"log expression; give {logs}, or another {option}"
        )
    elif summary.maximum > LARGEST_LOG:
        raise InputProblem(
            f"cannot score {summary.source}: it contains values up to {summary.maximum:g}, too high for log "
            f"expression; if they are denoised counts, give {logs}"
        )
