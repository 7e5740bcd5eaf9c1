"""Searchers to compare with: exact, quantised, graphs, trees, neighbours, and whole systems.

Each method is a file with a class under :func:`register`; nothing here lists them.
"""

from learned_index.baselines.registry import (
    default_baselines,
    known_methods,
    methods,
    options_of,
    over_classifiers,
    parse_baselines,
    parse_classifiers,
    register,
)
from learned_index.comparison.method import BoundSearch, Method, MethodSpec

__all__ = [
    "BoundSearch",
    "Method",
    "MethodSpec",
    "default_baselines",
    "known_methods",
    "methods",
    "options_of",
    "over_classifiers",
    "parse_baselines",
    "parse_classifiers",
    "register",
]
