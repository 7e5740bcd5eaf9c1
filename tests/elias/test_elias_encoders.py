"""What stands for an encoder in ELIAS(...): a description, a function, an object."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import tiny_dataset

from learned_index import ELIAS, EliasConfig, TrainingConfig
from learned_index.encoders import LSAEncoder
from learned_index.errors import InputError, NotFittedError

QUICK = TrainingConfig(batch_size=32, stage1_epochs=2, stage2_epochs=1, seed=3)
SMALL = EliasConfig(calibration="none", validation_fraction=0.0)


def fitted(encoder, **arguments):
    train = tiny_dataset("train", 120, seed=0)
    model = ELIAS(encoder, training=QUICK, config=SMALL, **arguments)
    return model.fit(train.texts, train.labels, vocabulary=train.vocabulary)


def test_a_description_is_the_encoder_that_it_describes():
    texts = tiny_dataset("test", 20, seed=1).texts
    described, made = fitted("lsa:8"), fitted(LSAEncoder(dim=8, seed=QUICK.seed))
    one, other = described.search(texts, 5), made.search(texts, 5)
    np.testing.assert_array_equal(one.ids, other.ids)
    # Two trainings of one process: some libraries of products round by where the operands lie.
    np.testing.assert_allclose(one.scores, other.scores, rtol=1e-5)
    assert described.encoder.kind == "lsa"


def letters(texts):
    return np.array([[text.count(c) for c in "aeioustr"] for text in texts], np.float32)


def test_a_function_is_an_encoder(tmp_path):
    model = fitted(letters, ranker="none")
    texts = tiny_dataset("test", 20, seed=1).texts
    expected = model.search(texts, 5)
    model.save_pretrained(tmp_path / "model")
    again = ELIAS.from_pretrained(tmp_path / "model")
    # The function itself is not saved: vectors made elsewhere are searched with.
    given = again.search(texts, 5, vectors=letters(texts))
    np.testing.assert_array_equal(given.ids, expected.ids)
    with pytest.raises(NotFittedError, match="function"):
        again.search(texts, 5)
    again.encoder.function = letters
    np.testing.assert_array_equal(again.search(texts, 5).scores, expected.scores)


@pytest.mark.parametrize("wrong", [LSAEncoder, 3, None, "no-such-model-anywhere:x:y", "tfidf"])
def test_what_is_no_encoder_is_refused(wrong):
    with pytest.raises(InputError):
        ELIAS(wrong)


def test_without_a_ranker_the_probabilities_of_the_index_are_the_scores():
    model = fitted("lsa:8", ranker="none")
    assert model.ranker_ is None and model.config.ranker == "none"
    texts = tiny_dataset("test", 20, seed=1).texts
    ranking, index = model.search(texts, 5), model.search(texts, 5, score="index")
    np.testing.assert_array_equal(ranking.scores, index.scores)
    names = model.predict(texts[:2], 2, allow=["algebra", "music"])
    assert {name for row in names for name, _ in row} <= {"Algebra", "Music"}
