"""Imputes a matrix with more than 2**31 values, and looks for what an index that is too small would have done to it.

``python -m tests.campaigns.large FOLDER`` simulates 275,000 cells x 17,000 genes in FOLDER, imputes nearly half of the
genes (so that the layer is sparse, and has more entries than int32 can count), and compares the first and the last
cells of the result with what was observed in them. It needs 21 GB of memory, or --max-memory and as much on the disk,
and on the disk another 20 GB for the files.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np

N_CELLS, N_GENES, N_IMPUTED = 275_000, 17_000, 8_300
LOOKED_AT = 500


def sccr(*words):
    command = [sys.executable, "-m", "sccr_node", *map(str, words)]
    print("$ sccr", *command[3:], flush=True)
    began = time.monotonic()
    subprocess.run(command, check=True)
    print(f"{time.monotonic() - began:.0f} s", flush=True)


def rows(group, first, last):
    """Return rows of a matrix as a dense one, and check how they are stored if it is sparse."""
    if isinstance(group, h5py.Dataset):
        return group[first:last]
    pointers = group["indptr"][first : last + 1]
    start, stop = int(pointers[0]), int(pointers[-1])
    columns, values = group["indices"][start:stop], group["data"][start:stop]
    assert columns.min() >= 0 and columns.max() < group.attrs["shape"][1]
    made = np.zeros((last - first, int(group.attrs["shape"][1])), np.float32)
    for row, (begin, end) in enumerate(zip(pointers[:-1] - start, pointers[1:] - start, strict=True)):
        assert (np.diff(columns[begin:end]) > 0).all(), "a row's columns are not sorted"
        made[row, columns[begin:end]] = values[begin:end]
    return made


def own_and_others(observed, imputed):
    """Return the median correlation of cells with what was observed in them, and in the cells after them."""
    logs = np.log1p(observed / np.maximum(observed.sum(axis=1, keepdims=True), 1) * 1e4)

    def correlations(these):
        return np.median([np.corrcoef(one, other)[0, 1] for one, other in zip(these, imputed, strict=True)])

    return correlations(logs), correlations(np.roll(logs, -1, axis=0))


def look(counts, result):
    """Raise AssertionError if the layer is not what it should be."""
    with h5py.File(counts) as before, h5py.File(result) as after:
        layer = after["layers/sccr"]
        pointers = layer["indptr"][:]
        n_entries = int(pointers[-1])
        print(f"{n_entries:,} entries, 2**31 times {n_entries / 2**31:.2f}; indptr is {pointers.dtype}")
        assert n_entries > 2**31 and pointers.dtype == np.int64 and (np.diff(pointers) > 0).all()
        assert layer["data"].shape == layer["indices"].shape == (n_entries,)
        found = {}
        for name, first in (("first", 0), ("last", len(pointers) - 1 - LOOKED_AT)):
            imputed = rows(layer, first, first + LOOKED_AT)
            assert np.isfinite(imputed).all()
            own, others = found[name] = own_and_others(rows(before["X"], first, first + LOOKED_AT), imputed)
            print(f"{name} {LOOKED_AT} cells: correlation with own counts {own:.3f}, with others' {others:.3f}")
        assert all(own > others + 0.02 for own, others in found.values())
        assert abs(found["first"][0] - found["last"][0]) < 0.05


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--max-memory", help="more than this is kept on the disk, in FOLDER")
    parser.add_argument("--cells", type=int, default=N_CELLS)
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    counts, result = asked.folder / "counts.h5ad", asked.folder / "imputed.h5ad"
    if not counts.exists():
        sccr(
            "simulate",
            counts,
            "--n-cells",
            asked.cells,
            "--n-genes",
            N_GENES,
            "--n-types",
            20,
            "--depth",
            500,
            "--no-truth",
        )
    limit = ["--max-memory", asked.max_memory, "--work-dir", asked.folder] if asked.max_memory else []
    # Sizes matter here, not what a run usually takes: two components, and as many steps as leave few values at zero.
    short = ["--n-iterations", 10, "--n-components", 2]
    sccr("impute", counts, result, "--n-top-genes", N_IMPUTED, *short, *limit, "--force")
    look(counts, result)


if __name__ == "__main__":
    main()
