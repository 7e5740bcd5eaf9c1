"""ELIAS++ on top of an index: sparse ranker, score combination, calibration."""

from learned_index.ranking.config import RankerConfig
from learned_index.ranking.sparse_ranker import SparseRanker

__all__ = ["RankerConfig", "SparseRanker"]
