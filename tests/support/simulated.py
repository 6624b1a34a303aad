"""A small simulated data set, as large as a test asks for."""

from typing import Any

import anndata

from sccr_node.contract.simulate import SimulateParameters
from sccr_node.data.simulation import simulate


def simulated(**options: Any) -> anndata.AnnData:
    """Return what ``sccr simulate`` would write with these parameters."""
    return simulate(SimulateParameters(**options))
