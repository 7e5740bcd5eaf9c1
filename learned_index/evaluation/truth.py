"""The labels of data as a model numbers them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import scipy.sparse as sp

from learned_index.data.dataset import Dataset
from learned_index.data.naming import renumbered

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


def filtered_of(model: ELIAS, dataset: Dataset) -> sp.csr_matrix | None:
    """The pairs of a split that count neither as answers nor as truth, under the model's ids."""
    if dataset.filtered is None or not dataset.filtered.nnz:
        return None
    return model.merged(renumbered(model.vocabulary, dataset, dataset.filtered))
