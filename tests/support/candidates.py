"""Candidates that no tool could have made from the data it was given: changes to an AnnData object, in place."""

import numpy as np


def with_nan(candidate):
    candidate.X = candidate.X.toarray()
    candidate.X[3, 5] = np.nan


def with_counts(candidate):
    candidate.X = candidate.layers["counts"]


def with_denoised_counts(candidate):
    candidate.X = candidate.layers["counts"].astype(np.float32) * 10.5


def renamed(candidate):
    candidate.obs_names = ["x" + name for name in candidate.obs_names]


def centred(candidate):
    candidate.X = candidate.X.toarray() - candidate.X.toarray().mean(axis=0)


def with_a_low_value(candidate):
    candidate.X = candidate.X.toarray().astype(np.float64)
    candidate.X[3, 5] = -1e300
