"""What the clustered search does to the result: the exact search's beside it, on a data set with labels.

    python tests/benchmarks/search_quality.py --data ATLAS.h5ad --label-key cell_type --out RESULTS [--seeds 0 1 2]

For each seed half of the molecules are held out; the rest is imputed with either search, and compared with them. The
layers are compared with each other, and their clusters with the labels. Finished steps are kept in RESULTS.
docs/benchmarks.md holds what it printed.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

KINDS = ("exact", "clustered")


def sccr(made: Path, *arguments: object) -> None:
    if not made.exists():
        command = [sys.executable, "-m", "sccr_node", *map(str, arguments), "--quiet"]
        print("$", *command[2:], file=sys.stderr, flush=True)
        subprocess.run(command, check=True)


def dense(layer: object) -> np.ndarray:
    return layer.toarray() if sp.issparse(layer) else np.asarray(layer)


def of_seed(asked: argparse.Namespace, seed: int) -> dict[str, dict]:
    """Impute the training half with both searches, and return what each gives."""
    folder = asked.out / f"seed-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    train = folder / "train.h5ad"
    sccr(train, "evaluate", "split-molecules", asked.data, train, "--seed", seed)
    found: dict[str, dict] = {}
    for kind in KINDS:
        made, scores, clusters = (folder / f"{kind}.{suffix}" for suffix in ("h5ad", "scores.tsv", "clusters.tsv"))
        sccr(made, "impute", train, made, "--layer", "counts", "--genes", "all", "--neighbor-search", kind)
        sccr(scores, "evaluate", "score", train, made, "--layer", "sccr", "-o", scores)
        sccr(clusters, "evaluate", "cluster", made, "--obsm", "X_sccr", "--label-key", asked.label_key, "-o", clusters)
        found[kind] = {"scores": pd.read_csv(scores, sep="\t"), "clusters": pd.read_csv(clusters, sep="\t")}
    exact, clustered = (ad.read_h5ad(folder / f"{kind}.h5ad") for kind in KINDS)
    one, other = (dense(adata.layers["sccr"]) for adata in (exact, clustered))
    found["difference"] = {
        "mean difference": float(np.abs(one - other).mean() / one.mean()),
        "correlation": float(np.corrcoef(one.ravel(), other.ravel())[0, 1]),
        "recall": [float(each) for each in clustered.uns["sccr"]["searches"]["recall"]],
    }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--label-key", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    asked = parser.parse_args()
    for seed in asked.seeds:
        found = of_seed(asked, seed)
        print(f"seed {seed}: {found['difference']}")
        for kind in KINDS:
            for table in ("scores", "clusters"):
                print(f"{kind}, {table}:\n{found[kind][table].to_string(index=False)}", flush=True)


if __name__ == "__main__":
    main()
