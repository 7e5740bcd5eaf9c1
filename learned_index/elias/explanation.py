"""Why a model gives a label its score: all parts, which add up to it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from learned_index.elias.ensemble import Shortlist
from learned_index.elias.final_ranking import evidence_of, listed
from learned_index.elias.parts import EliasParts
from learned_index.elias.points import Points, feature_names
from learned_index.errors import InputError
from learned_index.index.learned_graph_index import LearnedGraphIndex
from learned_index.index.paths import label_paths
from learned_index.inputs.points import n_rows, unanswerable_rows
from learned_index.ranking.evidence import EVIDENCE, Listed
from learned_index.types import PAD_ID, Int64Array

N_RECORDS_SHOWN = 5


@dataclass(frozen=True)
class PathPart:
    """A cluster that leads to the label: its score s, the weight e of the edge, s·e."""

    cluster: int
    score: float
    weight: float
    part: float


@dataclass(frozen=True)
class IndexPart:
    """What one index of the model says: ``p = path ** exponent * classifier``.

    Attributes:
        paths: Clusters of the beam that lead to the label, the best first; ``path`` is the part of
            that one, 0 where there is none.
        classifier: sigmoid of the label's classifier.
        exponent: ``path_exponent``.
        p: Probability from this index.
    """

    paths: list[PathPart]
    path: float
    classifier: float
    exponent: float
    p: float


@dataclass(frozen=True)
class WordPart:
    """A word (or pair, or numbered feature) that the ranker counted, and its part of the margin."""

    term: str
    part: float


@dataclass(frozen=True)
class RankerPart:
    """The sparse ranker's margin: ``margin = sum of the words' parts + vector + bias``."""

    margin: float
    words: list[WordPart]
    vector: float
    bias: float


@dataclass(frozen=True)
class NearestRecord:
    """A training record near the text.

    Attributes:
        similarity: Inner product of the words, or cosine of the vectors.
        labels: Names of its labels.
        has_label: Whether the explained label is one of them.
    """

    similarity: float
    labels: list[str]
    has_label: bool


@dataclass(frozen=True)
class RecordsPart:
    """The nearest training records: the nearest few, and how many of those asked have the label."""

    by_words: list[NearestRecord]
    by_vectors: list[NearestRecord]
    with_label_by_words: int
    with_label_by_vectors: int
    n_asked: int


@dataclass(frozen=True)
class EvidencePart:
    """One kind of evidence: its value, and its part of the score."""

    name: str
    value: float
    part: float


@dataclass(frozen=True)
class Explanation:
    """Why a text has a label, or has it not.

    The parts add up to the score: with ``total = constant + sum of the evidence's parts`` it is
    ``scale / (1 + exp(-total))`` where ``form`` is ``"log-odds"``, and ``scale * exp(total)`` where
    it is ``"logarithm"`` (no final ranker was learned; then the score is a product).

    Attributes:
        label: Its name.
        key: Its key.
        score: Ranking score.
        probability: Calibrated; None where the model was trained without calibration.
        place: In the order of the shortlist, 1 is the best; None: the label is not on it, and score
            and parts are what they would be if it were its last.
        form: How parts and score belong together.
        constant: See above.
        scale: 1; the least score of the labels that the final ranker's trees order, where the label
            stands behind these; 0 where the score is a product and the index does not list it.
        evidence: In the order of their weight.
        index: One part for each index of the model; none in a compiled model.
        ranker: None where the model has none.
        records: None where the model remembers none.
        n_points: Training points of the label; None: unknown.
    """

    label: str
    key: str
    score: float
    probability: float | None
    place: int | None
    form: str
    constant: float
    scale: float
    evidence: list[EvidencePart]
    index: list[IndexPart]
    ranker: RankerPart | None
    records: RecordsPart | None
    n_points: int | None

    def to_dict(self) -> dict[str, Any]:
        """All of it as lists, dictionaries, numbers and strings."""
        return asdict(self)


@dataclass(frozen=True)
class _Scored:
    """The shortlist of one text with a label somewhere on it."""

    ids_K: Int64Array
    scores_K: Any
    p: float
    q: float
    form: str
    constant: float
    scale: float
    evidence: list[EvidencePart]


def explain_labels(
    model: EliasParts, text: Points, labels: Int64Array, *, vectors: Any | None = None
) -> list[Explanation]:
    """See :meth:`ELIAS.explain`.

    Args:
        model: Trained.
        text: One text in a list, or a CSR row.
        labels: int64, distinct ids.
        vectors: Its vectors as in :meth:`ELIAS.search`.

    Raises:
        InputError: The text has no answer: it is blank, or the encoder knows none of its words.
    """
    assert n_rows(text) == 1
    x = model.encode(text) if vectors is None else list(vectors)
    if unanswerable_rows(text, x).any():
        raise InputError(
            "the text has no answer, so there is nothing to explain: it is blank, or the model "
            "knows none of its words"
        )
    sparse = None
    if model.ranker_ is not None:
        assert model.features is not None
        sparse = model.features.encode(text)
    head, _ = model.shortlist(x, model.config.rerank_size)
    records = None if model.records_ is None else _nearest(model, sparse, x[0])
    found = []
    for label in (int(each) for each in labels):
        scored, column = _scored(model, head, sparse, x[0], label)
        found.append(_explained(model, scored, column, label, sparse, x, records))
    return found


def _explained(
    model: EliasParts,
    scored: _Scored,
    column: int | None,
    label: int,
    sparse: Any,
    vectors: list[Any],
    records: Any,
) -> Explanation:
    at = len(scored.ids_K) - 1 if column is None else column
    score = float(scored.scores_K[at])
    place = None
    if column is not None:
        inside = scored.ids_K != PAD_ID
        better = inside & (scored.scores_K > score)
        level = inside & (scored.scores_K == score)
        place = 1 + int(better.sum()) + int(level[:column].sum())
    return Explanation(
        label=model.vocabulary.name(label),
        key=model.vocabulary.keys[label],
        score=score,
        probability=_probability(model, scored, score, label),
        place=place,
        form=scored.form,
        constant=scored.constant,
        scale=scored.scale,
        evidence=sorted(scored.evidence, key=lambda each: -abs(each.part)),
        index=_index_parts(model, vectors, label),
        ranker=_ranker_part(model, sparse, vectors[0], label),
        records=None if records is None else _records_part(model, records, label),
        n_points=None if model.label_counts is None else int(model.label_counts[label]),
    )


def _scored(
    model: EliasParts, head: Shortlist, sparse: Any, x_1D: Any, label: int
) -> tuple[_Scored, int | None]:
    """Score the shortlist, with the label appended where it is not on it; and its column there."""
    if model.final_ranker_ is not None:
        return _finally_scored(model, head, sparse, x_1D, label)
    ids_K, p_K = _with_label(head.ids[0], head.p[0], label)
    column = _column(head.ids[0], label)
    at = len(ids_K) - 1 if column is None else column
    p = float(p_K[at])
    scale = float(p > 0)
    if model.ranker_ is None:
        log_p, _ = model.combination.logarithms(p, 0.0)
        evidence = [EvidencePart("log_p", log_p, log_p)]
        return _Scored(ids_K, p_K, p, 0.0, "logarithm", 0.0, scale, evidence), column
    q_K = model.ranker_.score(sparse, x_1D, ids_K[None])[0]
    log_p, log_s = model.combination.logarithms(p, float(q_K[at]))
    evidence = [
        EvidencePart("log_p", log_p, model.combination.index_weight * log_p),
        EvidencePart("log_sigmoid_q", log_s, model.combination.ranker_weight * log_s),
    ]
    scores_K = model.combination(p_K, q_K)
    q = float(q_K[at])
    return _Scored(ids_K, scores_K, p, q, "logarithm", 0.0, scale, evidence), column


def _finally_scored(
    model: EliasParts, head: Shortlist, sparse: Any, x_1D: Any, label: int
) -> tuple[_Scored, int | None]:
    ranker = model.final_ranker_
    assert ranker is not None and model.ranker_ is not None
    found = listed(model, head, sparse, x_1D)
    column = _column(found.ids[0], label)
    if column is None:
        ids_1K, p_1K = (each[None] for each in _with_label(head.ids[0], head.p[0], label))
        longer = listed(model, Shortlist(ids_1K, p_1K), sparse, x_1D)
        last = ids_1K.shape[1] - 1
        pairs: Any = zip(found, longer, strict=True)
        found = Listed(*(np.concatenate([a, b[:, last:][:, :1]], axis=1) for a, b in pairs))
    at = found.ids.shape[1] - 1 if column is None else column
    evidence_KF = evidence_of(model, found, sparse, ranker.names)[0]
    parts = ranker.explain(evidence_KF, found.ids[0], at)
    evidence = [
        EvidencePart(name, float(value), float(part))
        for name, value, part in zip(EVIDENCE, evidence_KF[at], parts.parts_F, strict=True)
    ]
    scores_K = ranker.score(evidence_KF[None], found.ids)[0]
    return _Scored(
        found.ids[0], scores_K, float(found.p[0, at]), float(found.q[0, at]), "log-odds",
        parts.constant, parts.scale, evidence,
    ), column  # fmt: skip


def _probability(model: EliasParts, scored: _Scored, score: float, label: int) -> float | None:
    if model.calibrator_ is None or model.label_counts is None:
        return None
    final = model.final_ranker_ is not None
    p, q = (score, 0.0) if final else (scored.p, scored.q)
    found = model.calibrator_.probability(
        np.array([[p]], np.float32),
        np.array([[q]], np.float32),
        np.array([[label]], np.int64),
        model.label_counts,
    )
    return float(found[0, 0])


def _index_parts(model: EliasParts, vectors: list[Any], label: int) -> list[IndexPart]:
    parts = []
    for number, member in enumerate(model.members):
        if not isinstance(member, LearnedGraphIndex):
            return []
        found = label_paths(member, vectors[min(number, len(vectors) - 1)], label)
        paths = [
            PathPart(int(cluster), float(score), float(weight), float(score * weight))
            for cluster, score, weight in zip(
                found.clusters, found.scores, found.weights, strict=True
            )
        ]
        parts.append(IndexPart(paths, found.path, found.classifier, found.exponent, found.p))
    return parts


def _ranker_part(model: EliasParts, sparse: Any, x_1D: Any, label: int) -> RankerPart | None:
    if model.ranker_ is None:
        return None
    found = model.ranker_.explain(sparse, x_1D, label)
    order = np.argsort(-np.abs(found.parts), kind="stable")
    words = [
        WordPart(term, float(part))
        for term, part in zip(
            feature_names(model.features, found.terms[order]), found.parts[order], strict=True
        )
    ]
    margin = float(found.parts.sum(dtype=np.float64)) + found.dense + found.bias
    return RankerPart(margin, words, found.dense, found.bias)


def _nearest(model: EliasParts, sparse: sp.csr_matrix, x_1D: Any) -> Any:
    assert model.records_ is not None
    return [
        [
            (float(similarities[0, n]), model.records_.labels_of(int(ids[0, n])))
            for n in np.argsort(-similarities[0], kind="stable")
            if ids[0, n] >= 0
        ]
        for ids, similarities in (model.records_.by_words(sparse), model.records_.by_vectors(x_1D))
    ]


def _records_part(model: EliasParts, records: Any, label: int) -> RecordsPart:
    def shown(nearest: Any) -> list[NearestRecord]:
        return [
            NearestRecord(similarity, model.vocabulary.names(labels), label in labels)
            for similarity, labels in nearest[:N_RECORDS_SHOWN]
        ]

    def count(nearest: Any) -> int:
        return sum(label in labels for _, labels in nearest)

    by_words, by_vectors = records
    return RecordsPart(
        by_words=shown(by_words),
        by_vectors=shown(by_vectors),
        with_label_by_words=count(by_words),
        with_label_by_vectors=count(by_vectors),
        n_asked=max(map(len, records)),
    )


def _column(ids_K: Int64Array, label: int) -> int | None:
    found = np.flatnonzero(ids_K == label)
    return int(found[0]) if len(found) else None


def _with_label(ids_K: Int64Array, p_K: Any, label: int) -> tuple[Any, Any]:
    """The shortlist, the label behind it with p = 0 unless it is there."""
    if (ids_K == label).any():
        return ids_K, p_K
    return np.append(ids_K, label), np.append(p_K, np.float32(0))
