"""Other systems, each measured in a process of its own; see benchmarks/README.md.

The modules that run inside a peer's environment (``harness``, ``pecos_xrlinear``,
``omikuji_trees``) import numpy, scipy and that peer only.
"""
