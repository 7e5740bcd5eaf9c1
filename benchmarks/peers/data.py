"""Training and test points as the peers see them, written where their processes read them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from learned_index.comparison.features import PointFeatures, as_features
from learned_index.comparison.workspace import Workspace, feature_files
from learned_index.data.dataset import Dataset
from learned_index.elias.points import take
from learned_index.encoders.lexical.point_features import point_features
from learned_index.errors import InputError
from learned_index.metrics import PointValues, label_propensities, point_values
from learned_index.persistence.digest import data_digest
from learned_index.types import Int64Array

HELD_OUT = 0.1
"""Share of the training points that settings are chosen on."""
METRICS = ("P@1", "P@3", "P@5", "R@10", "R@100", "PSP@1", "PSP@3", "PSP@5")


@dataclass
class Points:
    """Points to learn from and points to be asked about.

    Attributes:
        train: Texts or rows of features.
        labels_NL: Their labels.
        queries: Points of the same kind.
        truth_NL: Their labels.
        vectors: Dense vectors of both; None without.
    """

    train: Any
    labels_NL: sp.csr_matrix
    queries: Any
    truth_NL: sp.csr_matrix
    vectors: tuple[Any, Any] | None = None
    _words: dict[tuple[int, int], tuple[Any, Any]] = field(default_factory=dict)

    def digest(self) -> str:
        """Return a digest of all of it."""
        labels = [(y.indptr, y.indices) for y in (self.labels_NL, self.truth_NL)]
        vectors = [np.ascontiguousarray(x) for x in self.vectors or ()]
        return data_digest(self.train, self.queries, *labels[0], *labels[1], *vectors)

    def features(self, wanted: PointFeatures) -> tuple[sp.csr_matrix, sp.csr_matrix]:
        """Return the features of the points and of the queries; words are of the points alone."""
        words: tuple[Any, Any] = (None, None)
        if wanted.kind != "vectors":
            if wanted[1:] not in self._words:
                self._words = {  # the last ones alone: they may be large
                    wanted[1:]: point_features(
                        self.train, self.queries, ngrams=wanted.ngrams, min_df=wanted.min_df
                    )
                }
            words = self._words[wanted[1:]]
        vectors = self.vectors or (None, None)
        return tuple(map(as_features, (wanted, wanted), words, vectors))  # type: ignore[return-value]

    def write(self, folder: Path, wanted: PointFeatures) -> None:
        """Write the features into a workspace, and the labels, unless they are there."""
        workspace = Workspace(folder)
        if not workspace.has("train_labels"):
            workspace.save("train_labels", self.labels_NL)
        if not workspace.has(feature_files(wanted)[0]):
            workspace.save_features(wanted, *self.features(wanted))

    def values(self, ids_NK: Int64Array) -> dict[str, PointValues]:
        """Return the metrics of answers, point by point."""
        found = point_values(ids_NK, self.truth_NL, propensities=label_propensities(self.labels_NL))
        return {name: found[name] for name in METRICS}


def whole(train: Dataset, test: Dataset, vectors: tuple[Any, Any] | None) -> Points:
    """All training points, asked about the test points.

    Raises:
        InputError: The vectors are of other points.
    """
    for name, split, x in zip(("train", "test"), (train, test), vectors or (), strict=False):
        if len(x) != split.n_points:
            raise InputError(
                f"got {len(x)} vectors of the {name} split, which has {split.n_points} points; "
                "make them again with li embed"
            )
    return Points(train.points, train.labels, test.points, test.labels, vectors)


def held_out(points: Points, *, seed: int = 0) -> Points:
    """Nine tenths of the training points, asked about the others; test points stay unseen.

    Raises:
        InputError: There are fewer than ten training points.
    """
    n = points.labels_NL.shape[0]
    n_held = int(n * HELD_OUT)
    if n_held == 0:
        raise InputError(f"got {n} training points, expected at least {round(1 / HELD_OUT)}")
    order = np.random.default_rng(seed).permutation(n)
    held, kept = np.sort(order[:n_held]), np.sort(order[n_held:])
    vectors = None
    if points.vectors is not None:
        vectors = points.vectors[0][kept], points.vectors[0][held]
    return Points(
        take(points.train, kept),
        points.labels_NL[kept],
        take(points.train, held),
        points.labels_NL[held],
        vectors,
    )
