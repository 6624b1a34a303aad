"""Does it help? Held-out molecules and neighbourhoods, for every way to impute, on the real data sets, with seeds.

    python tests/benchmarks/tuning.py --data DATA --out RESULTS [--magic PYTHON-OF-MAGICS-ENVIRONMENT]

Explained: sccr evaluate split-molecules and score, over all genes; for MAGIC the best of several numbers of steps.
Vote: how often the 15 nearest cells in 50 principal components agree with a cell's type, averaged over the types, on
the full counts with the numbers so chosen. Finished runs are kept in RESULTS; the tables are printed as markdown.
docs/evaluation.md holds what it printed.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

from sccr_node.evaluation.neighborhoods import N_COMPONENTS, N_NEIGHBORS, nearest, votes_by_type
from sccr_node.numerics import Workspace
from sccr_node.numerics.pca import components_of

DATA_SETS = (
    "mouse_bladder_2100", "mouse_bladder_2746_hvg2003", "pbmc_10x_hvg2000", "mca_12tissues", "worm_neuron",
)  # fmt: skip
N_CELLS = 2100
N_GENES = 2000
LABELS = "celltype"
SEEDS = (0, 1, 2)
STEPS = (1, 2, 3, 5, 8)
GROUPS = 50
ROWS = (
    ("unimputed", "no imputation"), ("published", "the published parameters"), ("gentle", "β .5"),
    ("denoised", "smoothing tuned"), ("chosen", "tuned and blended"), ("magic", "MAGIC, t tuned"),
    ("PCA", "PCA, rank tuned"),
)  # fmt: skip


def run(*command: object) -> None:
    print("$", *command, file=sys.stderr, flush=True)
    subprocess.run([str(part) for part in command], check=True)


def sccr(*arguments: object) -> None:
    run(sys.executable, "-m", "sccr_node", *arguments, "--quiet", "--force")


def sample(data: Path, seed: int, target: Path) -> None:
    adata = ad.read_h5ad(data)
    if adata.n_obs > N_CELLS:
        adata = adata[np.sort(np.random.default_rng(seed).permutation(adata.n_obs)[:N_CELLS])].copy()
    ad.AnnData(sp.csr_matrix(adata.X), obs=adata.obs[[LABELS]], var=adata.var[[]]).write_h5ad(target)


def logs(counts: sp.csr_matrix) -> np.ndarray:
    """Prepare counts as sccr does, for MAGIC: the genes of highest variance, the median depth, log1p."""
    mean = counts.mean(axis=0).A1
    variance = counts.multiply(counts).mean(axis=0).A1 - mean**2
    genes = np.sort(np.argsort(-variance, kind="stable")[:N_GENES])
    chosen = counts[:, genes].toarray().astype(np.float64)
    totals = chosen.sum(axis=1, keepdims=True)
    scaled = chosen / np.maximum(totals, 1) * np.median(totals[totals > 0])
    return np.log1p(scaled).astype(np.float32)


def vote(matrix: np.ndarray, types: np.ndarray) -> float:
    work = Workspace()
    neighbors = nearest(components_of(matrix, N_COMPONENTS, work.threads), N_NEIGHBORS, work)
    return float(votes_by_type(neighbors, types).mean())


def imputed(source: Path, folder: Path, *numbers: object) -> np.ndarray:
    target = folder / "imputed.h5ad"
    sccr("impute", source, target, "--n-top-genes", N_GENES, *numbers)
    adata = ad.read_h5ad(target)
    layer = adata.layers["sccr"][:, adata.var["sccr_imputed"].to_numpy()]
    target.unlink()
    return layer.toarray() if sp.issparse(layer) else np.asarray(layer)


def explained(train: Path, candidate: Path, layer: str | None, folder: Path) -> dict[str, float]:
    """Return what a candidate and the references explain, over all genes."""
    table = folder / "score.tsv"
    sccr("evaluate", "score", train, candidate, "-o", table, *(("--layer", layer) if layer else ()))
    rows = pd.read_csv(table, sep="\t")
    return dict(zip(rows.candidate.astype(str), rows.explained.astype(float), strict=True))


def errors_by_group(train: Path, candidate: Path, layer: str | None) -> np.ndarray:
    """Return the mean squared error on the held-out half in each of 50 groups of cells."""
    adata, made = ad.read_h5ad(train), ad.read_h5ad(candidate)
    truth = np.log1p(dense(adata.layers["held_out"]) * adata.obs["sccr_held_out_factor"].to_numpy()[:, None])
    scored = np.flatnonzero((dense(adata.X) > 0).any(axis=1) & (truth > 0).any(axis=1))
    errors = np.square(dense(made.layers[layer] if layer else made.X)[scored] - truth[scored]).mean(axis=1)
    return np.array([errors[group::GROUPS].mean() for group in range(GROUPS)])


def dense(matrix: object) -> np.ndarray:
    return np.asarray(matrix.toarray() if sp.issparse(matrix) else matrix, dtype=np.float64)


def behind(found: dict[str, dict[str, Any]]) -> str:
    """Return how far the tuned blend is behind the first, with the standard error of this difference over the cells."""
    errors = {name: np.array(each["errors"]) for name, each in found.items() if "errors" in each}
    first = min(errors, key=lambda name: errors[name].mean())
    difference = (errors["chosen"] - errors[first]) / found["unimputed"]["span"]
    return f"{first} is first, {difference.mean():.4f} ± {difference.std(ddof=1) / np.sqrt(GROUPS):.4f} ahead"


def explained_by_us(train: Path, folder: Path, *numbers: object) -> dict[str, Any]:
    target = folder / "imputed.h5ad"
    sccr("impute", train, target, "--genes", "all", "--input-scale", "log1p", *numbers)
    found = explained(train, target, "sccr", folder)[str(target)]
    errors = errors_by_group(train, target, "sccr").tolist()
    target.unlink()
    return {"explained": found, "errors": errors}


def explained_by_magic(train: Path, folder: Path, python: str) -> tuple[int, float, list[float]]:
    """Return MAGIC's best number of steps, what it explains with it, and its errors."""
    made = folder / "magic.h5ad"
    found, errors = {}, {}
    for steps in STEPS:
        run(python, Path(__file__).with_name("run_magic.py"), train, made, steps)
        found[steps] = explained(train, made, None, folder)[str(made)]
        errors[steps] = errors_by_group(train, made, None).tolist()
    best = max(found, key=lambda steps: found[steps])
    return best, found[best], errors[best]


