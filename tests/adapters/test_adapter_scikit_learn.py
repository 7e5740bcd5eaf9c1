"""The classifier against scikit-learn's own checks, and in its pipelines and searches."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import scipy.sparse as sp
from conftest import TOPICS, tiny_dataset
from document_cases import ROOT, blocks
from sklearn.base import clone
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import label_ranking_average_precision_score, make_scorer
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, MultiLabelBinarizer
from sklearn.utils.estimator_checks import parametrize_with_checks

from learned_index import ELIAS, EliasConfig, IndexConfig, LabelVocabulary, TrainingConfig
from learned_index.adapters.scikit_learn import LearnedIndexClassifier
from learned_index.adapters.targets import Targets
from learned_index.encoders import LSAEncoder
from learned_index.errors import InputError

QUICK = {"stage1_epochs": 1, "stage2_epochs": 2, "random_state": 0}
TRAIN, TEST = tiny_dataset("train", 300, seed=0), tiny_dataset("test", 40, seed=2)
NAMES = np.array([*TOPICS])


def classifier(**given) -> LearnedIndexClassifier:
    values = {"encoder": "lsa:16", **QUICK, "training": {"batch_size": 32}, **given}
    return LearnedIndexClassifier(**values)


def topics(data) -> np.ndarray:
    """The topic of each text, as a class."""
    return NAMES[data.labels.indices.reshape(-1, 2)[:, 0] // 5]


def names(data) -> list[list[str]]:
    return [[data.vocabulary.keys[i] for i in row.indices] for row in data.labels]


@pytest.fixture(scope="module")
def of_classes() -> LearnedIndexClassifier:
    return classifier().fit(TRAIN.texts, topics(TRAIN))


@pytest.fixture(scope="module")
def of_names() -> LearnedIndexClassifier:
    return classifier(config={"validation_fraction": 0.3}).fit(TRAIN.texts, names(TRAIN))


# All of them are passed: none is expected to fail.
@parametrize_with_checks([LearnedIndexClassifier(**QUICK)])
def test_the_checks_of_scikit_learn(estimator, check) -> None:
    check(estimator)


def test_one_class_a_text(of_classes) -> None:
    assert of_classes.classes_.tolist() == sorted(TOPICS)
    assert not hasattr(of_classes, "n_features_in_")
    assert of_classes.score(TEST.texts, topics(TEST)) > 0.9
    p_BL = of_classes.predict_proba(TEST.texts)
    found = of_classes.predict(TEST.texts)
    assert (of_classes.classes_[p_BL.argmax(axis=1)] == found).all()
    np.testing.assert_allclose(p_BL.sum(axis=1), 1)
    best = of_classes.model_.search(TEST.texts, 1).ids[:, 0]
    assert (of_classes.classes_[best] == found).all()
    # Orders in the one and in the other are the same.
    order = np.argsort(of_classes.decision_function(TEST.texts), axis=1)
    assert (order == np.argsort(p_BL, axis=1)).all()


def test_a_text_that_says_nothing_has_the_most_frequent_class(of_classes) -> None:
    classes, counts = np.unique(topics(TRAIN), return_counts=True)
    silent = ["", "xylograph"]
    assert of_classes.predict(silent).tolist() == [classes[counts.argmax()]] * 2
    np.testing.assert_allclose(of_classes.predict_proba(silent), [counts / counts.sum()] * 2)


def test_lists_of_names(of_names) -> None:
    found = of_names.predict(TEST.texts)
    assert isinstance(found, list)
    known = {*of_names.classes_}
    assert all(type(name) is str and name in known for row in found for name in row)
    expected = of_names.model_.predict(TEST.texts, 30, threshold="best")
    assert [{name for name, _ in row} for row in expected] == [{*row} for row in found]
    truth = names(TEST)
    right = np.mean([{*a} == {*b} for a, b in zip(truth, found, strict=True)])
    assert of_names.score(TEST.texts, truth) == right > 0.3
    weights = np.arange(40)
    hits = [{*a} == {*b} for a, b in zip(truth, found, strict=True)]
    assert of_names.score(TEST.texts, truth, weights) == pytest.approx(
        hits @ weights / sum(weights)
    )
    assert of_names.predict([""]) == [[]]


def test_probabilities_of_labels_are_those_of_the_model(of_names) -> None:
    p_BL = of_names.predict_proba(TEST.texts)
    scores_BL = of_names.decision_function(TEST.texts)
    for row, pairs in enumerate(of_names.model_.predict_proba(TEST.texts, 30)):
        expected = dict(pairs)
        for column, name in enumerate(of_names.classes_):
            assert p_BL[row, column] == expected.get(name, 0)
    for row, pairs in enumerate(of_names.model_.predict(TEST.texts, 30)):
        expected = dict(pairs)
        assert scores_BL[row].tolist() == [expected.get(name, 0) for name in of_names.classes_]


def test_an_indicator_gives_an_indicator_dense_or_sparse() -> None:
    dense_NL = TRAIN.labels.toarray().astype(int)
    dense = classifier(vocabulary=TRAIN.vocabulary).fit(TRAIN.texts, dense_NL)
    sparse = clone(dense).fit(TRAIN.texts, TRAIN.labels)
    assert dense.classes_.tolist() == [*range(30)]
    assert dense.model_.vocabulary == TRAIN.vocabulary
    found = dense.predict(TEST.texts)
    assert isinstance(found, np.ndarray) and found.shape == (40, 30) and {*found.flat} == {0, 1}
    sparsely = sparse.predict(TEST.texts)
    assert sp.issparse(sparsely) and (sparsely.toarray() == found).all()
    exact = np.mean((found == TEST.labels.toarray()).all(axis=1))
    assert dense.score(TEST.texts, TEST.labels.toarray()) == exact
    assert sparse.score(TEST.texts, TEST.labels) == exact
    lrap = label_ranking_average_precision_score(
        TEST.labels.toarray(), dense.decision_function(TEST.texts)
    )
    assert lrap > 0.6


def test_a_threshold_and_k_bound_what_is_predicted(of_names) -> None:
    few = clone(of_names).set_params(k=1)
    few.__dict__ |= {name: getattr(of_names, name) for name in ("model_", "classes_", "_targets")}
    assert max(map(len, few.predict(TEST.texts))) == 1
    few.set_params(k=30, threshold=0.0)
    assert min(map(len, few.predict(TEST.texts))) > 2
    few.set_params(threshold=1.5)
    with pytest.raises(InputError, match="threshold"):
        few.predict(TEST.texts)


def test_dense_vectors_and_sparse_rows_are_read_as_they_are() -> None:
    rows = TfidfVectorizer().fit_transform(TRAIN.texts)
    y = np.array([3, 1, 4, 15, 9, 2])[np.searchsorted(NAMES, topics(TRAIN), sorter=NAMES.argsort())]
    for X in (rows, rows.toarray()):
        fitted = classifier(encoder="auto").fit(X, y)
        assert fitted.model_.encoder.kind == "dense-feature-rows"
        assert fitted.n_features_in_ == rows.shape[1]
        assert fitted.classes_.tolist() == sorted({*y.tolist()})
        assert fitted.score(X, y) > 0.95
    wide = sp.csr_matrix(rows[:, np.resize(np.arange(rows.shape[1]), 600)])
    assert classifier(encoder="auto").fit(wide, y).model_.encoder.kind == "feature-svd"
    assert classifier(encoder="lsa:8").fit(rows, y).model_.encoder.dim == 8
    with pytest.raises(InputError, match="fitted on rows of"):
        fitted.predict(TEST.texts)


@pytest.mark.parametrize("n_jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_in_a_pipeline_and_a_grid_search(n_jobs) -> None:
    """In two processes estimators and data are handed on by joblib."""
    lower = FunctionTransformer(_lower)
    values = {
        "learnedindexclassifier__n_clusters": [2, 3],
        "learnedindexclassifier__ranker": ["none"],
    }
    pipeline = make_pipeline(lower, classifier())
    grid = GridSearchCV(pipeline, values, cv=2, n_jobs=n_jobs, error_score="raise")
    grid.fit(TRAIN.texts, topics(TRAIN))
    best = grid.best_estimator_[-1]
    assert best.model_.index.n_clusters == best.n_clusters in (2, 3)
    assert grid.score(TEST.texts, topics(TEST)) > 0.9


def _lower(texts: list[str]) -> list[str]:
    return [text.lower() for text in texts]


def test_cross_validation_of_label_sets() -> None:
    truth = MultiLabelBinarizer().fit_transform(names(TRAIN))
    lrap = make_scorer(label_ranking_average_precision_score, response_method="decision_function")
    assert cross_val_score(classifier(), TRAIN.texts, truth, cv=2, scoring=lrap).min() > 0.5
    folds = KFold(2)  # scikit-learn itself cannot split lists of names by classes
    assert cross_val_score(classifier(), TRAIN.texts, names(TRAIN), cv=folds).shape == (2,)


def test_parameters_are_stored_untouched_and_read_by_fit() -> None:
    encoder = LSAEncoder(dim=8)
    given = {
        "encoder": encoder,
        "index": IndexConfig(n_clusters=2, beam_width=3),
        "training": TrainingConfig(batch_size=32, seed=9),
        "config": {"rerank_size": 12},
        "ranker": {"cost": 2.0},
        "vocabulary": LabelVocabulary([*TOPICS], [f"About {name}" for name in TOPICS]),
    }
    made = LearnedIndexClassifier(**given, n_clusters=3, **QUICK)
    assert all(made.get_params()[name] is value for name, value in given.items())
    made.fit(TRAIN.texts, topics(TRAIN))
    assert all(made.get_params()[name] is value for name, value in given.items())
    with pytest.raises(Exception, match="fit"):
        encoder.encode(["a text"])  # it was copied
    model = made.model_
    assert (model.index_config.n_clusters, model.index_config.beam_width) == (3, 3)
    assert (model.training_config.batch_size, model.training_config.seed) == (32, 0)
    assert model.config == EliasConfig(rerank_size=12) and model.ranker_config.cost == 2
    assert model.vocabulary.name(0) == "About algebra"
    assert made.predict(TEST.texts[:1])[0] in TOPICS
    preset = LearnedIndexClassifier(encoder, preset="fast")._configs(10, 0)
    assert preset.index.shortlist_size == 2000 and preset.training.warm_epochs == 0


def test_equal_seeds_give_equal_answers_and_a_copy_answers_the_same(of_classes) -> None:
    p_BL = of_classes.predict_proba(TEST.texts)
    again = clone(of_classes).fit(TRAIN.texts, topics(TRAIN))
    assert (again.predict_proba(TEST.texts) == p_BL).all()
    # As worker processes hand estimators on; files of this package hold no pickle.
    assert (pickle.loads(pickle.dumps(of_classes)).predict_proba(TEST.texts) == p_BL).all()


def test_a_model_is_saved_without_pickle(of_classes, tmp_path) -> None:
    of_classes.model_.save_pretrained(tmp_path / "model")
    model = ELIAS.from_pretrained(tmp_path / "model")
    found = [row[0][0] for row in model.predict(TEST.texts, 1)]
    assert found == of_classes.predict(TEST.texts).tolist()


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        (["a b", "c d"], [[1], [2, 3]], "lists of different lengths without names"),
        (["a b", "c d"], None, "requires y to be passed"),
        (["a b", None], ["x", "y"], "expected a string"),
        ("a b", ["x"], "got the string"),
        (["a b", "c d"], ["x"], "inconsistent numbers of samples"),
        (["a b", "c d"], [0.5, 1.5], "Unknown label type"),
        (["a b", "c d"], [["x"], ["y", 3]], "beside names"),
    ],
)
def test_what_cannot_be_learned_is_refused(X, y, message) -> None:
    with pytest.raises(ValueError, match=message):
        classifier().fit(X, y)


def test_configurations_of_another_kind_are_refused() -> None:
    with pytest.raises(InputError, match="expected its class, or a dictionary"):
        classifier(index=3).fit(TRAIN.texts, topics(TRAIN))
    with pytest.raises(InputError, match="unknown IndexConfig keys"):
        classifier(index={"clusters": 3}).fit(TRAIN.texts, topics(TRAIN))


def test_a_model_of_texts_refuses_rows(of_classes) -> None:
    with pytest.raises(InputError, match="was fitted on texts"):
        of_classes.predict(np.zeros((1, 3)))


def test_forms_of_targets() -> None:
    assert Targets.read([True, False])[0].classes.tolist() == [False, True]
    targets, labels_NL = Targets.read([["b", "a"], [], {"a"}])
    assert targets.classes.tolist() == ["a", "b"] and labels_NL.toarray().tolist() == [
        [1, 1], [0, 0], [1, 0]
    ]  # fmt: skip
    assert targets.answers(labels_NL) == [["a", "b"], [], ["a"]]
    assert Targets.read([[0, 1], [1, 1]])[0].form == "indicator"
    empty = sp.csr_matrix((0, 2))
    assert targets.answers(empty) == []


def test_the_code_of_the_page_runs(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = ROOT / "docs" / "adapters" / "scikit-learn.md"
    code = [content for _, kind, content in blocks(page) if kind == "python"]
    assert len(code) == 3
    known = {
        "texts": TRAIN.texts, "labels": names(TRAIN), "classes": topics(TRAIN),
        "new_texts": TEST.texts,
    }  # fmt: skip
    for content in code:
        exec(compile(content, page.name, "exec"), known)
    assert {*known["found"][0]} <= {*TRAIN.vocabulary.keys}
