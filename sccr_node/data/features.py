"""Which features are genes: by the labels that 10x, scanpy and others write into ``var['feature_types']``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sccr_node.data.dataset import Dataset
from sccr_node.data.guard import listing
from sccr_node.errors import InputProblem
from sccr_node.runtime.console import Finding
from sccr_node.runtime.words import did_you_mean, plural, quantity

if TYPE_CHECKING:
    import pandas as pd

FEATURE_COLUMNS = ("feature_types", "feature_type")

EXPRESSION = ("gene expression", "gex", "rna", "mrna", "gene", "genes", "expression")
BIOTYPES = re.compile(
    r"protein_coding(_\w+)?|(\w+_)?pseudogene|(ig|tr)_[cdjlv]+_gene|[cdjv]_(gene_)?(region|segment)"
    r"|(\w+_)?(lnc|linc|nc)rna|(mi|misc_|mt_r|mt_t|pi|r|s|sc|sca|sn|sno|t|vault_?|y_)rna"
    r"|antisense(_rna)?|(rnase_mrp|rnase_p|srp|telomerase)_rna|ribozyme|tec|artifact|sense_(intronic|overlapping)"
    r"|processed_transcript|retained_intron|retrotransposed|nonsense_mediated_decay|non_stop_decay|non_coding"
    r"|ambiguous_orf|disrupted_domain"
)
"""What kind of gene it is, in the words of GENCODE, Ensembl and NCBI: each of them is a gene."""
OTHERS = (
    "adt", "antibody", "antigen", "protein", "hto", "hashtag", "peak", "atac", "chromatin", "crispr", "guide", "sgrna",
    "multiplexing", "custom", "vdj",
)  # fmt: skip
"""How the labels of all other features begin."""


class Features(NamedTuple):
    """Which columns are genes, and what there is to say about the others."""

    counted: np.ndarray
    findings: list[Finding]


def choose_features(data: Dataset, feature_type: str | None = None) -> Features:
    """Choose the features that are counted and may be imputed.

    Parameters
    ----------
    data
        An opened data set.
    feature_type
        Labels to take, separated by commas, in any case; None recognises the usual labels of gene expression.

    Returns
    -------
    Features
        All columns if ``var`` has no feature types.

    Raises
    ------
    InputProblem
        A label that was asked for does not exist, or the labels do not tell which features are genes.
    """
    column = next((name for name in FEATURE_COLUMNS if data.has_key("var", name)), None)
    if column is None:
        if feature_type is not None:
            raise InputProblem(
                f"cannot choose features by --feature-type: var of {data.path} has no column {FEATURE_COLUMNS[0]!r}"
            )
        return Features(np.ones(data.n_genes, dtype=bool), [])
    labels = data.var_column(column)
    named = labels.astype("string").str.strip()
    missing = (labels.isna() | (named == "")).to_numpy(dtype=bool)
    if missing.all() and feature_type is None:
        return Features(np.ones(data.n_genes, dtype=bool), [])
    plain = named.str.casefold()
    where = f"var[{column!r}] of {data.path}"
    if feature_type is not None:
        counted = _asked(plain, named, feature_type, where)
    else:
        counted = _recognised(plain, named, missing, where)
    return Features(counted, _left_out(named, counted))


def _asked(plain: pd.Series[str], named: pd.Series[str], feature_type: str, where: str) -> np.ndarray:
    wanted = [label.strip() for label in feature_type.split(",") if label.strip()]
    unknown = [label for label in wanted if not (plain == label.casefold()).any()]
    if unknown:
        hint = did_you_mean(unknown[0], _distinct(named))
        raise InputProblem(f"{where} has no label {listing(unknown)}; it has {listing(_distinct(named))}{hint}")
    return np.asarray(plain.isin([label.casefold() for label in wanted]).fillna(False), dtype=bool)


def _recognised(plain: pd.Series[str], named: pd.Series[str], missing: np.ndarray, where: str) -> np.ndarray:
    genes = [label for label in _distinct(plain) if label in EXPRESSION or BIOTYPES.fullmatch(label)]
    counted = np.asarray(plain.isin(genes).fillna(False), dtype=bool)
    advice = "choose with --feature-type LABEL,..."
    if not counted.any():
        others = [label for label in _distinct(named) if label.casefold().startswith(OTHERS)]
        if len(others) == len(_distinct(named)) and not missing.any():
            raise InputProblem(f"{where} contains no gene expression, only {listing(others)}; {advice}")
        raise InputProblem(f"{where} does not tell which features are genes: {_found(named, missing)}; {advice}")
    if missing.any():
        raise InputProblem(f"{where} has labels only for some features: {_found(named, missing)}; {advice}")
    return counted


def _found(named: pd.Series[str], missing: np.ndarray) -> str:
    labels = f"its labels are {listing(_distinct(named))}"
    return f"{labels}, and {quantity(int(missing.sum()), 'feature')} without one" if missing.any() else labels


def _distinct(named: pd.Series[str]) -> list[str]:
    return [str(label) for label in dict.fromkeys(named.dropna()) if label]


def _left_out(named: pd.Series[str], counted: np.ndarray) -> list[Finding]:
    n_left = int((~counted).sum())
    if not n_left:
        return []
    taken, left = _distinct(named[counted]), _distinct(named[~counted])
    return [
        Finding(
            f"{quantity(n_left, 'feature')} ({listing(left, 5)}) {plural(n_left, 'is', 'are')} not "
            f"{listing(taken, 5)}: kept, but neither counted nor imputed",
            warning=True,
        )
    ]
