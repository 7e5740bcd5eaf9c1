"""Counting words and pairs of words: against scikit-learn's vectoriser."""

from __future__ import annotations

import re

import numpy as np
import pytest
from encoder_models import STRANGE, sample_texts
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.feature_extraction.text import TfidfVectorizer

from learned_index.encoders import TfidfEncoder, load_encoder
from learned_index.encoders.base import check_texts
from learned_index.encoders.lexical import words as words_module
from learned_index.encoders.lexical.words import WORDS, word_lists


def sklearn_tfidf(ngrams: int, **options: object) -> TfidfVectorizer:
    return TfidfVectorizer(
        token_pattern=WORDS, ngram_range=(1, ngrams), sublinear_tf=True, dtype=np.float32, **options
    )


@settings(max_examples=80, deadline=None)
@given(
    texts=st.lists(st.text("ab é-1\n", max_size=12), min_size=1, max_size=12),
    queries=st.lists(st.text("ab é-1\n", max_size=12), max_size=5),
    ngrams=st.integers(1, 2),
    min_df=st.integers(1, 2),
    max_df=st.sampled_from([0.5, 1.0]),
)
def test_the_same_terms_and_weights(
    texts: list[str], queries: list[str], ngrams: int, min_df: int, max_df: float
) -> None:
    expected = sklearn_tfidf(ngrams, min_df=min_df, max_df=max_df)
    encoder = TfidfEncoder(word_ngrams=ngrams, min_df=min_df, max_df=max_df)
    try:
        expected.fit(texts)
    except ValueError:
        with pytest.raises(Exception, match="no word vocabulary"):
            encoder.fit(texts)
        return
    encoder.fit(texts)
    assert encoder.terms_ == expected.get_feature_names_out().tolist()
    for some in (texts, queries):
        if some:
            found = encoder.encode(some)
            found.check_format(full_check=True)
            np.testing.assert_allclose(
                found.toarray(), expected.transform(some).toarray(), atol=1e-6
            )


@settings(max_examples=150, deadline=None)
@given(
    texts=st.lists(
        st.text(max_size=25) | st.text("aÀΣσİıſ_1٣²字\U0001d400 .-\n\ud800"), max_size=6
    ),
    at_once=st.sampled_from([1, 20, 1 << 23]),
)
def test_words_are_those_of_the_regular_expression(texts: list[str], at_once: int) -> None:
    before, words_module._CHARACTERS_AT_ONCE = words_module._CHARACTERS_AT_ONCE, at_once
    try:
        found = words_module.WordLists.of(texts)
    finally:
        words_module._CHARACTERS_AT_ONCE = before
    expected = [re.findall(WORDS, text.lower()) for text in texts]
    assert found.distinct == list(dict.fromkeys(word for row in expected for word in row))
    assert found.offsets.tolist() == np.cumsum([0, *map(len, expected)]).tolist()
    assert [found.distinct[i] for i in found.ids] == [word for row in expected for word in row]


def test_more_distinct_words_than_the_first_table_has_room_for() -> None:
    many = [" ".join(f"w{i * 7919 % 5000}" for i in range(12_000))]
    found = words_module.WordLists.of(many)
    assert found.distinct == list(dict.fromkeys(many[0].split()))
    assert [found.distinct[i] for i in found.ids] == many[0].split()


def test_strange_texts(tmp_path: object) -> None:
    texts = check_texts([*STRANGE, *sample_texts(30)])
    expected = sklearn_tfidf(2).fit(texts)
    encoder = TfidfEncoder(word_ngrams=2, min_df=1).fit(texts)
    assert encoder.terms_ == expected.get_feature_names_out().tolist()
    np.testing.assert_allclose(
        encoder.encode(texts).toarray(), expected.transform(texts).toarray(), atol=1e-6
    )
    encoder.save_pretrained(f"{tmp_path}/saved")
    again = load_encoder(f"{tmp_path}/saved")
    np.testing.assert_array_equal(again.encode(texts).toarray(), encoder.encode(texts).toarray())


def test_the_most_frequent_terms_are_kept() -> None:
    texts = ["red red red fox", "red fox sky", "sea fox", "sky"]
    encoder = TfidfEncoder(max_features=3, min_df=1).fit(texts)
    assert encoder.terms_ == ["fox", "red", "sky"]
    pairs = TfidfEncoder(word_ngrams=2, max_features=4, min_df=1).fit(texts)
    # 3, 4, 2 and 2 times; "sky" is there twice too, and stands behind them in the alphabet.
    assert pairs.terms_ == ["fox", "red", "red fox", "red red"]


def test_texts_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    words_module._recent.clear()
    texts, calls, original = sample_texts(20), [], words_module.WordLists.of
    monkeypatch.setattr(
        words_module.WordLists,
        "of",
        classmethod(lambda _cls, t: calls.append(len(t)) or original(t)),  # type: ignore[func-returns-value]
    )
    first = word_lists(texts)
    assert word_lists(list(texts)) is first
    assert word_lists(texts[:5]) is not first
    assert calls == [20, 5]
