"""Hold out training points to measure on, without taking a label's last point."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp


def holdout_rows(labels_NL: sp.csr_matrix, size: int, *, seed: int) -> npt.NDArray[np.int64]:
    """Choose points to hold out so that every label keeps a training point.

    Args:
        labels_NL: CSR N x L.
        size: Points wanted; fewer are chosen where labels would lose their last point.
        seed: Seed of the order in which points are tried.

    Returns:
        int64, sorted. Points without labels are never chosen.
    """
    counts = np.bincount(labels_NL.indices, minlength=labels_NL.shape[1])
    chosen: list[int] = []
    for row in np.random.default_rng(seed).permutation(labels_NL.shape[0]):
        if len(chosen) >= size:
            break
        ids = labels_NL.indices[labels_NL.indptr[row] : labels_NL.indptr[row + 1]]
        if ids.size and counts[ids].min() > 1:
            counts[ids] -= 1
            chosen.append(int(row))
    return np.sort(np.array(chosen, dtype=np.int64))


def without_labels(labels_NL: sp.csr_matrix, rows: npt.NDArray[np.int64]) -> sp.csr_matrix:
    """Return the label matrix with some rows emptied.

    Training skips points without labels, so points are held out without copying the vectors of
    all others.

    Args:
        labels_NL: Canonical CSR N x L.
        rows: int64, the rows to empty.

    Returns:
        A new CSR matrix of the same shape.
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
