"""Judge the output of any method, arrays in and arrays out: masks, metrics, analyses, gene relations, the benchmark."""
