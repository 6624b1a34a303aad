"""Permuted genes keep their values and lose their cells; the others stay as they are."""

import numpy as np
from scipy import sparse

from sccr_node.evaluation.permuted import permute_genes, permuted_genes


def test_only_the_chosen_genes_are_permuted_each_on_its_own():
    random = np.random.default_rng(0)
    profile = random.random(200) * (random.random(200) < 0.5)
    expression = sparse.csr_matrix(np.tile(profile[:, None], 40).astype(np.float32))
    before = expression.toarray()
    permuted = permute_genes(expression, 3)
    genes = permuted_genes(40, 3)
    assert permuted.has_canonical_format and len(genes) == 4 and (expression.toarray() == before).all()
    after = permuted.toarray()
    others = np.setdiff1d(np.arange(40), genes)
    np.testing.assert_array_equal(after[:, others], before[:, others])
    np.testing.assert_array_equal(np.sort(after, axis=0), np.sort(before, axis=0))
    assert len({tuple(after[:, gene]) for gene in [*genes, others[0]]}) == 5
    assert (permute_genes(expression, 3) != permuted).nnz == 0 and (permute_genes(expression, 4) != permuted).nnz > 0


def test_at_least_one_gene_is_permuted():
    assert len(permuted_genes(3, 0)) == 1 and permuted_genes(1, 0).tolist() == [0]
