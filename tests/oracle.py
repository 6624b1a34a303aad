"""The papers' methods in dense float64, including the concatenation [P, -P]: the reference for the fast implementation.

Independent of sccr_node on purpose. Near-ties are broken as the package documents: scores on a grid of 2^-40, then the
lower index.
"""

from dataclasses import dataclass

import numpy as np


def kept_neighbours(e, k):
    """Similarities of every row with every row, and a mask of the k largest of each."""
    norms = np.linalg.norm(e, axis=1, keepdims=True)
    unit = np.divide(e, norms, out=np.zeros_like(e), where=norms > 0)
    similarity = np.round(unit @ unit.T * 2.0**40) / 2.0**40
    order = np.argsort(-similarity, axis=1, kind="stable")[:, :k]
    kept = np.zeros(similarity.shape, bool)
    np.put_along_axis(kept, order, True, axis=1)
    return similarity, kept


def graph(e, k, symmetrize=True):
    similarity, kept = kept_neighbours(e, k + 1)
    a = np.where(kept, np.maximum(similarity, 0), 0) + np.eye(len(e))
    if symmetrize:
        a = (a + a.T) / 2
    return a / a.sum(axis=1, keepdims=True)


def hard(a, z, observed, mask, iterations):
    z = z.copy()
    for _ in range(iterations):
        z = a @ z
        z[mask] = observed[mask]
    return z


def soft(a, x, beta, iterations):
    z = x.copy()
    for _ in range(iterations):
        z = beta * (a @ z) + (1 - beta) * x
    return z


@dataclass
class Sccr:
    cell_graph: np.ndarray
    pre_imputed: np.ndarray
    gene_graph: np.ndarray
    completed: np.ndarray
    recovered: np.ndarray
    denoised: np.ndarray
    gene_similarity: np.ndarray
    gene_kept: np.ndarray


def sccr(
    x, k_cell=15, k_gene=2, n_iterations=40, n_gene_iterations=40, alpha=0.05, beta=0.99, gamma=0.01,
    symmetrize_final=True, dissociating=True, standardize=True, k_denoising=None, n_denoising_iterations=None,
):  # fmt: skip
    x = np.asarray(x, np.float64)
    n_genes = x.shape[1]
    a1 = graph(x, k_cell)
    p = hard(a1, x, x, x != 0, n_iterations)
    d = np.hstack([p, -p]) if dissociating else p
    observed = np.hstack([x, -x]) if dissociating else x
    m, s = np.zeros(d.shape[1]), np.ones(d.shape[1])
    z = d
    if standardize:
        m, s = d.mean(axis=0), d.std(axis=0, ddof=1)
        constant = s <= 1e-6 * np.maximum(1, np.abs(m))
        s = np.where(constant, s.mean(), s)
        z = np.where(constant, 0, (d - m) / np.where(s > 0, s, 1))
    ag = graph(z.T, k_gene)
    c = hard(ag, z.T, z.T, observed.T != 0, n_gene_iterations).T
    c = (c * s + m)[:, :n_genes]
    a2 = graph(c, k_cell)
    q = hard(a2, x, x, x != 0, n_iterations)
    r = alpha * p + (1 - alpha) * q
    a3 = graph(r, k_denoising or k_cell, symmetrize_final)
    denoised = (1 - gamma) * soft(a3, x, beta, n_denoising_iterations or n_iterations) + gamma * r
    return Sccr(a1, p, ag, c, r, denoised, *kept_neighbours(z.T, k_gene + 1))


def scfp(x, k_cell=15, n_iterations=40, beta=0.99, k_denoising=None, n_denoising_iterations=None):
    x = np.asarray(x, np.float64)
    p = hard(graph(x, k_cell), x, x, x != 0, n_iterations)
    return soft(graph(p, k_denoising or k_cell), p, beta, n_denoising_iterations or n_iterations)


def scbfp_graph(e, k, symmetric):
    similarity, kept = kept_neighbours(e, k)
    a = np.where(kept, np.maximum(similarity, 0), 0)
    np.fill_diagonal(a, 2)
    a = (a + a.T) / 2
    degree = a.sum(axis=1)
    return a / np.sqrt(np.outer(degree, degree)) if symmetric else a / degree[:, None]


def scbfp(x, k_cell=10, k_gene=10, n_iterations=40, n_gene_iterations=10):
    x = np.asarray(x, np.float64)
    p = hard(scbfp_graph(x.T, k_gene, True), x.T, x.T, x.T != 0, n_gene_iterations).T
    z, a = p, scbfp_graph(p, k_cell, False)
    for _ in range(n_iterations):
        z = a @ z
    return z
