"""Speed and memory of the core: against the dense published algorithm, against MAGIC, and kernel by kernel.

    python tests/benchmarks/benchmark_core.py [--cells 2100 4186 8569] [--repeats 3] [--json FILE]

Everything that is compared runs in turn in one go, so that a busy machine slows both; medians and ratios are printed,
and CPU seconds beside the wall's, which a busy machine leaves about as they are.
MAGIC 3.0.0 needs an older pandas and gets a virtual environment of its own (--magic-environment).
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import anndata
import numpy as np
import scipy.sparse as sp

from sccr_node.methods import sccr
from sccr_node.numerics import cell_graph, hard_propagation, level, usable_cpus

N_GENES = 2000
SHARED = Path(os.environ.get("SCCR_SHARED", Path(__file__).resolve().parents[3] / "shared"))
ATLAS = SHARED / "data" / "mca_12tissues.h5ad"
MAGIC_REQUIREMENTS = ["magic-impute==3.0.0", "pandas<2", "numpy<2", "scipy<1.12"]
MAGIC_PROGRAM = """
import sys, time
import magic, scipy.sparse
x = scipy.sparse.load_npz(sys.argv[1])
started, cpu = time.perf_counter(), time.process_time()
magic.MAGIC(verbose=0, n_jobs=-1, random_state=0).fit_transform(x)
print(time.perf_counter() - started, time.process_time() - cpu)
"""
CORE_PROGRAM = """
import sys
import scipy.sparse
from sccr_node.methods import sccr
x = scipy.sparse.load_npz(sys.argv[1])
sccr(x, recovered=True)
status = open("/proc/self/status").read()
print(int(status.split("VmHWM:")[1].split()[0]))
"""


def prepared(counts):
    """Prepare counts as in the paper: top-variance genes, median depth over them, log1p."""
    mean = np.asarray(counts.mean(axis=0)).ravel()
    variance = np.asarray(counts.multiply(counts).mean(axis=0)).ravel() - mean**2
    counts = counts[:, np.sort(np.argsort(-variance, kind="stable")[:N_GENES])]
    totals = np.asarray(counts.sum(axis=1)).ravel()
    counts, totals = counts[totals > 0], totals[totals > 0]
    return sp.csr_matrix(sp.diags(np.median(totals) / totals) @ counts).log1p().astype(np.float32).tocsr()


def real_cells(n_cells, seed):
    """Draw cells from the atlas."""
    atlas = anndata.read_h5ad(ATLAS)
    drawn = np.sort(np.random.default_rng(seed).choice(atlas.n_obs, n_cells, replace=False))
    return prepared(sp.csr_matrix(atlas.X[drawn]).astype(np.float64))


def simulated_cells(n_cells, seed):
    """Ten types of cells, negative binomial counts, about a tenth of the entries observed."""
    rng = np.random.default_rng(seed)
    types = rng.gamma(0.3, 1.0, (10, 3000))
    types /= types.sum(axis=1, keepdims=True)
    depth = rng.lognormal(6.5, 0.3, n_cells)
    kinds = rng.integers(0, 10, n_cells)
    blocks = [
        sp.csr_matrix(rng.poisson(rng.gamma(2.0, 0.5, (len(rows), 3000)) * types[kinds[rows]] * depth[rows, None]))
        for rows in np.array_split(np.arange(n_cells), 8)
    ]
    return prepared(sp.vstack(blocks).astype(np.float64).tocsr())


def dense_transcription(x):
    """The published algorithm in float32 numpy: N x N and 2G x 2G dense, whole-width products, nothing clever."""

    def graph(e, k):
        norms = np.linalg.norm(e, axis=1, keepdims=True)
        e = e / np.where(norms > 0, norms, 1)
        similarity = e @ e.T
        kept = np.argpartition(-similarity, k, axis=1)[:, : k + 1]
        a = np.zeros_like(similarity)
        np.put_along_axis(a, kept, np.maximum(np.take_along_axis(similarity, kept, axis=1), 0), axis=1)
        a[np.diag_indices_from(a)] += 1
        a = (a + a.T) / 2
        a = sp.csr_matrix(a / a.sum(axis=1, keepdims=True))
        return a

    def hard(a, z, observed, mask):
        for _ in range(40):
            z = a @ z
            z[mask] = observed[mask]
        return z

    x = x.toarray()
    p = hard(graph(x, 15), x, x, x != 0)
    d, observed = np.hstack([p, -p]), np.hstack([x, -x])
    m, s = d.mean(axis=0), d.std(axis=0, ddof=1)
    s = np.where(s > 1e-6 * np.maximum(1, np.abs(m)), s, s.mean())
    z = np.ascontiguousarray(((d - m) / s).T)
    c = (hard(graph(z, 2), z, z, observed.T != 0).T * s + m)[:, : x.shape[1]]
    r = 0.05 * p + 0.95 * hard(graph(np.ascontiguousarray(c), 15), x, x, x != 0)
    a, denoised = graph(r, 15), x
    for _ in range(40):
        denoised = 0.99 * (a @ denoised) + 0.01 * x
    return 0.99 * denoised + 0.01 * r


def seconds(work, *arguments):
    started = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - started


def magic_python(folder):
    """Return the interpreter of MAGIC's environment, which is made where it is missing."""
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *MAGIC_REQUIREMENTS], check=True)
    return python


