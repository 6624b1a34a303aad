"""Groups of cells that nobody could miss."""

import numpy as np


def blobs(n_groups=3, n_cells=90, n_genes=12, spread=0.3, seed=0):
    random = np.random.default_rng(seed)
    types = np.arange(n_cells) % n_groups
    centres = random.normal(0, 3, (n_groups, n_genes))
    return (centres[types] + random.normal(0, spread, (n_cells, n_genes))).astype(np.float32), types
