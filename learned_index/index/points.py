"""What an index is trained on, and measured on meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import scipy.sparse as sp

from learned_index.training.sources import TrainingInputs


class TrainingPoints(NamedTuple):
    """The points of a training.

    Attributes:
        inputs: Vectors, or texts and the encoder that is trained along.
        labels_NL: CSR N x L, canonical.
        features_NV: CSR N x V for the clustering of the labels, or None.
    """

    inputs: TrainingInputs
    labels_NL: sp.csr_matrix
    features_NV: sp.csr_matrix | None


class HeldOutMetrics(NamedTuple):
    """How the index is measured while it is trained.

    Attributes:
        measure: Metrics of the index as it is, on the validation points.
        truth: CSR, the labels of these points.
    """

    measure: Callable[[], dict[str, float]]
    truth: sp.csr_matrix
