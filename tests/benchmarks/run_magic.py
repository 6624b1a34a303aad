"""Impute X of an h5ad file with MAGIC's defaults, as its users do; runs in the Python of MAGIC's own environment.

python3.11 -m venv magic && magic/bin/pip install magic-impute==3.0.0 'pandas<2' 'numpy<2' 'anndata<0.12'
magic/bin/python run_magic.py MASKED.h5ad IMPUTED.h5ad
"""

import sys

import anndata as ad
import magic
import numpy as np
import scipy.sparse as sp


def main(masked: str, output: str) -> None:
    adata = ad.read_h5ad(masked)
    logs = adata.X.toarray() if sp.issparse(adata.X) else np.asarray(adata.X)
    imputed = magic.MAGIC(random_state=0, n_jobs=-1, verbose=0).fit_transform(logs)
    ad.AnnData(np.asarray(imputed, dtype=np.float32), obs=adata.obs, var=adata.var).write_h5ad(output)


if __name__ == "__main__":
    main(*sys.argv[1:])
