"""Searchers to compare with: exact, quantised, graphs, trees, neighbours, and whole systems."""

from learned_index.baselines.base import Baseline, BoundSearch, Inputs
from learned_index.baselines.exact import ExactSearch, Int8ExactSearch
from learned_index.baselines.faiss_index import (
    FaissBaseline,
    HnswSearch,
    IvfProductSearch,
    IvfScalarSearch,
    IvfSearch,
)
from learned_index.baselines.hnswlib_index import HnswlibSearch
from learned_index.baselines.knn import NeighbourVotes
from learned_index.baselines.lorann_index import LorannSearch, QueryTrainedLorannSearch
from learned_index.baselines.omikuji_trees import OmikujiTrees
from learned_index.baselines.ova import OneVsAll
from learned_index.baselines.package_search import PackageSearch
from learned_index.baselines.pecos_trees import PecosTrees
from learned_index.baselines.point_system import PointSystem
from learned_index.baselines.registry import (
    DEFAULT_BASELINES,
    BaselineSpec,
    known_methods,
    parse_baselines,
    register,
)
from learned_index.baselines.scann_index import ScannSearch
from learned_index.baselines.searchers import EngineSearch, LearnedSearch, TreeSearch
from learned_index.baselines.usearch_index import UsearchSearch

register(ExactSearch)
register(Int8ExactSearch)
register(HnswSearch, text_option="factory")
register(IvfSearch, text_option="factory")
register(IvfScalarSearch, text_option="factory")
register(IvfProductSearch, text_option="factory")
register(LorannSearch)
register(QueryTrainedLorannSearch)
register(ScannSearch)
register(HnswlibSearch)
register(UsearchSearch)
register(TreeSearch)
register(NeighbourVotes)
register(OneVsAll)
register(OmikujiTrees)
register(PecosTrees)
register(LearnedSearch)
register(EngineSearch, text_option="variant")

__all__ = [
    "DEFAULT_BASELINES",
    "Baseline",
    "BaselineSpec",
    "BoundSearch",
    "EngineSearch",
    "ExactSearch",
    "FaissBaseline",
    "HnswSearch",
    "HnswlibSearch",
    "Inputs",
    "Int8ExactSearch",
    "IvfProductSearch",
    "IvfScalarSearch",
    "IvfSearch",
    "LearnedSearch",
    "LorannSearch",
    "NeighbourVotes",
    "OmikujiTrees",
    "OneVsAll",
    "PackageSearch",
    "PecosTrees",
    "PointSystem",
    "QueryTrainedLorannSearch",
    "ScannSearch",
    "TreeSearch",
    "UsearchSearch",
    "known_methods",
    "parse_baselines",
    "register",
]
