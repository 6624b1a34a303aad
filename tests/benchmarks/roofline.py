"""How fast propagation runs, by where a cell's neighbours are: in the caches, or anywhere in memory.

    python tests/benchmarks/roofline.py [--cells 71499 1000000] [--data ATLAS.h5ad]

On graphs of 28 neighbours per cell drawn from the nearest so many cells, on two threads with a block each, as in a run:
the work is the same, so that the rows show what memory costs. With --data also the graph of the observed values of real
cells, in the order of its groups and in reverse Cuthill-McKee order. docs/benchmarks.md holds what it printed.
"""

import argparse
import threading
import time
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from scale import N_NEIGHBORS, atlas, logs

from sccr_node.methods.cells import joined_cells
from sccr_node.numerics import Workspace
from sccr_node.numerics._kernels import WIDTHS, kernels
from sccr_node.numerics.graphs import CellGraph
from sccr_node.numerics.neighbors import SparseRows
from sccr_node.numerics.propagation import Ordered

N_EDGES = 28
REPEATS = 5
THREADS = 2


def near(n_cells: int, within: int) -> CellGraph:
    """Return a graph whose neighbours are at most so many cells away, in the order of the cells."""
    random = np.random.default_rng(0)
    rows = np.repeat(np.arange(n_cells), N_EDGES)
    columns = (rows + random.integers(-within, within + 1, len(rows))) % n_cells
    weights = np.full(len(rows), 1 / N_EDGES, np.float32)
    adjacency = sp.csr_matrix((weights, columns, np.arange(0, len(rows) + 1, N_EDGES)), shape=(n_cells, n_cells))
    return CellGraph(adjacency, np.arange(n_cells))


def within(graph: CellGraph) -> int:
    """Return the distance, in the order of propagation, within which three quarters of the neighbours are."""
    nodes = Ordered.of(graph)
    rows = np.repeat(np.arange(len(nodes.indptr) - 1), np.diff(nodes.indptr))
    return int(np.quantile(np.abs(rows - nodes.indices), 0.75))


def speed(graph: CellGraph, width: int) -> float:
    """Return the GFLOP/s of hard propagation on all threads together, the median of a few runs."""
    nodes = Ordered.of(graph)
    n_cells = len(nodes.indptr) - 1
    steps = max(2, 300_000 // n_cells)
    held = np.full((n_cells, width), np.nan, np.float32)
    held[::7] = 1
    blocks = [np.random.default_rng(0).random(n_cells * width, dtype=np.float32) for _ in range(THREADS)]
    others = [np.zeros(n_cells * width, np.float32) for _ in range(THREADS)]
    cancelled = np.zeros(1, np.int32)

    def propagate(worker: int) -> None:
        kernels().propagate_hard(
            nodes.indptr, nodes.indices, nodes.data, n_cells, width, held.ravel(), blocks[worker], others[worker],
            steps, cancelled,
        )  # fmt: skip

    found = []
    for _ in range(REPEATS):
        crew = [threading.Thread(target=propagate, args=(worker,)) for worker in range(THREADS)]
        began = time.perf_counter()
        for thread in crew:
            thread.start()
        for thread in crew:
            thread.join()
        found.append(2 * len(nodes.data) * width * steps * THREADS / (time.perf_counter() - began) / 1e9)
    return float(np.median(found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, nargs="+", default=[8569, 71499])
    parser.add_argument("--data", type=Path)
    asked = parser.parse_args()
    print("| cells | neighbours | three quarters within | " + " | ".join(f"{width} columns" for width in WIDTHS) + " |")
    print("|---" * (3 + len(WIDTHS)) + "|")
    for n_cells in asked.cells:
        graphs = {f"within {within:,}": near(n_cells, within) for within in (50, 500, 2000) if 2 * within < n_cells}
        graphs["anywhere"] = near(n_cells, n_cells // 2)
        if asked.data is not None:
            x = logs(atlas(asked.data, n_cells)[0].X)
            graph = joined_cells(
                SparseRows.of(x[np.diff(x.indptr) > 0]), N_NEIGHBORS + 1, Workspace(THREADS), "clustered"
            )
            graphs["real, in the order of groups"] = graph
            graphs["real, reverse Cuthill-McKee"] = CellGraph(graph.adjacency)
        for name, graph in graphs.items():
            speeds = " | ".join(f"{speed(graph, width):.0f}" for width in WIDTHS)
            print(f"| {n_cells:,} | {name} | {within(graph):,} | {speeds} |", flush=True)


if __name__ == "__main__":
    main()
