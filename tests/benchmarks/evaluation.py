"""The papers' evaluation on the real data sets: our methods with sccr benchmark, MAGIC with mask and score.

    python tests/benchmarks/evaluation.py --data DATA --out RESULTS [--magic PYTHON-OF-MAGICS-ENVIRONMENT]

Finished runs are kept in RESULTS; the tables are printed as markdown. docs/evaluation.md holds what it printed.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

DATA_SETS = ("worm_neuron", "mouse_bladder_2100", "mouse_bladder_2746_hvg2003", "pbmc_10x_hvg2000")
RATES = ("0.2", "0.4", "0.8")
SEEDS = ("0", "1", "2")
TITLES = {"none": "none", "sccr": "scCR", "scfp": "scFP", "scbfp": "scBFP", "magic": "MAGIC"}


def run(*command: object) -> None:
    print("$", *command, file=sys.stderr, flush=True)
    subprocess.run([str(part) for part in command], check=True)


def sccr(*arguments: object) -> None:
    run(sys.executable, "-m", "sccr_node", *arguments)


def our_methods(data: Path, out: Path) -> pd.DataFrame:
    table = out / f"{data.stem}.tsv"
    if not table.exists():
        sccr(
            "benchmark", data, "--methods", "none,sccr,scfp,scbfp", "--rates", ",".join(RATES),
            "--seeds", ",".join(SEEDS), "--label-key", "celltype", "-o", table,
        )  # fmt: skip
    return pd.read_csv(table, sep="\t")


def another_tool(data: Path, out: Path, python: str) -> pd.DataFrame:
    rows = []
    for rate in RATES:
        for seed in SEEDS:
            score = out / f"{data.stem}.magic.{rate}.{seed}.json"
            if not score.exists():
                masked, imputed = out / "masked.h5ad", out / "imputed.h5ad"
                sccr("evaluate", "mask", data, masked, "--rate", rate, "--seed", seed, "--force", "--quiet")
                begin = time.monotonic()
                run(python, Path(__file__).with_name("run_magic.py"), masked, imputed)
                seconds = time.monotonic() - begin
                table = out / "score.tsv"
                sccr("evaluate", "score", masked, imputed, "-o", table, "--json", score, "--force", "--quiet")
                score.write_text(json.dumps({**json.loads(score.read_text()), "seconds": seconds}))
                for file in (masked, imputed, table):
                    file.unlink()
            rows.append({"task": "recovery", "method": "magic", **json.loads(score.read_text())})
    return pd.DataFrame(rows)


def recovery_table(results: pd.DataFrame) -> str:
    rows = results[results["task"] == "recovery"]
    lines = ["| dropped | method | mae | median_ae | rmse | cosine |", "|---|---|---|---|---|---|"]
    for rate in sorted(rows["rate"].unique()):
        for method in [name for name in TITLES if name in set(rows["method"])]:
            chosen = rows[(rows["rate"] == rate) & (rows["method"] == method)]
            cells = [mean_and_sd(chosen[metric], 4) for metric in ("mae", "median_ae", "rmse", "cosine")]
            lines.append(f"| {rate:.0%} | {TITLES[method]} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def clustering_table(results: pd.DataFrame) -> str:
    rows = results[results["task"] == "clustering"]
    lines = [
        "| clusters by | method | clusters | ARI | NMI | accuracy | silhouette | of the types |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for algorithm in ("kmeans", "leiden"):
        for method in [name for name in TITLES if name in set(rows["method"])]:
            chosen = rows[(rows["algorithm"] == algorithm) & (rows["method"] == method)]
            cells = [mean_and_sd(chosen[metric], 3) for metric in ("ari", "nmi", "accuracy", "silhouette")]
            cells.append(f"{chosen['silhouette_types'].iloc[0]:.3f}")
            lines.append(
                f"| {algorithm} | {TITLES[method]} | {chosen['n_clusters'].mean():.1f} | " + " | ".join(cells) + " |"
            )
    return "\n".join(lines)


def cost_table(results: dict[str, pd.DataFrame]) -> str:
    """Medians over the recovery runs, which impute 2,000 genes of every cell each."""
    lines = ["| data | method | seconds | peak MB |", "|---|---|---|---|"]
    for name, rows in results.items():
        runs = rows[(rows["task"] == "recovery") & rows["peak_mb"].notna()]
        for method in [title for title in TITLES if title in set(runs["method"])]:
            chosen = runs[runs["method"] == method]
            cost = f"{chosen['seconds'].median():.1f} | {chosen['peak_mb'].median():.0f}"
            lines.append(f"| {name} | {TITLES[method]} | {cost} |")
    return "\n".join(lines)


def mean_and_sd(values: pd.Series, digits: int) -> str:
    return f"{values.mean():.{digits}f} ± {np.std(values, ddof=1):.{digits}f}"


def machine() -> str:
    model = "unknown"
    if Path("/proc/cpuinfo").exists():
        names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
        model = names[0].split(":")[1].strip() if names else model
    return f"{len(os.sched_getaffinity(0))} CPUs ({model}), Python {platform.python_version()}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the .h5ad files")
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--magic", help="Python of the virtual environment that has MAGIC")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    results = {}
    for name in DATA_SETS:
        data = options.data / f"{name}.h5ad"
        results[name] = our_methods(data, options.out)
        if options.magic:
            results[name] = pd.concat([results[name], another_tool(data, options.out, options.magic)])
    print(f"Measured on {machine()}.\n")
    for name, rows in results.items():
        print(f"### {name}\n\n{recovery_table(rows)}\n\n{clustering_table(rows)}\n")
    print(f"### Cost\n\n{cost_table(results)}")


if __name__ == "__main__":
    main()
