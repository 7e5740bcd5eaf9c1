"""Scores of labels that somebody names, whether or not a search would find them.

A label on the shortlist of a text has the score that the search gives it. Another one is appended
to the shortlist, by itself, with the p that the members' ``score`` gives it: the score that it
would have, had the index listed it last. So a score depends on no other text and no other label.

Legend: B texts, M labels a text, n pairs of a text and a label, K labels on a shortlist.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from learned_index.elias.ensemble import Shortlist
from learned_index.elias.final_ranking import evidence_of, listed
from learned_index.elias.parts import EliasParts, SearchOptions
from learned_index.elias.points import Points
from learned_index.errors import InputError
from learned_index.inputs.points import unanswerable_rows
from learned_index.inputs.scored import Scores, Wanted
from learned_index.ranking.evidence import Listed
from learned_index.types import PAD_ID, PAD_SCORE, Float32Array, Int64Array

_CHUNK_PAIRS = 2048
"""Pairs at a time: each has the evidence of a whole shortlist."""


class Asked(NamedTuple):
    """Texts, as the parts of a model see them.

    Attributes:
        vectors: B x D of each encoder.
        sparse_BV: CSR; None where the model has no ranker, or only its indexes are asked.
        listed: Their shortlists, with what nearest records add, B x K.
        answerable_B: bool. Whether the text has answers at all.
        by_index: Whether only the indexes are asked; then of what is listed only p is known.
    """

    vectors: list[Any]
    sparse_BV: sp.csr_matrix | None
    listed: Listed
    answerable_B: Any
    by_index: bool = False


class Pairs(NamedTuple):
    """Pairs of a text and a label, each with the text's shortlist and the label on it.

    Attributes:
        listed: n x (K + 1). The last column is the label where the shortlist has not got it, else
            a pad.
        column_n: int64, where the label stands.
        rows_n: int64, the text.
    """

    listed: Listed
    column_n: Int64Array
    rows_n: Int64Array

    def of_label(self, values_nK: Any) -> Any:
        """The entries of the labels themselves."""
        return values_nK[np.arange(len(self.column_n)), self.column_n]


def asked(
    model: EliasParts,
    texts: Points,
    *,
    vectors: list[Any] | None = None,
    by_index: bool = False,
    options: SearchOptions | None = None,
) -> Asked:
    """Encode texts and make their shortlists.

    Args:
        model: The model.
        texts: B texts or rows of features.
        vectors: Their vectors, B x D of each encoder, where they are known already.
        by_index: Ask the indexes alone.
        options: How the members search.
    """
    vectors = list(model.encode(texts)) if vectors is None else vectors
    sparse = None
    if model.ranker_ is not None and not by_index:
        assert model.features is not None
        sparse = model.features.encode(texts)
    head, _ = model.shortlist(vectors, model.config.rerank_size, **(options or {}))
    found = _listed(model, head, sparse, vectors[0])
    return Asked(vectors, sparse, found, ~unanswerable_rows(texts, vectors), by_index)


def pairs_of(model: EliasParts, texts: Asked, rows_n: Int64Array, labels_n: Int64Array) -> Pairs:
    """Put each label on the shortlist of its text."""
    ids_nK = texts.listed.ids[rows_n]
    is_there = ids_nK == labels_n[:, None]
    missing = np.flatnonzero(~is_there.any(axis=1))
    column_n = np.where(is_there.any(axis=1), is_there.argmax(axis=1), ids_nK.shape[1])
    more = Listed(
        np.full((len(rows_n), 1), PAD_ID, np.int64),
        *(np.zeros((len(rows_n), 1), np.float32) for _ in Listed._fields[1:]),
    )
    if len(missing):
        added: Any = _alone(model, texts, rows_n[missing], labels_n[missing])
        columns: Any = more
        for whole, part in zip(columns, added, strict=True):
            whole[missing, 0] = part
    both: Any = zip(texts.listed, more, strict=True)
    longer = Listed(*(np.concatenate([old[rows_n], new], axis=1) for old, new in both))
    return Pairs(longer, column_n.astype(np.int64), rows_n)


def _alone(model: EliasParts, texts: Asked, rows_n: Int64Array, labels_n: Int64Array) -> Listed:
    """What is known of labels that the shortlists have not got, n each; rows ascend."""
    rows_B, first_B, row_n, count_B = np.unique(
        rows_n, return_index=True, return_inverse=True, return_counts=True
    )
    # A row for each text: its vector is looked up among the records once for all of its labels.
    place_n = np.arange(len(rows_n)) - first_B[row_n]
    ids_BM = np.full((len(rows_B), int(count_B.max())), PAD_ID, np.int64)
    ids_BM[row_n, place_n] = labels_n
    vectors = [x[rows_B] for x in texts.vectors]
    sparse = None if texts.sparse_BV is None else texts.sparse_BV[rows_B]
    head = Shortlist(ids_BM, _mean_p(model, vectors, ids_BM))
    found: Any = _listed(model, head, sparse, vectors[0])
    return Listed(*(values[row_n, place_n] for values in found))


def _mean_p(model: EliasParts, vectors: list[Any], ids_BM: Int64Array) -> Float32Array:
    """Mean of the members' scores, 0 where no edge of a member leads to the label."""
    total_BM = np.zeros(ids_BM.shape, np.float32)
    for number, member in enumerate(model.members):
        p_BM = member.score(vectors[min(number, len(vectors) - 1)], ids_BM)
        total_BM += np.where(np.isneginf(p_BM), np.float32(0), p_BM)
    return total_BM / np.float32(len(model.members))


