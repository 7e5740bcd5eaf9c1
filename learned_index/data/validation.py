"""Check a data folder, and say what is in it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from learned_index.data.dataset import Dataset
from learned_index.data.folder import DataFolder, open_dataset
from learned_index.data.formats.matrices import iter_rows
from learned_index.errors import LearnedIndexError


@dataclass(frozen=True, kw_only=True)
class Distribution:
    """Smallest, median, mean and largest of some counts."""

    min: int
    median: float
    mean: float
    max: int

    @classmethod
    def of(cls, counts: npt.NDArray[np.integer[Any]]) -> Distribution:
        """Summarise counts; none at all gives zeros."""
        if not counts.size:
            return cls(min=0, median=0.0, mean=0.0, max=0)
        return cls(
            min=int(counts.min()),
            median=float(np.median(counts)),
            mean=float(counts.mean()),
            max=int(counts.max()),
        )


@dataclass(frozen=True, kw_only=True)
class SplitReport:
    """What one split holds.

    Attributes:
        split: Its name.
        points: Number of points N.
        label_assignments: Number of (point, label) pairs.
        used_labels: Labels that at least one point has.
        singleton_labels: Labels that exactly one point has.
        labels_per_point: Over all points.
        points_per_label_deciles: Eleven values, the 0th to 10th decile of the number of points,
            over the used labels.
        empty_points: Texts without a visible character, or points without features.
        unlabelled_points: Points without labels.
        duplicate_points: Points whose text (or features) an earlier point of the split has.
        untrained_labels: Labels used here that no training point has; None for train itself.
        points_with_untrained_labels: Points with at least one of them.
        points_with_only_untrained_labels: Labelled points with nothing else.
        overlap_with_train: Points whose text (or features) a training point has.
    """

    split: str
    points: int
    label_assignments: int
    used_labels: int
    singleton_labels: int
    labels_per_point: Distribution
    points_per_label_deciles: list[int]
    empty_points: int
    unlabelled_points: int
    duplicate_points: int
    untrained_labels: int | None = None
    points_with_untrained_labels: int | None = None
    points_with_only_untrained_labels: int | None = None
    overlap_with_train: int | None = None


@dataclass(frozen=True, kw_only=True)
class ValidationReport:
    """What :func:`validate` found.

    Attributes:
        path: The folder.
        format: Its format, or None if that is unknown.
        n_labels: Size of the vocabulary, or None if it could not be read.
        labels_with_text: Labels that have a text beside their key, which takes part in training.
        labels_without_text: Labels that have a key only.
        splits: One report for each split that could be read.
        errors: What makes the data unusable.
        warnings: What usually is a mistake.
    """

    path: str
    format: str | None = None
    n_labels: int | None = None
    labels_with_text: int | None = None
    labels_without_text: int | None = None
    splits: list[SplitReport] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether there are no errors (there may be warnings)."""
        return not self.errors

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON-able values."""
        return asdict(self) | {"ok": self.ok}


def validate(path: Path | str) -> ValidationReport:
    """Read all of a data folder, and report counts, errors and warnings.

    A folder that cannot be read gives a report with errors; nothing is raised for bad data. One
    split is in memory at a time, and of the others 16 bytes for each point.

    Args:
        path: A folder in any of the known formats.
    """
    path = Path(path)
    errors: list[str] = []
    warnings: list[str] = []
    folder: DataFolder | None = None
    try:
        folder = open_dataset(path)
        vocabulary = folder.vocabulary
    except LearnedIndexError as error:
        known = folder.format if folder else None
        return ValidationReport(path=str(path), format=known, errors=[str(error)])
    if folder.ignored:
        warnings.append(f"not read: {', '.join(folder.ignored)}")
    if "train" not in folder.splits:
        errors.append("there is no train split: nothing can be trained")
    if not len(vocabulary):
        errors.append("there are no labels")
    reports: list[SplitReport] = []
    train: _Trained | None = None
    for split in folder.splits:
        try:
            dataset = folder.read(split)
        except LearnedIndexError as error:
            errors.append(str(error))
            continue
        report, hashes = _report(dataset, train)
        if split == "train":
            train = _Trained(dataset.labels.getnnz(axis=0) > 0, hashes)
        reports.append(report)
        if not report.points:
            errors.append(f"{split}: there are no points")
        elif not report.label_assignments:
            errors.append(f"{split}: no point has a label")
        warnings.extend(_warnings(report, len(vocabulary), has_texts=dataset.texts is not None))
    return ValidationReport(
        path=str(path),
        format=folder.format,
        n_labels=len(vocabulary),
        labels_with_text=sum(bool(text) for text in vocabulary.texts),
        labels_without_text=sum(not text for text in vocabulary.texts),
        splits=reports,
        errors=errors,
        warnings=warnings,
    )


def _point_hashes(dataset: Dataset) -> Iterator[bytes]:
    """Yield 16 bytes for each point, alike where the texts (or the feature rows) are alike."""
    if dataset.texts is not None:
        for text in dataset.texts:
            yield hashlib.blake2b(text.encode("utf-8"), digest_size=16).digest()
        return
    x = dataset.features
    assert x is not None  # a Dataset has texts or features
    for indices, values in iter_rows(x):
        content = indices.astype(np.int64).tobytes() + values.tobytes()
        yield hashlib.blake2b(content, digest_size=16).digest()


class _Trained(NamedTuple):
    """What the other splits are compared with: labels with a training point, points' hashes."""

    labels_L: npt.NDArray[np.bool_]
    hashes: set[bytes]


