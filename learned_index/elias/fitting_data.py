"""What one fit of the full model learns from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import scipy.sparse as sp

from learned_index.elias.label_texts import LabelPoints
from learned_index.elias.request import HeldOut
from learned_index.types import Int64Array


@dataclass
class FitData:
    """What one fit learns from.

    Attributes:
        texts: The N points, held-out ones too.
        labels_NL: Their labels; a point that is held out has none.
        all_labels_NL: The labels of all of them.
        learned: int64. The rows that are not held out, which encoders are fitted on.
        held: Points to validate and calibrate on.
        trains_encoder: Whether the encoder learns with the index.
        vectors: N x D of each encoder; of encoders that are trained, known after the training.
        sparse_NV: tf-idf of all points, where the model has a use for it.
        shortlist_NK: Labels that the index found for points that the ranker has learned from.
        all_label_points: Texts of the labels as points, where the model reads them at all.
        shared_terms: Part of the points' labels whose texts share a term with the point.
        label_points: The same points where they take part in the ranking.
        label_shortlist_MK: Labels that the index found for these.
    """

    texts: Any
    labels_NL: sp.csr_matrix
    all_labels_NL: sp.csr_matrix
    learned: Int64Array
    held: HeldOut | None
    trains_encoder: bool
    vectors: list[Any] | None
    sparse_NV: sp.csr_matrix | None = None
    shortlist_NK: Int64Array | None = None
    all_label_points: LabelPoints | None = None
    shared_terms: float = 0.0
    label_points: LabelPoints | None = None
    label_shortlist_MK: Int64Array | None = None
