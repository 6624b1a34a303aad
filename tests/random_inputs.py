"""Random expression for the tests of the methods and the numerical core."""

import numpy as np


def random_expression(seed, n_cells, n_genes, density=0.4):
    """Cells of a few types, so that there is structure to find; about `density` of the entries observed."""
    rng = np.random.default_rng(seed)
    types = rng.gamma(1.0, 1.0, (3, n_genes))
    x = types[rng.integers(0, 3, n_cells)] * rng.gamma(4.0, 0.25, (n_cells, n_genes))
    return np.where(rng.random(x.shape) < density, x, 0).astype(np.float32)


def without_empty(x):
    """Every cell and gene with at least one value: the first gene or cell is given one."""
    x = x.copy()
    x[x.sum(axis=1) == 0, 0] = 0.5
    x[0, x.sum(axis=0) == 0] = 0.75
    return x


def margin(e, k, signed=False):
    """The smallest gap between a kept similarity and the best rejected one: how near the nearest tie is."""
    e = np.asarray(e, np.float64)
    norms = np.linalg.norm(e, axis=1, keepdims=True)
    unit = e / np.where(norms > 0, norms, 1)
    similarity = unit @ unit.T
    similarity = np.abs(similarity) if signed else np.maximum(similarity, 0)
    if k >= len(e):
        return np.inf
    ranked = -np.sort(-similarity, axis=1)
    gap = ranked[:, k - 1] - ranked[:, k]
    return gap[ranked[:, k] > 1e-9].min(initial=np.inf)  # where nothing positive is rejected, no tie matters
