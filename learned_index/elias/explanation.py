"""Why a model gives a label its score: all parts, which add up to it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from learned_index.elias.label_scores import (
    Asked,
    Pairs,
    asked,
    pair_evidence,
    pairs_of,
    probabilities,
    shortlist_scores,
)
from learned_index.elias.parts import EliasParts
from learned_index.elias.points import Points, feature_names
from learned_index.errors import InputError
from learned_index.ranking.evidence import EVIDENCE
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
class NamePart:
    """How the label's name and the text are spelled alike: ``likeness = sum of the words' parts``.

    ``words`` are those of the text.
    """

    likeness: float
    words: list[WordPart]


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
            and parts are what they would be if it were its last (see :meth:`ELIAS.score`).
        form: How parts and score belong together.
        constant: See above.
        scale: 1; the least score of the labels that the final ranker's trees order, where the label
            stands behind these; 0 where the score is a product and no path leads to the label.
        evidence: In the order of their weight.
        index: One part for each index of the model; none in a compiled model.
        ranker: None where the model has none.
        records: None where the model remembers none.
        spelled: None where the model does not compare the spelling of names.
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
    spelled: NamePart | None
    n_points: int | None

    def to_dict(self) -> dict[str, Any]:
        """All of it as lists, dictionaries, numbers and strings."""
        return asdict(self)


def explain_labels(model: EliasParts, text: Points, labels: Int64Array) -> list[Explanation]:
    """See :meth:`ELIAS.explain`.

    Args:
        model: Trained.
        text: One text in a list, or a CSR row.
        labels: int64, distinct ids.

    Raises:
        InputError: The text has no answer: it is blank, or the encoder knows none of its words.
    """
    told = asked(model, text)
    if not told.answerable_B.all():
        raise InputError(
            "the text has no answer, so there is nothing to explain: it is blank, or the model "
            "knows none of its words"
        )
    records = None
    if model.records_ is not None:
        records = _nearest(model, told.sparse_BV, told.vectors[0])
    return [_explained(model, told, int(label), records) for label in labels]


def _explained(model: EliasParts, told: Asked, label: int, records: Any) -> Explanation:
    labels_1 = np.array([label], np.int64)
    pairs = pairs_of(model, told, np.zeros(1, np.int64), labels_1)
    column = int(pairs.column_n[0])
    scores_K, ids_K = shortlist_scores(model, told, pairs)[0], pairs.listed.ids[0]
    place = None
    if column < told.listed.ids.shape[1]:
        inside = ids_K != PAD_ID
        level = inside & (scores_K == scores_K[column])
        place = 1 + int((inside & (scores_K > scores_K[column])).sum() + level[:column].sum())
    probability = None
    if model.calibrator_ is not None:
        scores_1 = scores_K[column : column + 1]
        probability = float(probabilities(model, pairs, scores_1, labels_1)[0])
    form, constant, scale, evidence = _evidence(model, told, pairs, column)
    return Explanation(
        label=model.vocabulary.name(label),
        key=model.vocabulary.keys[label],
        score=float(scores_K[column]),
        probability=probability,
        place=place,
        form=form,
        constant=constant,
        scale=scale,
        evidence=sorted(evidence, key=lambda each: -abs(each.part)),
        index=_index_parts(model, told.vectors, label),
        ranker=_ranker_part(model, told.sparse_BV, told.vectors[0], label),
        records=None if records is None else _records_part(model, records, label),
        spelled=_name_part(model, told.sparse_BV, label),
        n_points=None if model.label_counts is None else int(model.label_counts[label]),
    )


def _evidence(
    model: EliasParts, told: Asked, pairs: Pairs, column: int
) -> tuple[str, float, float, list[EvidencePart]]:
    """Form, constant, scale and evidence of :class:`Explanation`."""
    if model.final_ranker_ is not None:
        evidence_KF = pair_evidence(model, told, pairs)[0]
        parts = model.final_ranker_.explain(evidence_KF, pairs.listed.ids[0], column)
        return "log-odds", parts.constant, parts.scale, [
            EvidencePart(name, float(value), float(part))
            for name, value, part in zip(EVIDENCE, evidence_KF[column], parts.parts_F, strict=True)
        ]  # fmt: skip
    p, q = (float(values[0, column]) for values in pairs.listed[1:3])
    log_p, log_s = model.combination.logarithms(p, q)
    if model.ranker_ is None:
        return "logarithm", 0.0, float(p > 0), [EvidencePart("log_p", log_p, log_p)]
    weights = model.combination
    return "logarithm", 0.0, float(p > 0), [
        EvidencePart("log_p", log_p, weights.index_weight * log_p),
        EvidencePart("log_sigmoid_q", log_s, weights.ranker_weight * log_s),
    ]  # fmt: skip


def _index_parts(model: EliasParts, vectors: list[Any], label: int) -> list[IndexPart]:
    if model.engines():
        return []
    from learned_index.index.paths import label_paths  # needs torch, which an engine does not

    parts = []
    for number, member in enumerate(model.trained_members()):
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


def _name_part(model: EliasParts, sparse: Any, label: int) -> NamePart | None:
    ranker = model.final_ranker_
    if ranker is None or ranker.alike is None:
        return None
    alike = ranker.alike
    span = slice(alike.indptr[label], alike.indptr[label + 1])
    terms, in_text, in_name = np.intersect1d(
        sparse.indices, alike.terms[span], assume_unique=True, return_indices=True
    )
    parts = sparse.data[in_text] * alike.weights[span][in_name]
    order = np.argsort(-parts, kind="stable")
    words = zip(feature_names(model.features, terms[order]), parts[order], strict=True)
    told = [WordPart(term, float(part)) for term, part in words]
    return NamePart(float(parts.sum(dtype=np.float64)), told)


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
