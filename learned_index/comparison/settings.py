"""How a comparison measures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from learned_index.config import Config, parameter

INDEX_CLASSIFIERS = "index"
"""Name of the label classifiers that the trained index ranks with."""


@dataclass(frozen=True, kw_only=True)
class ComparisonSettings(Config):
    """How to measure.

    The best R@100 of a run, of which ``target_recall`` is a share, is that of the methods that
    search the model's label classifiers. Medians of the repetitions are reported, and the spread:
    the largest less the smallest over the median. With ``isolation="process"`` each method is
    measured in its own process, so that memory is the method's.
    """

    target_recall: float = parameter(
        0.99,
        "the table shows each method at its fastest setting with this share of the best R@100",
        low=0.0,
        high=1.0,
    )
    threads: int | None = parameter(None, "for building and batches; all. Single queries: one")
    batch_size: int = parameter(256, "queries per batch; single ones are always timed")
    latency_queries: int = parameter(200, "single queries timed in each repetition, at least")
    repeats: int = parameter(3, "repetitions of every timing; medians are reported")
    # Batches are timed for at least a third of it and hardly more than twice.
    timing_seconds: float = parameter(
        1.0, "seconds of single queries timed at each setting and repetition", low=0.0
    )
    label_slack: float = parameter(
        0.5, "points of R@100 below exact scoring that the operating table allows", low=0.0
    )
    isolation: Literal["process", "none"] = parameter("process", "where methods are measured")
    seed: int = parameter(0, "of the order of the single queries, and of the halves", low=0)
