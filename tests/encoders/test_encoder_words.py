"""Counting words and pairs of words: against scikit-learn's vectoriser."""

from __future__ import annotations

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
