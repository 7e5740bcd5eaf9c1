"""Scores of labels that somebody names: the search's own, or those of the label by itself."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
from elias_cases import finally_ranked, fitted, new_model, queries, train_data, without_ranker
from index_cases import QUICK as INDEX_QUICK
from index_cases import D, planted

from learned_index import ELIAS, IndexConfig, LearnedGraphIndex
from learned_index.encoders.callable import CallableEncoder
from learned_index.errors import InputError

KINDS = ("trees", "compiled", "linear", "product", "ensemble", "alone")
SCORES = ("ranking", "index", "probability")


@pytest.fixture(scope="module")
def models() -> dict[str, ELIAS]:
    train = train_data()
    trees = finally_ranked("trees", rerank_size=4)
    return {
        "trees": trees,
        "compiled": trees.to_engine(),
        "linear": finally_ranked("linear", rerank_size=4),
        "product": fitted(rerank_size=4),
        "ensemble": fitted(n_models=2, rerank_size=4),
        "alone": without_ranker().fit(train.texts, train.labels, vocabulary=train.vocabulary),
    }


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("score", SCORES)
def test_shortlisted_labels_have_the_scores_of_the_search(models, kind, score):
    model, texts = models[kind], queries(12)
    if score == "probability" and model.calibrator_ is None:
        with pytest.raises(InputError, match="without calibration"):
            model.score(texts, [0], score=score)
        return
    found = model.search(texts, 4, score=score)
    scores = model.score(texts, range(model.n_labels), score=score)
    assert scores.shape == (12, model.n_labels) and scores.dtype == np.float32
    for row in range(len(texts)):
        inside = found.ids[row] >= 0
        np.testing.assert_array_equal(
            scores[row, found.ids[row][inside]], found.scores[row][inside]
        )


@pytest.mark.parametrize("kind", KINDS)
def test_a_score_depends_on_no_other_text_and_no_other_label(models, kind):
    model, texts = models[kind], queries(6)
    together = model.score(texts, range(model.n_labels))
    alone = np.array(
        [[model.score([text], [label])[0, 0] for label in range(model.n_labels)] for text in texts]
    )
    np.testing.assert_array_equal(together, alone)


@pytest.mark.parametrize("kind", KINDS)
def test_explanations_tell_the_same_scores(models, kind):
    model, text = models[kind], queries(1)[0]
    scores = model.score([text], range(model.n_labels))[0]
    told = [why.score for why in model.explain(text, range(model.n_labels))]
    np.testing.assert_array_equal(scores, np.array(told, np.float32))


@pytest.mark.parametrize("kind", KINDS)
def test_a_label_beyond_the_shortlist_has_the_p_of_the_indexes(models, kind):
    model, texts = models[kind], queries(6)
    scores = model.score(texts, range(model.n_labels), score="index")
    assert (scores > 0).all()
    vectors = model.encode(texts)[0]
    each = [member.score(vectors, range(model.n_labels)) for member in model.members]
    listed = model.search(texts, model.config.rerank_size, score="index")
    for row, ids in enumerate(listed.ids):
        beyond = np.setdiff1d(np.arange(model.n_labels), ids)
        expected = sum(p[row, beyond] for p in each) / np.float32(len(each))
        np.testing.assert_array_equal(scores[row, beyond], expected)
    if kind in ("trees", "product", "alone"):  # one index: a search for the label finds that p
        for label in range(model.n_labels):
            found = model.search(texts, 1, score="index", allow=[label])
            np.testing.assert_array_equal(scores[:, label], found.scores[:, 0])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("score", SCORES)
def test_each_text_may_name_labels_of_its_own(models, kind, score):
    model, texts = models[kind], ["", *queries(6)]
    if score == "probability" and model.calibrator_ is None:
        return
    every = model.score(texts, range(model.n_labels), score=score)
    rng = np.random.default_rng(1)
    lists = [rng.permutation(model.n_labels)[: n % 4].tolist() for n in range(len(texts))]
    for given in (lists, [model.vocabulary.names(row) for row in lists]):
        found = model.score(texts, given, score=score)
        assert isinstance(found, list)
        for row, (labels, scores) in enumerate(zip(lists, found, strict=True)):
            np.testing.assert_array_equal(scores, every[row, labels])
    mask = rng.random(every.shape) < 0.4
    for row, scores in enumerate(model.score(texts, sp.csr_matrix(mask), score=score)):
        np.testing.assert_array_equal(scores, every[row, mask[row]])


@pytest.mark.parametrize("kind", KINDS)
def test_answers_of_a_search_are_scored_as_they_are(models, kind):
    model, texts = models[kind], queries(9)
    found = model.search(["", *texts], 4)
    scores = model.score(["", *texts], found.ids)
    assert scores.shape == found.ids.shape and scores.dtype == np.float32
    np.testing.assert_array_equal(scores, found.scores)


def test_hard_labels_do_not_change_the_p_of_others():
    """Labels were searched together, and one that is hard to reach widened the beam of all."""
    vectors, labels = planted()
    config = IndexConfig(n_clusters=12, beam_width=1, edges_per_cluster=40)
    index = LearnedGraphIndex(config, training=INDEX_QUICK).fit(vectors, labels)
    names = [f"label {number}" for number in range(index.n_labels)]
    encoder = CallableEncoder(lambda texts: vectors[[int(text) for text in texts]], dim=D)
    model = ELIAS.from_parts(encoder, index, names)
    model.config = replace(model.config, rerank_size=1)
    texts, every = [str(number) for number in range(5)], range(index.n_labels)
    together = model.score(texts, every, score="index")
    alone = np.hstack([model.score(texts, [label], score="index") for label in every])
    np.testing.assert_array_equal(together, alone)
    wide = index.search(vectors[:5], index.n_labels, beam_width=12, shortlist_size=index.n_labels)
    np.put_along_axis(alone, wide.ids, wide.scores, axis=1)
    assert (together != alone).any(), "or a wider beam changes nothing here"


def test_texts_without_an_answer_and_empty_lists(models):
    scores = models["trees"].score(["", queries(1)[0], "xyzzy"], [0, 1])
    np.testing.assert_array_equal(np.isneginf(scores).all(axis=1), [True, False, True])
    assert models["trees"].score([], [0]).shape == (0, 1)
    assert models["trees"].score(queries(2), []).shape == (2, 0)
    names = [models["trees"].vocabulary.name(label) for label in (2, 0)]
    np.testing.assert_array_equal(
        models["trees"].score(queries(2), names), models["trees"].score(queries(2), [2, 0])
    )


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda m: m.score("one text", [0]), "list of strings"),
        (lambda m: m.score(queries(1), ["nothing like it"]), "no label is called"),
        (lambda m: m.score(queries(1), [3, 3]), "twice"),
        (lambda m: m.score(queries(2), [[3], [1, 1]]), r"labels\[1\] a label comes twice"),
        (lambda m: m.score(queries(2), [[3]]), "given for 1 queries, expected 2"),
        (lambda m: m.score(queries(2), [["nothing like it"], [1]]), "no label is called"),
        (lambda m: m.remove_labels([2]).score(queries(2), [[1], [2]]), "was removed"),
        (lambda m: m.score(queries(1), [10**6]), "expected 0 to"),
        (lambda m: m.score(queries(1), [0], score="best"), "expected 'ranking'"),
        (lambda m: m.remove_labels([2]).score(queries(1), [2]), "was removed"),
        (lambda m: new_model().score(queries(1), [2]), "not trained"),
    ],
)
def test_what_cannot_be_scored_is_refused(models, ask, said):
    with pytest.raises(Exception, match=said):
        ask(models["trees"])
