"""scCR against the published numbers, the dense transcription, and its own invariants."""

import numpy as np
import oracle
import pytest
import scipy.sparse as sp
from hypothesis import assume, given
from hypothesis import strategies as st
from random_inputs import margin, random_expression, without_empty

from sccr_node.methods import sccr
from sccr_node.numerics import Workspace, cell_graph, gene_graph, hard_propagation
from sccr_node.numerics._kernels import forced_level, usable_levels
from sccr_node.numerics.graphs import GeneScaling, gene_rows, joined
from sccr_node.numerics.neighbors import buffer_size, search
from sccr_node.numerics.propagation import propagate_over_genes

NEAR_TIE = 5e-6  # float32 may decide either way below this


def decided(x, run, k_cell, k_gene):
    """Whether no neighbour of the oracle's run hangs on a near-tie."""
    signed_half = run.gene_similarity[: x.shape[1], : x.shape[1]]
    gene_gap = np.inf
    if k_gene + 1 < x.shape[1]:
        ranked = -np.sort(-np.abs(signed_half), axis=1)
        gap = ranked[:, k_gene] - ranked[:, k_gene + 1]
        gene_gap = gap[ranked[:, k_gene + 1] > 1e-9].min(initial=np.inf)
    gaps = [margin(e, k_cell + 1) for e in (x, run.completed, run.recovered)]
    return min(gene_gap, *gaps) > NEAR_TIE


def test_golden_outputs(golden):
    result = sccr(sp.csr_matrix(golden["input"]), recovered=True, **golden["parameters"])
    np.testing.assert_allclose(result.denoised, golden["denoised"], atol=1e-5)
    np.testing.assert_allclose(result.recovered, golden["recovered"], atol=1e-5)


def test_golden_steps(golden):
    x = sp.csr_matrix(golden["input"])
    n_cells, n_genes = x.shape
    graph = cell_graph(x, 15)
    stored = (golden["cell_graph_weights"], (golden["cell_graph_rows"], golden["cell_graph_cols"]))
    assert abs(graph - sp.csr_matrix(stored, shape=graph.shape)).max() < 1e-6
    p = hard_propagation(graph, x)
    np.testing.assert_allclose(p, golden["pre_imputed"], atol=1e-5)

    signed = gene_graph(p, 2)
    positive, negative = signed.maximum(0), (-signed).maximum(0)
    doubled = sp.bmat([[positive, negative], [negative, positive]])
    stored = (golden["gene_graph_weights"], (golden["gene_graph_rows"], golden["gene_graph_cols"]))
    assert abs(doubled - sp.csr_matrix(stored, shape=doubled.shape)).max() < 1e-5

    c = np.empty_like(p)
    scaling = GeneScaling.of(p.mean(axis=0, dtype=np.float64), p.std(axis=0, ddof=1, dtype=np.float64))
    propagate_over_genes(signed, x, p, scaling, c, Workspace(1), iterations=40)
    np.testing.assert_allclose(c, golden["completed"], atol=1e-4)


@given(
    seed=st.integers(0, 10_000), n_cells=st.integers(2, 45), n_genes=st.integers(1, 40),
    k_cell=st.integers(1, 20), k_gene=st.integers(1, 6), density=st.sampled_from([0.1, 0.4, 1.0]),
    n_iterations=st.integers(0, 12), n_gene_iterations=st.integers(0, 12), alpha=st.sampled_from([0.0, 0.05, 1.0]),
    gamma=st.sampled_from([0.0, 0.3]), flags=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    constant=st.booleans(),
)  # fmt: skip
def test_equals_the_transcription(
    seed, n_cells, n_genes, k_cell, k_gene, density, n_iterations, n_gene_iterations, alpha, gamma, flags, constant
):
    x = without_empty(random_expression(seed, n_cells, n_genes, density))
    if constant:
        x[:, seed % n_genes] = 1.25
    numbers = {"k_cell": k_cell, "k_gene": k_gene, "alpha": alpha, "gamma": gamma}
    numbers |= {"n_iterations": n_iterations, "n_gene_iterations": n_gene_iterations}
    numbers |= dict(zip(("symmetrize_final", "dissociating", "standardize"), flags, strict=True))
    expected = oracle.sccr(x, **numbers)
    assume(decided(x, expected, k_cell, k_gene))
    result = sccr(x, recovered=True, **numbers)
    np.testing.assert_allclose(result.recovered, expected.recovered, atol=1e-4)
    np.testing.assert_allclose(result.denoised, expected.denoised, atol=1e-4)


