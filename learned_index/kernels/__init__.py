"""The few hot operations, a folder each.

============  ==========================================================  =======================
``beam``      cluster scores and the best clusters                        equations 2 and 3
``edges``     weights of the edges from clusters to labels                equation 4
``walk``      along the edges to labels, the K best of them               equation 5
``classify``  scores of shortlisted labels                                equation 6
``losses``    classification and shortlist loss                           equations 7 and 8
``update``    AdamW on the rows that a step touches
``search``    equations 2 to 6 for one query: the index's own search
``engine``    the same for a search engine: codes in place of floats
``select``    the K best of many
``machine``   threads, instructions, exponentials: what these share
============  ==========================================================  =======================

In an operation's ``__init__`` are its equation, what others call, and which version runs; beside it
the versions: ``plain`` torch on any device, the oracle of the others; ``cpu``, Numba; ``cuda``,
Triton, imported when the first CUDA tensor comes along. A version is a module, so versions of one
operation have functions of the same names and arguments.

Sums are never made with float atomics: every result has one writer, who adds in a fixed order, so
equal inputs give equal bits at any thread count.

Nothing is imported here: a search engine needs ``engine``, and neither torch nor Triton.
"""
