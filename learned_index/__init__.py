"""A learned search index for very large output spaces."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

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
    "ELIAS": "elias.model",
    "EliasConfig": "elias.config",
    "EngineConfig": "engine.config",
    "IndexConfig": "index.config",
    "IndexOutput": "index.loss",
    "LabelVocabulary": "data.vocabulary",
    "LearnedGraphIndex": "index.learned_graph_index",
    "RankerConfig": "ranking.config",
    "SearchEngine": "engine.search_engine",
    "SearchResult": "types",
    "TrainingConfig": "index.config",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
