"""Several samples: clusters of data imputed per sample, before and after integration (three mouse lungs of the atlas).

python tests/benchmarks/samples.py DATA/mca_12tissues.h5ad        (needs harmonypy)
"""

import sys

import anndata as ad
import harmonypy
import numpy as np
import scanpy as sc

import sccr_node

N_CELLS = 3000


def of_one_sample(adata: ad.AnnData, use_rep: str) -> str:
    sc.pp.neighbors(adata, use_rep=use_rep)
    sc.tl.leiden(adata, flavor="igraph", n_iterations=2)
    table = adata.obs.groupby(["leiden", "sample"], observed=False).size().unstack()
    shares = table.max(axis=1) / table.sum(axis=1)
    return f"{use_rep}: {int((shares > 0.95).sum())} of {len(shares)} clusters are of one sample"


def main(path: str) -> None:
    atlas = ad.read_h5ad(path)
    lungs = atlas[(atlas.obs["tissue"] == "Lung").to_numpy()]
    adata = lungs[np.sort(np.random.default_rng(0).permutation(lungs.n_obs)[:N_CELLS])].copy()
    tuning = sccr_node.tune(adata, batch_key="sample")
    sccr_node.impute(adata, batch_key="sample", **tuning.parameters)
    print(of_one_sample(adata, "X_sccr"))
    adata.obsm["X_integrated"] = harmonypy.run_harmony(adata.obsm["X_sccr"], adata.obs, "sample").Z_corr
    print(of_one_sample(adata, "X_integrated"))


if __name__ == "__main__":
    main(*sys.argv[1:])