def one(data: Path, seed: int, out: Path, python: str | None) -> dict[str, dict[str, Any]]:
    kept = out / f"{data.stem}.{seed}.json"
    if kept.exists():
        return json.loads(kept.read_text())
    source = out / "sample.h5ad"
    sample(data, seed, source)
    sccr(
        "tune", source, "--seed", seed, "--n-top-genes", N_GENES, "-o", out / "tuned.yaml", "--json", out / "tuned.json"
    )
    tuned = json.loads((out / "tuned.json").read_text())
    adata = ad.read_h5ad(source)
    types = pd.factorize(adata.obs[LABELS].astype(str))[0]
    best = min((row for row in tuned["tried"] if row["candidate"] == "denoised"), key=lambda row: row["error"])
    rank = next(row["low_rank"] for row in tuned["tried"] if row["candidate"] == "PCA")
    numbers = {
        "published": (),
        "denoised": ("--beta", best["beta"], "--n-denoising-iterations", best["n_denoising_iterations"]),
        "gentle": ("--beta", 0.5),
        "chosen": ("--config", out / "tuned.yaml"),
        "PCA": ("--low-rank-share", 1, "--low-rank", rank),
    }
    train = out / "train.h5ad"
    sccr("evaluate", "split-molecules", source, train, "--seed", seed, "--n-top-genes", N_GENES)
    prepared = logs(adata.X)
    found: dict[str, dict[str, Any]] = {
        name: {
            **explained_by_us(train, out, *given),
            "vote": vote(imputed(source, out, *given), types),
        }
        for name, given in numbers.items()
    }
    found["unimputed"] = {"explained": explained(train, train, None, out)["nothing"], "vote": vote(prepared, types)}
    nothing, share = errors_by_group(train, train, None).mean(), found["unimputed"]["explained"]
    # Solved for the error of the gene means: explained = (of the gene means - nothing) / (of the gene means - floor).
    found["unimputed"]["span"] = nothing * (1 - share / 2) / (1 - share) - nothing / 2
    chosen = next(row for row in tuned["tried"] if row["chosen"] == "yes")
    found["chosen"] |= {name: chosen[name] for name in ("beta", "n_denoising_iterations", "low_rank", "low_rank_share")}
    found["chosen"] |= {"told": chosen["explained"], "change": tuned["neighbors_change"]}
    if python:
        steps, share, errors = explained_by_magic(train, out, python)
        ad.AnnData(prepared, obs=adata.obs).write_h5ad(out / "logs.h5ad")
        run(python, Path(__file__).with_name("run_magic.py"), out / "logs.h5ad", out / "magic.h5ad", steps)
        made = ad.read_h5ad(out / "magic.h5ad").X
        found["magic"] = {"errors": errors, "explained": share, "vote": vote(np.asarray(made), types), "steps": steps}
    kept.write_text(json.dumps(found, indent=1))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--magic", help="Python of MAGIC's environment")
    parser.add_argument("--only", nargs="*", default=DATA_SETS, help="names of data sets")
    parser.add_argument("--seeds", type=int, nargs="*", default=SEEDS)
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    found = {
        name: [one(asked.data / f"{name}.h5ad", seed, asked.out, asked.magic) for seed in asked.seeds]
        for name in asked.only
    }
    print("| explained / balanced vote |", " | ".join(asked.only), "|")
    print("|", " | ".join("---" for _ in range(len(asked.only) + 1)), "|")
    for key, title in ROWS:
        cells = []
        for name in asked.only:
            runs = [each[key] for each in found[name] if key in each]
            values = [
                f"{np.mean(numbers):.3f}" + (f" ± {np.std(numbers, ddof=1):.3f}" if len(numbers) > 1 else "")
                for what in ("explained", "vote")
                if (numbers := [each[what] for each in runs if what in each])
            ]
            cells.append(" / ".join(values) or "–")
        print(f"| {title} |", " | ".join(cells), "|")
    for name in asked.only:
        print(name, "; ".join(behind(each) for each in found[name]))
        print(
            name,
            [
                {
                    key: each["chosen"][key]
                    for key in ("beta", "n_denoising_iterations", "low_rank", "low_rank_share", "change")
                }
                for each in found[name]
            ],
        )


if __name__ == "__main__":
    main()
