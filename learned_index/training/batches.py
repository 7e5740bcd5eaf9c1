"""Batches of points: their order in each epoch, and the dropout of their numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from learned_index.types import Int64Array


def dropout_mask(n_rows: int, dim: int, rate: float, generator: torch.Generator) -> torch.Tensor:
    """Factors of a dropout, float32 n_rows x dim: 0 for dropped numbers, 1 / (1 - rate) for others.

    Each takes 16 random bits, so the rate is met to 1/65536; drawing a float each costs four times
    as much.

    Args:
        n_rows: B.
        dim: D.
        rate: Share to drop, from 0 to below 1.
        generator: Of the random numbers, on the CPU.
    """
    n = n_rows * dim
    words = torch.empty(-(-n // 4), dtype=torch.int64)
    words.random_(-(2**63), None, generator=generator)
    kept = words.view(torch.int16)[:n] >= round(rate * 2**16) - 2**15
    return kept.view(n_rows, dim).to(torch.float32).mul_(1.0 / (1.0 - rate))


class EpochOrder:
    """The order of the points in each epoch; it follows from the seed and the epoch alone.

    Args:
        rows: int64, the points to visit.
        seed: Seed of the shuffling.
    """

    def __init__(self, rows: Int64Array, seed: Sequence[int]) -> None:
        self._rows = rows
        self._rng = np.random.default_rng(list(seed))
        self._drawn = 0

    def batches(self, epoch: int, batch_size: int) -> Iterator[Int64Array]:
        """The batches of an epoch, each in ascending order, which a file on disk likes.

        Args:
            epoch: 0-based; not before one that was asked for earlier.
            batch_size: Points of a batch; the last one may have fewer.
        """
        while self._drawn < epoch:
            self._rng.permutation(len(self._rows))
            self._drawn += 1
        order = self._rows[self._rng.permutation(len(self._rows))]
        self._drawn += 1
        for start in range(0, len(order), batch_size):
            yield np.sort(order[start : start + batch_size])
