"""Texts of labels: as records, and for labels without a training point."""

from __future__ import annotations

import copy
from functools import cache
from typing import NamedTuple

import numpy as np
import pytest
import scipy.sparse as sp
from cli_cases import files
from elias_cases import new_model, queries, train_data

from learned_index import ELIAS, LabelVocabulary, LearnedGraphIndex
from learned_index.data.holdout import without_labels
from learned_index.elias import validation
from learned_index.elias.label_texts import (
    LEAST_SHARED,
    PRETENDED,
    label_points,
    with_pretended_unseen,
)
from learned_index.elias.request import Request, request_key
from learned_index.encoders.lexical.bow import BagOfWordsEncoder
from learned_index.errors import InputError
from learned_index.index.taken_labels import with_labels_taken
from learned_index.ranking.sparse_ranker import SparseRanker

UNSEEN = [4, 17, 31]
"""Ids of labels that no point has; the text of the last one is of unknown words."""


@cache
def labelled() -> tuple[sp.csr_matrix, LabelVocabulary]:
    """The 30 labels of the data and three more between them."""
    train = train_data()
    seen = [label for label in range(33) if label not in UNSEEN]
    keys, texts = [""] * 33, [""] * 33
    for old, label in enumerate(seen):
        keys[label], texts[label] = train.vocabulary.keys[old], train.vocabulary.texts[old]
    for label, text in zip(UNSEEN, ["sort rain bread", "piano", "xyzzy plugh"], strict=True):
        keys[label], texts[label] = f"unseen-{label}", text
    y = train.labels.tocoo()
    labels = sp.csr_matrix((y.data, (y.row, np.array(seen)[y.col])), (y.shape[0], 33))
    return labels, LabelVocabulary(keys, texts)


@cache
def fitted(label_text: str) -> ELIAS:
    labels, vocabulary = labelled()
    model = new_model(validation_fraction=0.4, final_ranker="trees", label_text=label_text)
    return model.fit(train_data().texts, labels, vocabulary=vocabulary)


def test_texts_of_labels_with_points_are_records() -> None:
    labels, vocabulary = labelled()
    off, model = fitted("off"), fitted("on")
    named = [  # others' texts are of unknown words
        n for n in range(33) if n not in UNSEEN and off.encode([vocabulary.texts[n]])[0].any()
    ]
    assert 10 < len(named) < 30
    assert len(off.records_) == 300 and len(model.records_) == 300 + len(named) + 2
    assert model.report_["records"]["n_records"] == len(model.records_)
    counts = off.records_.counts()
    counts[[*named, *UNSEEN[:2]]] += 1
    np.testing.assert_array_equal(model.records_.counts(), counts)
    assert model.label_counts.sum() == labels.nnz  # texts are no training points
    points = label_points(off)
    assert points.labels_M.tolist() == sorted([*named, *UNSEEN[:2]])
    terms = points.sparse_MV.toarray()
    for row, label in enumerate(points.labels_M):
        np.testing.assert_array_equal(
            terms[row], off.features.encode([vocabulary.texts[label]]).toarray()[0]
        )
    np.testing.assert_array_equal(
        points.vectors[0][1], off.encode([vocabulary.texts[points.labels_M[1]]])[0][0]
    )
    few = sp.csr_matrix(np.eye(33, dtype=np.float32)[[named[0], named[3]]])
    assert len(points.join(off.records_, few)) == 302
    assert points.join(off.records_, few[:0]) is off.records_


def test_descriptions_are_read_with_the_texts_and_stay_with_the_model(tmp_path) -> None:
    _, vocabulary = labelled()
    model = copy.copy(fitted("off"))
    described = [""] * len(vocabulary)
    described[UNSEEN[2]] = "sort rain"  # its text is of unknown words
    model.vocabulary = LabelVocabulary(vocabulary.keys, vocabulary.texts, described)
    points, before = label_points(model), label_points(fitted("off"))
    assert set(points.labels_M) - set(before.labels_M) == {UNSEEN[2]}
    row = int(np.flatnonzero(points.labels_M == UNSEEN[2])[0])
    expected = model.features.encode(["xyzzy plugh. sort rain"])
    np.testing.assert_array_equal(points.sparse_MV.toarray()[row], expected.toarray()[0])
    model.save_pretrained(tmp_path / "model")
    assert ELIAS.from_pretrained(tmp_path / "model").vocabulary == model.vocabulary


class _ByHand(NamedTuple):
    """Points that are not held out, and behind them the texts of the labels that they have."""

    x: np.ndarray
    sparse: sp.csr_matrix
    labels: sp.csr_matrix
    index: LearnedGraphIndex


