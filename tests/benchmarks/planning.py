"""What sccr impute needs, as its --dry-run estimates it: the planning table of docs/benchmarks.md.

python tests/benchmarks/planning.py
"""

from sccr_node.contract.methods import METHODS
from sccr_node.methods import Shape
from sccr_node.pipeline.needs import estimate

CELLS = (2_100, 8_569, 23_833, 71_499, 200_000, 500_000, 1_000_000)
GENES = (1_000, 2_000, 4_000)
OBSERVED = 0.1
THREADS = 2


def main() -> None:
    settings = METHODS["sccr"].complete({})
    print("| cells | " + " | ".join(f"{n_genes:,} genes" for n_genes in GENES) + " |")
    print("|---" * (1 + len(GENES)) + "|")
    for n_cells in CELLS:
        shown = []
        for n_genes in GENES:
            shape = Shape(n_cells, n_genes, int(OBSERVED * n_cells * n_genes))
            needed = estimate("sccr", [shape], settings, ["denoised"], THREADS)
            time = f"{needed.seconds:.0f} s" if needed.seconds < 100 else f"{needed.seconds / 60:.0f} min"
            shown.append(f"{needed.memory / 1e9:.1f} GB, {time}")
        print(f"| {n_cells:,} | " + " | ".join(shown) + " |")


if __name__ == "__main__":
    main()
