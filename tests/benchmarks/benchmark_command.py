"""Time and memory of the whole command, compared with the core: start-up, reading, preparing, imputing, PCA, writing.

    python tests/benchmarks/benchmark_command.py [--cells 2100 8569] [--repeats 5]

Cells are drawn from the mouse atlas with all of its genes. Every figure is of a fresh process and a median; the core's
seconds are those of the same run, from its record.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import anndata
import numpy as np
from benchmark_core import ATLAS

GENES = 2000


def one_run(source, folder):
    """Run the command and return its seconds, the core's, those of each other stage, and its peak of memory."""
    command = [sys.executable, "-m", "sccr_node", "impute", str(source), str(folder / "out.h5ad"), "--force", "--quiet"]
    began = time.monotonic()
    process = subprocess.Popen([*command, "--provenance", str(folder / "run.json")])
    _, status, usage = os.wait4(process.pid, 0)
    whole = time.monotonic() - began
    assert os.waitstatus_to_exitcode(status) == 0
    record = json.loads((folder / "run.json").read_text())
    stages = record["resources"]["seconds"]
    core = sum(seconds for stage, seconds in stages.items() if stage.startswith("impute: "))
    return {
        "whole": whole,
        "core": core,
        "start-up and record": whole - sum(stages.values()),
        **{stage: seconds for stage, seconds in stages.items() if not stage.startswith("impute: ")},
        "whole / core": whole / core,
        "CPU": usage.ru_utime + usage.ru_stime,
        "peak MB": record["resources"]["peak_memory_bytes"] / 1e6,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, nargs="+", default=[2100, 8569, 23833])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f} before")
    atlas = anndata.read_h5ad(ATLAS)
    for n_cells in arguments.cells:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            drawn = np.sort(np.random.default_rng(arguments.seed).choice(atlas.n_obs, n_cells, replace=False))
            part = atlas[drawn].copy()
            part.write_h5ad(folder / "in.h5ad")
            runs = [one_run(folder / "in.h5ad", folder) for _ in range(arguments.repeats)]
            record = json.loads((folder / "run.json").read_text())
            selected = n_cells * GENES * (1 - record["result"]["zeros_before"]) * 8
            bound = 2.5 * n_cells * GENES * 4 + 400e6 + selected
        print(f"\n{n_cells} cells x {atlas.n_vars} genes, {GENES} imputed, medians of {arguments.repeats}:")
        for figure in runs[0]:
            values = [run[figure] for run in runs]
            print(f"  {figure:24}{statistics.median(values):10.2f}   ({min(values):.2f} to {max(values):.2f})")
        print(f"  {'memory bound, MB':24}{bound / 1e6:10.0f}")
    for command in (["--version"], ["--help"]):
        times = []
        for _ in range(arguments.repeats):
            began = time.monotonic()
            subprocess.run([sys.executable, "-m", "sccr_node", *command], check=True, stdout=subprocess.DEVNULL)
            times.append(time.monotonic() - began)
        print(f"\nsccr {command[0]}: {statistics.median(times):.2f} s ({min(times):.2f} to {max(times):.2f})")
    print(f"load {os.getloadavg()[0]:.1f} after")


if __name__ == "__main__":
    main()
