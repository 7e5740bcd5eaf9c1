"""Points (texts or rows of sparse features) and the encoders that read them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import scipy.sparse as sp

from learned_index.encoding import encoder_class
from learned_index.errors import InputError
from learned_index.system.extras import require
from learned_index.types import Encoder, Int64Array

Points = Sequence[str] | sp.csr_matrix
"""N texts, or CSR N x F."""


def take(points: Any, rows: Int64Array) -> Any:
    """Return the points at ``rows``, in that order."""
    if hasattr(points, "shape"):
        return points[rows]
    return [points[int(row)] for row in rows]


def parts_of(encoder: Any) -> list[Any]:
    """The encoders that a joined one consists of, however deep; another is its own only part."""
    if not hasattr(encoder, "encoders"):
        return [encoder]
    return [simple for part in encoder.encoders for simple in parts_of(part)]


def fit_encoder(
    encoder: Encoder, points: Any, *, whole_split: Any, labels: sp.csr_matrix | None = None
) -> None:
    """Fit an encoder on the training points.

    Args:
        encoder: What to fit.
        points: The points to learn from.
        labels: CSR N x L, theirs, for parts that choose by them; None: no part needs to.
        whole_split: All points of the training split, held-out ones too: the rows of stored
            vectors belong to these.
    """
    for part in parts_of(encoder):
        part.fit(whole_split if part.kind == "precomputed" else points)
    if labels is not None:
        choose_lengths(encoder, points, labels)


def choose_lengths(encoder: Encoder, points: Any, labels_NL: sp.csr_matrix) -> None:
    """Let the parts that are to choose by labelled points how much of a text they read do so."""
    for part in parts_of(encoder):
        if hasattr(part, "choose_length"):
            part.choose_length(points, labels_NL)


def is_trained(encoder: Encoder, choice: Literal["auto", "yes", "no"]) -> bool:
    """Whether an encoder is trained together with the index.

    Args:
        encoder: Any encoder; one that is an ``nn.Module`` with ``tokenize`` can be trained.
        choice: ``"auto"`` trains those that learn from the training texts (a bag of words) and
            leaves pretrained networks as they are.

    Raises:
        InputError: ``"yes"`` with an encoder that has nothing to train.
    """
    trainable = hasattr(encoder, "tokenize") and isinstance(encoder, require("torch.nn").Module)
    if choice == "auto":
        return trainable and bool(getattr(encoder, "needs_fit", True))
    if choice == "yes" and not trainable:
        raise InputError(
            f"train_encoder is 'yes', but an encoder of kind {encoder.kind!r} cannot be trained; "
            "use bow, a transformer or a sentence-transformers model by itself, or 'no'"
        )
    return choice == "yes"


def default_features(points: Any) -> Encoder:
    """Make the encoder of the sparse features: tf-idf of words and pairs, or scaled rows."""
    if sp.issparse(points):
        return encoder_class("feature-rows")()
    encoder: Any = encoder_class("tfidf")
    made: Encoder = encoder(word_ngrams=2)
    return made


def reads_rows(features: Encoder | None) -> bool:
    """Whether a sparse encoder reads rows of features, and no texts."""
    return bool(getattr(features, "reads_rows", False))


def feature_names(features: Encoder | None, columns: Iterable[int]) -> list[str]:
    """What columns of the sparse features are called: their term, or ``feature N`` without one.

    Args:
        features: The sparse encoder.
        columns: Numbers of columns, 0 to V - 1.
    """
    term_of = getattr(features, "term_of", None)
    if term_of is not None:
        return [str(term_of(int(n))) for n in columns]
    terms = getattr(features, "terms_", None)
    return [f"feature {int(n)}" if terms is None else str(terms[int(n)]) for n in columns]
