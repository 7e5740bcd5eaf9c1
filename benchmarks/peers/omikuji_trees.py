"""omikuji: forests of label trees, Parabel and Bonsai."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from peers.harness import PAD_ID, PAD_SCORE, main


class Forest:
    """Trains on the text file of the prepared input: reading it is part of the training time.

    Args:
        folder: The prepared input, with ``xmc/train.xmc.txt``.
        threads: Threads of training.
        **parameters: Fields of omikuji's hyper-parameters that differ from its defaults.
    """

    def __init__(self, *, folder: Path, threads: int, **parameters: Any) -> None:
        self._file = folder / "xmc" / "train.xmc.txt"
        self._threads = threads
        self._parameters = parameters
        self._model: Any = None
        self._pool: tuple[int, ThreadPoolExecutor] | None = None

    def train(self, x_NF: sp.csr_matrix, y_NL: sp.csr_matrix) -> None:
        """Train on the text file, which holds what the arguments hold."""
        import omikuji  # type: ignore[import-not-found]

        chosen = omikuji.Model.default_hyper_param()
        for name, value in self._parameters.items():
            getattr(chosen, name)  # an unknown name raises
            setattr(chosen, name, value)
        self._model = omikuji.Model.train_on_data(str(self._file), chosen, n_threads=self._threads)

    def save_and_load(self, folder: Path) -> None:
        """Save and load."""
        import omikuji

        self._model.save(str(folder))
        self._model = omikuji.Model.load(str(folder))

    def search(self, x_BF: sp.csr_matrix, k: int, threads: int) -> list[list[tuple[int, float]]]:
        """Predict row by row; the package has no batches, so threads share the rows."""
        if self._pool is None or self._pool[0] != threads:
            self._pool = threads, ThreadPoolExecutor(threads)
            self._model.init_prediction_thread_pool(threads)
        rows = [
            list(zip(x_BF.indices[start:end].tolist(), x_BF.data[start:end].tolist(), strict=True))
            for start, end in zip(x_BF.indptr[:-1], x_BF.indptr[1:], strict=True)
        ]

        def one(row: list[tuple[int, float]]) -> list[tuple[int, float]]:
            return list(self._model.predict(row, top_k=k))

        return [one(row) for row in rows] if threads == 1 else list(self._pool[1].map(one, rows))

    def ranked(self, answer: list[list[tuple[int, float]]], k: int) -> tuple[Any, Any]:
        """Copy the lists, which are sorted, into padded arrays."""
        ids = np.full((len(answer), k), PAD_ID, dtype=np.int64)
        scores = np.full((len(answer), k), PAD_SCORE, dtype=np.float32)
        for row, found in enumerate(answer):
            if found:
                ids[row, : len(found)], scores[row, : len(found)] = zip(*found, strict=True)
        return ids, scores

    def versions(self) -> dict[str, str]:
        """Version of omikuji."""
        return {"omikuji": version("omikuji")}


if __name__ == "__main__":
    main(Forest)
