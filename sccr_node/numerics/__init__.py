"""The numerical core, arrays in and arrays out: neighbours, graphs, propagation, PCA, and their C kernels."""

from sccr_node.numerics._kernels import level
from sccr_node.numerics.graphs import cell_graph, gene_graph
from sccr_node.numerics.pca import principal_components
from sccr_node.numerics.propagation import hard_propagation, soft_propagation
from sccr_node.numerics.workspace import Workspace
from sccr_node.runtime.console import Progress

__all__ = [
    "Progress",
    "Workspace",
    "cell_graph",
    "gene_graph",
    "hard_propagation",
    "level",
    "principal_components",
    "soft_propagation",
]
