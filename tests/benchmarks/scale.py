"""Time and memory of whole commands by the number of cells: ours, MAGIC's, and what else people would run.

    python tests/benchmarks/scale.py --out RESULTS --cells 23833 --data ATLAS.h5ad [--magic PYTHON-OF-ITS-ENVIRONMENT]
    python tests/benchmarks/scale.py --out RESULTS --cells 1000000 --simulated --tools auto --repeats 1
    python tests/benchmarks/scale.py --out RESULTS --collect [--plot docs/figures/scale.svg]

Every figure is of a fresh process, from file to file; the tools take turns, and finished runs are kept in RESULTS. More
cells than the atlas has are copies of it, each thinned to half of its molecules with a seed of its own. Inputs are made
in a process of their own, because a process that is started counts the memory of the one that starts it as its own.
docs/benchmarks.md holds what --collect printed.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import re
import statistics
import subprocess
import sys
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    import anndata as ad
    import numpy as np
    import scipy.sparse as sp

N_GENES = 2000
COPIES_LOOKED_AT = 300
N_NEIGHBORS = 15
FITTED_FROM = 71_499
OURS = ("auto", "exact", "clustered")
NARROW = {"avx2": "auto", "magic-avx2": "magic"}
"""The same tools with the instructions of a CPU that has no AVX-512: our kernels, and OpenBLAS in both."""
TOOLS = (*OURS, "magic", *NARROW, "pca", "scanpy")


SHOWN = {
    "auto": ("#0072B2", "o", "sccr"),
    "magic": ("#D55E00", "s", "MAGIC 3.0.0"),
    "pca": ("#888888", "^", "PCA, 20 components"),
    "scanpy": ("#009E73", "D", "scanpy: neighbours, Leiden"),
}
"""The lines of the plot: colour, marker and name."""


def atlas(data: Path, n_cells: int, seed: int = 0) -> tuple[ad.AnnData, np.ndarray]:
    """Return counts of the genes of highest variance, and which cell of the atlas each cell is (a copy of)."""
    import anndata as ad
    import numpy as np
    import scipy.sparse as sp

    whole = ad.read_h5ad(data)
    counts = sp.csr_matrix(whole.X)
    mean = counts.mean(axis=0).A1
    variance = counts.multiply(counts).mean(axis=0).A1 - mean**2
    counts = counts[:, np.sort(np.argsort(-variance, kind="stable")[:N_GENES])]
    random = np.random.default_rng(seed)
    n_copies = -(-n_cells // counts.shape[0])
    parts = [counts]
    if n_copies > 1:
        parts = []
        for _ in range(n_copies):
            part = counts.copy()
            part.data = random.binomial(part.data.astype(np.int64), 0.5).astype(np.float32)
            part.eliminate_zeros()
            parts.append(part)
    cells = np.sort(random.permutation(n_copies * counts.shape[0])[:n_cells])
    made = sp.csr_matrix(sp.vstack(parts, format="csr")[cells].astype(np.float32))
    return ad.AnnData(made, uns={"copies": n_copies}), cells % counts.shape[0]


def logs(counts: sp.csr_matrix) -> sp.csr_matrix:
    import numpy as np
    import scipy.sparse as sp

    totals = counts.sum(axis=1).A1
    scaled = sp.csr_matrix(sp.diags(np.median(totals[totals > 0]) / np.maximum(totals, 1)) @ counts)
    scaled.data = np.log1p(scaled.data).astype(np.float32)
    return scaled.astype(np.float32)


def share_of_copies(matrix: sp.csr_matrix, origin: np.ndarray) -> float:
    """Return which share of the nearest neighbours (by cosine, of some cells) are copies of the same cell."""
    import numpy as np
    import scipy.sparse as sp

    lengths = np.sqrt(matrix.multiply(matrix).sum(axis=1).A1)
    unit = sp.csr_matrix(sp.diags(1 / np.maximum(lengths, 1e-30)) @ matrix)
    some = np.random.default_rng(1).permutation(unit.shape[0])[:COPIES_LOOKED_AT]
    cosines = (unit[some] @ unit.T).toarray()
    cosines[np.arange(len(some)), some] = -1
    nearest = np.argpartition(-cosines, N_NEIGHBORS, axis=1)[:, :N_NEIGHBORS]
    return float((origin[nearest] == origin[some][:, None]).mean())


def prepare(arguments: argparse.Namespace, folder: Path) -> None:
    """Write the input of all tools, once: counts, and logs for those that take logs."""
    import anndata as ad
    import scipy.sparse as sp

    about = folder / "about.json"
    if about.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    found: dict[str, object] = {"cells": arguments.cells, "data": "simulated" if arguments.simulated else "atlas"}
    if arguments.simulated:
        options = ["--n-cells", arguments.cells, "--n-genes", N_GENES, "--n-types", 40, "--no-truth", "--force"]
        command = [sys.executable, "-m", "sccr_node", "simulate", folder / "counts.h5ad", *options]
        began = monotonic()
        subprocess.run(list(map(str, command)), check=True)
        found["simulation"] = monotonic() - began
    else:
        adata, origin = atlas(arguments.data, arguments.cells)
        adata.write_h5ad(folder / "counts.h5ad")
        found["copies"] = share_of_copies(logs(adata.X), origin) if adata.uns["copies"] > 1 else 0.0
    if set(arguments.tools) - {*OURS, "avx2"}:
        adata = ad.read_h5ad(folder / "counts.h5ad")
        ad.AnnData(logs(sp.csr_matrix(adata.X))).write_h5ad(folder / "logs.h5ad")
    about.write_text(json.dumps(found, indent=1))


def command_of(tool: str, folder: Path, magic: str | None) -> list[object]:
    if tool in OURS or tool == "avx2":
        ours = [sys.executable, __file__, "--narrow"] if tool == "avx2" else [sys.executable, "-m", "sccr_node"]
        return [
            *ours, "impute", folder / "counts.h5ad", folder / "out.h5ad", "--force",
            "--neighbor-search", NARROW.get(tool, tool), "--genes", "all", "--provenance", folder / "record.json",
        ]  # fmt: skip
    if tool in ("magic", "magic-avx2"):
        return [magic, Path(__file__).with_name("run_magic.py"), folder / "logs.h5ad", folder / "out.h5ad"]
    return [sys.executable, __file__, "--worker", tool, folder / "logs.h5ad", folder / "out.h5ad"]


def measured(tool: str, folder: Path, magic: str | None) -> dict[str, object]:
    began = monotonic()
    command = list(map(str, command_of(tool, folder, magic)))
    environment = os.environ | ({"OPENBLAS_CORETYPE": "Haswell"} if tool in NARROW else {})
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = monotonic() - began
    (folder / "out.h5ad").unlink(missing_ok=True)
    failed = os.waitstatus_to_exitcode(status)
    found: dict[str, object] = {"tool": tool, "seconds": seconds, "peak": usage.ru_maxrss * 1024, "failed": failed}
    if tool in (*OURS, "avx2") and not failed:
        record = json.loads((folder / "record.json").read_text())
        found["stages"] = record["resources"]["seconds"]
        found["estimated"] = record["resources"]["estimated_memory_bytes"]
        found["instructions"] = record["resources"]["vector_instructions"]
        found["recall"] = [search["recall"] for search in record["searches"]]
    return found


def narrow(arguments: list[str]) -> None:
    """Run a command of ours on the kernels for AVX2."""
    from sccr_node.__main__ import main
    from sccr_node.numerics._kernels import forced_level

    with forced_level("avx2"):
        sys.exit(main(arguments))


def work(tool: str, source: str, target: str) -> None:
    """Do what people do without imputation: a reconstruction from 20 components; or neighbours and clusters."""
    import anndata as ad
    import numpy as np

    adata = ad.read_h5ad(source)
    if tool == "pca":
        from sklearn.decomposition import PCA

        values = adata.X.toarray()
        model = PCA(20, svd_solver="randomized", random_state=0).fit(values)
        made = np.asarray(model.inverse_transform(model.transform(values)), np.float32)
        ad.AnnData(made).write_h5ad(target)
        return
    import scanpy as sc

    sc.pp.pca(adata, n_comps=50)
    sc.pp.neighbors(adata)
    sc.tl.leiden(adata, flavor="igraph", n_iterations=2, directed=False)
    adata.write_h5ad(target)


def estimated(folder: Path) -> dict[str, float]:
    """Return what sccr impute --dry-run says: bytes of memory, and seconds."""
    command = [*command_of("auto", folder, None), "--dry-run"]
    said = subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True).stderr
    found = re.search(r"estimate: ([\d.]+) ([MG])B of memory .*about (\d+) s", said)
    assert found, said
    return {"bytes": float(found[1]) * (1e9 if found[2] == "G" else 1e6), "seconds": float(found[3])}


def run(arguments: argparse.Namespace) -> None:
    folder = arguments.out / f"{'simulated' if arguments.simulated else 'atlas'}-{arguments.cells}"
    preparing = multiprocessing.get_context("spawn").Process(target=prepare, args=(arguments, folder))
    preparing.start()
    preparing.join()
    assert preparing.exitcode == 0
    print((folder / "about.json").read_text(), file=sys.stderr)
    (folder / "estimate.json").write_text(json.dumps(estimated(folder)))
    for number in range(arguments.repeats):
        for tool in arguments.tools:
            kept = folder / f"{tool}.{number}.json"
            if not kept.exists():
                found = measured(tool, folder, arguments.magic) | {"load": os.getloadavg()[0]}
                kept.write_text(json.dumps(found, indent=1))
                print(f"{arguments.cells:,} cells, {tool}: {found['seconds']:.1f} s", file=sys.stderr)


def _finished(out: Path) -> Iterator[tuple[Path, dict, dict[str, list[dict]]]]:
    """Yield what is known of each input, and its finished runs by tool; from few cells to many."""
    for about in sorted(out.glob("*/about.json"), key=lambda path: json.loads(path.read_text())["cells"]):
        runs = [json.loads(path.read_text()) for path in about.parent.glob("*.[0-9].json")]
        of_tool = {tool: [each for each in runs if each["tool"] == tool and not each["failed"]] for tool in TOOLS}
        yield about, json.loads(about.read_text()), {tool: good for tool, good in of_tool.items() if good}


def _medians(runs: list[dict]) -> dict[str, float]:
    return {name: statistics.median(each[name] for each in runs) for name in ("seconds", "peak")}


def exponent(points: list[tuple[int, float]]) -> float:
    """Return how time grows with the cells, as a power, by least squares among logarithms."""
    from math import log

    xs, ys = zip(*((log(cells), log(seconds)) for cells, seconds in points), strict=True)
    return statistics.linear_regression(xs, ys).slope


def plot(out: Path, to: Path) -> None:
    """Draw time and memory of each tool by the number of cells."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "scale"
    import matplotlib.pyplot as plt

    lines: dict[str, list[tuple[int, dict[str, float]]]] = {}
    for _, told, of_tool in _finished(out):
        for tool, good in of_tool.items():
            if tool in SHOWN:
                lines.setdefault(tool, []).append((told["cells"], _medians(good)))
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for axis, name, scale, label in ((axes[0], "seconds", 1, "seconds"), (axes[1], "peak", 1e9, "peak memory, GB")):
        for tool, points in lines.items():
            color, marker, called = SHOWN[tool]
            cells = [n for n, _ in points]
            axis.plot(cells, [found[name] / scale for _, found in points], color=color, marker=marker, label=called)
        axis.set(xscale="log", yscale="log", xlabel="cells", ylabel=label)
        axis.grid(visible=True, which="major", alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].legend(frameon=False)
    to.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(to, metadata={"Date": None})


