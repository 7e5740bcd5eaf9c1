"""Word features of points for systems that learn from words alone, such as label trees.

Whole systems are compared on one and the same input; this module says which.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import scipy.sparse as sp

from learned_index.encoders.lexical.feature_rows import FeatureRowsEncoder
from learned_index.encoders.lexical.tfidf import TfidfEncoder
from learned_index.errors import InputError

TEXT_FEATURES: dict[str, Any] = {
    "analyser": "word",
    "word_ngrams": 1,
    "min_df": 2,
    "max_features": 300_000,
    "sublinear_tf": True,
}
"""Settings of the tf-idf of texts; rows have length 1, the vocabulary is of the training points."""


def point_features(
    train: Sequence[str] | sp.csr_matrix,
    queries: Sequence[str] | sp.csr_matrix,
    *,
    ngrams: int = 1,
    min_df: int = 2,
) -> tuple[sp.csr_matrix, sp.csr_matrix]:
    """Return the features of training points and queries.

    Args:
        train: N texts, or N rows of sparse features where the data have no texts.
        queries: Points of the same kind.
        ngrams: Longest run of words that is one feature; up to 300,000 features for each length.
        min_df: Training texts that a feature must stand in.

    Returns:
        Canonical CSR float32, N x F and B x F, rows of length 1 or empty: tf-idf of words
        (:data:`TEXT_FEATURES`), or the data's own features.

    Raises:
        InputError: One side is texts and the other is not, the features differ in number, no
            word stands in ``min_df`` training texts, or runs of words are asked for of rows.

    Example:
        >>> x, q = point_features(["a red fox", "a red sky"], ["red"])
        >>> x.shape, q.shape
        ((2, 2), (1, 2))
    """
    if sp.issparse(train) != sp.issparse(queries):
        kinds = ["feature rows" if sp.issparse(points) else "texts" for points in (train, queries)]
        raise InputError(
            f"the training points are {kinds[0]} and the queries {kinds[1]}; a system that learns "
            "from words needs both to be the same"
        )
    encoder: Any
    if sp.issparse(train):
        if ngrams != 1:
            raise InputError(
                f"ngrams is {ngrams}, but the points are rows of features without texts; expected 1"
            )
        encoder = FeatureRowsEncoder(weighting="none").fit(train)
    else:
        most = ngrams * TEXT_FEATURES["max_features"]
        chosen = {"word_ngrams": ngrams, "min_df": min_df, "max_features": most}
        encoder = TfidfEncoder(**{**TEXT_FEATURES, **chosen}).fit(train)
    return encoder.encode(train), encoder.encode(queries)
