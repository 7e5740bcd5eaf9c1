"""Parameters of the index and of its training: one place, read by the API and the CLI alike."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, Literal, Self

from learned_index.errors import InputError


def _parameter(default: Any, help_text: str) -> Any:
    return field(default=default, metadata={"help": help_text})


@dataclass(frozen=True, kw_only=True)
class IndexConfig:
    """Shape and constants of a :class:`~learned_index.LearnedGraphIndex`."""

    n_clusters: int | None = _parameter(None, "clusters C; default: from the number of labels")
    edges_per_cluster: int | None = _parameter(None, "edges M kept per cluster; default 10 L/C")
    beam_width: int = _parameter(20, "clusters W explored per query (paper: b)")
    shortlist_size: int = _parameter(2000, "labels K scored per query")
    router_scale: float = _parameter(10.0, "alpha: cluster score = min(1, alpha softmax)")
    edge_scale: float | None = _parameter(None, "beta: edge = min(1, beta softmax); default L/C")
    projection: Literal["none", "residual"] = _parameter(
        "residual", "learned linear map on the input: x + P x, or none"
    )

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Build from a dictionary; unknown keys are an error."""
        unknown = set(values) - {f.name for f in fields(cls)}
        if unknown:
            raise InputError(f"unknown {cls.__name__} keys {sorted(unknown)}")
        return cls(**values)


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How :meth:`~learned_index.LearnedGraphIndex.fit` trains (paper, section 3 and appendix)."""

    seed: int = _parameter(0, "seed of clustering, initialisation, shuffling and dropout")
    batch_size: int = _parameter(256, "points per step")
    stage1_epochs: int = _parameter(6, "epochs with the fixed partition")
    stage2_epochs: int = _parameter(8, "epochs with the learned graph; 0 stops after stage 1")
