"""What was trained here, as methods of the comparison: index, fixed tree, engine, whole model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from learned_index.baselines.registry import register
from learned_index.comparison.method import BoundSearch, Inputs, Method, ModelQueries
from learned_index.config import parameter
from learned_index.engine.config import EngineConfig
from learned_index.errors import InputError
from learned_index.types import SearchResult

BEAM_WIDTHS = (1, 2, 3, 5, 8, 12, 20, 32, 50, 100)
SHORTLIST_SIZES = (100, 150, 200, 300, 500, 1000, 2000)


@register("learned", summary="the index; always measured")
class LearnedSearch(Method):
    """A learned index that is trained already; the knob is ``beam_width``."""

    inputs: ClassVar[Inputs] = "index"

    def build(self, *data: Any) -> None:
        """Take the index, a Searcher: its training is not repeated."""
        (self._index,) = data

    def search(self, queries: Any, k: int, **query_arguments: Any) -> SearchResult:
        """Search the index; the arguments are those of its ``search``."""
        self.require_built()
        found: SearchResult = self._index.search(queries, k, **query_arguments)
        return found

    def bind(self, k: int, **query_arguments: Any) -> BoundSearch:
        """Fix the arguments: what is left is the searcher's own ``search``."""
        self.require_built()
        return BoundSearch.of(self._index.search, k, query_arguments)

    def beam_widths(self) -> list[int]:
        """Return the beam widths to measure, up to the number of clusters."""
        # An engine has its own number, an index that of its configuration.
        n_clusters = getattr(self._index, "n_clusters", None)
        if n_clusters is None:
            n_clusters = getattr(getattr(self._index, "config", None), "n_clusters", None)
        return _up_to(n_clusters, BEAM_WIDTHS)

    def query_grid(self) -> Sequence[dict[str, Any]]:
        """Return the sweep of ``beam_width``."""
        return [{"beam_width": width} for width in self.beam_widths()]

    def disk_bytes(self) -> int | None:
        """Return the size of the saved index; None for a searcher that cannot be saved."""
        return super().disk_bytes() if hasattr(self._index, "save_pretrained") else None

    def _save(self, folder: Path) -> None:
        self._index.save_pretrained(folder / "index")

    def made(self, searcher: Any, call: str) -> Any:
        """Return what a method of the index makes.

        Raises:
            InputError: It has no such method.
        """
        make = getattr(searcher, call, None)
        if make is None:
            raise InputError(
                f"{type(searcher).__name__} has no {call}(); leave the method {self.method!r} out"
            )
        return make


@register("tree", summary="the fixed partition of stage 1, the same classifiers", default=True)
class TreeSearch(LearnedSearch):
    """The fixed tree: the index's stage-1 partition and router, its final label classifiers."""

    def build(self, *data: Any) -> None:
        """Take the fixed tree of the index."""
        super().build(self.made(data[0], "fixed_tree")())


@register("engine", summary="the index's search engine, int8", text_option="variant", default=True)
class EngineSearch(LearnedSearch):
    """The search engine that a trained index is turned into; ``beam_width`` x ``shortlist_size``.

    Building times :meth:`to_engine` of the index, not its training. The variant ``classifiers``
    ranks labels by their classifiers alone, as the vector searches do; None leaves the defaults.
    """

    variant: Literal["int8", "float16", "float32", "classifiers"] | None = parameter(
        None, "precision of the label vectors, or classifiers"
    )

    def build(self, *data: Any) -> None:
        """Make the engine of the index."""
        config = None
        if self.variant == "classifiers":
            # A long walk: what the path alone would end early, the classifiers may rank first.
            config = EngineConfig(ranking="classifiers", walk_factor=1000)
        elif self.variant is not None:
            config = EngineConfig(precision=self.variant)
        super().build(self.made(data[0], "to_engine")(config))

    def query_grid(self) -> Sequence[dict[str, Any]]:
        """Return pairs of ``beam_width`` and ``shortlist_size``, no longer than a beam can fill."""
        sizes = _up_to(getattr(self._index, "n_labels", None), SHORTLIST_SIZES)
        return [
            {"beam_width": width, "shortlist_size": size}
            for width in self.beam_widths()
            for size in sizes
            if size <= 400 * width or size == sizes[0]
        ]


@register("model", summary="the whole model, its ranker with it", default=True)
class ModelSearch(LearnedSearch):
    """The saved model as it was trained: all members, ranker, ranking score.

    Vectors and sparse features are given, as they are to the others; what is timed is the rest.
    """

    inputs: ClassVar[Inputs] = "model"

    beam_width: int | None = parameter(None, "clusters explored; the trained value")
    shortlist_size: int | None = parameter(None, "labels scored; the trained value")

    def search(self, queries: ModelQueries, k: int, **query_arguments: Any) -> SearchResult:
        """Search with vectors and features of the queries."""
        self.require_built()
        # Only what there is: a model without a ranker takes no sparse features.
        more = {} if queries.features is None else {"sparse": queries.features}
        found: SearchResult = self._index.search(
            queries.points,
            k,
            vectors=list(queries.vectors) if len(queries.vectors) > 1 else queries.vectors[0],
            beam_width=self.beam_width,
            shortlist_size=self.shortlist_size,
            **more,
        )
        return found

    def bind(self, k: int, **query_arguments: Any) -> BoundSearch:
        """Return ``search``, which does nothing but call the model's own."""
        return BoundSearch.of(self.search, k, query_arguments)

    def query_grid(self) -> Sequence[dict[str, Any]]:
        """Return one setting, the one that was trained or asked for."""
        return [{}]


def _up_to(most: int | None, values: Sequence[int]) -> list[int]:
    """Return the values below ``most``, and ``most`` itself where it is no larger than all."""
    most = int(most or max(values))
    return [value for value in values if value < most] + [most] * (most <= max(values))
