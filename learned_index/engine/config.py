"""How a trained index is laid out for search."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from learned_index.config import Config, parameter

Precision = Literal["int8", "float16", "float32"]


@dataclass(frozen=True, kw_only=True)
class EngineConfig(Config):
    """Layout and default knobs of a :class:`~learned_index.engine.SearchEngine`."""

    precision: Literal["int8", "float16", "float32"] = parameter(
        "int8", "of the label vectors: int8, float16 or float32"
    )
    sketch_dim: int | None = parameter(
        None, "principal coordinates of each label by which the shortlist is chosen; default: 56 "
        "(one cache line), 120 beyond 512 dimensions"
    )  # fmt: skip
    edge_threshold: float = parameter(
        0.0, "edges of a smaller weight are left out, 0 to 1", low=0.0, high=1.0
    )
    walk_factor: int = parameter(
        8, "edges walked per label of the shortlist: the strongest paths of the beam"
    )
    ranking: Literal["model", "classifiers"] = parameter(
        "model",
        "labels are ranked by path and classifier as by the index, or by their classifiers alone",
    )
    beam_width: int = parameter(12, "default W: clusters explored per query")
    shortlist_size: int = parameter(
        300,
        "default K: labels scored with their whole vectors; twice the results wanted where that is "
        "no more than those",
    )
