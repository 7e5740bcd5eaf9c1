"""Labels of the training texts nearest by tf-idf cosine, weighted by similarity."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch

from learned_index.baselines.knn import neighbour_votes
from learned_index.persistence import read_json
from learned_index.types import PAD_ID, SearchResult
from peers.harness import main, ranked_csr
from peers.prepare import inverse_document_frequencies, weighted_rows


class SparseNeighbours:
    """The neighbour votes of :mod:`learned_index.baselines.knn` with sparse rows.

    Args:
        folder: The prepared input; where its features have no weights, they get those of tf-idf
            here, without which the neighbours are much worse.
        threads: Not used for training, which is a transposition.
        neighbours: Training points that vote.
    """

    def __init__(self, *, folder: Path, threads: int, neighbours: int = 20) -> None:
        self._needs_weights = read_json(folder / "input.json")["features"].get("weights") == "none"
        self._weights_F: Any = None
        self._neighbours = neighbours
        self._points_FN = sp.csr_matrix((0, 0))
        self._labels_NL = sp.csr_matrix((0, 0))

    def train(self, x_NF: sp.csr_matrix, y_NL: sp.csr_matrix) -> None:
        """Keep the training points by term."""
        if self._needs_weights:
            self._weights_F = inverse_document_frequencies(x_NF)
            x_NF = weighted_rows(x_NF, self._weights_F)
        self._points_FN, self._labels_NL = x_NF.T.tocsr(), y_NL

    def save_and_load(self, folder: Path) -> None:
        """Write both matrices and read them again."""
        for name, matrix in (("points", self._points_FN), ("labels", self._labels_NL)):
            sp.save_npz(folder / f"{name}.npz", matrix, compressed=False)
        self._points_FN = sp.load_npz(folder / "points.npz")
        self._labels_NL = sp.load_npz(folder / "labels.npz")

    def search(self, x_BF: sp.csr_matrix, k: int, threads: int) -> tuple[Any, Any]:
        """Multiply (on one thread, as scipy does), take the nearest, count their votes."""
        torch.set_num_threads(threads)
        if self._needs_weights:
            x_BF = weighted_rows(x_BF, self._weights_F)
        cosines = torch.from_numpy((x_BF @ self._points_FN).toarray())
        values, places = torch.topk(cosines, min(self._neighbours, cosines.shape[1]), dim=1)
        nearest = SearchResult(np.where(values.numpy() > 0, places.numpy(), PAD_ID), values.numpy())
        return ranked_csr(neighbour_votes(nearest, self._labels_NL), k)

    def ranked(self, answer: tuple[Any, Any], k: int) -> tuple[Any, Any]:
        """Return ids and scores as they are."""
        return answer

    def versions(self) -> dict[str, str]:
        """Versions of the packages that multiply and sort."""
        return {name: version(name) for name in ("scipy", "torch")}


if __name__ == "__main__":
    main(SparseNeighbours)
