"""The Python API: the step on an AnnData object in memory, in the manners of scverse."""

from __future__ import annotations

import inspect
from functools import partial
from typing import Any

import numpy as np
from anndata import AnnData
from pydantic import ValidationError
from scipy import sparse

from sccr_node.anndata_io.reading import wrap_anndata
from sccr_node.anndata_io.writing import check_keys
from sccr_node.attachment import (
    imputed_flags,
    layer_blocks,
    layer_is_sparse,
    over_all_genes,
    summary_of_run,
)
from sccr_node.errors import UsageProblem
from sccr_node.examination import check_memory, examine
from sccr_node.feedback import Feedback
from sccr_node.params import ImputeParameters, fields_by_group, result_keys
from sccr_node.running import OutputName, run_methods
from sccr_node.settings import first_problem

_OF_FILES = ("force", "compression", "provenance", "report", "multiqc", "label_key", "dry_run", "log_format", "debug")

OPTIONS = {name: field for name, field in ImputeParameters.model_fields.items() if name not in _OF_FILES}
"""The parameters of the step that make sense without files."""


def impute(adata: AnnData, *, copy: bool = False, **options: Any) -> AnnData | None:
    """Impute expression with scCR, scFP or scBFP and attach the result.

    Parameters
    ----------
    adata
        Cells x genes: counts, or log-normalised expression. X, the layers and everything else stay as they are.
    copy
        Return a copy with the result instead of changing ``adata``.
    **options
        The parameters of ``sccr impute`` under their own names and with the same defaults, such as ``layer``,
        ``genes``, ``batch_key``, ``method``, ``write``, ``key_added``, ``overwrite_keys``, ``threads`` or ``quiet``;
        the function's signature names them all.

    Returns
    -------
    None, or with ``copy`` the copy. With the default ``key_added`` of ``"sccr"`` these are set:

    ``layers['sccr']``, ``layers['sccr_recovered']``
        Denoised and recovered expression (float32, cells x all genes, logs), as ``write`` asks; genes that were not
        imputed keep their normalised values.
    ``obsm['X_sccr']``
        Principal components of the denoised, imputed genes.
    ``varp['sccr_relations']``
        The signed gene graph (not with ``batch_key``, and not for scFP).
    ``var['sccr_imputed']``
        Which genes were imputed.
    ``uns['sccr']``
        What was run, and what was found.

    Raises
    ------
    sccr_node.errors.SccrError
        The parameters, the data or the memory do not allow it; ``adata`` is unchanged then.

    Examples
    --------
    >>> import scanpy as sc, sccr_node
    >>> adata = sc.read_h5ad("after_quality_control.h5ad")  # doctest: +SKIP
    >>> sccr_node.impute(adata, batch_key="sample")  # doctest: +SKIP
    >>> sc.pp.neighbors(adata, use_rep="X_sccr")  # doctest: +SKIP
    """
    if unknown := options.keys() - OPTIONS.keys():
        raise TypeError(f"impute() got an unexpected keyword argument {sorted(unknown)[0]!r}")
    try:
        params = ImputeParameters(**options)
    except ValidationError as failure:
        raise UsageProblem(first_problem(failure)) from None
    feedback = Feedback(quiet=params.quiet)
    data = wrap_anndata(adata, params.layer)
    check_keys(data, result_keys(params.key_added), overwrite=params.overwrite_keys)
    examined = examine(data, params, feedback)
    check_memory(examined, params, feedback)
    outcome = run_methods(data, examined, params, feedback)

    layers: dict[str, OutputName] = {params.key_added: "denoised", f"{params.key_added}_recovered": "recovered"}
    made: dict[tuple[str, str], Any] = {}
    for slot, key in params.added_keys():
        if slot == "layers":
            blocks = layer_blocks(data, examined, outcome, layers[key], partial(feedback.progress, f"join {key}"))
            if layer_is_sparse(examined, outcome, layers[key]):
                made[slot, key] = sparse.vstack(list(blocks), format="csr")
            else:
                made[slot, key] = np.concatenate([block.toarray() for block in blocks])
        elif slot == "obsm":
            made[slot, key] = outcome.components
        elif slot == "varp":
            assert outcome.relations is not None
            made[slot, key] = over_all_genes(outcome.relations, examined.genes, data.n_genes)
        elif slot == "var":
            made[slot, key] = imputed_flags(examined.genes, data.n_genes)
        else:
            made[slot, key] = summary_of_run(data.layer, examined, outcome, params, feedback.messages)
    feedback.close_bar()
    # Only now, when everything is made, is the object touched.
    target = adata.copy() if copy else adata
    for slot, key in result_keys(params.key_added):
        if key in getattr(target, slot):
            del getattr(target, slot)[key]
    for (slot, key), value in made.items():
        getattr(target, slot)[key] = value
    return target if copy else None


def _signature() -> inspect.Signature:
    """Return the signature of :func:`impute` with every option, so that notebooks can complete and show them."""
    keyword = inspect.Parameter.KEYWORD_ONLY
    ordered = [
        (name, field)
        for fields in fields_by_group(ImputeParameters).values()
        for name, field in fields.items()
        if name in OPTIONS
    ]
    return inspect.Signature(
        [
            inspect.Parameter("adata", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=AnnData),
            *(
                inspect.Parameter(name, keyword, default=field.default, annotation=field.annotation)
                for name, field in ordered
            ),
            inspect.Parameter("copy", keyword, default=False, annotation=bool),
        ],
        return_annotation=AnnData | None,
    )


impute.__signature__ = _signature()  # type: ignore[attr-defined]
