"""What sccr impute needs, as its --dry-run estimates it: the planning tables of docs/benchmarks.md.

python tests/benchmarks/planning.py
"""

from sccr_node.contract.methods import METHODS
from sccr_node.methods import Shape
from sccr_node.pipeline.needs import Estimate, estimate

CELLS = (2_100, 8_569, 23_833, 71_499, 200_000, 500_000, 1_000_000)
GENES = (1_000, 2_000, 4_000)
OBSERVED = 0.1
THREADS = 2

LARGE_CELLS, LARGE_GENES, LARGE_THREADS = 10_000_000, 2_000, 16
SAMPLE_CELLS = (10_000_000, 1_000_000, 100_000, 10_000)
"""How ten million cells may come: in one piece, or as samples that are imputed one by one."""


def shown(seconds: float) -> str:
    """Return a time in words."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def needed(n_cells: int, n_genes: int, threads: int) -> Estimate:
    """Return the estimate for so many cells and genes."""
    shape = Shape(n_cells, n_genes, int(OBSERVED * n_cells * n_genes))
    return estimate("sccr", [shape], METHODS["sccr"].complete({}), ["denoised"], threads)


def main() -> None:
    print("| cells | " + " | ".join(f"{n_genes:,} genes" for n_genes in GENES) + " |")
    print("|---" * (1 + len(GENES)) + "|")
    for n_cells in CELLS:
        estimates = [needed(n_cells, n_genes, THREADS) for n_genes in GENES]
        cells = [f"{each.memory / 1e9:.1f} GB, {shown(each.seconds)}" for each in estimates]
        print(f"| {n_cells:,} | " + " | ".join(cells) + " |")
    heads = ["threads each", "at a time", "memory of one", "of all", "one takes", f"all {LARGE_CELLS:,} cells take"]
    print("\n| samples of | " + " | ".join(heads) + " |")
    print("|---" * 7 + "|")
    for n_cells in SAMPLE_CELLS:
        threads = LARGE_THREADS if n_cells == LARGE_CELLS else THREADS
        at_a_time, n_samples = LARGE_THREADS // threads, LARGE_CELLS // n_cells
        each = needed(n_cells, LARGE_GENES, threads)
        whole = each.seconds * -(-n_samples // at_a_time)
        memory = [f"{size / 1e9:.1f} GB" for size in (each.memory, each.memory * at_a_time)]
        cells = [str(threads), str(at_a_time), *memory, shown(each.seconds), shown(whole)]
        print(f"| {n_cells:,} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
