"""An encoder that counts its work, for the tests of resuming and of the cache."""

from __future__ import annotations

import numpy as np
from encoder_models import sample_texts

from learned_index.encoders import LSAEncoder

TEXTS = sample_texts(23)


class Counting(LSAEncoder):
    """An LSA that counts the rows it encodes, and is worth caching."""

    cost = "expensive"

    def __init__(self, stop_after: int | None = None, error: BaseException | None = None) -> None:
        super().__init__(4)
        self.rows, self.stop_after = 0, stop_after
        self.error = error or KeyboardInterrupt()

    def encode(self, texts: list[str]) -> np.ndarray:
        if self.stop_after is not None and self.rows >= self.stop_after:
            raise self.error
        self.rows += len(texts)
        return super().encode(texts)