def _listed(model: EliasParts, head: Shortlist, sparse: Any, x_BD: Any) -> Listed:
    """The labels with the evidence that the model's parts have; without sparse features only p."""
    if sparse is not None and model.final_ranker_ is not None:
        return listed(model, head, sparse, x_BD, names=model.final_ranker_)
    zero = np.zeros(head.ids.shape, np.float32)
    if sparse is None or model.ranker_ is None:
        return Listed(head.ids, head.p, zero, zero, zero, zero)
    return Listed(head.ids, head.p, model.ranker_.score(sparse, x_BD, head.ids), zero, zero, zero)


def pair_evidence(model: EliasParts, texts: Asked, pairs: Pairs) -> Float32Array:
    """Evidence of the shortlists of pairs, float32 n x (K + 1) x F; the model ranks finally."""
    assert model.final_ranker_ is not None and texts.sparse_BV is not None
    return evidence_of(model, pairs.listed, texts.sparse_BV[pairs.rows_n], model.final_ranker_)


def shortlist_scores(model: EliasParts, texts: Asked, pairs: Pairs) -> Float32Array:
    """Ranking scores of the shortlists of pairs, float32 n x (K + 1); 0 at pads."""
    ids, p, q = pairs.listed[:3]
    if model.final_ranker_ is not None:
        return model.final_ranker_.score(pair_evidence(model, texts, pairs), ids)
    scores = p if model.ranker_ is None else model.combination(p, q)
    return np.where(ids == PAD_ID, np.float32(0), scores)


def label_scores(model: EliasParts, texts: Asked, pairs: Pairs) -> Float32Array:
    """Ranking scores of the pairs' labels, float32 n."""
    # Labels that a text's shortlist has got share it: it is scored once for all of them.
    longest = texts.listed.ids.shape[1]
    own_n = -1 - np.arange(len(pairs.rows_n))
    list_n = np.where(pairs.column_n < longest, pairs.rows_n, own_n)
    _, first, list_n = np.unique(list_n, return_index=True, return_inverse=True)
    columns: Any = pairs.listed
    listed_once = Listed(*(values[first] for values in columns))
    some = Pairs(listed_once, pairs.column_n[first], pairs.rows_n[first])
    found: Float32Array = shortlist_scores(model, texts, some)[list_n, pairs.column_n]
    return found


def probabilities(
    model: EliasParts, pairs: Pairs, scores_n: Float32Array, labels_n: Int64Array
) -> Float32Array:
    """Calibrated probabilities of pairs, float32 n; the model is calibrated."""
    assert model.calibrator_ is not None and model.label_counts is not None
    if model.final_ranker_ is not None:
        p, q = scores_n, np.zeros_like(scores_n)
    else:
        p, q = (pairs.of_label(values) for values in pairs.listed[1:3])
    found = model.calibrator_.probability(
        p[:, None], q[:, None], labels_n[:, None], model.label_counts
    )
    return found[:, 0]


class PartScores(NamedTuple):
    """What the parts of a model say of labels.

    Attributes:
        index_p: float32 B x M. Probability by the index, of an ensemble the mean; 0 where no path
            leads to the label.
        ranker_q: float32 B x M. Margin of the ranker; None of a model without one.
    """

    index_p: Float32Array
    ranker_q: Float32Array | None


def part_scores(
    model: EliasParts, texts: Points, ids_BM: Int64Array, *, options: SearchOptions | None = None
) -> PartScores:
    """What index and ranker say of labels, each by itself.

    Args:
        model: The model.
        texts: B texts, or CSR B x F.
        ids_BM: int64, labels of each, as a search gives them; -1 at pads, which score NaN.
        options: How the members search.
    """
    p_BM, q_BM = (np.full(ids_BM.shape, np.nan, np.float32) for _ in range(2))
    at = np.nonzero(ids_BM != PAD_ID)
    rows_n, labels_n = at[0], ids_BM[at]
    found = np.empty((2, len(rows_n)), np.float32)
    if len(rows_n):
        told = asked(model, texts, options=options)
        for start in range(0, len(rows_n), _CHUNK_PAIRS):
            part = slice(start, start + _CHUNK_PAIRS)
            pairs = pairs_of(model, told, rows_n[part], labels_n[part])
            found[:, part] = [pairs.of_label(each) for each in pairs.listed[1:3]]
    p_BM[at], q_BM[at] = found
    return PartScores(p_BM, None if model.ranker_ is None else q_BM)


def score_labels(model: EliasParts, texts: Points, wanted: Wanted, score: str) -> Scores:
    """See :meth:`ELIAS.score`."""
    if score not in ("ranking", "probability", "index"):
        raise InputError(f"score is {score!r}, expected 'ranking', 'probability' or 'index'")
    if score == "probability" and model.calibrator_ is None:
        raise InputError("this model was trained without calibration; ask for the ranking score")
    rows_n, labels_n = wanted.rows_n, wanted.labels_n
    scores_n = np.full(len(rows_n), PAD_SCORE, np.float32)
    if not len(scores_n):
        return wanted.arranged(scores_n)
    told = asked(model, texts, by_index=score == "index")
    for start in range(0, len(scores_n), _CHUNK_PAIRS):
        part = slice(start, start + _CHUNK_PAIRS)
        pairs = pairs_of(model, told, rows_n[part], labels_n[part])
        if score == "index":
            scores_n[part] = pairs.of_label(pairs.listed.p)
            continue
        scores = label_scores(model, told, pairs)
        if score == "probability":
            scores = probabilities(model, pairs, scores, labels_n[part])
        scores_n[part] = scores
    scores_n[~told.answerable_B[rows_n]] = PAD_SCORE
    return wanted.arranged(scores_n)
