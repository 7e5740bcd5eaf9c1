"""The learned index and its fixed tree, as methods of the comparison."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from learned_index.baselines.base import Baseline, require_built
from learned_index.errors import InputError
from learned_index.types import DenseMatrix, Searcher, SearchResult

BEAM_WIDTHS = (1, 2, 3, 5, 8, 12, 20, 32, 50, 100)


class LearnedSearch(Baseline):
    """A learned index that is trained already; the knob is ``beam_width``."""

    method = "learned"
    inputs = "model"

    def __init__(self, *, name: str | None = None) -> None:
        super().__init__(name=name)
        self._searcher: Searcher | None = None

    def build(self, searcher: Searcher) -> None:
        """Take the index: its training is not repeated."""
        self._searcher = searcher

    def search(self, queries: DenseMatrix, k: int, **query_arguments: Any) -> SearchResult:
        """Search the index; the arguments are those of its ``search``."""
        require_built(self._searcher, self.name)
        assert self._searcher is not None
        return self._searcher.search(queries, k, **query_arguments)

    def query_grid(self) -> Sequence[dict[str, Any]]:
        """Return the sweep of ``beam_width``, up to the number of clusters."""
        n_clusters = getattr(self._searcher, "n_clusters", None)
        if n_clusters is None:
            config = getattr(self._searcher, "config", None)
            n_clusters = getattr(config, "n_clusters", None)
        largest = int(n_clusters) if n_clusters else max(BEAM_WIDTHS)
        widths = [width for width in BEAM_WIDTHS if width < largest]
        if largest <= max(BEAM_WIDTHS):
            widths.append(largest)
        return [{"beam_width": width} for width in widths]

    def disk_bytes(self) -> int | None:
        """Return the size of the saved index; None for a searcher that cannot be saved."""
        save = getattr(self._searcher, "save_pretrained", None)
        if save is None:
            return None
        with TemporaryDirectory() as folder:
            target = Path(folder) / "index"
            save(target)
            return sum(path.stat().st_size for path in target.rglob("*") if path.is_file())


class TreeSearch(LearnedSearch):
    """The fixed tree: the index's stage-1 partition and router, its final label classifiers."""

    method = "tree"

    def build(self, searcher: Any) -> None:
        """Take the fixed tree of the index.

        Raises:
            InputError: The searcher has no ``fixed_tree``.
        """
        fixed_tree = getattr(searcher, "fixed_tree", None)
        if fixed_tree is None:
            raise InputError(
                f"{type(searcher).__name__} has no fixed_tree(); leave the method 'tree' out"
            )
        super().build(fixed_tree())