@cache
def by_hand() -> _ByHand:
    """The oracle: points and texts put together, and an index trained on them."""
    labels, _ = labelled()
    off, texts = fitted("off"), train_data().texts
    points = label_points(off)
    seen = np.flatnonzero(~np.isin(points.labels_M, UNSEEN))
    kept = without_labels(labels, off.held_out_rows(labels))
    owned = sp.csr_matrix(np.eye(33, dtype=np.float32)[points.labels_M[seen]])
    kept = sp.vstack([kept, owned], "csr")
    x = np.concatenate([off.encode(texts)[0], points.vectors[0][seen]])
    sparse = sp.vstack([off.features.encode(texts), points.sparse_MV[seen]], "csr")
    index = LearnedGraphIndex(off.index_config, training=off.training_config)
    return _ByHand(x, sparse, kept, index.fit(x, kept, clustering_features=sparse))


def test_texts_of_labels_are_points_of_index_and_sparse_ranker() -> None:
    model = new_model(
        validation_fraction=0.4, final_ranker="trees", refit="no", index_label_text="yes"
    )
    model.fit(train_data().texts, labelled()[0], vocabulary=labelled()[1])
    hand = by_hand()
    seen = np.setdiff1d(np.arange(33), UNSEEN)
    ours, theirs = (
        each.label_weight_LD.detach().numpy()[seen] for each in (model.index, hand.index)
    )
    np.testing.assert_array_equal(ours, theirs)
    off = fitted("off").index.label_weight_LD.detach().numpy()[seen]
    assert np.abs(off - ours).max() > 1e-2
    shortlist = hand.index.search(hand.x, 100).ids
    shortlist[np.diff(hand.labels.indptr) == 0] = -1
    ranker = SparseRanker(model.ranker_config).fit(hand.sparse, hand.x, hand.labels, shortlist)
    sparse, x = model.features.encode(queries()), model.encode(queries())[0]
    ids = np.tile(seen, (len(x), 1))
    found, expected = (each.score(sparse, x, ids) for each in (model.ranker_, ranker))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    without = fitted("off").ranker_.score(sparse, x, ids)
    assert np.abs(without - expected).max() > 1e-2


def test_an_encoder_is_trained_on_the_texts_of_labels_too() -> None:
    labels, vocabulary = labelled()

    def trained(index_label_text: str) -> ELIAS:
        model = new_model(
            BagOfWordsEncoder(dim=16), validation_fraction=0.4, final_ranker="trees",
            index_label_text=index_label_text, refit="no",
        )  # fmt: skip
        return model.fit(train_data().texts, labels, vocabulary=vocabulary)

    off, on = trained("no"), trained("yes")
    assert np.abs(off.encode(queries())[0] - on.encode(queries())[0]).max() > 1e-3
    # What follows the training has the vectors of the trained encoder.
    points = label_points(on)
    seen = np.flatnonzero(~np.isin(points.labels_M, UNSEEN))
    unit = points.vectors[0][seen]
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    _, vectors, owned = on.records_.points()
    alike = (unit @ vectors.T) * owned[:, points.labels_M[seen]].toarray().T
    assert alike.max(axis=1).min() > 0.999  # the record of each text, kept as int8


def test_labels_without_a_point_are_found_by_their_texts() -> None:
    model = fitted("auto")
    assert model.label_counts[UNSEEN].tolist() == [0, 0, 0]
    assert model.report_["n_labels_by_text"] == 2 and model.n_labels == 33
    assert model.predict(["sort rain bread rain sort"], 1)[0][0][0] == "sort rain bread"
    assert "piano" in dict(model.predict(["piano"], 5)[0])
    off = fitted("off")
    assert "sort rain bread" not in dict(off.predict(["sort rain bread rain sort"], 5)[0])
    assert "n_labels_by_text" not in off.report_


