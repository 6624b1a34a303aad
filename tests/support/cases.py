"""Inputs of analyses."""

from typing import Any

import numpy as np
from scipy import sparse

from sccr_node.evaluation.analyses import Case


def case(imputed: Any, types: Any = None, *, expression: Any = None, seeds: Any = (0,), **known: Any) -> Case:
    """Return the input of an analysis: by default, nothing was imputed."""
    return Case(
        expression=sparse.csr_matrix(imputed if expression is None else expression),
        imputed=imputed,
        truth=None,
        held_out=None,
        types=None if types is None else np.asarray(types),
        order=known.get("order"),
        seeds=seeds,
        settings=known.get("settings", {}),
        threads=2,
        progress=lambda stage, fraction: None,
    )
