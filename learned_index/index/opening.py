"""An index or its engine, told apart and opened without torch, which only the index needs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

from learned_index.engine.search_engine import SearchEngine
from learned_index.persistence import saved_kind
from learned_index.system.extras import importing

if TYPE_CHECKING:
    from learned_index.index.learned_graph_index import LearnedGraphIndex

_MODULE = f"{__package__}.learned_graph_index"


def is_index(value: Any) -> TypeGuard[LearnedGraphIndex]:
    """Whether something is a :class:`LearnedGraphIndex`; does not import its module.

    Where nobody has imported that, there is no object of its class.
    """
    module = sys.modules.get(_MODULE)
    return module is not None and isinstance(value, module.LearnedGraphIndex)


def open_index(directory: str | Path, *, verify: bool = True) -> LearnedGraphIndex | SearchEngine:
    """Open a saved index, or a search engine that was made of one.

    Raises:
        ModelFormatError: Neither, or truncated, edited or newer.
        MissingExtraError: An index, and torch is not installed.
    """
    if saved_kind(directory) == SearchEngine.kind:
        return SearchEngine.from_pretrained(directory, verify=verify)
    with importing("a model that is not compiled (li compile)"):
        from learned_index.index.learned_graph_index import LearnedGraphIndex
    return LearnedGraphIndex.from_pretrained(directory, verify=verify)
