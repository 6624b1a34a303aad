"""The parameters of ``sccr simulate``."""

from __future__ import annotations

from collections.abc import Iterator

from sccr_node.contract.fields import LARGEST_SIMULATED_DEPTH, SIMULATION, SMALLEST_SIMULATED_DEPTH, flag, parameter
from sccr_node.contract.shared import WritingParameters


class SimulateParameters(WritingParameters):
    """Parameters of ``sccr simulate``."""

    n_cells: int = parameter(600, title="Cells", description="Number of cells.", group=SIMULATION, ge=1)
    n_genes: int = parameter(2400, title="Genes", description="Number of genes.", group=SIMULATION, ge=1)
    n_types: int = parameter(5, title="Cell types", description="Number of cell types.", group=SIMULATION, ge=1)
    n_batches: int = parameter(
        1, title="Batches", description="Number of batches, in obs['batch'].", group=SIMULATION, ge=1
    )
    depth: float = parameter(
        3000.0,
        title="Depth",
        description="Median number of molecules per cell before dropout.",
        group=SIMULATION,
        ge=SMALLEST_SIMULATED_DEPTH,
        le=LARGEST_SIMULATED_DEPTH,
    )
    dropout: float = parameter(
        0.5,
        title="Dropout",
        description="Fraction of expressed entries that are lost; low expression is lost more often than high.",
        group=SIMULATION,
        ge=0,
        lt=1,
    )
    truth: bool = parameter(
        True,
        title="Ground truth",
        description=(
            "Also write the ground truth, as the layers complete_counts (before dropout) and expected_counts (dense: 4 "
            "bytes per cell and gene)."
        ),
        group=SIMULATION,
    )
    seed: int = parameter(
        0,
        title="Seed",
        description="Random seed; the same seed gives the same data set.",
        group=SIMULATION,
        ge=0,
        le=2**32 - 1,
    )

    def contradictions(self) -> Iterator[str]:
        """Yield of what there would be more than cells."""
        yield from super().contradictions()
        for name in ("n_types", "n_batches"):
            if getattr(self, name) > self.n_cells:
                yield f"{flag(name)} {getattr(self, name)} exceeds the number of cells ({self.n_cells})"