def collected(out: Path) -> str:
    """Return the tables, as markdown."""
    lines = [
        "| data | cells | tool | runs | seconds | peak, GB | / MAGIC, time | / MAGIC, peak | recall |",
        "|---" * 9 + "|",
    ]
    stages = [
        "| data | cells | tool | searches | propagations | genes | PCA | read and write | rest "
        "| estimated / measured time | memory |",
        "|---" * 11 + "|",
    ]
    for about, told, of_tool in _finished(out):
        middle = {tool: _medians(good) for tool, good in of_tool.items()}
        data = told["data"] + (f" ({told['copies']:.0%} copies)" if told.get("copies") else "")
        for tool, good in of_tool.items():
            rival = "magic-avx2" if tool in NARROW else "magic"
            ratios = [
                f"{middle[tool][name] / middle[rival][name]:.2f}" if rival in middle and tool != rival else ""
                for name in ("seconds", "peak")
            ]
            recall = ", ".join(f"{each:.3f}" for each in good[0].get("recall", []))
            figures = [f"{middle[tool]['seconds']:.1f}", f"{middle[tool]['peak'] / 1e9:.2f}", *ratios, recall]
            lines.append("| " + " | ".join([data, f"{told['cells']:,}", tool, str(len(good)), *figures]) + " |")
            if tool in OURS:
                stages.append(_stages(data, told["cells"], tool, good, about.with_name("estimate.json")))
    points = [
        (told["cells"], _medians(of_tool["auto"])["seconds"])
        for _, told, of_tool in _finished(out)
        if "auto" in of_tool and told["cells"] >= FITTED_FROM
    ]
    if len(points) > 1:
        stages += ["", f"Time of auto from {points[0][0]:,} cells on: cells to the power of {exponent(points):.2f}."]
    return "\n".join([*lines, "", *stages])


