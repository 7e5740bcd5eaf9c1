"""Scores of labels that somebody names: the search's own, or those of the label by itself."""

import numpy as np
import pytest
from elias_cases import finally_ranked, fitted, new_model, queries, train_data, without_ranker

from learned_index import ELIAS
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


@pytest.mark.parametrize("kind", ["trees", "product", "alone"])
def test_a_label_beyond_the_shortlist_has_the_p_of_a_search_for_it(models, kind):
    model, texts = models[kind], queries(6)
    scores = model.score(texts, range(model.n_labels), score="index")
    assert (scores > 0).all()
    for label in range(model.n_labels):
        found = model.search(texts, 1, score="index", allow=[label])
        np.testing.assert_allclose(scores[:, label], found.scores[:, 0], rtol=1e-6)


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
        (lambda m: m.score(queries(1), [10**6]), "expected 0 to"),
        (lambda m: m.score(queries(1), [0], score="best"), "expected 'ranking'"),
        (lambda m: m.remove_labels([2]).score(queries(1), [2]), "was removed"),
        (lambda m: new_model().score(queries(1), [2]), "not trained"),
    ],
)
def test_what_cannot_be_scored_is_refused(models, ask, said):
    with pytest.raises(Exception, match=said):
        ask(models["trees"])
