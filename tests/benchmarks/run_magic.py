"""Impute X of an h5ad file with MAGIC, as its users do; runs in the Python of MAGIC's own environment.

python3 -m venv magic && magic/bin/pip install magic-impute==3.0.0 anndata
magic/bin/python run_magic.py LOGS.h5ad IMPUTED.h5ad [T]

T is the number of diffusion steps (default: MAGIC's, 3).
"""

import sys

import anndata as ad
import magic
import numpy as np
import scipy.sparse as sp


def main(logs: str, output: str, steps: str = "3") -> None:
    adata = ad.read_h5ad(logs)
    values = adata.X.toarray() if sp.issparse(adata.X) else np.asarray(adata.X)
    imputed = magic.MAGIC(t=int(steps), random_state=0, n_jobs=-1, verbose=0).fit_transform(values)
    ad.AnnData(np.asarray(imputed, dtype=np.float32), obs=adata.obs, var=adata.var, uns=adata.uns).write_h5ad(output)


if __name__ == "__main__":
    main(*sys.argv[1:])