def test_they_are_what_add_labels_makes_of_their_names() -> None:
    """The oracle: the same names join the model that was trained without them."""
    model, off = fitted("on"), copy.copy(fitted("off"))
    off.records_ = label_points(off).join(off.records_, labelled()[0])
    grown = off.add_labels({"a": [], "b": []}, texts={"a": "sort rain bread", "b": "piano"})
    source = np.arange(33)
    source[UNSEEN[:2]] = [33, 34]
    for name in ("label_weight_LD", "label_bias_L", "cluster_of_label_L"):
        ours, theirs = (getattr(m.index, name).detach().numpy() for m in (model, grown))
        np.testing.assert_array_equal(ours, theirs[source])
    sparse, x = model.features.encode(queries()), model.encode(queries())[0]
    ids = np.tile(np.arange(33), (len(x), 1))
    new = np.tile(UNSEEN[:2], (len(x), 1))
    np.testing.assert_array_equal(
        model.ranker_.score(sparse, x, new), grown.ranker_.score(sparse, x, source[new])
    )
    ours, theirs = (
        edges(m.index.graph, 35) for m in (model, grown.remove_labels(["unseen-4", "unseen-17"]))
    )
    np.testing.assert_array_equal(ours[:, :33], theirs[:, source])
    assert len(model.records_) == len(grown.records_) == len(off.records_) + 2
    named = [m.records_.points()[2].toarray() for m in (model, grown)]
    np.testing.assert_array_equal(named[0], named[1][:, source])
    votes = [
        m.records_.votes(sparse, x, ids_of, n_added=0)
        for m, ids_of in ((model, ids), (grown, source[ids]))
    ]
    for kind in ("words", "vectors", "likeness"):
        ours, theirs = (getattr(found, kind) for found in votes)
        np.testing.assert_array_equal(ours, theirs)


def edges(graph, n_labels: int) -> np.ndarray:
    labels, weights = graph.arrays()
    dense = np.zeros((len(labels), n_labels), np.float32)
    rows, columns = np.nonzero(labels >= 0)
    dense[rows, labels[rows, columns]] = weights[rows, columns]
    return dense


def test_labels_that_pretend_are_as_those_that_have_no_points() -> None:
    _, vocabulary = labelled()
    model = copy.copy(fitted("on"))
    points = label_points(model)
    counts, n_records = model.label_counts.copy(), len(model.records_)
    less, allowed = with_pretended_unseen(model, points)
    drawn = np.flatnonzero(less.label_counts < counts)
    seen = points.labels_M[counts[points.labels_M] > 0]
    assert len(drawn) == round(PRETENDED * len(seen)) > 0 and np.isin(drawn, seen).all()
    assert not less.label_counts[drawn].any() and (model.label_counts == counts).all()
    # All that the records know of them are their texts; of the others, what they knew.
    known, left = model.records_.counts(), less.records_.counts()
    assert (left[drawn] == 1).all() and len(model.records_) == n_records
    # As many of those that have no points indeed stay out.
    out = np.flatnonzero(~allowed)
    assert len(out) == min(len(drawn), 2) and np.isin(out, UNSEEN[:2]).all()
    others = np.setdiff1d(np.arange(33), [*drawn, *UNSEEN])
    np.testing.assert_array_equal(left[others], known[others])
    # Index and ranker have of them what labels that join have of their names.
    of_them = np.isin(points.labels_M, np.setdiff1d([*drawn, *UNSEEN], out))
    plain = copy.copy(model)
    plain.records_ = model.records_.without_labels(np.isin(np.arange(33), drawn))
    plain.label_counts = less.label_counts
    keys = [f"new-{label}" for label in points.labels_M[of_them]]
    texts = [vocabulary.texts[label] for label in points.labels_M[of_them]]
    grown = plain.add_labels({key: [] for key in keys}, texts=dict(zip(keys, texts, strict=True)))
    sparse, x = model.features.encode(queries()), model.encode(queries())[0]
    ids, new = (
        np.tile(each, (len(x), 1)) for each in (points.labels_M[of_them], 33 + np.arange(len(keys)))
    )
    np.testing.assert_array_equal(
        less.ranker_.score(sparse, x, ids), grown.ranker_.score(sparse, x, new)
    )
    for name in ("label_weight_LD", "label_bias_L"):
        ours, theirs = (getattr(m.index, name).detach().numpy() for m in (less, grown))
        np.testing.assert_array_equal(ours[points.labels_M[of_them]], theirs[33:])


def test_nobody_pretends_where_new_labels_cannot_be_learned() -> None:
    model = copy.copy(fitted("on"))
    points = label_points(model)
    few = points._replace(labels_M=points.labels_M[:1])
    assert with_pretended_unseen(model, few) is None
    model.records_ = None
    assert with_pretended_unseen(model, points) is None


def test_the_final_order_is_learned_where_enough_labels_pretend(monkeypatch) -> None:
    labels, vocabulary = labelled()

    def learned(enough: int) -> dict[str, float]:
        monkeypatch.setattr(validation, "ENOUGH_TO_LEARN", enough)
        model = new_model(
            validation_fraction=0.4, final_ranker="linear", label_text="on", refit="no"
        )
        model.fit(train_data().texts, labels, vocabulary=vocabulary)
        return model.report_["final_ranker"]["weights"]

    nobody, some = learned(10**9), learned(1)
    assert nobody.keys() == some.keys() and nobody != some


