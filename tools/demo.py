"""The demonstration: simulated data, compared with the known truth; real data, with a verdict and a report.

Run from a checkout: ``python -m tools.demo FOLDER``, which ``make demo`` calls.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sccr_node.__main__ import main as sccr

if TYPE_CHECKING:
    from anndata import AnnData

REPOSITORY = Path(__file__).resolve().parents[1]


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


def verdicts_on(adata: AnnData, key: str = "sccr") -> list[tuple[str, str, str]]:
    """Return what tuning found for a result: question, answer, and the sentence that explains it."""
    from sccr_node.reports.helps import helps_of

    about = adata.uns[key]
    return [(each.question, each.answer, each.text) for each in helps_of(about["tuning"], about["params"]).answers]


def main(folder: Path) -> int:
    """Run the demonstration in a folder, and print the comparison, the verdicts, and where to look.

    Returns
    -------
    0, or the exit code of the command that failed.
    """
    begin = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    # What people can type again: the make target runs in the repository.
    lungs = Path(os.path.relpath(REPOSITORY / "docs" / "data" / "mouse_lung.h5ad"))
    exit_code = _simulated(folder) or _real(lungs, folder)
    if not exit_code:
        print(f"\nThe demonstration took {time.monotonic() - begin:.0f} s. Where to look:\n")
        for name, what in (
            ("report.html", "the report on the mouse lungs: open it in a browser"),
            ("mouse_lung.h5ad", "the imputed mouse lungs: open them with anndata or scanpy"),
            ("imputed.h5ad", "the imputed simulated data"),
        ):
            print(f"  {folder / name!s:32} {what}")
        print("\nWith your own counts: source .venv/bin/activate, then see docs/quickstart.md")
    return exit_code


def _simulated(folder: Path) -> int:
    """Impute data with a known truth, and print how close it comes."""
    import anndata

    simulated, imputed = folder / "simulated.h5ad", folder / "imputed.h5ad"
    print("1. Simulated data, whose truth is known\n")
    exit_code = _run(
        ["simulate", str(simulated), "--force"],
        ["impute", str(simulated), str(imputed), "--force", "--provenance", str(folder / "provenance.json")],
    )
    if exit_code:
        return exit_code
    print(f"\nCompared with the truth that {simulated} was drawn from:\n")
    print(f"{'':45}{'before':>10}{'after':>10}")
    for measure, (before, after) in compare_with_truth(anndata.read_h5ad(imputed)).items():
        print(f"{measure:45}{before:10.3f}{after:10.3f}")
    return 0


def _real(source: Path, folder: Path) -> int:
    """Tune and impute real data, and print whether it helps; the report shows the same."""
    import anndata

    imputed, report = folder / source.name, folder / "report.html"
    print("\n2. Real data, whose truth nobody knows: three mouse lungs (docs/data/README.md)\n")
    columns = ["--batch-key", "sample", "--label-key", "celltype"]
    exit_code = _run(
        ["impute", str(source), str(imputed), "--tune", *columns, "--report", str(report), "--force"],
    )
    if exit_code:
        return exit_code
    print("\nDoes imputation help on these data? Half of every cell's molecules were held out to ask:\n")
    for question, answer, text in verdicts_on(anndata.read_h5ad(imputed)):
        print(f"  {question} {answer}.\n    {text}")
    return 0


def _run(*commands: Sequence[str]) -> int:
    for command in commands:
        print("$ sccr", *command, flush=True)
        if exit_code := sccr(command):
            return exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
