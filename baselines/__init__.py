"""Exact, quantised, graph, tree and nearest-neighbour searchers to compare with."""

from learned_index.baselines.base import Baseline, Inputs
from learned_index.baselines.exact import ExactSearch, Int8ExactSearch
from learned_index.baselines.faiss_index import FaissBaseline, HnswSearch, IvfSearch
from learned_index.baselines.knn import NeighbourVotes
from learned_index.baselines.ova import OneVsAll
from learned_index.baselines.registry import (
    DEFAULT_BASELINES,
    BaselineSpec,
    known_methods,
    parse_baselines,
    register,
)
from learned_index.baselines.searchers import LearnedSearch, TreeSearch

register(ExactSearch)
register(Int8ExactSearch)
register(HnswSearch, takes_factory=True)
register(IvfSearch, takes_factory=True)
register(TreeSearch)
register(NeighbourVotes)
register(OneVsAll)
register(LearnedSearch)

__all__ = [
    "DEFAULT_BASELINES",
    "Baseline",
    "BaselineSpec",
    "ExactSearch",
    "FaissBaseline",
    "HnswSearch",
    "Inputs",
    "Int8ExactSearch",
    "IvfSearch",
    "LearnedSearch",
    "NeighbourVotes",
    "OneVsAll",
    "TreeSearch",
    "known_methods",
    "parse_baselines",
    "register",
]