def _stages(data: str, cells: int, tool: str, good: list[dict], estimate: Path) -> str:
    def spent(*parts: str) -> float:
        return statistics.median(
            sum(s for stage, s in each["stages"].items() if any(part in stage for part in parts)) for each in good
        )

    shown = [
        spent("cell graph"), spent("imputation: propagation", "relation: propagation", "denoising: propagation"),
        spent("gene"), spent("principal components"), spent("read", "prepare", "copy", "write"),
    ]  # fmt: skip
    whole = statistics.median(each["seconds"] for each in good)
    ratios = ["", ""]
    if tool == "auto" and estimate.exists():
        told, peak = json.loads(estimate.read_text()), statistics.median(each["peak"] for each in good)
        ratios = [f"{told['seconds'] / whole:.2f}", f"{told['bytes'] / peak:.2f}"]
    seconds = [f"{each:.1f}" for each in [*shown, whole - sum(shown)]]
    return "| " + " | ".join([data, f"{cells:,}", tool, *seconds, *ratios]) + " |"


def main() -> None:
    if sys.argv[1:2] == ["--narrow"]:
        narrow(sys.argv[2:])
    if sys.argv[1:2] == ["--worker"]:
        work(*sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cells", type=int)
    parser.add_argument("--data", type=Path, help="the mouse atlas")
    parser.add_argument("--simulated", action="store_true")
    parser.add_argument("--tools", nargs="+", choices=TOOLS, default=["auto", "magic"])
    parser.add_argument("--magic", help="Python of MAGIC's environment")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--collect", action="store_true")
    parser.add_argument("--plot", type=Path, help="with --collect: the figure")
    arguments = parser.parse_args()
    if arguments.collect:
        print(collected(arguments.out))
        if arguments.plot:
            plot(arguments.out, arguments.plot)
    else:
        run(arguments)


if __name__ == "__main__":
    main()
