"""A learned search index for very large output spaces."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from learned_index.system.extras import lazy_attribute

if TYPE_CHECKING:
    from learned_index.data.vocabulary import LabelVocabulary
    from learned_index.elias.config import EliasConfig
    from learned_index.elias.model import ELIAS
    from learned_index.engine.config import EngineConfig
    from learned_index.engine.search_engine import SearchEngine
    from learned_index.index.config import IndexConfig, TrainingConfig
    from learned_index.index.learned_graph_index import LearnedGraphIndex
    from learned_index.index.loss import IndexOutput
    from learned_index.ranking.config import RankerConfig
    from learned_index.types import SearchResult

__version__ = "0.2.0"

__all__ = [
    "ELIAS",
    "EliasConfig",
    "EngineConfig",
    "IndexConfig",
    "IndexOutput",
    "LabelVocabulary",
    "LearnedGraphIndex",
    "RankerConfig",
    "SearchEngine",
    "SearchResult",
    "TrainingConfig",
    "__version__",
]

# The names are imported when they are first used (PEP 562): whoever serves with SearchEngine needs
# no torch, and `li --help` does not wait two seconds for it.
_HOME = {
    "ELIAS": "learned_index.elias.model",
    "EliasConfig": "learned_index.elias.config",
    "EngineConfig": "learned_index.engine.config",
    "IndexConfig": "learned_index.index.config",
    "IndexOutput": "learned_index.index.loss",
    "LabelVocabulary": "learned_index.data.vocabulary",
    "LearnedGraphIndex": "learned_index.index.learned_graph_index",
    "RankerConfig": "learned_index.ranking.config",
    "SearchEngine": "learned_index.engine.search_engine",
    "SearchResult": "learned_index.types",
    "TrainingConfig": "learned_index.index.config",
}


def __getattr__(name: str) -> Any:
    return lazy_attribute(__name__, _HOME, name)


def __dir__() -> list[str]:
    return sorted(__all__)
