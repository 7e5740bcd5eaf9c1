"""One split of a data set: points (texts, sparse features or both) and their labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from learned_index.data.vocabulary import LabelVocabulary
from learned_index.errors import InputError

SplitName: TypeAlias = Literal["train", "dev", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "dev", "test")
"""Names of the splits, in the order in which they are shown."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Dataset:
    """Points of one split with their labels.

    Attributes:
        split: Which split it is.
        labels: Canonical CSR, float32 ones, N x L.
        vocabulary: The L labels' names.
        texts: N texts, or None.
        features: Canonical CSR float32, N x F, or None. Texts or features are there, or both.
        ids: N names of the points, or None.
        filtered: CSR N x L of pairs that count neither as answers nor as truth (a point that is
            its own label), or None. None of them is in ``labels``.

    Raises:
        InputError: Neither texts nor features, or lengths that differ.
    """

    split: SplitName
    labels: sp.csr_matrix
    vocabulary: LabelVocabulary
    texts: Sequence[str] | None = None
    features: sp.csr_matrix | None = None
    ids: Sequence[str] | None = None
    filtered: sp.csr_matrix | None = None

    def __post_init__(self) -> None:
        if self.split not in SPLITS:
            raise InputError(
                f"split {self.split!r} is unknown; expected one of {', '.join(SPLITS)}"
            )
        if self.texts is None and self.features is None:
            raise InputError("a data set needs texts or features; got neither")
        n_points, n_labels = self.labels.shape
        if n_labels != len(self.vocabulary):
            raise InputError(
                f"the label matrix has {n_labels} columns, but the vocabulary names "
                f"{len(self.vocabulary)} labels"
            )
        for what, count in (
            ("texts", None if self.texts is None else len(self.texts)),
            ("feature rows", None if self.features is None else self.features.shape[0]),
            ("ids", None if self.ids is None else len(self.ids)),
            ("rows of pairs", None if self.filtered is None else self.filtered.shape[0]),
        ):
            if count is not None and count != n_points:
                raise InputError(f"{count} {what} but {n_points} rows of labels; give one for each")

    @property
    def n_points(self) -> int:
        """Number of points N."""
        return int(self.labels.shape[0])

    @property
    def n_labels(self) -> int:
        """Number of labels L."""
        return int(self.labels.shape[1])

    @property
    def points(self) -> Any:
        """What a full model reads: the texts, or the feature rows of points without texts."""
        return self.texts if self.texts is not None else self.features

    def __len__(self) -> int:
        return self.n_points

    def __repr__(self) -> str:
        parts = [name for name in ("texts", "features", "ids") if getattr(self, name) is not None]
        return (
            f"Dataset({self.split!r}, {self.n_points} points with {' and '.join(parts)}, "
            f"{self.n_labels} labels)"
        )

    def label_names(self, row: int) -> list[str]:
        """Return the display names of one point's labels."""
        return self.vocabulary.names(self.labels[row].indices)

    def subset(
        self, rows: npt.NDArray[np.integer[Any]], *, split: SplitName | None = None
    ) -> Dataset:
        """Return the points at ``rows``, in that order, as a split of that name."""

        def take(items: Sequence[str] | None) -> list[str] | None:
            return None if items is None else [items[int(row)] for row in rows]

        return replace(
            self,
            split=split or self.split,
            labels=self.labels[rows],
            texts=take(self.texts),
            features=None if self.features is None else self.features[rows],
            ids=take(self.ids),
            filtered=None if self.filtered is None else self.filtered[rows],
        )

    def parted(
        self, rows: npt.NDArray[np.integer[Any]], *, split: SplitName | None = None
    ) -> tuple[Dataset, Dataset]:
        """Return the other points, and those at ``rows`` as a split of that name."""
        others = np.setdiff1d(np.arange(self.n_points), rows)
        return self.subset(others), self.subset(rows, split=split)


def hold_out(
    dataset: Dataset, size: float, *, seed: int, split: Literal["dev", "test"] = "dev"
) -> tuple[Dataset, Dataset]:
    """Split off randomly chosen points, for data that come without a held-out split.

    The choice depends on the number of points, the size and the seed only. Points keep their
    order in both parts. Labels whose only points are held out stay in the vocabulary untrained.

    Args:
        dataset: What to split.
        size: A fraction in (0, 1), or a whole number of points.
        seed: Non-negative seed of the choice.
        split: Name of the part that is split off.

    Returns:
        The rest, and the part held out.

    Raises:
        InputError: One of the two parts would be empty.
    """
    # Points keep their order.
    return dataset.parted(random_rows(dataset.n_points, size, seed=seed), split=split)


def random_rows(n_points: int, size: float, *, seed: int) -> npt.NDArray[np.int64]:
    """The rows that :func:`hold_out` holds out of so many points: int64, sorted."""
    fraction = isinstance(size, float) and not size.is_integer()
    if fraction and not 0 < size < 1:
        raise InputError(
            f"size {size} is neither a fraction in (0, 1) nor a whole number of points"
        )
    count = round(n_points * size) if fraction else int(size)
    if not 0 < count < n_points:
        raise InputError(
            f"holding out {count} of {n_points} points leaves one part empty; choose another size"
        )
    chosen: npt.NDArray[np.int64] = np.random.default_rng(seed).permutation(n_points)[:count]
    return np.sort(chosen)
