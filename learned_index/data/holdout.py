"""Hold out training points to measure on, without taking a label's last point."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from learned_index.data.dataset import Dataset
from learned_index.data.folder import DataFolder, open_dataset, write_dataset
from learned_index.errors import InputError
from learned_index.inputs.labels import points_per_label

_HELD_OUT_FRACTION = 0.01
_HELD_OUT_LIMIT = 500


def split_folder(
    source: Path | str,
    target: Path | str,
    *,
    size: int,
    split: Literal["dev", "test"] = "test",
    seed: int = 0,
    overwrite: bool = False,
) -> DataFolder:
    """Write a data folder in which part of the training points are another split.

    Args:
        source: A data folder with a train split and without the split that is made.
        target: The folder to write; it appears when it is whole.
        size: Points to hold out; fewer where labels would lose their last training point.
        split: What the held-out points become.
        seed: Seed of the choice.
        overwrite: Replace a target that exists.

    Returns:
        The new folder, in the format of the source.

    Raises:
        InputError: The split is there already, or no point can be held out.
        DataFormatError: The source is malformed.
    """
    folder = open_dataset(source)
    if split in folder.splits:
        raise InputError(f"{folder.path} has a {split} split already; there is nothing to hold out")
    train = folder.read("train")
    if not 0 < size < train.n_points:
        raise InputError(
            f"got {size} points to hold out of {train.n_points}; expected at least 1, and fewer "
            "than there are"
        )
    held = holdout_rows(train.labels, size, seed=seed)
    if held.size == 0:
        raise InputError(
            f"no point of {folder.path} can be held out: each has a label whose only point it is"
        )
    rest, part = train.parted(held, split=split)
    others = [folder.read(name) for name in folder.splits if name != "train"]
    return write_dataset(
        target, [rest, *others, part], format_name=folder.written_format, overwrite=overwrite
    )


def choose_points(
    folder: DataFolder, whole: Dataset, holdout: int | None, *, seed: int
) -> tuple[Dataset, Dataset | None]:
    """Choose points to train on, and a dev split or held-out points to measure on.

    Args:
        folder: The data.
        whole: Its training split.
        holdout: Training points to hold out; None: the dev split where there is one, else 1 %
            of the training points, at most 500; 0: none at all.
        seed: Seed of the choice.

    Returns:
        The points to train on, and the points to measure on or None (their split is ``dev``, or
        ``train`` where they were held out).

    Raises:
        InputError: Nothing is left to train on.
    """
    if holdout is None and "dev" in folder.splits:
        return whole, folder.read("dev")
    if holdout is None:
        holdout = min(_HELD_OUT_LIMIT, int(_HELD_OUT_FRACTION * whole.n_points))
    if holdout and holdout >= whole.n_points:
        raise InputError(
            f"holding out {holdout} points leaves nothing to train on: there are {whole.n_points}"
        )
    held = holdout_rows(whole.labels, holdout, seed=seed)
    if held.size == 0:
        return whole, None
    return whole.parted(held)


def holdout_rows(labels_NL: sp.csr_matrix, size: int, *, seed: int) -> npt.NDArray[np.int64]:
    """Choose points to hold out so that every label keeps a training point.

    Args:
        labels_NL: CSR N x L.
        size: Points wanted; fewer are chosen where labels would lose their last point.
        seed: Seed of the order in which points are tried.

    Returns:
        int64, sorted. Points without labels are never chosen.
    """
    counts = points_per_label(labels_NL)
    chosen: list[int] = []
    for row in np.random.default_rng(seed).permutation(labels_NL.shape[0]):
        if len(chosen) >= size:
            break
        # Not labels_NL[row], which takes a hundred times as long.
        ids = labels_NL.indices[labels_NL.indptr[row] : labels_NL.indptr[row + 1]]
        # A label with one point left keeps it: what was never trained cannot be found.
        if ids.size and counts[ids].min() > 1:
            counts[ids] -= 1
            chosen.append(int(row))
    return np.sort(np.array(chosen, dtype=np.int64))


def without_labels(labels_NL: sp.csr_matrix, rows: npt.NDArray[np.int64]) -> sp.csr_matrix:
    """Return a copy of the canonical label matrix with some rows emptied.

    Training skips points without labels, so points are held out without copying the vectors of
    all others.
    """
    counts = np.diff(labels_NL.indptr)
    kept = np.ones(labels_NL.shape[0], dtype=bool)
    kept[rows] = False
    entries = np.repeat(kept, counts)
    indptr = np.concatenate([[0], np.cumsum(np.where(kept, counts, 0))])
    return sp.csr_matrix(
        (labels_NL.data[entries], labels_NL.indices[entries], indptr.astype(np.int64)),
        shape=labels_NL.shape,
    )
