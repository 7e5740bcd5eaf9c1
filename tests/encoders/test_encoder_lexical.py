"""Tf-idf, LSA and bag of words against plain oracles."""

from __future__ import annotations

import math
import re
from collections import Counter

import numpy as np
import pytest
import torch
from encoder_models import sample_texts

from learned_index.encoders import BagOfWordsEncoder, Bags, LSAEncoder, TfidfEncoder
from learned_index.errors import InputError

TRAIN = sample_texts(80)
QUERIES = [*sample_texts(20, seed=3), "Fox fox FOX unknownword", ""]


def tfidf_oracle(train: list[str], queries: list[str], terms: list[str]) -> np.ndarray:
    """Dense tf-idf with a dictionary and loops, in float64."""
    documents = [Counter(re.findall(r"\w+", text.lower())) for text in train]
    rows = np.zeros((len(queries), len(terms)))
    for row, text in enumerate(queries):
        counts = Counter(re.findall(r"\w+", text.lower()))
        for column, term in enumerate(terms):
            if counts[term]:
                df = sum(term in document for document in documents)
                idf = math.log((1 + len(train)) / (1 + df)) + 1
                rows[row, column] = (1 + math.log(counts[term])) * idf
        norm = math.sqrt((rows[row] ** 2).sum())
        rows[row] /= norm or 1
    return rows


def test_tfidf_is_the_formula() -> None:
    encoder = TfidfEncoder().fit(TRAIN)
    expected = tfidf_oracle(TRAIN, QUERIES, encoder.terms_)
    assert expected.any()
    np.testing.assert_allclose(encoder.encode(QUERIES).toarray(), expected, atol=1e-6)


def test_single_letters_and_digits_are_words() -> None:
    encoder = TfidfEncoder().fit(["vitamin C", "vitamin K 2"])
    assert encoder.terms_ == ["2", "c", "k", "vitamin"]


def test_rare_terms_go_from_a_thousand_texts_on() -> None:
    few = ["common rare", *["common"] * 998]
    assert "rare" in TfidfEncoder().fit(few).terms_
    assert "rare" not in TfidfEncoder().fit([*few, "common"]).terms_
    assert "rare" in TfidfEncoder(min_df=1).fit([*few, "common"]).terms_


