"""Make mouse_lung.h5ad, the data of the tutorials, from the counts of the Mouse Cell Atlas.

python docs/data/make_excerpt.py ATLAS.h5ad docs/data/mouse_lung.h5ad

ATLAS.h5ad has the counts of the atlas's three lungs in X, and in obs ``sample`` (Lung1, Lung2, Lung3) and ``celltype``
(the atlas's annotation). Which cells are drawn depends only on the seed and the order of the atlas's cells.
"""

import re
import sys

import anndata as ad
import h5py
import numpy as np
import pandas as pd
from scipy import sparse

N_CELLS = {"Lung1": 1000, "Lung2": 350, "Lung3": 350}
SEED = 0
DETECTED_IN = 5
"""Cells of the excerpt in which a gene must have been detected."""

SOURCE = "Mouse Cell Atlas (Han et al. 2018), doi:10.6084/m9.figshare.5435866, CC BY 4.0"


def cell_type(annotation: str) -> str:
    """Return the type that an annotation of the atlas is a variant of: ``T Cell_Cd8b1 high(Lung)`` is a T cell."""
    name = re.sub(r"\(Lung\)$", "", annotation).split("_")[0].replace("\N{MINUS SIGN}", "-")
    # The atlas spells the same word in several ways.
    return re.sub(r"\bCells?\b", "cell", re.sub(r"\bcells\b", "cell", name))


def excerpt(atlas: ad.AnnData) -> ad.AnnData:
    """Draw the cells, and keep the genes that were detected in enough of them."""
    random = np.random.default_rng(SEED)
    samples = atlas.obs["sample"].to_numpy()
    drawn = [random.choice(np.flatnonzero(samples == name), n, replace=False) for name, n in N_CELLS.items()]
    cells = atlas[np.sort(np.concatenate(drawn))]
    counts = sparse.csr_matrix(cells.X)
    genes = np.bincount(counts.indices, minlength=cells.n_vars) >= DETECTED_IN
    kept = counts[:, genes]
    kept.sort_indices()
    # The largest count of a gene in a cell is well below 2**15.
    return ad.AnnData(
        sparse.csr_matrix((kept.data.astype(np.int16), kept.indices, kept.indptr), shape=kept.shape),
        obs=pd.DataFrame(
            {
                "sample": pd.Categorical(cells.obs["sample"].astype(str)),
                "celltype": pd.Categorical([cell_type(name) for name in cells.obs["celltype"].astype(str)]),
            },
            index=cells.obs_names,
        ),
        var=pd.DataFrame(index=atlas.var_names[genes]),
    )


def main(atlas: str, output: str) -> None:
    """Write the excerpt, as small as HDF5 can make it."""
    made = excerpt(ad.read_h5ad(atlas))
    with h5py.File(output, "w") as store:
        how = {"compression": "gzip", "compression_opts": 9, "shuffle": True}
        ad.io.write_elem(store, "/", made, dataset_kwargs=how)
        # HDF5 cannot compress a single string.
        ad.io.write_elem(store, "uns/source", SOURCE)
    print(made, made.obs["celltype"].value_counts().to_string(), sep="\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
