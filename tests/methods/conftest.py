"""Real inputs for the methods, and what the published code made from them."""

import json

import anndata
import numpy as np
import pytest
import scipy.sparse as sp


@pytest.fixture(scope="session", params=["worm_neuron", "mouse_bladder_2100"])
def golden(request, shared_golden):
    """One golden data set: its arrays, and its parameters as a dictionary."""
    with np.load(shared_golden / f"{request.param}.npz") as stored:
        arrays = dict(stored)
    arrays["parameters"] = json.loads(str(arrays["parameters"]))
    return arrays


@pytest.fixture(scope="session")
def bladder(shared_data):
    """The mouse bladder cells, prepared as in the paper, as CSR."""
    counts = sp.csr_matrix(anndata.read_h5ad(shared_data / "mouse_bladder_2100.h5ad").X).astype(np.float64)
    mean = np.asarray(counts.mean(axis=0)).ravel()
    variance = np.asarray(counts.multiply(counts).mean(axis=0)).ravel() - mean**2
    counts = counts[:, np.sort(np.argsort(-variance, kind="stable")[:2000])]
    totals = np.asarray(counts.sum(axis=1)).ravel()
    scaled = sp.csr_matrix(sp.diags(np.median(totals[totals > 0]) / np.maximum(totals, 1)) @ counts)
    return scaled.log1p().astype(np.float32).tocsr()
