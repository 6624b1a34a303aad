"""The clustered search beside the exact one, on cells of the mouse atlas: CPU seconds, and the recall over all cells.

    python tests/benchmarks/searches.py --data ATLAS.h5ad [--cells 4096 8192 16384 23833] [--seed 0]

Searched are the observed values (sparse) and the recovered ones (dense), for 15 neighbours beside the cell itself.
CPU seconds, of both threads, hardly depend on what else the machine does. docs/benchmarks.md holds what it printed.
"""

import argparse
import time
from pathlib import Path

import numpy as np
from scale import N_GENES, N_NEIGHBORS, atlas, logs

from sccr_node.methods import sccr
from sccr_node.numerics import Workspace
from sccr_node.numerics.neighbors import DenseRows, SparseRows, buffer_size, search


def timed(rows, kind):
    began = time.process_time()
    found = search(rows, N_NEIGHBORS + 1, Workspace(2), kind)
    return found, time.process_time() - began


def compared(name, rows):
    """Return a row of the table."""
    exact, slow = timed(rows, "exact")
    found, quick = timed(rows, "clustered")
    known = exact.indices[:, 1:] >= 0
    hits = (exact.indices[:, 1:, None] == found.indices[:, None, 1:]).any(axis=2)
    summary = found.summary
    told = ["", ""] if summary is None else [f"{summary.recall:.4f}", f"{summary.n_searched / summary.n_groups:.0%}"]
    lost = 1 - found.scores.sum() / exact.scores.sum()
    figures = [f"{slow:.1f}", f"{quick:.1f}", f"{hits[known].mean():.4f}", *told, f"{lost:.2%}"]
    return "| " + " | ".join([f"{rows.n_rows:,}", name, *figures]) + " |"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cells", type=int, nargs="+", default=[4096, 8192, 16384, 23833])
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    print(
        "| cells | values | exact, CPU s | clustered, CPU s | recall | recall told | groups compared "
        "| similarity lost |"
    )
    print("|---" * 8 + "|")
    for n_cells in asked.cells:
        adata, _ = atlas(asked.data, n_cells, asked.seed)
        x = logs(adata.X)
        x = x[np.diff(x.indptr) > 0]
        print(compared("observed", SparseRows.of(x)), flush=True)
        recovered = sccr(x, recovered=True, denoised=False, threads=2).recovered
        rows = DenseRows(np.zeros(buffer_size(*recovered.shape), np.float32), x.shape[0], N_GENES)
        rows.matrix[:] = recovered
        print(compared("recovered", rows), flush=True)


if __name__ == "__main__":
    main()
