"""The learned index and its fixed tree, as methods of the comparison."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, TypeAlias, get_args

from learned_index.baselines.base import Baseline, BoundSearch, require_built
from learned_index.errors import InputError
from learned_index.persistence import directory_bytes
from learned_index.types import DenseMatrix, Searcher, SearchResult

BEAM_WIDTHS = (1, 2, 3, 5, 8, 12, 20, 32, 50, 100)
SHORTLIST_SIZES = (100, 150, 200, 300, 500, 1000, 2000)
Variant: TypeAlias = Literal["int8", "float16", "float32", "classifiers"]


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

    def bind(self, k: int, **query_arguments: Any) -> BoundSearch:
        """Fix the arguments: what is left is the searcher's own ``search``."""
        require_built(self._searcher, self.name)
        assert self._searcher is not None
        search = self._searcher.search
        return BoundSearch(
            lambda row: search(row, k, **query_arguments),
            lambda rows: search(rows, k, **query_arguments).ids,
        )

    def beam_widths(self) -> list[int]:
        """Return the beam widths to measure, up to the number of clusters."""
        n_clusters = getattr(self._searcher, "n_clusters", None)
        if n_clusters is None:
            config = getattr(self._searcher, "config", None)
            n_clusters = getattr(config, "n_clusters", None)
        largest = int(n_clusters) if n_clusters else max(BEAM_WIDTHS)
        widths = [width for width in BEAM_WIDTHS if width < largest]
        if largest <= max(BEAM_WIDTHS):
            widths.append(largest)
        return widths

    def query_grid(self) -> Sequence[dict[str, Any]]:
        """Return the sweep of ``beam_width``."""
        return [{"beam_width": width} for width in self.beam_widths()]

    def disk_bytes(self) -> int | None:
        """Return the size of the saved index; None for a searcher that cannot be saved."""
        save = getattr(self._searcher, "save_pretrained", None) or getattr(
            self._searcher, "save", None
        )
        if save is None:
            return None
        with TemporaryDirectory() as folder:
            target = Path(folder) / "index"
            save(target)
            return directory_bytes(target)


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


class EngineSearch(LearnedSearch):
    """The search engine that a trained index is turned into; ``beam_width`` x ``shortlist_size``.

    Building times :meth:`to_engine` of the index, not its training.

    Args:
        variant: A precision of the label vectors, or ``classifiers``: labels ranked by their
            classifiers alone, as by the vector searches. None leaves the engine's defaults.
        name: The method as the user wrote it.
    """

    method = "engine"

    def __init__(self, variant: Variant | None = None, *, name: str | None = None) -> None:
        super().__init__(name=name)
        if variant not in (None, *get_args(Variant)):
            raise InputError(
                f"the engine's variant is one of {', '.join(get_args(Variant))}, got {variant!r}"
            )
        self.variant = variant

    def build(self, searcher: Any) -> None:
        """Make the engine of the index.

        Raises:
            InputError: The searcher has no ``to_engine``.
        """
        to_engine = getattr(searcher, "to_engine", None)
        if to_engine is None:
            raise InputError(
                f"{type(searcher).__name__} has no to_engine(); leave the method 'engine' out"
            )
        if self.variant is None:
            super().build(to_engine())
            return
        from learned_index.engine.config import EngineConfig

        if self.variant == "classifiers":
            super().build(to_engine(EngineConfig(ranking="classifiers", walk_factor=1000)))
        else:
            super().build(to_engine(EngineConfig(precision=self.variant)))

    def query_grid(self) -> Sequence[dict[str, Any]]:
        """Return pairs of ``beam_width`` and ``shortlist_size``, no longer than a beam can fill."""
        n_labels = getattr(self._searcher, "n_labels", None) or max(SHORTLIST_SIZES)
        sizes = [size for size in SHORTLIST_SIZES if size < n_labels]
        if n_labels <= max(SHORTLIST_SIZES):
            sizes.append(int(n_labels))
        return [
            {"beam_width": width, "shortlist_size": size}
            for width in self.beam_widths()
            for size in sizes
            if size <= 400 * width or size == sizes[0]
        ]
