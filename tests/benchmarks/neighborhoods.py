"""The neighbourhood verdict: measured without labels, against what labels say, on real data sets and tissues.

    python tests/benchmarks/neighborhoods.py --data DATA --out RESULTS

For every data set (of the atlas also every tissue with more than 1,000 cells), seed and way to impute: the change of
the error with which neighbours predict held-out molecules (on half of the molecules), and the change of the balanced
vote for known types (on all molecules). Prints the votes per way, and the error rates of the verdict with the
thresholds in use and with thresholds chosen on all other sources of data. Finished runs are kept in RESULTS;
docs/evaluation.md holds what it printed.
"""

import argparse
import sys
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

from sccr_node.contract.methods import METHODS
from sccr_node.data.views import Drawing
from sccr_node.evaluation.neighborhoods import N_COMPONENTS, N_NEIGHBORS, nearest, prediction_error, votes_by_type
from sccr_node.evaluation.tuning import (
    RANKS,
    Grid,
    ScoredSetting,
    Start,
    choose,
    denoised_of,
    products,
    scored_genes,
    start_of,
)
from sccr_node.evaluation.verdicts import HARM, NO_HARM
from sccr_node.numerics import Workspace
from sccr_node.numerics.pca import components_of

SETS = ("mouse_bladder_2100", "mouse_bladder_2746_hvg2003", "pbmc_10x_hvg2000", "worm_neuron", "mca_12tissues")
TISSUES = ("Lung", "Fetal_Brain", "Placenta", "Small-Intestine", "Fetal-Liver", "Spleen")
SEEDS = (0, 1, 2)
N_CELLS, N_GENES = 2500, 2000
BETAS = (0.5, 0.7, 0.85, 0.95, 0.99)
SETTINGS = METHODS["sccr"].complete({})
HARMED = -0.02
"""A change of the vote below this is harm."""


def logs(counts: sp.csr_matrix, depth: float | None = None) -> tuple[sp.csr_matrix, float]:
    totals = counts.sum(axis=1).A1
    depth = float(np.median(totals[totals > 0])) if depth is None else depth
    factors = np.divide(depth, totals, out=np.ones(len(totals)), where=totals > 0)
    return sp.csr_matrix(sp.diags(factors) @ counts).log1p().astype(np.float32), depth


def variable_genes(counts: sp.csr_matrix) -> np.ndarray:
    mean = counts.mean(axis=0).A1
    variance = counts.multiply(counts).mean(axis=0).A1 - mean**2
    return np.sort(np.argsort(-variance, kind="stable")[:N_GENES])


def halves(counts: sp.csr_matrix, seed: int) -> tuple[sp.csr_matrix, sp.csr_matrix]:
    drawn = Drawing(0.5, seed).drawn(counts.data)
    parts = []
    for molecules in (drawn, counts.data - drawn):
        part = counts.copy()
        part.data = molecules.astype(np.float64)
        part.eliminate_zeros()
        parts.append(part)
    genes = variable_genes(parts[0])
    training, depth = logs(parts[0][:, genes].tocsr())
    return training, logs(parts[1][:, genes].tocsr(), depth)[0]


def ways(tuned: ScoredSetting) -> dict[str, ScoredSetting]:
    def way(beta: float, rank: int | None, share: float) -> ScoredSetting:
        return ScoredSetting("", beta, 40, rank, share, 0, 0, 0, 0)

    made = {f"beta {beta}": way(beta, None, 0.0) for beta in BETAS}
    made |= {f"half beta {beta}, half PCA": way(beta, 20, 0.5) for beta in BETAS}
    return made | {"PCA": way(0.5, 20, 1.0), "tuned": tuned}


def votes(
    begin: Start, made: dict[str, ScoredSetting], types: np.ndarray | None, work: Workspace
) -> dict[str, list[float]]:
    """Return, for unimputed data and every way, the prediction error and (with types) the vote."""
    found = {}
    candidates: dict[str, ScoredSetting | None] = {"unimputed": None, **made}
    for name, way in candidates.items():
        matrix = begin.data.matrix if way is None else denoised_of(begin, way, SETTINGS, work)
        neighbors = nearest(components_of(matrix, N_COMPONENTS, work.threads), N_NEIGHBORS, work)
        error = prediction_error(neighbors, begin.held_out, work)
        vote = np.nan if types is None else float(votes_by_type(neighbors, types[begin.data.cells]).mean())
        found[name] = (error, vote)
    return found


