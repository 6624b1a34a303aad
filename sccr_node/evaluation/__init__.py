"""Evaluate the output of any method, arrays in, arrays out: masks, metrics, analyses, gene relations, benchmark."""
