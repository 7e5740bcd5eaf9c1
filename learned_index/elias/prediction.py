"""From texts to ranked labels: search, margins, their combination, probabilities (section 3.5)."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from learned_index.data.naming import ids_of
from learned_index.elias.ensemble import Shortlist, followed_by
from learned_index.elias.final_ranking import evidence_of, listed
from learned_index.elias.parts import EliasParts, SearchOptions
from learned_index.elias.points import Points, take
from learned_index.encoding import sparse_features
from learned_index.errors import InputError
from learned_index.inputs.filters import search_by_filter
from learned_index.inputs.labels import wanted_labels
from learned_index.inputs.matrices import SparseFeatures, SparseRows, sparse_rows
from learned_index.inputs.numbers import check_result_size, whole_number
from learned_index.inputs.points import as_points, n_rows, unanswerable_rows
from learned_index.ranking.final_scoring import best_first
from learned_index.types import PAD_ID, PAD_SCORE, Float32Array, Int64Array, SearchResult

Score = Literal["ranking", "probability", "index"]
_CHUNK_ROWS = 2048
"""Queries at a time: [queries x labels] arrays stay small, whatever is asked."""


def predict_points(
    model: EliasParts,
    texts: Points,
    k: int,
    *,
    vectors: Any | None,
    sparse: SparseFeatures | None,
    score: Score,
    options: SearchOptions | None = None,
) -> SearchResult:
    """See :meth:`ELIAS.search`."""
    texts = as_points(texts)
    rows = n_rows(texts)
    k = whole_number(k, "k")
    check_result_size(k, n_rows=rows, n_labels=model.n_labels)
    if score not in ("ranking", "probability", "index"):
        raise InputError(f"score is {score!r}, expected 'ranking', 'probability' or 'index'")
    if score == "probability" and model.calibrator_ is None:
        raise InputError(
            "this model was trained without calibration; use predict, or train with "
            "calibration and points to hold out"
        )
    given = SearchOptions(**(options or {}))
    all_vectors = _given_vectors(model, texts, vectors)
    if model.ranker_ is not None and score != "index" and sparse is None and rows:
        assert model.features is not None
        sparse = sparse_features(model.features, texts)
    each = search_by_filter(
        given.get("allow"), given.get("deny"), rows, k,
        lambda some, allow, deny: predict_points(
            model,
            take(texts, some),
            k,
            vectors=[x[some] for x in all_vectors],
            sparse=None if sparse is None else sparse_rows(sparse).matrix()[some],
            score=score,
            options=SearchOptions(**{**given, "allow": allow, "deny": deny}),
        ),
        n_labels=model.n_labels,
        ids_of=lambda labels: ids_of(labels, model.vocabulary),
    )  # fmt: skip
    if each is not None:
        return each
    given["allow"] = ids_of(given.get("allow"), model.vocabulary)
    given["deny"] = ids_of(given.get("deny"), model.vocabulary)
    features = None if sparse is None else sparse_rows(sparse)
    if 0 < rows <= _CHUNK_ROWS:
        ids, scores = _predict_rows(model, all_vectors, features, k, score, given)
    else:
        ids = np.full((rows, k), PAD_ID, dtype=np.int64)
        scores = np.full((rows, k), PAD_SCORE, dtype=np.float32)
        for start in range(0, rows, _CHUNK_ROWS):
            stop = min(start + _CHUNK_ROWS, rows)
            ids[start:stop], scores[start:stop] = _predict_rows(
                model,
                [x[start:stop] for x in all_vectors],
                None if features is None else features.part(start, stop),
                k,
                score,
                given,
            )
    silent = unanswerable_rows(texts, all_vectors)
    if silent.any():
        ids[silent], scores[silent] = PAD_ID, PAD_SCORE
    return SearchResult(ids, scores)


def with_probabilities(
    model: EliasParts,
    texts: Points,
    k: int,
    *,
    vectors: Any | None = None,
    sparse: SparseFeatures | None = None,
    options: SearchOptions | None = None,
) -> tuple[SearchResult, Float32Array]:
    """Answers with ranking scores, and the calibrated probabilities of the same labels.

    Arguments as in :meth:`ELIAS.search`.

    Returns:
        What a search by each of both scores gives: ids and ranking scores B x k; probabilities,
        float32 B x k, -inf at pads.
    """
    texts = as_points(texts)
    given: dict[str, Any] = {"vectors": vectors, "sparse": sparse, "options": options}
    if model.final_ranker_ is None and n_rows(texts):
        # The probability needs what the index and the ranker say, so the labels are found twice,
        # and the texts encoded once.
        given["vectors"] = _given_vectors(model, texts, vectors)
        if model.ranker_ is not None and sparse is None:
            assert model.features is not None
            given["sparse"] = sparse_features(model.features, texts)
        probable = predict_points(model, texts, k, score="probability", **given).scores
        return predict_points(model, texts, k, score="ranking", **given), probable
    if model.calibrator_ is None or not n_rows(texts):
        found = predict_points(model, texts, k, score="probability", **given)
        return found, found.scores
    # Here it is a function of the label and its ranking score alone.
    found = predict_points(model, texts, k, score="ranking", **given)
    return found, _probability(model, Shortlist(found.ids, found.scores), None)


def _given_vectors(model: EliasParts, texts: Points, vectors: Any | None) -> list[Any]:
    if n_rows(texts) == 0:
        return [np.empty((0, member.dim), np.float32) for member in model.members[:1]]
    if vectors is None:
        return list(model.encode(texts))
    given = list(vectors) if isinstance(vectors, list | tuple) else [vectors]
    if len(given) != len(model.encoders):
        raise InputError(
            f"got {len(given)} arrays of vectors, expected {len(model.encoders)}: one for each "
            "encoder of the model"
        )
    for x in given:
        if len(x) != n_rows(texts):
            raise InputError(f"got {len(x)} vectors for {n_rows(texts)} texts; expected as many")
    return given


def _predict_rows(
    model: EliasParts,
    vectors: list[Any],
    sparse: SparseRows | None,
    k: int,
    score: Score,
    options: SearchOptions,
) -> tuple[Int64Array, Float32Array]:
    head, wide = model.shortlist(vectors, k, **options)
    size = head.ids.shape[1]
    if model.final_ranker_ is not None and score != "index":
        assert sparse is not None
        return _finally_ranked(model, head, wide, sparse, vectors[0], k, score, options)
    q_BK = _margins(model, sparse, vectors[0], head.ids, score)
    rank_BK = head.p if q_BK is None else model.combination(head.p, q_BK)
    rank_BK = np.where(head.ids == PAD_ID, PAD_SCORE, rank_BK).astype(np.float32)
    order = np.argsort(-rank_BK, axis=1, kind="stable")
    found_BK = _probability(model, head, q_BK) if score == "probability" else rank_BK
    ids: Int64Array = np.take_along_axis(head.ids, order, axis=1)
    scores: Float32Array = np.take_along_axis(found_BK, order, axis=1)
    if k <= size:
        return ids[:, :k], scores[:, :k]
    tail = followed_by(head.ids, wide, k - size)
    if score == "probability":
        q_tail = _margins(model, sparse, vectors[0], tail.ids, score)
        low = _probability(model, tail, q_tail)
    else:
        # Not ranked again: no score above the last that is.
        low = tail.p if q_BK is None else model.combination(tail.p, np.zeros_like(tail.p))
        low = np.where(tail.ids == PAD_ID, PAD_SCORE, np.minimum(low, scores[:, -1:]))
    scores = np.concatenate([scores, low.astype(np.float32)], axis=1)
    return np.concatenate([ids, tail.ids], axis=1), scores


def _finally_ranked(
    model: EliasParts,
    head: Shortlist,
    wide: Shortlist,
    sparse: SparseRows,
    x_BD: Any,
    k: int,
    score: Score,
    options: SearchOptions,
) -> tuple[Int64Array, Float32Array]:
    """Order the shortlist and what nearest records add; the rest of the index follows."""
    assert model.final_ranker_ is not None
    allow, deny = options.get("allow"), options.get("deny")
    is_filtered = allow is not None or deny is not None
    allowed_L = wanted_labels(allow, deny, model.n_labels) if is_filtered else None
    ranker = model.final_ranker_
    found = listed(model, head, sparse, x_BD, names=ranker, allowed_L=allowed_L)
    evidence_BKF = evidence_of(model, found, sparse, ranker)
    rank = ranker.score(evidence_BKF, found.ids)
    ids, rank = arranged(found.ids, rank, wide, k)
    if score == "probability":
        return ids, _probability(model, Shortlist(ids, rank), None)
    rank[ids == PAD_ID] = PAD_SCORE
    return ids, rank


def arranged(
    ids: Int64Array, rank: Float32Array, wide: Shortlist, k: int
) -> tuple[Int64Array, Float32Array]:
    """Sort labels by score, let the rest of a wider search follow, and cut to k.

    Args:
        ids: B x R labels in any order, -1 at pads.
        rank: Their scores, 0 to 1. Of equal ones the first stays first.
        wide: B x S, labels in the order of the index.
        k: Labels wanted.

    Returns:
        B x k each, padded with -1 and 0; scores do not increase.
    """
    shape = len(ids), k
    best_ids, best_rank = np.empty(shape, np.int64), np.empty(shape, np.float32)
    if best_first(ids, rank, best_ids, best_rank):  # nothing needs to follow
        return best_ids, best_rank
    order = np.argsort(-np.where(ids == PAD_ID, PAD_SCORE, rank), axis=1, kind="stable")
    ids, rank = np.take_along_axis(ids, order, axis=1), np.take_along_axis(rank, order, axis=1)
    tail = followed_by(ids, wide, k)
    least = np.where(ids == PAD_ID, np.float32(1), rank).min(axis=1, keepdims=True)
    ids = np.concatenate([ids, tail.ids], axis=1)
    rank = np.concatenate([rank, tail.p * least], axis=1)
    # Few labels were added where many could have been: the gaps close.
    order = np.argsort(ids == PAD_ID, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(ids, order, axis=1), np.take_along_axis(rank, order, axis=1)


def _margins(
    model: EliasParts, sparse: SparseRows | None, x_BD: Any, ids: Int64Array, score: Score
) -> Float32Array | None:
    """Margins q of the ranker; None where the order is that of the index."""
    if model.ranker_ is None or score == "index":
        return None
    assert sparse is not None
    return model.ranker_.score(sparse, x_BD, ids)


def _probability(
    model: EliasParts, shortlist: Shortlist, q_BK: Float32Array | None
) -> Float32Array:
    assert model.calibrator_ is not None and model.label_counts is not None
    q = np.zeros_like(shortlist.p) if q_BK is None else q_BK
    found = model.calibrator_.probability(shortlist.p, q, shortlist.ids, model.label_counts)
    return np.where(shortlist.ids == PAD_ID, PAD_SCORE, found).astype(np.float32)