def one(name: str, counts: sp.csr_matrix, types: np.ndarray, seed: int) -> pd.DataFrame:
    work = Workspace()
    training, held_out = halves(counts, seed)
    begin = start_of("sccr", training, held_out, SETTINGS, RANKS, work)
    found = products(
        begin, RANKS, int(SETTINGS["n_denoising_iterations"]), scored_genes(training, seed=seed), work, seed=seed
    )
    made = ways(choose("sccr", found, Grid(), SETTINGS).chosen)
    on_half = votes(begin, made, None, work)
    whole, _ = logs(counts[:, variable_genes(counts)].tocsr())
    # The full data have no held-out half: the other matrix is not looked at.
    on_all = votes(start_of("sccr", whole, whole, SETTINGS, RANKS, work), made, types, work)
    rows = [
        {
            "data": name, "seed": seed, "way": way,
            "change": on_half[way][0] / on_half["unimputed"][0] - 1,
            "vote": on_all[way][1] - on_all["unimputed"][1],
        }
        for way in made
    ]  # fmt: skip
    return pd.DataFrame(rows)


def cases(data: Path):
    for name in SETS:
        adata = ad.read_h5ad(data / f"{name}.h5ad")
        yield name, name, adata
        if "tissue" in adata.obs:
            for tissue in TISSUES:
                yield tissue, name, adata[(adata.obs["tissue"] == tissue).to_numpy()]


def error_rates(table: pd.DataFrame, low: float, high: float) -> str:
    fine, bad = table[table.change <= low], table[table.change > high]
    missed = (fine.vote < HARMED).mean() if len(fine) else np.nan
    false = (bad.vote >= 0).mean() if len(bad) else np.nan
    n = len(table)
    return (
        f"no harm seen: {len(fine)} of {n}, of which harmed {missed:.1%}; prefer unimputed: {len(bad)} of {n}, "
        f"of which not harmed {false:.1%}"
    )


def thresholds(table: pd.DataFrame) -> tuple[float, float]:
    """Return the largest low threshold with at most 5% harmed, and the smallest high one with at most 40% unharmed."""
    grid = np.round(np.arange(0.0, 0.0201, 0.0005), 4)
    low = max((t for t in grid if (table[table.change <= t].vote < HARMED).mean() <= 0.05), default=0.0)
    high = min((t for t in grid if (table[table.change > t].vote >= 0).mean() <= 0.40), default=0.02)
    return float(low), float(max(low, high))


def markdown(table: pd.DataFrame) -> str:
    lines = [[table.index.name, *table.columns], ["---"] * (len(table.columns) + 1)]
    lines += [
        [name, *(f"{value:+.3f}" for value in row)] for name, row in zip(table.index, table.to_numpy(), strict=True)
    ]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="*", default=SEEDS)
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    tables = []
    for name, source, adata in cases(asked.data):
        for seed in asked.seeds:
            kept = asked.out / f"{name}.{seed}.tsv"
            if not kept.exists():
                print(name, seed, file=sys.stderr, flush=True)
                rows = np.sort(np.random.default_rng(seed).permutation(adata.n_obs)[:N_CELLS])
                types = pd.factorize(adata.obs["celltype"].astype(str).to_numpy()[rows])[0]
                one(name, sp.csr_matrix(adata.X[rows]), types, seed).to_csv(kept, sep="\t", index=False)
            tables.append(pd.read_csv(kept, sep="\t").assign(source=source))
    table = pd.concat(tables)
    print(markdown(table.pivot_table(index="way", columns="data", values="vote")))
    print(markdown(table.groupby("way").vote.agg(["mean", "min"])))
    print(f"thresholds in use ({NO_HARM}, {HARM}):", error_rates(table, NO_HARM, HARM))
    print("the tuned numbers alone:", error_rates(table[table.way == "tuned"], NO_HARM, HARM))
    for source in SETS:
        low, high = thresholds(table[table.source != source])
        print(f"without {source}: {low:.4f}, {high:.4f}:", error_rates(table[table.source == source], low, high))


if __name__ == "__main__":
    main()
