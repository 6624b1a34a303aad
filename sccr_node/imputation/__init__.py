"""The imputation itself: arrays in, arrays out (scCR, scFP, scBFP, and the PCA of what they give)."""

from collections.abc import Callable

from sccr_node.imputation._kernels import level, usable_cpus
from sccr_node.imputation.embedding import principal_components
from sccr_node.imputation.estimates import Estimate, estimate
from sccr_node.imputation.expression import Imputed
from sccr_node.imputation.graphs import cell_graph, gene_graph
from sccr_node.imputation.propagation import hard_propagation, soft_propagation
from sccr_node.imputation.scbfp import scbfp
from sccr_node.imputation.sccr import sccr
from sccr_node.imputation.scfp import scfp

IMPUTERS: dict[str, Callable[..., Imputed]] = {"sccr": sccr, "scfp": scfp, "scbfp": scbfp}

__all__ = [
    "IMPUTERS",
    "Estimate",
    "Imputed",
    "cell_graph",
    "estimate",
    "gene_graph",
    "hard_propagation",
    "level",
    "principal_components",
    "scbfp",
    "sccr",
    "scfp",
    "soft_propagation",
    "usable_cpus",
]
