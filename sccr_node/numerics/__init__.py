"""Arrays in, arrays out: neighbour searches, graphs, propagation, principal components."""
