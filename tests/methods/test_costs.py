"""The memory estimate against what numpy allocates during a run."""

import tracemalloc

import pytest
import scipy.sparse as sp

import sccr_node.methods
from sccr_node.contract.methods import METHODS
from sccr_node.methods import Shape, load


def cost(n_cells, n_genes, n_stored, method="sccr", outputs=("denoised",), threads=2, **given):
    settings = METHODS[method].complete(given)
    return load(method).cost(Shape(n_cells, n_genes, n_stored), settings, outputs, threads)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("n_cells", "n_genes"), [(3000, 400), (700, 1500)])
@pytest.mark.parametrize("threads", [1, 2])
def test_the_peak_stays_under_the_estimate_and_not_far_under(method, n_cells, n_genes, threads):
    x = sp.random(n_cells, n_genes, 0.1, format="csr", random_state=0, dtype="float32")
    fewer = {"n_iterations": 2, "n_gene_iterations": 2, "k_gene": 3}
    numbers = {name: value for name, value in fewer.items() if name in METHODS[method].defaults}
    tracemalloc.start()
    getattr(sccr_node.methods, method)(x, threads=threads, **numbers)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    expected = cost(n_cells, n_genes, x.nnz, method=method, threads=threads, **numbers)
    # Whether NumPy uses a temporary array again depends on Python: from 3.14 on it often cannot.
    assert peak / 1.1 <= expected.bytes <= 3 * peak


def test_two_large_buffers_dominate_a_large_run():
    n_cells, n_genes = 24_000, 2000
    matrix = 4 * n_cells * n_genes
    both = cost(n_cells, n_genes, n_cells * 200, outputs=("recovered", "denoised"))
    assert 2 * matrix < both.bytes < 2.5 * matrix + (400 << 20)


def test_operations_grow_faster_than_the_cells_and_with_their_square_where_all_are_compared():
    for search, least, most in (("exact", 3, 4.1), ("clustered", 2.2, 2.8), ("auto", 2.2, 2.8)):
        small, large = (cost(n, 2000, n * 200, neighbor_search=search).operations for n in (50_000, 100_000))
        assert least < large / small < most


def test_the_stages_left_out_are_not_counted():
    whole = cost(5000, 2000, 10**6)
    assert cost(5000, 2000, 10**6, outputs=("recovered",)).operations < whole.operations
