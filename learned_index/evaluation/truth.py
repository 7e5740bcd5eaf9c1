"""The labels of data as a model numbers them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from learned_index.data.dataset import Dataset
from learned_index.data.naming import renumbered
from learned_index.types import Int64Array

if TYPE_CHECKING:
    from learned_index.elias.model import ELIAS


def truth_of(model: ELIAS, dataset: Dataset) -> sp.csr_matrix:
    """Labels of a split under the model's ids, matched by key.

    Labels that became one with others in the model are these; labels that it does not know come
    behind.

    Raises:
        InputError: The two share no label.
    """
    return model.merged(renumbered(model.vocabulary, dataset))


def training_counts(model: ELIAS, n_labels: int) -> Int64Array:
    """Training points of the labels of model and data, int64: the model's stand first."""
    counts = np.zeros(n_labels, dtype=np.int64)
    if model.label_counts is not None:
        counts[: len(model.label_counts)] = model.label_counts
    return counts


def filtered_of(model: ELIAS, dataset: Dataset) -> sp.csr_matrix | None:
    """The pairs of a split that count neither as answers nor as truth, under the model's ids."""
    if dataset.filtered is None or not dataset.filtered.nnz:
        return None
    return model.merged(renumbered(model.vocabulary, dataset, dataset.filtered))