@given(seed=st.integers(0, 10_000), k_denoising=st.integers(1, 20), n_denoising_iterations=st.integers(1, 12))
def test_denoising_has_numbers_of_its_own(seed, k_denoising, n_denoising_iterations):
    x = without_empty(random_expression(seed, 30, 20))
    own = {"k_denoising": k_denoising, "n_denoising_iterations": n_denoising_iterations}
    expected = oracle.sccr(x, k_cell=6, n_iterations=9, **own)
    assume(decided(x, expected, 6, 2) and margin(expected.recovered, k_denoising + 1) > NEAR_TIE)
    result = sccr(x, k_cell=6, n_iterations=9, recovered=True, **own)
    np.testing.assert_allclose(result.denoised, expected.denoised, atol=1e-4)
    plain = sccr(x, k_cell=6, n_iterations=9, recovered=True)
    assert np.array_equal(result.recovered, plain.recovered)
    same = sccr(x, k_cell=6, n_iterations=9, k_denoising=6, n_denoising_iterations=9)
    assert np.array_equal(same.denoised, plain.denoised)


@given(seed=st.integers(0, 10_000), n_genes=st.integers(2, 40), k_gene=st.integers(1, 5))
def test_signed_graph_is_the_doubled_graph(seed, n_genes, k_gene):
    p = np.random.default_rng(seed).gamma(2.0, 1.0, (30, n_genes)).astype(np.float32)
    z = (p - p.mean(axis=0, dtype=np.float64)) / p.std(axis=0, ddof=1, dtype=np.float64)
    assume(margin(z.T, k_gene + 1, signed=True) > NEAR_TIE)
    signed = gene_graph(p, k_gene).toarray()
    doubled = oracle.graph(np.hstack([z, -z]).T, k_gene)
    np.testing.assert_allclose(np.maximum(signed, 0), doubled[:n_genes, :n_genes], atol=1e-6)
    np.testing.assert_allclose(np.maximum(-signed, 0), doubled[:n_genes, n_genes:], atol=1e-6)


@given(seed=st.integers(0, 10_000), empty_cells=st.integers(0, 5), empty_genes=st.integers(0, 5))
def test_empty_cells_and_genes_change_nothing(seed, empty_cells, empty_genes):
    x = without_empty(random_expression(seed, 40, 30))
    rng = np.random.default_rng(seed)
    cells = np.sort(rng.permutation(40 + empty_cells)[:40])
    genes = np.sort(rng.permutation(30 + empty_genes)[:30])
    padded = np.zeros((40 + empty_cells, 30 + empty_genes), np.float32)
    padded[np.ix_(cells, genes)] = x
    plain, result = sccr(x, recovered=True), sccr(padded, recovered=True)
    for name in ("denoised", "recovered"):
        whole = getattr(result, name)
        assert np.array_equal(whole[np.ix_(cells, genes)], getattr(plain, name))
        assert np.count_nonzero(np.delete(whole, cells, axis=0)) == 0
        assert np.count_nonzero(np.delete(whole, genes, axis=1)) == 0
    assert np.array_equal(result.relations.toarray()[np.ix_(genes, genes)], plain.relations.toarray())
    assert result.relations.nnz == plain.relations.nnz


@given(seed=st.integers(0, 10_000))
def test_outputs_stay_within_what_was_observed(seed):
    """A row of a cell graph is a convex combination, and P, Q, R and the denoised matrix are built of X by those."""
    x = without_empty(random_expression(seed, 40, 20))
    result = sccr(x, recovered=True)
    for values in (result.recovered, result.denoised):
        assert values.min() >= 0
        assert (values.max(axis=0) <= x.max(axis=0) * (1 + 1e-5)).all()


def test_recovered_keeps_the_observed_entries(bladder):
    x = bladder[:500]
    recovered = sccr(x, denoised=False, recovered=True).recovered
    observed = x.nonzero()
    np.testing.assert_allclose(recovered[observed], np.asarray(x[observed]).ravel(), rtol=1e-6)


def test_relations_are_signed_correlations_of_the_joined_genes(golden):
    result = sccr(golden["input"], **golden["parameters"])
    r = result.relations
    assert r.dtype == np.float32 and r.has_sorted_indices
    assert (r != r.T).nnz == 0 and not r.diagonal().any()
    assert r.data.min() < 0 < r.data.max()
    expected = np.corrcoef(golden["pre_imputed"].T.astype(np.float64))
    rows, columns = r.nonzero()
    np.testing.assert_allclose(r.data, expected[rows, columns], atol=1e-5)
    n_genes = r.shape[0]
    ends = golden["gene_graph_rows"] % n_genes, golden["gene_graph_cols"] % n_genes
    joined_pairs = {(i, j) for i, j in zip(*ends, strict=True) if i != j}
    assert set(zip(rows.tolist(), columns.tolist(), strict=True)) == joined_pairs


