"""The demonstration: simulate data with a known truth, impute them, and compare with the truth before and after.

Run from a checkout: ``python -m tools.demo FOLDER``, which ``make demo`` calls.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sccr_node.__main__ import main as sccr

if TYPE_CHECKING:
    from anndata import AnnData


def compare_with_truth(adata: AnnData, key: str = "sccr") -> dict[str, tuple[float, float]]:
    """Compare the measured and the imputed expression of a simulated data set with the truth it was drawn from.

    Parameters
    ----------
    adata
        A result of ``sccr impute`` on a data set from ``sccr simulate``.
    key
        The name of the result.

    Returns
    -------
    Value of each measure before and after imputation, over the imputed genes.
    """
    from scipy import sparse

    imputed_genes = adata.var[f"{key}_imputed"].to_numpy()

    def chosen(matrix: Any) -> NDArray[np.float64]:
        part = matrix[:, imputed_genes]
        return np.asarray(sparse.csr_matrix(part).toarray(), dtype=np.float64)

    def log_normalised(counts: NDArray[np.float64]) -> NDArray[np.float64]:
        totals = counts.sum(axis=1, keepdims=True)
        return np.asarray(np.log1p(counts / np.where(totals > 0, totals, 1) * np.median(totals[totals > 0])))

    measured, complete = chosen(adata.X), chosen(adata.layers["complete_counts"])
    truth = log_normalised(chosen(adata.layers["expected_counts"]))
    before, after = log_normalised(measured), chosen(adata.layers[key])
    lost = (measured == 0) & (complete > 0)

    def error_at_losses(values: NDArray[np.float64]) -> float:
        return float(np.abs(values - truth)[lost].mean())

    def correlation(values: NDArray[np.float64]) -> float:
        return float(np.mean([np.corrcoef(row, true)[0, 1] for row, true in zip(values, truth, strict=True)]))

    return {
        "mean absolute error at the lost entries": (error_at_losses(before), error_at_losses(after)),
        "mean correlation of a cell with its truth": (correlation(before), correlation(after)),
        "share of zeros": (float((before == 0).mean()), float((after == 0).mean())),
    }


def main(folder: Path) -> int:
    """Run the demonstration in a folder and print the comparison."""
    import anndata

    folder.mkdir(parents=True, exist_ok=True)
    simulated, imputed = folder / "simulated.h5ad", folder / "imputed.h5ad"
    commands = [
        ["simulate", str(simulated), "--force"],
        ["impute", str(simulated), str(imputed), "--force", "--provenance", str(folder / "provenance.json")],
    ]
    for command in commands:
        print("$ sccr", " ".join(command), flush=True)
        if exit_code := sccr(command):
            return exit_code
    print(f"\nCompared with the truth that {simulated} was drawn from:\n")
    print(f"{'':45}{'before':>10}{'after':>10}")
    for measure, (before, after) in compare_with_truth(anndata.read_h5ad(imputed)).items():
        print(f"{measure:45}{before:10.3f}{after:10.3f}")
    print(f"\nThe results are in {folder}: open {imputed.name} with anndata or scanpy.")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