def test_they_are_saved_and_compiled(tmp_path) -> None:
    model = fitted("auto")
    model.save_pretrained(tmp_path / "m")
    again = ELIAS.from_pretrained(tmp_path / "m")
    expected, found = (m.search([*queries(), "piano"], 9) for m in (model, again))
    np.testing.assert_array_equal(found.ids, expected.ids)
    again.save_pretrained(tmp_path / "n")
    assert files(tmp_path / "m") == files(tmp_path / "n")
    assert "piano" in dict(again.to_engine().predict(["piano"], 5)[0])


def test_labels_of_an_index_are_renumbered_and_left_out() -> None:
    index = fitted("off").index
    x = fitted("off").encode(queries())[0]
    source = np.random.default_rng(0).permutation(33)[:20]
    taken = with_labels_taken(index, source)
    assert taken.n_labels == 20 and index.n_labels == 33
    others = index.remove_labels(np.setdiff1d(np.arange(33), source))
    expected, found = others.search(x, 20), taken.search(x, 20)
    np.testing.assert_array_equal(found.scores, expected.scores)
    ids = np.where(found.ids >= 0, source[np.maximum(found.ids, 0)], -1)
    # Of equal scores the smaller id is first, and ids are other ones.
    for row in range(len(ids)):
        assert sorted(ids[row]) == sorted(expected.ids[row])


def test_texts_that_are_not_there_are_refused() -> None:
    train = train_data()
    model = new_model(label_text="on")
    with pytest.raises(InputError, match="no label has one"):
        model.fit(train.texts, train.labels)
    with pytest.raises(InputError, match="rows of features"):
        model.fit(sp.csr_matrix(np.eye(300)), train.labels, vocabulary=train.vocabulary)
    with pytest.raises(InputError, match="label_text"):
        new_model(label_text="some")


def test_texts_that_nothing_reads_are_refused_for_an_index() -> None:
    labels, vocabulary = labelled()
    alone = {"ranker": "none", "calibration": "none", "index_label_text": "yes"}
    for settings, message in (
        ({"label_text": "off"}, "label_text is 'off'"),
        ({"clustering_features": "none"}, "reads no words"),
    ):
        with pytest.raises(InputError, match=message):
            new_model(**alone, **settings).fit(train_data().texts, labels, vocabulary=vocabulary)


def test_a_checkpoint_belongs_to_the_texts_of_the_labels() -> None:
    labels, vocabulary = labelled()
    request = Request(["x"], labels, vocabulary, None, None, None)

    def keys(label_text: str) -> set[str]:
        model = new_model(label_text=label_text)
        others = vocabulary.renamed({4: "another text"})
        return {request_key(model, request, labels, names) for names in (vocabulary, others)}

    assert len(keys("auto")) == 2 and len(keys("off")) == 1


def test_texts_in_another_language_stay_out_of_the_ranking_unless_asked_for() -> None:
    labels, vocabulary = labelled()
    german = [text if n in UNSEEN else f"wort{n} rain" for n, text in enumerate(vocabulary.texts)]
    german[0] = "zzzz"
    names = LabelVocabulary(vocabulary.keys, german)

    def trained(label_text: str) -> ELIAS:
        model = new_model(validation_fraction=0.4, final_ranker="trees", label_text=label_text)
        return model.fit(train_data().texts, labels, vocabulary=names)

    auto, on, same = trained("auto"), trained("on"), fitted("auto")
    share = auto.report_["label_texts_share_terms"]
    assert 0 < share < LEAST_SHARED <= same.report_["label_texts_share_terms"] <= 1
    assert auto.final_ranker_.n_named == 0 < on.final_ranker_.n_named == same.final_ranker_.n_named
    assert len(auto.records_) == 300 + 2 < len(on.records_)
    assert auto.report_["n_labels_by_text"] == on.report_["n_labels_by_text"] == 2


def test_shared_terms_are_counted_pair_by_pair() -> None:
    model, (labels, _) = fitted("auto"), labelled()
    points, sparse = label_points(model), model.features.encode(train_data().texts)
    pairs = [
        (row, n)
        for row in range(labels.shape[0])
        for n, label in enumerate(points.labels_M)
        if labels[row, label]
    ]
    shared = [bool(set(sparse[a].indices) & set(points.sparse_MV[b].indices)) for a, b in pairs]
    assert points.shared(sparse, labels) == pytest.approx(np.mean(shared))
