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
