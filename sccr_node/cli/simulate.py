"""The command ``sccr simulate``."""

from __future__ import annotations

from pathlib import Path

from sccr_node.cli.options import contract_command, path_argument
from sccr_node.contract.simulate import SimulateParameters
from sccr_node.runtime.console import Console


@contract_command(
    SimulateParameters,
    arguments=[path_argument("output", written=True)],
    summary="Write a simulated data set with known ground truth. OUTPUT is an .h5ad file with counts in X.",
)
def simulate(params: SimulateParameters, console: Console, output: Path) -> None:
    """Simulate a data set."""
    from sccr_node.data.simulation import simulate_file

    simulate_file(output, params, console=console)
