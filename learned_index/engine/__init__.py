"""The search engine: a trained index laid out for speed, read-only, memory-mapped."""

from learned_index.engine.building import IndexParts, RegionParts
from learned_index.engine.config import EngineConfig
from learned_index.engine.search_engine import SearchEngine
from learned_index.engine.tuning import Tuning, tune
from learned_index.inputs.labels import LabelIds

__all__ = [
    "EngineConfig",
    "IndexParts",
    "LabelIds",
    "RegionParts",
    "SearchEngine",
    "Tuning",
    "tune",
]
