"""What a run will take: the peak of memory and the floating point operations, from the shape alone."""

from dataclasses import dataclass

from sccr_node.imputation._kernels import PANEL, TILE, usable_cpus
from sccr_node.imputation.graphs import SPARE, buffer_size
from sccr_node.imputation.propagation import GENE_BLOCK, block_width


@dataclass(frozen=True)
class Estimate:
    """Peak `bytes` that the core allocates beyond its input, and its floating point `operations`."""

    bytes: int
    operations: int


def estimate(
    n_cells: int,
    n_genes: int,
    n_stored: int,
    *,
    method: str = "sccr",
    denoised: bool = True,
    recovered: bool = False,
    k_cell: int = 15,
    k_gene: int = 2,
    n_iterations: int = 40,
    n_gene_iterations: int = 40,
    threads: int | None = None,
) -> Estimate:
    """Estimate a run on `n_cells` x `n_genes` with `n_stored` non-zero values."""
    workers = threads or usable_cpus()
    buffers = 4 * buffer_size(n_cells, n_genes) * (2 if method == "sccr" else 1)
    width = block_width(n_cells)
    nodes = max(n_cells, n_genes) if method != "scfp" else n_cells
    heaps = workers * 8 * (n_cells * (k_cell + 1 + SPARE) + n_genes * (k_gene + 1 + SPARE) * (method != "scfp"))
    search = workers * 4 * (TILE * TILE + PANEL * nodes)
    propagation = workers * 3 * 4 * max(n_cells * width, n_genes * GENE_BLOCK)
    graph = 160 * n_cells * (k_cell + 1)
    copies = 20 * n_stored + 16 * (n_cells + n_genes)
    edges = n_cells * 2 * (k_cell + 1)
    products = n_cells * n_cells * n_genes
    n_propagations = {"sccr": 3 if denoised else 2, "scfp": 2, "scbfp": 1}[method]
    n_searches = {"sccr": 2 if denoised else 1, "scfp": 1, "scbfp": 1}[method]
    operations = n_searches * products + n_cells * n_stored + n_propagations * n_iterations * edges * n_genes * 2
    if method == "sccr":
        operations += n_genes * n_genes * n_cells
    if method != "scfp":
        operations += n_gene_iterations * n_genes * 2 * (k_gene + 1) * n_cells * 2
    return Estimate(buffers + max(heaps + search, propagation) + graph + copies, operations)