def test_threads_and_repetition_change_no_bit(bladder):
    one = sccr(bladder, recovered=True, threads=1)
    for threads in (2, 3):
        other = sccr(bladder, recovered=True, threads=threads)
        assert np.array_equal(one.denoised, other.denoised)
        assert np.array_equal(one.recovered, other.recovered)
        assert (one.relations != other.relations).nnz == 0


def test_asking_for_one_output_gives_the_same_one(bladder):
    x = bladder[:400]
    both = sccr(x, recovered=True)
    assert np.array_equal(sccr(x).denoised, both.denoised)
    alone = sccr(x, denoised=False, recovered=True)
    assert alone.denoised is None and np.array_equal(alone.recovered, both.recovered)
    assert not any("denoising" in stage for stage in alone.seconds)


@pytest.mark.parametrize("level", usable_levels())
def test_levels_of_instructions_agree(bladder, level):
    x = bladder[:600]
    best = sccr(x, recovered=True)
    with forced_level(level):
        result = sccr(x, recovered=True)
    np.testing.assert_allclose(result.recovered, best.recovered, atol=1e-4)
    np.testing.assert_allclose(result.denoised, best.denoised, atol=1e-4)
    assert (result.relations != best.relations).nnz == 0 or abs(result.relations - best.relations).max() < 1e-6


def test_many_identical_cells_have_one_answer():
    x = without_empty(random_expression(1, 400, 60))
    x[50:350] = x[50]
    first = sccr(x, threads=1, recovered=True)
    second = sccr(x, threads=3, recovered=True)
    assert np.array_equal(first.denoised, second.denoised) and np.array_equal(first.recovered, second.recovered)
    np.testing.assert_allclose(first.denoised[50:350], np.broadcast_to(first.denoised[50], (300, 60)), atol=0.05)


def test_dense_and_sparse_input_are_one(golden):
    dense = sccr(golden["input"]).denoised
    x = golden["input"]
    everything = np.tile(np.arange(x.shape[1]), len(x)), np.arange(len(x) + 1) * x.shape[1]
    with_zeros = sp.csr_matrix((x.ravel(), *everything), shape=x.shape)
    assert np.array_equal(sccr(with_zeros).denoised, dense)
    assert np.array_equal(sccr(sp.csc_matrix(golden["input"])).denoised, dense)
    assert with_zeros.nnz == dense.size  # the caller's matrix is as it was


@pytest.mark.parametrize("n_cells", [0, 1, 3])
def test_one_cell_with_values_passes_through(n_cells):
    x = np.zeros((n_cells, 4), np.float32)
    if n_cells:
        x[-1, [0, 2]] = 1.5, 0.5
    result = sccr(x, recovered=True)
    assert np.array_equal(result.denoised, x) and np.array_equal(result.recovered, x)
    assert result.relations.shape == (4, 4) and result.relations.nnz == 0


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"k_cell": 0}, "k_cell is 0"),
        ({"k_gene": -1}, "k_gene is -1"),
        ({"n_iterations": -1}, "n_iterations is -1"),
        ({"alpha": 1.5}, "alpha is 1.5"),
        ({"beta": -0.1}, "beta is -0.1"),
        ({"gamma": float("nan")}, "gamma is nan"),
        ({"threads": 0}, "threads is 0"),
        ({"denoised": False}, "neither"),
    ],
)
def test_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        sccr(np.eye(4, dtype=np.float32), **wrong)


def test_one_dimension_is_refused():
    with pytest.raises(ValueError, match="cells x genes"):
        sccr(np.ones(5, np.float32))


def test_standardising_against_the_paper_in_hard_cases():
    p = np.array([[1, 5, 0.1], [1, 7, 0.1], [1, 9, 0.1]], np.float32)
    scaling = GeneScaling.of(p.mean(axis=0, dtype=np.float64), p.std(axis=0, ddof=1, dtype=np.float64))
    assert scaling.inverses.tolist() == [0, 0.5, 0]
    np.testing.assert_allclose(scaling.scales, [2 / 3, 2, 2 / 3], rtol=1e-6)
    work = Workspace(1)
    rows = gene_rows(p, scaling, work.buffer(buffer_size(3, 3)), work, signed=True)
    graph = joined(search(rows, 3, work), signed=True)
    np.testing.assert_allclose(graph.toarray(), np.eye(3))
