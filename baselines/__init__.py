"""Exact, quantised, graph, tree and nearest-neighbour searchers to compare with."""