def _report(dataset: Dataset, train: _Trained | None) -> tuple[SplitReport, set[bytes]]:
    y = dataset.labels
    per_point = np.diff(y.indptr)
    per_label = np.asarray(y.getnnz(axis=0))
    used = np.sort(per_label[per_label > 0])
    # Counts that occur, never between two of them.
    deciles = (
        [int(used[round(d * (len(used) - 1) / 10)]) for d in range(11)] if len(used) else [0] * 11
    )
    if dataset.texts is not None:
        empty = sum(not text.strip() for text in dataset.texts)
    else:
        assert dataset.features is not None  # a Dataset has texts or features
        empty = int((np.diff(dataset.features.indptr) == 0).sum())
    hashes = list(_point_hashes(dataset))
    against_train: dict[str, int] = {}
    if train is not None:
        bad = y[:, ~train.labels_L].getnnz(axis=1)
        against_train = {
            "untrained_labels": int(((per_label > 0) & ~train.labels_L).sum()),
            "points_with_untrained_labels": int((bad > 0).sum()),
            "points_with_only_untrained_labels": int(((bad > 0) & (bad == per_point)).sum()),
            "overlap_with_train": sum(digest in train.hashes for digest in hashes),
        }
    different = set(hashes)
    report = SplitReport(
        split=dataset.split,
        points=dataset.n_points,
        label_assignments=int(y.nnz),
        used_labels=len(used),
        singleton_labels=int((per_label == 1).sum()),
        labels_per_point=Distribution.of(per_point),
        points_per_label_deciles=deciles,
        empty_points=empty,
        unlabelled_points=int((per_point == 0).sum()),
        duplicate_points=len(hashes) - len(different),
        **against_train,
    )
    return report, different


def _warnings(report: SplitReport, n_labels: int, *, has_texts: bool) -> Iterator[str]:
    what = "text" if has_texts else "feature row"
    messages = [
        (report.empty_points, f"points have an empty {what}"),
        (report.unlabelled_points, "points have no label"),
        (report.duplicate_points, f"points repeat the {what} of an earlier point"),
        (report.overlap_with_train or 0, f"points have the {what} of a training point"),
        (
            report.points_with_untrained_labels or 0,
            f"points have labels that no training point has ({report.untrained_labels} labels)",
        ),
    ]
    if report.split == "train":
        messages.append((n_labels - report.used_labels, "labels have no training point"))
    for count, message in messages:
        if count:
            yield f"{report.split}: {count} {message}"
