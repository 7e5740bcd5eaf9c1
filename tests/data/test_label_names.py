"""Labels with texts: ids or names, with or without a vocabulary; texts that say nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from click.testing import CliRunner
from elias_cases import without_ranker

from learned_index import ELIAS, IndexConfig, LabelVocabulary, TrainingConfig
from learned_index.cli import main
from learned_index.data.naming import as_vocabulary, named_label_matrix
from learned_index.encoders.lexical.bow import BagOfWordsEncoder
from learned_index.encoders.lexical.lsa import LSAEncoder
from learned_index.encoders.lexical.tfidf import TfidfEncoder
from learned_index.errors import InputError

NAMES = ["eng", "law", "bio"]
WORDS = ("steel bridge load", "tax law court", "forest bird nest")
TEXTS = [f"{words} volume {i}" for i in range(20) for words in WORDS]
IDS = [[i % 3] for i in range(60)]
NAMED = [[NAMES[row[0]]] for row in IDS]
QUICK = TrainingConfig(stage1_epochs=2, stage2_epochs=2, batch_size=16)
QUERIES = ["steel load", "tax court", "bird nest"]


def index_alone(labels: Any, vocabulary: Any = None, **more: Any) -> ELIAS:
    model = without_ranker(LSAEncoder(dim=4), training=QUICK)
    return model.fit(TEXTS, labels, vocabulary=vocabulary, **more)


def full_model(labels: Any, vocabulary: Any = None, **more: Any) -> ELIAS:
    model = ELIAS(LSAEncoder(dim=4), training=QUICK)
    return model.fit(TEXTS, labels, vocabulary=vocabulary, **more)


def best(model: ELIAS) -> list[str]:
    return [row[0][0] for row in model.predict(QUERIES, 1)]


@pytest.fixture(scope="module")
def named() -> ELIAS:
    return index_alone(NAMED)


@pytest.fixture(scope="module")
def full() -> ELIAS:
    return full_model(NAMED)


# -- names -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "vocabulary"),
    [
        (NAMED, None),
        (NAMED, LabelVocabulary(NAMES)),
        (NAMED, NAMES),
        ([row[0] for row in NAMED], None),
        (np.array(NAMED)[:, 0], None),
        (np.array(NAMED), NAMES),
        ((list(row) for row in NAMED), None),
        ([np.array(row) for row in NAMED], None),
        ([row * 2 for row in NAMED], NAMES),
        (IDS, NAMES),
        (IDS, tuple(NAMES)),
        (IDS, np.array(NAMES)),
    ],
)
def test_names_in_any_form(labels: Any, vocabulary: Any) -> None:
    matrix, names = named_label_matrix(TEXTS, labels, vocabulary)
    assert matrix.shape == (60, 3) and matrix.nnz == 60
    assert [names.name(label) for label in matrix.indices] == [row[0] for row in NAMED]
    if vocabulary is None:
        assert list(names) == sorted(NAMES)


def test_a_name_is_no_list_of_letters_and_a_number_as_text_is_a_name() -> None:
    matrix, names = named_label_matrix(["a", "b", "c"], ["10", "2.9", "10"], None)
    assert list(names) == ["10", "2.9"] and matrix.indices.tolist() == [0, 1, 0]


def test_names_are_learned(named: ELIAS, full: ELIAS) -> None:
    assert best(named) == best(full) == NAMES
    assert best(index_alone(IDS, NAMES)) == NAMES
    assert named.label_counts is not None and named.label_counts.tolist() == [20, 20, 20]


def test_an_indicator_and_names_of_its_columns() -> None:
    assert best(index_alone(np.eye(3, dtype=int)[np.array(IDS)[:, 0]], NAMES)) == NAMES


def test_validation_may_be_named() -> None:
    model = full_model(NAMED, validation=(TEXTS[:12], NAMED[:12]))
    assert model.report_["n_held_out"] == 12


@pytest.mark.parametrize(
    ("labels", "vocabulary", "message"),
    [
        ([["law", 3], *NAMED[1:]], None, "row 0 has the label 3 beside names"),
        ([[0], ["law"], *NAMED[2:]], None, "row 1 has the label 'law'"),
        ([["lav"], *NAMED[1:]], NAMES, "row 0: no label is called 'lav'.*did you mean 'law'"),
        (NAMED[1:], None, "60 texts and 59 rows"),
        ("law", None, "list of strings"),
        (IDS, "eng", "the vocabulary is 'eng'"),
        (IDS, {"eng": 0}, "the vocabulary is"),
        (IDS, 3, "the vocabulary is 3"),
        (IDS, NAMES[:2], "expected 0 to 1"),
        (IDS, [*NAMES, "law"], "same key 'law'"),
        (IDS, [1, 2, 3], "1 is a int"),
        (sp.eye(60, 3, format="csr"), NAMES[:2], "3 columns, but the vocabulary names 2"),
        ([[3 * 10**9 + row[0]] for row in IDS], None, "give the ids as strings"),
    ],
)
def test_what_does_not_fit_is_refused_before_training(labels, vocabulary, message) -> None:
    events: list[object] = []
    for fit in (index_alone, full_model):
        with pytest.raises(InputError, match=message):
            fit(labels, vocabulary, progress=events.append)
    assert not events


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"validation": TEXTS}, "expected a pair"),
        ({"validation": ("text", NAMED[:1])}, "list of strings"),
        ({"validation": (TEXTS[:2], NAMED[:1])}, "2 texts and 1 rows"),
        ({"validation": (TEXTS[:1], [["tax"]])}, "no label is called 'tax'"),
        ({"validation": (sp.eye(60, 3, format="csr"), NAMED)}, "of one kind"),
    ],
)
def test_validation_is_checked_before_training(more: dict[str, Any], message: str) -> None:
    events: list[object] = []
    with pytest.raises(InputError, match=message):
        full_model(NAMED, progress=events.append, **more)
    assert not events


def test_what_cannot_be_trained_is_refused_before_anything_is_fitted() -> None:
    encoder = LSAEncoder(dim=4)
    with pytest.raises(InputError, match="n_clusters is 9"):
        without_ranker(encoder, IndexConfig(n_clusters=9)).fit(TEXTS, IDS)
    with pytest.raises(InputError, match="n_clusters is 9"):
        ELIAS(encoder, IndexConfig(n_clusters=9)).fit(TEXTS, IDS)
    assert encoder.dim == 4  # not fitted: three topics give fewer dimensions
    with pytest.raises(InputError, match="sparse vectors"):
        without_ranker(TfidfEncoder()).fit(TEXTS, IDS)
    for make in (ELIAS, without_ranker):
        with pytest.raises(InputError, match="for an encoder"):
            make(3)
    with pytest.raises(InputError, match="expected a EliasConfig"):
        ELIAS(encoder, config={"n_models": 2})  # type: ignore[arg-type]


def test_vocabularies_of_a_string_or_of_nothing() -> None:
    assert as_vocabulary(None) is None
    with pytest.raises(InputError, match="the keys are one string"):
        LabelVocabulary("abc")
    with pytest.raises(InputError, match="label 1: None is a NoneType"):
        LabelVocabulary(["a", None])  # type: ignore[list-item]


def test_labels_to_find_may_be_named(named: ELIAS, full: ELIAS) -> None:
    for model in (named, named.to_engine(), full, full.to_engine()):
        found = model.search(["tax court"], 3, allow=["law", "bio"]).ids[0]
        assert set(model.vocabulary.names(found)) == {"law", "bio", ""}
        found = model.search(["tax court"], 3, deny={"law"}).ids[0]
        assert "law" not in model.vocabulary.names(found)
        for ask in (model.predict, *([model.predict_proba] if model.calibrator_ else [])):
            (row,) = ask(["tax court"], 3, allow=["law", "bio"])
            assert {name for name, _ in row} == {"law", "bio"}
            (row,) = ask(["tax court"], 3, allow=["law", "bio"], deny=["law"])
            assert {name for name, _ in row} == {"bio"}
        with pytest.raises(InputError, match="no label is called 'tax'"):
            model.search(["tax court"], 3, deny=["tax"])


# -- texts that say nothing ------------------------------------------------------------------------


def test_a_text_without_a_known_word_has_no_answer(named: ELIAS, full: ELIAS) -> None:
    texts = ["tax court", "qqqq zzzz", " ", "tax zzzz"]
    for model in (named, named.to_engine(), full, full.to_engine()):
        result = model.search(texts, 2)
        assert (result.ids[:, 0] >= 0).tolist() == [True, False, False, True]
        assert np.isneginf(result.scores[1:3]).all()
    assert [len(row) for row in full.predict(texts, 2)] == [2, 0, 0, 2]


def test_the_same_with_vectors_at_hand_and_with_a_trained_encoder(full: ELIAS) -> None:
    texts = ["tax court", "qqqq"]
    ids = full.search(texts, 2, vectors=full.encoder.encode(texts)).ids
    assert (ids[:, 0] >= 0).tolist() == [True, False]
    model = ELIAS(BagOfWordsEncoder(dim=4), training=QUICK).fit(TEXTS, NAMED)
    assert [len(row) for row in model.predict(texts, 2)] == [2, 0]


def test_the_command_says_which_text_it_knows_no_word_of(named: ELIAS, tmp_path) -> None:
    named.save_pretrained(tmp_path / "model")
    done = CliRunner().invoke(main, ["search", str(tmp_path / "model"), "qqqq", "tax court", ""])
    assert done.exit_code == 0
    assert done.stderr == "no answer: the model knows no word of 'qqqq'\n"
    assert "no label found" in done.stdout and "law" in done.stdout


@pytest.mark.parametrize("k", [0, 2.0, "3", True, 2**70])
def test_k_of_a_model(k: Any, named: ELIAS, full: ELIAS) -> None:
    for model in (named, full, full.to_engine()):
        for texts in (QUERIES, []):
            with pytest.raises(InputError, match="k is"):
                model.search(texts, k)
    assert full.search(QUERIES, np.int8(2)).ids.shape == (3, 2)
    with pytest.raises(InputError, match="k of at most 3"):
        full.search(QUERIES, 2**30)
