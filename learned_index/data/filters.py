"""Pairs of point and label that count neither as answers nor as truth.

Where points and labels are of one kind (products, articles), a point may be its own label. The
extreme classification repository lists such pairs in ``filter_labels_{train,test}.txt``, a line
``point label`` each, both from 0; its metrics take them out of answers and truth.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import scipy.sparse as sp

from learned_index.data.dataset import SPLITS, Dataset
from learned_index.data.formats.lines import iter_raw_lines, shown
from learned_index.data.formats.matrices import iter_rows
from learned_index.persistence.foreign import file_exists

FILTER_FILES = {split: f"filter_labels_{split}.txt" for split in SPLITS}
"""Name of the file of a split."""


def read_filter(path: Path, n_points: int, n_labels: int) -> sp.csr_matrix:
    """Read the pairs of one split: canonical CSR of ones, N x L.

    Raises:
        DataFormatError: A line is no pair of numbers, or names a point or label that is not there.
    """
    pairs: list[tuple[int, int]] = []
    for line in iter_raw_lines(path):
        tokens = line.raw.split()
        if not tokens:
            continue
        if len(tokens) != 2 or not all(t.isdigit() and len(t) < 19 for t in tokens):
            line.fail(f"{shown(line.raw)} is no pair; expected 'point label', both counted from 0")
        point, label = map(int, tokens)
        if point >= n_points or label >= n_labels:
            line.fail(
                f"point {point}, label {label}: there are {n_points} points and {n_labels} labels, "
                "counted from 0"
            )
        pairs.append((point, label))
    rows, columns = np.array(pairs, np.int64).reshape(-1, 2).T
    matrix = sp.csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), (n_points, n_labels))
    matrix.data[:] = 1.0
    return matrix


def filtered(dataset: Dataset, folder: Path) -> Dataset:
    """A split without the pairs that a file in its folder takes out; remembers them."""
    path = folder / FILTER_FILES[dataset.split]
    if not file_exists(path):
        return dataset
    pairs = read_filter(path, dataset.n_points, dataset.n_labels)
    kept = dataset.labels - dataset.labels.multiply(pairs)
    kept = sp.csr_matrix(kept)
    kept.eliminate_zeros()
    kept.sort_indices()
    return replace(dataset, labels=kept, filtered=pairs)


def write_filter(folder: Path, dataset: Dataset) -> None:
    """Write the pairs of a split, if it has any."""
    if dataset.filtered is None or not dataset.filtered.nnz:
        return
    with (folder / FILTER_FILES[dataset.split]).open("w", encoding="ascii", newline="\n") as file:
        for row, (labels, _) in enumerate(iter_rows(dataset.filtered)):
            file.writelines(f"{row} {label}\n" for label in labels.tolist())
