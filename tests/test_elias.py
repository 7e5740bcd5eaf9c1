"""ELIAS: fitting, ranking, probabilities, ensembles."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
from conftest import tiny_dataset
from elias_cases import N_POINTS, QUICK, files, fitted, new_model, queries, train_data

from learned_index import TextIndex
from learned_index.data import holdout_rows, without_labels
from learned_index.elias import ELIAS, EliasConfig
from learned_index.elias.shortlist import followed_by, merge
from learned_index.encoders.bow import BagOfWordsEncoder
from learned_index.encoders.feature_rows import DenseFeatureRowsEncoder, FeatureRowsEncoder
from learned_index.encoders.feature_svd import FeatureSvdEncoder
from learned_index.encoders.lsa import LSAEncoder
from learned_index.encoders.tfidf import TfidfEncoder
from learned_index.errors import InputError, NotFittedError
from learned_index.types import SearchResult


@pytest.fixture(scope="module")
def model() -> ELIAS:
    return fitted()


@pytest.fixture(scope="module")
def ensemble() -> ELIAS:
    return fitted(n_models=3)


# -- shortlists ---------------------------------------------------------------------------------


def random_results(seed: int, n_models: int) -> list[SearchResult]:
    rng = np.random.default_rng(seed)
    results = []
    for _ in range(n_models):
        ids = np.full((7, 6), -1, np.int64)
        scores = np.full((7, 6), -np.inf, np.float32)
        for row in range(7):
            found = int(rng.integers(0, 7))
            ids[row, :found] = rng.permutation(9)[:found]
            scores[row, :found] = np.sort(rng.integers(1, 5, found) / 4)[::-1]
        results.append(SearchResult(ids, scores))
    return results


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("n_models", [1, 2, 3, 5])
def test_merge_is_the_mean_of_the_members(seed: int, n_models: int) -> None:
    results = random_results(seed, n_models)
    width = 1 + seed
    merged = merge(results, width)
    assert merged.ids.shape == merged.p.shape == (7, width)
    for row in range(7):
        mean: dict[int, float] = {}
        for result in results:
            for label, score in zip(result.ids[row], result.scores[row], strict=True):
                if label >= 0:
                    mean[int(label)] = mean.get(int(label), 0.0) + float(score) / n_models
        found = [label for label in merged.ids[row].tolist() if label >= 0]
        assert len(found) == len(set(found)) == min(width, len(mean))
        assert merged.ids[row, len(found) :].tolist() == [-1] * (width - len(found))
        assert (merged.p[row, len(found) :] == 0).all()
        np.testing.assert_allclose(merged.p[row, : len(found)], [mean[x] for x in found], rtol=1e-6)
        best = sorted(mean.values(), reverse=True)[: len(found)]
        np.testing.assert_allclose(merged.p[row, : len(found)], best, rtol=1e-6)


@pytest.mark.parametrize("seed", range(8))
def test_labels_behind_the_head_follow_in_order(seed: int) -> None:
    wide = merge(random_results(seed, 2), 9)
    head = merge(random_results(seed, 2), 4).ids
    tail = followed_by(head, wide, 6)
    for row in range(7):
        rest = [
            (label, p)
            for label, p in zip(wide.ids[row].tolist(), wide.p[row].tolist(), strict=True)
            if label >= 0 and label not in head[row]
        ][:6]
        assert tail.ids[row].tolist() == [x for x, _ in rest] + [-1] * (6 - len(rest))
        assert tail.p[row].tolist() == [p for _, p in rest] + [0.0] * (6 - len(rest))


def test_a_missing_answer_stays_missing() -> None:
    empty = SearchResult(np.full((2, 3), -1, np.int64), np.full((2, 3), -np.inf, np.float32))
    merged = merge([empty, empty], 3)
    assert (merged.ids == -1).all() and (merged.p == 0).all()


# -- prediction ---------------------------------------------------------------------------------


def test_finds_the_topic(model: ELIAS) -> None:
    test = tiny_dataset("test", 40, seed=2)
    found = model.predict(test.texts, k=5)
    right = [test.label_names(row)[0] in dict(found[row]) for row in range(40)]
    assert np.mean(right) > 0.9


@pytest.mark.parametrize("k", [1, 5, 12, 13, 29, 200])
@pytest.mark.parametrize("which", ["model", "ensemble"])
def test_rows_are_ordered_padded_and_without_repetition(
    which: str, k: int, request: pytest.FixtureRequest
) -> None:
    model = request.getfixturevalue(which)
    result = model.predict_ids(queries(), k)
    assert result.ids.shape == result.scores.shape == (40, k)
    assert result.ids.dtype == np.int64 and result.scores.dtype == np.float32
    for ids, scores in zip(result.ids, result.scores, strict=True):
        found = ids[ids >= 0]
        assert len(found) == len(set(found.tolist())) > 0
        assert (ids[len(found) :] == -1).all()
        assert np.isneginf(scores[len(found) :]).all()
        assert (np.diff(scores[: len(found)]) <= 0).all()
        assert (scores[: len(found)] >= 0).all() and (scores[: len(found)] <= 1).all()


@pytest.mark.parametrize("which", ["model", "ensemble"])
def test_a_shorter_answer_begins_a_longer_one(which: str, request: pytest.FixtureRequest) -> None:
    model = request.getfixturevalue(which)
    long = model.predict_ids(queries(), 24)
    for k in (1, 12, 17):
        short = model.predict_ids(queries(), k)
        assert short.ids.tobytes() == long.ids[:, :k].tobytes()
        assert short.scores.tobytes() == long.scores[:, :k].tobytes()


def test_the_ranking_is_that_of_its_parts(model: ELIAS) -> None:
    """Oracle: search, margins and combination row by row."""
    texts = queries()
    result = model.predict_ids(texts, 12)
    for row, text in enumerate(texts):
        x = model.encoder.encode([text])
        found = model.index.search(x, 12)
        q = model.ranker_.score(model.features.encode([text]), x, found.ids)[0]
        p = np.where(found.ids[0] < 0, 0, found.scores[0]).astype(np.float64)
        score = np.sqrt(p) / (1 + np.exp(-2 * q.astype(np.float64)))
        expected = sorted((-s, n) for n, s in enumerate(score) if found.ids[0, n] >= 0)
        kept = result.ids[row][result.ids[row] >= 0]
        np.testing.assert_allclose(
            result.scores[row, : len(kept)], [-s for s, _ in expected], rtol=1e-5
        )
        by_label = dict(zip(found.ids[0].tolist(), score.tolist(), strict=True))
        np.testing.assert_allclose(
            [by_label[int(x)] for x in kept], result.scores[row, : len(kept)], rtol=1e-5
        )


def test_beyond_the_ranked_labels_the_index_decides(model: ELIAS) -> None:
    ranked, plain = (
        model.predict_ids(queries(), 25),
        model.predict_ids(queries(), 25, score="index"),
    )
    found = model.index.search(model.encoder.encode(queries()), 25)
    assert plain.ids.tobytes() == found.ids.tobytes()
    assert plain.scores.tobytes() == found.scores.tobytes()
    assert ranked.ids[:, 12:].tobytes() == found.ids[:, 12:].tobytes()
    assert {*map(frozenset, ranked.ids[:, :12].tolist())} == {
        *map(frozenset, found.ids[:, :12].tolist())
    }


@pytest.mark.parametrize("which", ["model", "ensemble"])
def test_answers_do_not_depend_on_batch_or_threads(
    which: str, request: pytest.FixtureRequest, with_threads
) -> None:
    model = request.getfixturevalue(which)
    texts = queries()
    for score in ("ranking", "probability"):
        whole = model.predict_ids(texts, 17, score=score)
        for row in (0, 17, 39):
            one = model.predict_ids([texts[row]], 17, score=score)
            assert one.ids.tobytes() == whole.ids[row : row + 1].tobytes()
            assert one.scores.tobytes() == whole.scores[row : row + 1].tobytes()
        with with_threads(2):
            two = model.predict_ids(texts, 17, score=score)
        assert two.ids.tobytes() == whole.ids.tobytes()
        assert two.scores.tobytes() == whole.scores.tobytes()


def test_probabilities_are_those_of_the_same_labels_in_the_same_order(model: ELIAS) -> None:
    texts = queries()
    ranking = model.predict_ids(texts, 20)
    probable = model.predict_ids(texts, 20, score="probability")
    assert probable.ids.tobytes() == ranking.ids.tobytes()
    inside = probable.ids >= 0
    assert ((probable.scores >= 0) & (probable.scores <= 1))[inside].all()
    assert np.isneginf(probable.scores[~inside]).all()
    named = model.predict_proba(texts, 20)
    assert [score for _, score in named[0]] == probable.scores[0][inside[0]].tolist()
    # Oracle: the calibrator on the (p, q) of each label.
    x = model.encoder.encode(texts)
    found = model.index.search(x, 20)
    q = model.ranker_.score(model.features.encode(texts), x, found.ids)
    p = np.where(found.ids < 0, 0, found.scores)
    expected = model.calibrator_.probability(p, q, found.ids, model.label_counts)
    for row in range(40):
        of_label = dict(zip(found.ids[row].tolist(), expected[row].tolist(), strict=True))
        mine = [of_label[x] for x in probable.ids[row].tolist() if x >= 0]
        np.testing.assert_allclose(probable.scores[row][inside[row]], mine, rtol=1e-6)


def test_an_ensemble_averages_its_members(ensemble: ELIAS) -> None:
    texts = queries()
    assert len(ensemble.members) == 3
    clusterings = {m.cluster_of_label_L.numpy().tobytes() for m in ensemble.members}
    assert len(clusterings) == 3, "different seeds cluster differently"
    x = ensemble.encoder.encode(texts)
    results = [m.search(x, 24) for m in ensemble.members]
    expected = merge(results, 12)
    plain = ensemble.predict_ids(texts, 12, score="index")
    assert plain.ids.tobytes() == expected.ids.tobytes()


@pytest.mark.parametrize("blank", ["", "  ", "\t\u2003"])
def test_a_blank_text_has_no_answer_and_changes_no_other(model: ELIAS, blank: str) -> None:
    text = "filter noise frequency"
    assert model.predict([blank, text], k=3) == [[], model.predict([text], k=3)[0]]
    assert model.predict_ids([blank], 30).ids.tolist() == [[-1] * 30]


def test_no_texts_and_wrong_arguments(model: ELIAS) -> None:
    assert model.predict([], k=3) == []
    assert model.predict_ids([], 4).ids.shape == (0, 4)
    with pytest.raises(InputError, match="list of strings"):
        model.predict("filter noise")
    with pytest.raises(InputError, match="k must"):
        model.predict_ids(["a"], 0)
    with pytest.raises(InputError, match="score is"):
        model.predict_ids(["a"], score="best")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="2 vectors for 1 texts"):
        model.predict_ids(["a"], vectors=np.zeros((2, 16), np.float32))
    with pytest.raises(NotFittedError, match="not trained"):
        new_model().predict(["a"])


def test_vectors_and_features_at_hand_are_used(model: ELIAS) -> None:
    texts = queries()
    mine = model.predict_ids(texts, 5)
    given = model.predict_ids(
        texts, 5, vectors=model.encoder.encode(texts), sparse=model.features.encode(texts)
    )
    assert mine.ids.tobytes() == given.ids.tobytes()
    assert mine.scores.tobytes() == given.scores.tobytes()


# -- fitting ------------------------------------------------------------------------------------


def test_every_label_keeps_a_training_point(model: ELIAS) -> None:
    train = train_data()
    before = np.asarray(train.labels.sum(axis=0)).ravel() > 0
    rows = model.held_out_rows(train.labels)
    assert len(rows) == 30 == N_POINTS - model.n_points
    assert ((model.label_counts > 0) == before).all()
    assert rows.tolist() == holdout_rows(train.labels, 30, seed=QUICK.seed).tolist()


def test_emptied_rows() -> None:
    labels = sp.csr_matrix(np.array([[1, 1], [0, 0], [0, 1], [1, 0]], np.float32))
    emptied = without_labels(labels, np.array([0, 2]))
    assert emptied.toarray().tolist() == [[0, 0], [0, 0], [0, 0], [1, 0]]
    assert emptied.has_canonical_format
    assert without_labels(labels, np.array([], np.int64)).toarray().tolist() == (
        labels.toarray().tolist()
    )


def test_held_out_points_teach_nothing(model: ELIAS, tmp_path) -> None:
    """The same model comes from the other points alone, with the held-out ones as validation."""
    train = train_data()
    rows = model.held_out_rows(train.labels)
    kept, held = train.subset(np.setdiff1d(np.arange(N_POINTS), rows)), train.subset(rows)
    other = new_model().fit(
        kept.texts,
        kept.labels,
        vocabulary=train.vocabulary,
        validation=(held.texts, held.labels),
    )
    model.save(tmp_path / "a")
    other.save(tmp_path / "b")
    assert files(tmp_path / "a") == files(tmp_path / "b")


def test_the_report_compares_with_and_without_ranker(model: ELIAS) -> None:
    report = model.report_
    assert set(report["validation"]) == {"with_ranker", "without_ranker"}
    assert report["n_held_out"] == 30
    assert report["calibration"]["method"] == model.calibrator_.method_
    assert report["calibration"]["calibration_error"] >= 0
    steps = {"encoding", "training", "shortlists", "ranker", "calibration"}
    assert steps < set(report["seconds"])


def test_embeddings_of_the_same_encoder_give_the_same_model(model: ELIAS, tmp_path) -> None:
    train = train_data()
    rows = model.held_out_rows(train.labels)
    kept = [t for n, t in enumerate(train.texts) if n not in set(rows.tolist())]
    encoder = LSAEncoder(dim=16).fit(kept)
    fitted(encoder, fit={"embeddings": encoder.encode(train.texts)}).save(tmp_path / "b")
    model.save(tmp_path / "a")
    assert files(tmp_path / "a") == files(tmp_path / "b")


def test_a_fitted_index_is_taken_as_it_is() -> None:
    train = train_data()
    base = TextIndex.fit(
        train.texts, train.labels, encoder=LSAEncoder(dim=16), training_config=QUICK
    )
    before = {n: t.clone() for n, t in base.index.state_dict().items()}
    model = ELIAS(base.encoder, base.index, config=EliasConfig(validation_fraction=0.1))
    model.fit(train.texts, train.labels)
    assert model.members == [base.index]
    assert all((t == before[n]).all() for n, t in base.index.state_dict().items())
    assert model.ranker_ is not None and model.calibrator_ is not None
    assert model.predict(["sort list order"], 1)[0][0][0] == "10"
    with pytest.raises(InputError, match="n_models"):
        ELIAS(base.encoder, base.index, config=EliasConfig(n_models=2))


@pytest.mark.parametrize("ranker", ["sparse", "none"])
@pytest.mark.parametrize("calibration", ["auto", "none"])
def test_parts_can_be_left_out(ranker: str, calibration: str, tmp_path) -> None:
    model = fitted(ranker=ranker, calibration=calibration)
    assert (model.ranker_ is None) == (ranker == "none")
    assert (model.calibrator_ is None) == (calibration == "none")
    model.save(tmp_path / "m")
    again = ELIAS.load(tmp_path / "m")
    assert again.predict(queries(), 20) == model.predict(queries(), 20)
    if calibration == "none":
        with pytest.raises(InputError, match="without calibration"):
            again.predict_proba(queries())
    else:
        assert again.predict_proba(queries(), 20) == model.predict_proba(queries(), 20)


def test_a_learned_combination_is_used_and_saved(tmp_path) -> None:
    model = fitted(combination="learned")
    assert model.combination.to_dict() != fitted(calibration="none").combination.to_dict()
    model.save(tmp_path / "m")
    again = ELIAS.load(tmp_path / "m")
    assert again.combination == model.combination
    assert again.predict(queries(), 15) == model.predict(queries(), 15)


def test_without_held_out_points_there_is_no_calibration() -> None:
    model = fitted(validation_fraction=0.0)
    assert model.calibrator_ is None and model.n_points == N_POINTS
    assert "validation" not in model.report_
    with pytest.raises(InputError, match="validation_fraction is 0"):
        fitted(validation_fraction=0.0, calibration="tree")
    with pytest.raises(InputError, match="combination"):
        fitted(validation_fraction=0.0, combination="learned")


def test_too_few_held_out_points_for_a_calibration(caplog: pytest.LogCaptureFixture) -> None:
    model = fitted(validation_limit=6)
    assert model.calibrator_ is None and "no calibration" in caplog.text
    assert "validation" in model.report_
    with pytest.raises(InputError, match="calibration needs"):
        fitted(validation_limit=6, calibration="isotonic")


def test_small_data_hold_out_a_tenth_and_none_where_none_is_asked_for() -> None:
    labels = train_data().labels
    assert len(new_model(validation_fraction=0.02).held_out_rows(labels)) == 30
    assert len(new_model(validation_fraction=0.5).held_out_rows(labels)) == 150
    assert len(new_model(validation_fraction=0.0).held_out_rows(labels)) == 0


def test_the_test_split_is_refused_as_validation() -> None:
    test = tiny_dataset("test", 40, seed=2)
    with pytest.raises(InputError, match="test split"):
        fitted(fit={"validation": test})
    dev = replace(test, split="dev")
    model = fitted(fit={"validation": dev})
    assert model.n_points == N_POINTS and model.report_["n_held_out"] == 40


def test_what_does_not_fit_together_is_refused() -> None:
    train = train_data()
    with pytest.raises(InputError, match="299 texts and 300 rows"):
        new_model().fit(train.texts[:-1], train.labels)
    with pytest.raises(InputError, match="5 embeddings for 300"):
        fitted(fit={"embeddings": np.zeros((5, 16), np.float32)})
    with pytest.raises(InputError, match="without validation"):
        fitted(fit={"validation_embeddings": np.zeros((5, 16), np.float32)})
    with pytest.raises(InputError, match="makes sparse vectors"):
        fitted(TfidfEncoder())
    with pytest.raises(InputError, match="cannot be trained"):
        fitted(train_encoder="yes")
    with pytest.raises(InputError, match="encoder is trained"):
        fitted(BagOfWordsEncoder(dim=8), fit={"embeddings": np.zeros((300, 8), np.float32)})
    with pytest.raises(InputError, match="one string"):
        new_model().fit("text", [[0]])


@pytest.mark.parametrize(
    "values",
    [
        {"ranker": "dense"},
        {"calibration": "platt"},
        {"n_models": 0},
        {"rerank_size": 0},
        {"validation_fraction": 1.0},
        {"train_encoder": "maybe"},
        {"unknown": 1},
    ],
)
def test_unusable_configurations_are_refused(values: dict) -> None:
    with pytest.raises(InputError):
        EliasConfig.from_dict(values)


# -- trained encoders ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained() -> ELIAS:
    return fitted(BagOfWordsEncoder(dim=16), n_models=2)


def test_a_bag_of_words_is_trained_and_each_member_has_its_own(trained: ELIAS) -> None:
    assert trained.has_own_encoders and len(trained.encoders) == 2
    start = BagOfWordsEncoder(dim=16).fit(train_data().texts)
    tables = [encoder.bag.weight.detach().numpy() for encoder in trained.encoders]
    assert not np.array_equal(tables[0], tables[1])
    assert tables[0].shape[1] == start.bag.weight.shape[1]
    test = tiny_dataset("test", 40, seed=2)
    found = trained.predict(test.texts, k=5)
    assert np.mean([test.label_names(r)[0] in dict(found[r]) for r in range(40)]) > 0.8


def test_members_with_own_encoders_are_saved_with_them(trained: ELIAS, tmp_path) -> None:
    trained.save(tmp_path / "m")
    assert (tmp_path / "m" / "member_1" / "encoder").is_dir()
    assert not (tmp_path / "m" / "encoder").exists()
    again = ELIAS.load(tmp_path / "m")
    mine, theirs = trained.predict_ids(queries(), 20), again.predict_ids(queries(), 20)
    assert mine.ids.tobytes() == theirs.ids.tobytes()
    assert mine.scores.tobytes() == theirs.scores.tobytes()
    with pytest.raises(InputError, match="expected 2"):
        again.predict_ids(["a"], vectors=np.zeros((1, 16), np.float32))


def test_a_bag_of_words_can_stay_frozen() -> None:
    encoder = BagOfWordsEncoder(dim=16)
    model = fitted(encoder, train_encoder="no")
    kept = [
        text
        for n, text in enumerate(train_data().texts)
        if n not in set(model.held_out_rows(train_data().labels).tolist())
    ]
    table = BagOfWordsEncoder(dim=16).fit(kept).bag.weight.detach().numpy()
    assert np.array_equal(table, encoder.bag.weight.detach().numpy())


# -- sparse feature rows ------------------------------------------------------------------------


def feature_data() -> tuple[sp.csr_matrix, sp.csr_matrix]:
    train = train_data()
    rows = TfidfEncoder(sublinear_tf=False).fit(train.texts).encode(train.texts)
    return sp.csr_matrix(rows * 3, dtype=np.float32), train.labels


def test_feature_rows_are_points_too(tmp_path) -> None:
    rows, labels = feature_data()
    model = ELIAS(
        FeatureSvdEncoder(dim=16), training=QUICK, config=EliasConfig(validation_fraction=0.1)
    ).fit(rows, labels)
    assert model.features.kind == "feature-rows"
    result = model.predict_ids(rows[:40], 2)
    hits = [set(result.ids[r]) & set(labels[r].indices) for r in range(40)]
    assert np.mean([bool(h) for h in hits]) > 0.9
    model.save(tmp_path / "m")
    again = ELIAS.load(tmp_path / "m").predict_ids(rows[:40], 2)
    assert again.scores.tobytes() == result.scores.tobytes()


@pytest.mark.parametrize("weighting", ["idf", "none"])
def test_feature_rows_against_dense_arithmetic(weighting: str, tmp_path) -> None:
    rows, _ = feature_data()
    rows = sp.vstack([rows[:20], sp.csr_matrix((1, rows.shape[1]), dtype=np.float32)], "csr")
    encoder = FeatureRowsEncoder(weighting=weighting).fit(rows)
    dense = rows.toarray().astype(np.float64)
    if weighting == "idf":
        dense = dense * (np.log(22 / (1 + (dense != 0).sum(axis=0))) + 1)
    norm = np.linalg.norm(dense, axis=1, keepdims=True)
    expected = dense / np.where(norm > 0, norm, 1)
    np.testing.assert_allclose(encoder.encode(rows).toarray(), expected, atol=1e-6)
    one = encoder.encode(rows[3:4]).toarray()
    assert one.tobytes() == encoder.encode(rows)[3:4].toarray().tobytes()
    encoder.save(tmp_path / "e")
    again = FeatureRowsEncoder.load(tmp_path / "e")
    assert (again.encode(rows) != encoder.encode(rows)).nnz == 0
    assert again.fingerprint() == encoder.fingerprint()
    with pytest.raises(InputError, match="features, expected"):
        encoder.encode(rows[:, :5])
    with pytest.raises(InputError, match="cannot encode texts"):
        encoder.encode(["text"])
    with pytest.raises(NotFittedError):
        FeatureRowsEncoder().encode(rows)


def test_dense_feature_rows_are_the_sparse_ones(tmp_path) -> None:
    rows = sp.random(30, 12, density=0.3, format="csr", random_state=0, dtype=np.float32)
    dense = DenseFeatureRowsEncoder().fit(rows)
    sparse = FeatureRowsEncoder(weighting="none").fit(rows)
    np.testing.assert_array_equal(dense.encode(rows), sparse.encode(rows).toarray())
    (tmp_path / "e").mkdir()
    dense.save(tmp_path / "e")
    again = DenseFeatureRowsEncoder.load(tmp_path / "e")
    np.testing.assert_array_equal(again.encode(rows), dense.encode(rows))
    with pytest.raises(InputError, match="at most 8192"):
        DenseFeatureRowsEncoder().fit(sp.csr_matrix((3, 9000), dtype=np.float32))
