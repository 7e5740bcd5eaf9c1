"""Words, vectors or both for the whole systems; DiSMEC against a plain scoring of all labels."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from compare_cases import FakeLoader, quick, row_of
from system_cases import points
from test_point_systems import changed, system_data

from learned_index.baselines import parse_baselines
from learned_index.baselines.dismec import Dismec
from learned_index.baselines.knn import TfidfNeighbours
from learned_index.comparison import compare
from learned_index.comparison.features import WORDS, PointFeatures, as_features, unit_rows
from learned_index.encoders.lexical.point_features import point_features
from learned_index.errors import InputError


def vectors(n, dim=6, seed=0):
    return np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32)


def test_parts_of_joined_features_have_length_1_and_stand_side_by_side():
    words, dense = points()[0], vectors(200)
    dense[3] = 0
    joined = as_features(PointFeatures("joined"), words, dense)
    assert joined.format == "csr" and joined.dtype == np.float32
    rows = joined.toarray()
    np.testing.assert_array_equal(rows[:, : words.shape[1]], words.toarray())
    norms = np.linalg.norm(dense.astype(np.float64), axis=1, keepdims=True)
    expected = np.divide(dense, norms, out=np.zeros_like(dense), where=norms > 0)
    np.testing.assert_allclose(rows[:, words.shape[1] :], expected, atol=1e-6)
    assert as_features(WORDS, words, None) is words
    alone = as_features(PointFeatures("vectors"), None, dense)
    np.testing.assert_array_equal(alone.toarray(), unit_rows(dense))
    with pytest.raises(InputError, match="joined-1-2 need vectors"):
        as_features(PointFeatures("joined"), words, None)
    with pytest.raises(InputError, match="words of 200 points and vectors of 199"):
        as_features(PointFeatures("joined"), words, dense[1:])


def test_what_a_method_asks_for():
    def asked(text):
        return parse_baselines(text)[0].point_features

    assert asked("dismec") == WORDS and asked("exact") is None
    assert asked("omikuji:features=joined,ngrams=2,min_df=3") == ("joined", 2, 3)
    assert asked("pecos:features=vectors,ngrams=2") == PointFeatures("vectors")
    with pytest.raises(InputError, match="features is 'both', expected 'words', 'vectors' or"):
        parse_baselines("dismec:features=both")


def test_runs_of_words_are_features_when_asked_for():
    train = ["a red fox", "a red sky", "a blue sky", "red fox"]
    x, q = point_features(train, ["red fox"], ngrams=2, min_df=1)
    one, _ = point_features(train, ["red fox"], min_df=1)
    assert one.shape[1] == 5 and x.shape[1] == 5 + 5  # "a red", "red fox", "red sky", ...
    assert q.nnz == 3
    with pytest.raises(InputError, match="ngrams is 2, but the points are rows of features"):
        point_features(one, one, ngrams=2)


@pytest.mark.parametrize("features", ["words", "joined"])
def test_dismec_ranks_by_the_margins_of_all_labels(features):
    x, y, queries, truth = points()
    if features == "joined":
        wanted = PointFeatures("joined")
        x, queries = (as_features(wanted, m, vectors(m.shape[0], seed=1)) for m in (x, queries))
    adapter = Dismec(features=features)
    adapter.build(x, y)
    found = adapter.search(queries, 10)
    classifiers, parts = adapter._index, adapter.prepare_queries(queries)
    assert parts.dense.shape[1] >= (6 if features == "joined" else 0)
    margins = (parts.sparse @ classifiers.weight_LV.T).toarray() + classifiers.bias_L
    margins += parts.dense @ classifiers.weight_LD.T
    expected = -np.sort(-margins, axis=1)[:, :10]
    np.testing.assert_allclose(found.scores, expected, atol=1e-5)
    np.testing.assert_allclose(np.take_along_axis(margins, found.ids, 1), expected, atol=1e-5)
    assert np.mean(truth[np.arange(40), found.ids[:, 0]]) > 0.7 and adapter.disk_bytes() > 1000


def test_joined_neighbours_are_those_of_the_mean_cosine():
    words, y, queries, _ = points()
    wanted, dense = PointFeatures("joined"), (vectors(200, 8), vectors(40, 8, seed=2))
    x, q = (as_features(wanted, m, v) for m, v in zip((words, queries), dense, strict=True))
    adapter = TfidfNeighbours(features="joined", votes="equal")
    adapter.build(x, y)
    found = adapter.search(q, 5, neighbours=4)
    cosines = (queries @ words.T).toarray() + unit_rows(dense[1]) @ unit_rows(dense[0]).T
    nearest = np.argsort(-cosines, axis=1)[:, :4]
    for row in range(40):
        votes = y[nearest[row]].toarray().sum(axis=0)
        np.testing.assert_allclose(
            np.where(found.ids[row] >= 0, found.scores[row], 0.0), -np.sort(-votes)[:5], atol=1e-5
        )


def test_each_method_of_a_comparison_gets_the_features_it_asks_for():
    data = system_data()
    wanted = PointFeatures("joined")
    pair = tuple(
        as_features(wanted, m, vectors(m.shape[0], seed=5))
        for m in (data.features_NF, data.query_features_NF)
    )
    data = changed(data, more_features={wanted: pair})
    names = "dismec,dismec:features=joined,tfidf-knn:features=joined"
    result = compare(parse_baselines(names), FakeLoader(), data, settings=quick())
    assert result.failed == []
    adapter = Dismec(features="joined")
    adapter.build(pair[0], data.labels_NL)
    hits = data.truth_NL[np.arange(40), adapter.search(pair[1], 1).ids[:, 0]]
    assert row_of(result, "dismec:features=joined")["P@1"] == pytest.approx(100 * np.mean(hits))
    with pytest.raises(InputError, match=r"dismec:features=vectors learns .*more_features"):
        compare(parse_baselines("dismec:features=vectors"), FakeLoader(), data, settings=quick())
    wrong = changed(data, more_features={wanted: (pair[0][:7], pair[1])})
    with pytest.raises(InputError, match="7 rows of training features"):
        compare(parse_baselines("dismec"), FakeLoader(), wrong, settings=quick())


def test_kept_rows_of_one_kind_outlive_another(tmp_path):
    data, wanted = system_data(), PointFeatures("joined")
    told = []

    def measured(dense_seed):
        pair = tuple(
            as_features(wanted, m, vectors(m.shape[0], seed=dense_seed))
            for m in (data.features_NF, data.query_features_NF)
        )
        told.clear()
        compare(
            parse_baselines("tfidf-knn,tfidf-knn:features=joined"), FakeLoader(),
            changed(data, more_features={wanted: pair}), settings=quick(), results=tmp_path,
            progress=lambda done, total, text="": told.append(text),
        )  # fmt: skip
        return {text.rpartition(": ")[0] for text in told if "measured earlier" not in text}

    measured(1)
    assert measured(1) == set()
    assert measured(2) == {"tfidf-knn:features=joined"}


def test_sparse_rows_without_a_filled_column_stay_sparse():
    rows = sp.csr_matrix(np.eye(6, dtype=np.float32))
    adapter = TfidfNeighbours()
    adapter.build(rows, sp.csr_matrix(np.eye(6, dtype=np.float32)))
    assert adapter.prepare_queries(rows).dense.shape == (6, 0)
    assert adapter.search(rows, 1).ids[:, 0].tolist() == list(range(6))
