"""The papers' evaluation, for the output of any method: masks, recovery, clustering, gene relations, the benchmark."""
