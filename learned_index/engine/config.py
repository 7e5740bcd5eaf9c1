"""How a trained index is laid out for search."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from learned_index.errors import InputError
from learned_index.parameters import Config
from learned_index.parameters import parameter as _parameter

Precision = Literal["int8", "float16", "float32"]


@dataclass(frozen=True, kw_only=True)
class EngineConfig(Config):
    """Layout and default knobs of a :class:`~learned_index.engine.SearchEngine`."""

    precision: Literal["int8", "float16", "float32"] = _parameter(
        "int8", "of the label vectors: int8, float16 or float32"
    )
    sketch_dim: int | None = _parameter(
        None, "principal coordinates of each label by which the shortlist is chosen; default: 56 "
        "(one cache line), 120 beyond 512 dimensions"
    )  # fmt: skip
    edge_threshold: float = _parameter(0.0, "edges of a smaller weight are left out, 0 to 1")
    walk_factor: int = _parameter(
        8, "edges walked per label of the shortlist: the strongest paths of the beam"
    )
    ranking: Literal["model", "classifiers"] = _parameter(
        "model",
        "labels are ranked by path and classifier as by the index, or by their classifiers alone",
    )
    beam_width: int = _parameter(12, "default W: clusters explored per query")
    shortlist_size: int = _parameter(
        300,
        "default K: labels scored with their whole vectors; twice the results wanted where that is "
        "no more than those",
    )

    def __post_init__(self) -> None:
        if self.precision not in ("int8", "float16", "float32"):
            raise InputError(
                f"precision is {self.precision!r}, expected 'int8', 'float16' or 'float32'"
            )
        if self.ranking not in ("model", "classifiers"):
            raise InputError(f"ranking is {self.ranking!r}, expected 'model' or 'classifiers'")
        for name in ("sketch_dim", "walk_factor", "beam_width", "shortlist_size"):
            self._require(name, low=1)
        self._require("edge_threshold", low=0.0, high=1.0)
