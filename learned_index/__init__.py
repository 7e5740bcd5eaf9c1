"""A learned search index for very large output spaces."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from learned_index.data.vocabulary import LabelVocabulary
    from learned_index.elias import ELIAS, EliasConfig
    from learned_index.engine import EngineConfig, SearchEngine
    from learned_index.index import IndexConfig, IndexOutput, LearnedGraphIndex, TrainingConfig
    from learned_index.types import SearchResult

__version__ = "0.1.0"

__all__ = [
    "ELIAS",
    "EliasConfig",
    "EngineConfig",
    "IndexConfig",
    "IndexOutput",
    "LabelVocabulary",
    "LearnedGraphIndex",
    "SearchEngine",
    "SearchResult",
    "TextIndex",
    "TrainingConfig",
    "__version__",
]

# The names are imported when they are first used (PEP 562): `li --help`, and whoever needs only
# the errors or a data format, does not wait two seconds for torch and Numba.
_HOME = {
    "ELIAS": "learned_index.elias",
    "EliasConfig": "learned_index.elias",
    "EngineConfig": "learned_index.engine",
    "IndexConfig": "learned_index.index",
    "IndexOutput": "learned_index.index",
    "LabelVocabulary": "learned_index.data.vocabulary",
    "LearnedGraphIndex": "learned_index.index",
    "SearchEngine": "learned_index.engine",
    "SearchResult": "learned_index.types",
    "TrainingConfig": "learned_index.index",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