def test_tfidf_options() -> None:
    assert TfidfEncoder(max_features=3).fit(TRAIN).dim == 3
    assert "red fox" in TfidfEncoder(word_ngrams=2).fit(["a red fox"]).terms_
    both = TfidfEncoder(analyser="word+char").fit(TRAIN)
    words, chars = TfidfEncoder().fit(TRAIN), TfidfEncoder(analyser="char").fit(TRAIN)
    assert both.dim == words.dim + chars.dim
    norms = np.linalg.norm(both.encode(TRAIN).toarray(), axis=1)
    np.testing.assert_allclose(norms, 1, rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"analyser": "syllable"}, "'syllable', expected 'word'"),
        ({"min_df": 0}, "min_df is 0"),
        ({"max_df": 1.5}, "max_df is 1.5"),
        ({"char_ngrams": (4, 2)}, "the shortest first"),
        ({"max_features": 0}, "max_features is 0"),
    ],
)
def test_tfidf_refuses(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TfidfEncoder(**options)


def test_tfidf_grows_by_terms_that_only_new_texts_have() -> None:
    old, new = ["a red fox", "a blue fox"], ["red kite", "a kite and a red kite", "fox kite"]
    encoder = TfidfEncoder(word_ngrams=2, min_df=2, max_features=4).fit(old)
    assert encoder.terms_ == ["a", "fox"]
    grown = encoder.grown(new, n_known=len(old))
    assert grown.terms_ == ["a", "fox", "kite", "red"]  # "red kite" finds no room
    idf = [math.log((1 + 5) / (1 + df)) + 1 for df in (3, 2)]  # texts that have it, of five
    np.testing.assert_allclose(grown._idf[0][2:], idf, rtol=1e-6)
    np.testing.assert_array_equal(grown._idf[0][:2], encoder._idf[0])
    np.testing.assert_array_equal(grown.encode(old[:1])[:, :2].toarray() > 0, [[True, True]])
    assert encoder.encode(new).shape == (3, 2) and encoder.grown(old, n_known=2) is encoder
    assert grown.grown(["green owl", "green owl"], n_known=5) is grown
    for other in (TfidfEncoder(analyser="char").fit(old), TfidfEncoder(word_ngrams=3).fit(old)):
        assert other.grown(new, n_known=2) is other


def test_no_vocabulary_left() -> None:
    with pytest.raises(InputError, match="lower min_df"):
        TfidfEncoder().fit(["", " ", "!!!"])
    with pytest.raises(InputError, match="lower min_df"):
        LSAEncoder().fit(["", " "])


def test_lsa_is_the_truncated_svd() -> None:
    encoder = LSAEncoder(5, n_iter=20).fit(TRAIN)
    X = TfidfEncoder().fit(TRAIN).encode(TRAIN).toarray().astype(np.float64)
    _, _, V = np.linalg.svd(X, full_matrices=False)
    for found, expected in zip(encoder.components_.T, V[:5], strict=True):
        assert abs(abs(found @ expected) - 1) < 1e-3
        assert found[np.abs(found).argmax()] > 0  # the sign is fixed
    query = TfidfEncoder().fit(TRAIN).encode(QUERIES).toarray() @ encoder.components_
    norm = np.linalg.norm(query, axis=1, keepdims=True)
    expected = query / np.where(norm > 0, norm, 1)
    np.testing.assert_allclose(encoder.encode(QUERIES), expected, atol=1e-5)


def test_lsa_same_bits_at_any_thread_count() -> None:
    from threadpoolctl import threadpool_limits

    texts = sample_texts(400, seed=9)
    with threadpool_limits(limits=2):
        two = LSAEncoder(16, seed=4, word_ngrams=2).fit(texts).components_
    with threadpool_limits(limits=1):
        one = LSAEncoder(16, seed=4, word_ngrams=2).fit(texts).components_
    np.testing.assert_array_equal(one, two)
    other = LSAEncoder(16, seed=5, word_ngrams=2).fit(texts).components_
    assert not np.array_equal(one, other)


def test_lsa_with_fewer_texts_than_dimensions() -> None:
    encoder = LSAEncoder(256)
    assert encoder.dim == 256
    encoder.fit(["a red fox", "a blue sky"])
    assert encoder.dim == 2
    assert encoder.encode(["red"]).shape == (1, 2)


def test_bow_with_svd_start_is_lsa() -> None:
    bow = BagOfWordsEncoder(8).fit(TRAIN)
    lsa = LSAEncoder(8).fit(TRAIN)
    np.testing.assert_allclose(bow.encode(QUERIES), lsa.encode(QUERIES), atol=1e-6)


@pytest.mark.parametrize("vocabulary", ["fitted", "hashed"])
@pytest.mark.parametrize("normalise", ["l2", "none"])
@pytest.mark.parametrize("gradient", ["dense", "sparse"])
def test_bow_gradients_are_those_of_a_dense_product(
    vocabulary: str, normalise: str, gradient: str
) -> None:
    encoder = BagOfWordsEncoder(
        6,
        vocabulary=vocabulary,
        n_buckets=64,
        normalise=normalise,
        gradient=gradient,
        init="random",
    ).fit(TRAIN)
    table_VD = encoder.bag.weight
    texts = QUERIES[:5]  # without the empty text, where the norm has no derivative
    bags = encoder.tokenize(texts)
    weights_BV = torch.zeros(len(texts), len(table_VD))
    ends = [*bags.offsets[1:].tolist(), len(bags.ids)]
    for row, (start, end) in enumerate(zip(bags.offsets.tolist(), ends, strict=True)):
        weights_BV[row].index_add_(0, bags.ids[start:end], bags.weights[start:end])
    target_BD = torch.randn(len(texts), 6, generator=torch.Generator().manual_seed(0))

    dense_VD = table_VD.detach().clone().requires_grad_()
    oracle_BD = weights_BV @ dense_VD
    if normalise == "l2":
        oracle_BD = oracle_BD / oracle_BD.norm(dim=1, keepdim=True)
    (oracle_BD * target_BD).sum().backward()
    x_BD = encoder(bags)
    (x_BD * target_BD).sum().backward()

    torch.testing.assert_close(x_BD, oracle_BD, atol=1e-6, rtol=1e-5)
    assert table_VD.grad.is_sparse == (gradient == "sparse")
    torch.testing.assert_close(table_VD.grad.to_dense(), dense_VD.grad, atol=1e-6, rtol=1e-5)
    assert dense_VD.grad.abs().max() > 0.01


def test_bow_texts_and_tokens_are_the_same_input() -> None:
    encoder = BagOfWordsEncoder(6).fit(TRAIN)
    bags = encoder.tokenize(QUERIES)
    assert isinstance(bags, Bags)
    assert bags.ids.dtype == bags.offsets.dtype == torch.int64
    torch.testing.assert_close(encoder(QUERIES), encoder(tuple(bags)), rtol=0, atol=0)
    assert encoder([]).shape == (0, 6)
    assert not encoder([""]).any()


def test_bow_training_changes_vectors_and_fingerprint(tmp_path: object) -> None:
    encoder = BagOfWordsEncoder(6).fit(TRAIN)
    before, fingerprint = encoder.encode(QUERIES), encoder.fingerprint()
    optimiser = torch.optim.SGD(encoder.parameters(), lr=1.0)
    encoder(TRAIN).square()[:, 0].sum().backward()
    optimiser.step()
    assert np.abs(encoder.encode(QUERIES) - before).max() > 1e-3
    assert encoder.fingerprint() != fingerprint


def test_bow_refuses() -> None:
    with pytest.raises(InputError, match="vocabulary is 'open'"):
        BagOfWordsEncoder(vocabulary="open")
    with pytest.raises(InputError, match="dim is 0"):
        BagOfWordsEncoder(0)