def kernel_figures(x):
    """GFLOP/s of propagation, ours and scipy's, on the same graph and 512 genes."""
    graph, part = cell_graph(x, 15), x[:, :512].tocsr()
    operations = 2 * graph.nnz * part.shape[1]
    ours = seconds(hard_propagation, graph, part, 40)
    dense = part.toarray()
    theirs = seconds(lambda: [graph @ dense for _ in range(4)])
    return {"ours_gflops": 40 * operations / ours / 1e9, "scipy_gflops": 4 * operations / theirs / 1e9}


def measure(name, x, arguments, folder):
    file = folder / "x.npz"
    sp.save_npz(file, x)
    core, core_cpu, magic, magic_cpu, dense, stages = [], [], [], [], [], []
    for _ in range(arguments.repeats):
        started, cpu = time.perf_counter(), time.process_time()
        stages.append(sccr(x).seconds)
        core.append(time.perf_counter() - started)
        core_cpu.append(time.process_time() - cpu)
        if not arguments.no_magic:
            command = [magic_python(arguments.magic_environment), "-c", MAGIC_PROGRAM, file]
            taken = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
            magic.append(float(taken[0]))
            magic_cpu.append(float(taken[1]))
    if x.shape[0] <= arguments.dense_up_to:
        dense.append(seconds(dense_transcription, x))
    peak = int(
        subprocess.run([sys.executable, "-c", CORE_PROGRAM, file], check=True, capture_output=True, text=True).stdout
    )
    figures = {
        "data": name,
        "cells": x.shape[0],
        "genes": x.shape[1],
        "density": x.nnz / np.prod(x.shape),
        "core_seconds": statistics.median(core),
        "core_cpu_seconds": statistics.median(core_cpu),
        "stages": {stage: statistics.median(run[stage] for run in stages) for stage in stages[0]},
        "peak_mib_both_outputs": peak / 1024,
        "peak_bound_mib": 2.5 * np.prod(x.shape) * 4 / 2**20 + 400 + x.data.nbytes * 2 / 2**20,
        **kernel_figures(x),
    }
    if magic:
        figures["magic_seconds"] = statistics.median(magic)
        figures["magic_cpu_seconds"] = statistics.median(magic_cpu)
        figures["core_to_magic"] = statistics.median(c / m for c, m in zip(core, magic, strict=True))
    if dense:
        figures["dense_seconds"] = dense[0]
        figures["dense_to_core"] = dense[0] / figures["core_seconds"]
    for key, value in figures.items():
        if key == "stages":
            for stage, taken in value.items():
                print(f"    {stage:40} {taken:8.2f} s")
        else:
            print(f"  {key:24} {value:.3g}" if isinstance(value, float) else f"  {key:24} {value}")
    return figures


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, nargs="+", default=[2100, 4186, 8569])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", choices=["real", "simulated"], nargs="+", default=["real", "simulated"])
    parser.add_argument("--no-magic", action="store_true")
    parser.add_argument("--dense-up-to", type=int, default=8569, help="cells; the dense transcription takes minutes")
    parser.add_argument(
        "--magic-environment", type=Path, default=Path(tempfile.gettempdir()) / "sccr-benchmark-magic", metavar="FOLDER"
    )
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()

    model = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "")
    machine = {
        "cpu": model.partition(": ")[2] or platform.processor(),
        "cpus": usable_cpus(),
        "instructions": level(),
        "load_before": os.getloadavg()[0],
        "python": platform.python_version(),
        "numpy": np.__version__,
    }
    print(machine)
    results = []
    sources = {"real": real_cells, "simulated": simulated_cells}
    with tempfile.TemporaryDirectory() as folder:
        for kind in arguments.data:
            for n_cells in arguments.cells:
                print(f"{kind} cells, {n_cells}:")
                results.append(measure(kind, sources[kind](n_cells, arguments.seed), arguments, Path(folder)))
    own_peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"load after {os.getloadavg()[0]:.1f}, this process's peak {own_peak:.0f} MiB")
    if arguments.json:
        arguments.json.write_text(json.dumps({"machine": machine, "results": results}, indent=2) + "\n")


if __name__ == "__main__":
    main()
