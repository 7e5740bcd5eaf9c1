"""Evidence, log-linear model and boosted trees: against plain formulas and scikit-learn."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from saving_cases import sign
from sklearn.ensemble import HistGradientBoostingClassifier

from learned_index.errors import InputError, ModelFormatError, NotFittedError
from learned_index.persistence import load_arrays, save_arrays
from learned_index.ranking import final_models as module
from learned_index.ranking.boosting import exported, fit_trees, tree_masks
from learned_index.ranking.evidence import (
    EVIDENCE,
    N_BEFORE_NAMES,
    N_BEFORE_SPELLING,
    N_LINEAR,
    Listed,
    evidence,
    name_terms,
    no_names,
)
from learned_index.ranking.final_models import LINEAR_SHARE, N_BOOSTED, EvidencePoints
from learned_index.ranking.final_ranker import FinalRanker
from learned_index.ranking.final_scoring import best_first, tree_sums
from learned_index.ranking.folds import folds_of
from learned_index.ranking.log_linear import fit_log_linear, fit_logistic

B, K, L, V = 120, 80, 200, 30


def sigmoid(z: Any) -> Any:
    return 1 / (1 + np.exp(-np.asarray(z, np.float64)))


@pytest.fixture(scope="module")
def made() -> dict[str, Any]:
    """Evidence of shortlists in which word votes and q tell what is relevant, p less."""
    rng = np.random.default_rng(2)
    ids = np.stack([rng.permutation(L)[:K] for _ in range(B)]).astype(np.int64)
    p = np.sort(rng.uniform(0, 1, (B, K)) ** 4, axis=1)[:, ::-1].astype(np.float32)
    p[:, 70:] = 0  # suggested by records alone
    q = rng.normal(-1, 1, (B, K)).astype(np.float32)
    votes = rng.exponential(0.2, (4, B, K)).astype(np.float32)
    ids[::3, -4:] = -1
    chance = sigmoid(np.log(p + 1e-3) + 2 * q + 4 * votes[0] - 1)
    relevant = (rng.random((B, K)) < chance) & (ids >= 0)
    p[ids < 0], q[ids < 0] = 0, 0
    votes[:, ids < 0] = 0
    sparse = sp.random(B, V, 0.3, "csr", np.float32, rng)
    names = name_terms(sp.random(L, V, 0.1, "csr", np.float32, rng))
    counts = rng.integers(0, 50, L)
    listed = Listed(ids, p, q, *votes)
    scores = rng.uniform(0.1, 5, len(names.terms)).astype(np.float32)
    rows = evidence(listed, sparse, counts, names, scores)
    return {
        "listed": listed,
        "sparse": sparse,
        "names": names,
        "name_scores": scores,
        "counts": counts,
        "rows": rows,
        "relevant": relevant,
    }


def test_evidence_is_that_of_plain_formulas(made: dict[str, Any]) -> None:
    ids, p, q, words, vectors, likeness, alike = made["listed"]
    names, inside = made["names"], ids >= 0
    log_p = np.log(np.maximum(p.astype(np.float64), 1e-8))
    weights, scored = np.zeros((L, V)), np.zeros((L, V))
    for label in range(L):
        span = slice(names.indptr[label], names.indptr[label + 1])
        weights[label, names.terms[span]] = names.weights[span]
        scored[label, names.terms[span]] = made["name_scores"][span]
        if span.stop > span.start:
            assert weights[label].sum() == pytest.approx(1, abs=1e-5)
    present = made["sparse"].toarray() != 0
    found = p > 0
    name_score = np.where(inside, np.einsum("bv,bkv->bk", present, scored[ids]), 0)
    expected = {
        "log_p": log_p,
        "log_sigmoid_q": np.log(sigmoid(2 * q)),
        "word_votes": np.log1p(5 * words),
        "vector_votes": np.log1p(5 * vectors),
        "name_match": np.einsum("bv,bkv->bk", present, weights[ids]),
        "likeness": likeness,
        "log_frequency": np.log1p(made["counts"][ids]),
        "found": found,
        "place": np.cumsum(found, axis=1) - found,
        "p_sigmoid_q": np.exp(log_p) * sigmoid(2 * q),
        "p_gap": log_p - log_p.max(axis=1, keepdims=True),
        "q_gap": q - np.where(inside, q, -np.inf).max(axis=1, keepdims=True),
        "likeness_gap": likeness - likeness.max(axis=1, keepdims=True),
        "name_score": name_score,
        "name_gap": name_score - name_score.max(axis=1, keepdims=True),
        "name_likeness": alike,
        "name_likeness_gap": alike - alike.max(axis=1, keepdims=True),
    }
    assert tuple(expected) == EVIDENCE
    for column, name in enumerate(EVIDENCE):
        np.testing.assert_allclose(
            made["rows"][:, :, column], np.where(inside, expected[name], 0), rtol=1e-4, atol=1e-5,
            err_msg=name,
        )  # fmt: skip
    unsearched = evidence(made["listed"], made["sparse"], made["counts"], names)
    assert not unsearched[:, :, EVIDENCE.index("name_score") : N_BEFORE_SPELLING].any()


def test_evidence_of_extreme_numbers_is_finite() -> None:
    ids = np.array([[0, 1, 2, -1]])
    p = np.array([[1.0, 1e-38, 0.0, 0.0]], np.float32)
    q = np.array([[1e6, -1e6, 0.0, 0.0]], np.float32)
    listed = Listed(ids, p, q, p, p, p, p)
    rows = evidence(listed, sp.csr_matrix((1, 3), dtype=np.float32), np.ones(3, int), no_names(3))
    assert np.isfinite(rows).all() and (rows[0, 3] == 0).all()


def test_the_log_linear_model_finds_what_ranks_best(made: dict[str, Any]) -> None:
    columns, relevant = made["rows"][:, :, :3].astype(np.float64), made["relevant"]
    inside = made["listed"].ids >= 0
    found = fit_log_linear(columns, inside, relevant, n_rising=2)
    scale = columns[inside].std(axis=0)

    def objective(weights: Any) -> float:
        score = np.where(inside, columns @ weights, -np.inf)
        log_softmax = score - np.logaddexp.reduce(score, axis=1, keepdims=True)
        rows = relevant.any(axis=1)
        target = relevant[rows] / relevant[rows].sum(axis=1, keepdims=True)
        mean = (target * np.maximum(log_softmax[rows], -1e9)).sum() / rows.sum()
        return float(mean - 1e-3 * ((weights * scale) ** 2).sum())

    best = objective(found)
    for column in range(3):
        for factor in (0.95, 1.05):
            other = found.copy()
            other[column] *= factor
            assert objective(other) < best
    falling = fit_log_linear(-columns, inside, relevant, n_rising=2)
    assert (falling[:2] == 0).all() and falling[2] < 0
    with pytest.raises(InputError, match="no shortlist"):
        fit_log_linear(columns, inside, np.zeros_like(relevant), n_rising=2)


def test_a_constant_column_has_no_weight(made: dict[str, Any]) -> None:
    columns = np.concatenate([made["rows"][:, :, :2], np.ones((B, K, 1))], axis=2)
    found = fit_log_linear(columns, made["listed"].ids >= 0, made["relevant"], n_rising=2)
    assert found[2] == 0 and (found[:2] > 0).all()


def test_the_logistic_score_is_a_probability() -> None:
    rng = np.random.default_rng(0)
    score = rng.normal(3, 5, 20_000)
    slope, bias = fit_logistic(score, rng.random(20_000) < sigmoid(0.5 * score - 2))
    assert slope == pytest.approx(0.5, abs=0.03) and bias == pytest.approx(-2, abs=0.1)


def sums_of(arrays: Any, rows: Any) -> Any:
    out = np.empty(len(rows))
    tree_sums(rows, *tree_masks(arrays), out)
    return out


def test_exported_trees_are_those_of_scikit_learn(made: dict[str, Any]) -> None:
    rows, relevant = made["rows"].reshape(-1, len(EVIDENCE)), made["relevant"].ravel()
    fitted = HistGradientBoostingClassifier(max_iter=30, random_state=0).fit(rows, relevant)
    np.testing.assert_allclose(
        sigmoid(sums_of(exported(fitted), rows)), fitted.predict_proba(rows)[:, 1], atol=1e-6
    )


def test_trees_are_asked_as_a_plain_walk_asks_them(made: dict[str, Any]) -> None:
    rows, relevant = made["rows"].reshape(-1, len(EVIDENCE)), made["relevant"].ravel()
    arrays = fit_trees(rows, relevant, n_rising=0)
    rows = rows[:200].copy()
    # On a threshold, and on its neighbours: float32 values on either side of float64 numbers.
    feature, threshold = arrays["feature"], arrays["threshold"]
    for row, node in enumerate(np.flatnonzero(arrays["left"] >= 0)[:150].tolist()):
        near = np.float32(threshold[node])
        rows[row, feature[node]] = np.nextafter(near, np.float32([-np.inf, near, np.inf])[row % 3])
    expected = np.full(len(rows), arrays["bias"][0])
    for root in arrays["roots"]:
        for i, row in enumerate(rows):
            node = root
            while arrays["left"][node] >= 0:
                left = np.float64(row[feature[node]]) <= threshold[node]
                node = arrays["left" if left else "right"][node]
            expected[i] += arrays["value"][node]
    assert sums_of(arrays, rows).tobytes() == expected.tobytes()


def test_trees_rise_with_what_speaks_for_a_label(made: dict[str, Any]) -> None:
    rows, relevant = made["rows"].reshape(-1, len(EVIDENCE)), made["relevant"].ravel()
    arrays = fit_trees(rows, relevant, n_rising=5)
    before = sums_of(arrays, rows)
    for column in range(5):
        more = rows.copy()
        more[:, column] += np.float32(0.7)
        assert (sums_of(arrays, more) >= before - 1e-9).all()


@pytest.fixture(scope="module", params=["linear", "trees", "mixed"])
def ranker(request: pytest.FixtureRequest, made: dict[str, Any]) -> FinalRanker:
    ranker = FinalRanker(request.param, names=made["names"])
    ranker.fit(made["rows"], made["listed"].ids, made["relevant"])
    return ranker


def test_scores_are_those_of_a_plain_model(made: dict[str, Any], ranker: FinalRanker) -> None:
    model, inside = ranker._fitted(), made["listed"].ids >= 0
    frequency = EVIDENCE.index("log_frequency")
    rows = made["rows"].copy()
    rows[:, ::7, frequency] = 0  # labels without training points
    scores = ranker.score(rows, made["listed"].ids)
    linear = rows[:, :, :N_LINEAR].astype(np.float64) @ model.weights
    by_linear = sigmoid(model.logistic[0] * linear + model.logistic[1])
    n_unseen = 0
    for row in range(B):
        expected = np.where(inside[row], by_linear[row], 0)
        if ranker.method_ != "linear":
            assert model.linear_share == (LINEAR_SHARE if ranker.method_ == "mixed" else 0.0)
            sifted = np.where(inside[row], sums_of(model.sieve, rows[row]), -np.inf)
            order = np.argsort(-sifted, kind="stable")
            expected = sigmoid(sifted)
            best = order[:N_BOOSTED]
            by_trees = sums_of(model.trees, rows[row, best])
            by_both = np.log(by_linear[row, best] / (1 - by_linear[row, best]))
            has_points = rows[row, best, frequency] > 0
            n_unseen += int((~has_points).sum())
            share = model.linear_share * has_points
            expected[best] = sigmoid((1 - share) * by_trees + share * by_both)
            expected[order[N_BOOSTED:]] *= expected[best].min()
        np.testing.assert_allclose(scores[row], expected, rtol=1e-4, atol=1e-9)
    assert n_unseen or ranker.method_ == "linear"
    assert (scores >= 0).all() and (scores <= 1).all() and (scores[~inside] == 0).all()


def test_scores_do_not_depend_on_the_batch_or_the_threads(made, ranker, with_threads) -> None:
    ids = made["listed"].ids
    whole = ranker.score(made["rows"], ids)
    with with_threads(3):
        assert ranker.score(made["rows"], ids).tobytes() == whole.tobytes()
    for row in (0, 50):
        one = ranker.score(made["rows"][row : row + 1], ids[row : row + 1])
        assert one.tobytes() == whole[row : row + 1].tobytes()


def test_scores_of_the_fit_are_out_of_fold(made: dict[str, Any]) -> None:
    """What is learned of labels at random helps on the points of the fit alone."""
    rng = np.random.default_rng(0)
    inside = made["listed"].ids >= 0
    relevant = (rng.random(inside.shape) < 0.1) & inside
    ranker = FinalRanker("trees", names=made["names"])
    out_of_fold = ranker.fit(made["rows"], made["listed"].ids, relevant)
    on_itself = ranker.score(made["rows"], made["listed"].ids)

    def mean_precision(scores: Any) -> float:
        return float(np.take_along_axis(relevant, scores.argmax(axis=1)[:, None], 1).mean())

    assert mean_precision(on_itself) > 0.6 > 0.3 > mean_precision(out_of_fold)


def test_the_simplest_of_the_best_is_taken(made: dict[str, Any]) -> None:
    ids, rows = made["listed"].ids, made["rows"].astype(np.float64)
    chance = sigmoid(rows[:, :, 0] + 2 * rows[:, :, 1] + 3 * rows[:, :, 2] - 1)
    drawn = (np.random.default_rng(0).random(ids.shape) < chance) & (ids >= 0)
    ranker = FinalRanker(names=made["names"])
    ranker.fit(made["rows"], ids, drawn)
    report = ranker.report_
    assert set(report["precision"]) == {"fixed", "mixed"}
    assert report["precision"]["mixed"] > report["precision"]["fixed"]
    assert ranker.method_ == "mixed"
    assert report["weights"]["word_votes"] > report["weights"]["vector_votes"] >= 0
    inside = np.ones((100, 5), bool)
    relevant = np.zeros((100, 5), bool)
    relevant[:, 1] = True
    bad, good = np.tile(np.arange(5.0), (100, 1)), relevant.astype(float)
    choose = module.simplest_of_the_best
    assert choose({"fixed": good, "mixed": good}, inside, relevant) == "fixed"
    assert choose({"fixed": bad, "mixed": good}, inside, relevant) == "mixed"


def test_a_mixed_ranker_is_better_than_trees_that_have_too_few_points(made: dict[str, Any]) -> None:
    """Data that a log-linear model made, of which trees learn too little."""
    ids, rows = made["listed"].ids, made["rows"].astype(np.float64)
    chance = sigmoid(rows[:, :, 0] + 2 * rows[:, :, 1] + 3 * rows[:, :, 2] - 1)
    drawn = (np.random.default_rng(0).random(ids.shape) < chance) & (ids >= 0)
    precision = {}
    for method in ("trees", "mixed"):
        ranker = FinalRanker(method, names=made["names"])
        ranker.fit(made["rows"], ids, drawn)
        precision[method] = ranker.report_["precision"][method]
    assert precision["trees"] + 1 < precision["mixed"]


def test_where_no_trees_can_grow_the_ranker_is_linear_and_can_be_saved(
    made, tmp_path, monkeypatch
) -> None:
    rows, ids = made["rows"], made["listed"].ids
    monkeypatch.setattr(module, "_fit_boosted", lambda *_: None)  # one kind of outcome
    for method in ("trees", "mixed"):
        ranker = FinalRanker(method, names=made["names"])
        ranker.fit(rows, ids, made["relevant"])
        assert ranker.method_ == "linear"
        ranker.save_pretrained(tmp_path / method)
        again = FinalRanker.from_pretrained(tmp_path / method)
        assert again.score(rows, ids).tobytes() == ranker.score(rows, ids).tobytes()


def test_rankers_from_before_there_were_mixed_ones_answer_as_they_did(made, tmp_path) -> None:
    rows, ids = made["rows"], made["listed"].ids
    ranker = FinalRanker("trees", names=made["names"])
    ranker.fit(rows, ids, made["relevant"])
    ranker.save_pretrained(tmp_path / "f")
    path = tmp_path / "f" / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["config"]["linear_share"]
    path.write_text(json.dumps(manifest))
    old = FinalRanker.from_pretrained(tmp_path / "f")
    assert old.score(rows, ids).tobytes() == ranker.score(rows, ids).tobytes()


def test_a_saved_final_ranker_scores_the_same(made, ranker, tmp_path) -> None:
    ranker.save_pretrained(tmp_path / "f")
    again = FinalRanker.from_pretrained(tmp_path / "f")
    assert again.method_ == ranker.method_ and again.report_ == ranker.report_
    ids = made["listed"].ids
    assert again.score(made["rows"], ids).tobytes() == ranker.score(made["rows"], ids).tobytes()
    for mine, theirs in zip(again.names, ranker.names, strict=True):
        assert mine.tobytes() == theirs.tobytes()


@pytest.mark.parametrize("n_known", [N_BEFORE_NAMES, N_BEFORE_SPELLING])
def test_rankers_that_know_less_evidence_answer_as_they_did(made, tmp_path, n_known) -> None:
    rows, ids = made["rows"], made["listed"].ids
    ranker = FinalRanker("trees", names=made["names"])
    ranker.fit(rows[:, :, :n_known], ids, made["relevant"])
    ranker.save_pretrained(tmp_path / "f")
    path = tmp_path / "f" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["config"]["evidence"] = list(EVIDENCE[:n_known])
    del manifest["config"]["n_named"]
    path.write_text(json.dumps(manifest))
    old = FinalRanker.from_pretrained(tmp_path / "f")
    assert old.n_named == 0 and old.name_lists(V) is None
    assert old.alike is None and old.alike_lists(V) is None
    expected = ranker.score(rows[:, :, :n_known], ids)
    assert old.score(rows, ids).tobytes() == expected.tobytes()


@pytest.mark.parametrize("change", [{"n_named": -1}, {"n_named": 10**9}, {"evidence": ["log_p"]}])
def test_a_hostile_manifest_is_refused(made, tmp_path, change) -> None:
    ranker = FinalRanker("linear", names=made["names"], n_named=20)
    ranker.fit(made["rows"], made["listed"].ids, made["relevant"]).tobytes()
    ranker.save_pretrained(tmp_path / "f")
    assert FinalRanker.from_pretrained(tmp_path / "f").n_named == 20
    path = tmp_path / "f" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["config"].update(change)
    path.write_text(json.dumps(manifest))
    with pytest.raises(ModelFormatError):
        FinalRanker.from_pretrained(tmp_path / "f")


DAMAGES: dict[str, tuple[str, Any]] = {
    "a circle": ("left", lambda a: np.where(a >= 0, 0, a).astype(np.int32)),
    "a child beyond": ("right", lambda a: np.where(a >= 0, 1 << 30, a).astype(np.int32)),
    "one child": ("right", lambda a: np.full_like(a, -1)),
    "a root beyond": ("roots", lambda a: a + (1 << 20)),
    "a root below": ("roots", lambda a: a - 1),
    "a feature beyond": ("feature", lambda a: a + len(EVIDENCE)),
    "NaN": ("threshold", lambda a: a * np.nan),
    "many leaves": (
        "left",
        lambda a: np.where(np.arange(len(a)) < len(a) - 2, np.arange(1, 1 + len(a)), -1).astype(
            np.int32
        ),
    ),
    "no trees": ("roots", lambda a: a[:0]),
    "infinite weight": ("weights", lambda a: a * np.inf),
    "few weights": ("weights", lambda a: a[:3]),
    "names beyond": ("name_indptr", lambda a: a * 2),
    "names below": ("name_terms", lambda a: a - V),
}


@pytest.mark.parametrize("ranker", ["trees"], indirect=True)
@pytest.mark.parametrize("damage", DAMAGES)
def test_hostile_arrays_are_refused(made, ranker, tmp_path, damage) -> None:
    ranker.save_pretrained(tmp_path / "f")
    path = tmp_path / "f" / "final_ranker.safetensors"
    name, change = DAMAGES[damage]
    arrays = load_arrays(path)
    arrays[name] = change(arrays[name])
    path.unlink()
    save_arrays(path, arrays)
    sign(tmp_path / "f")
    with pytest.raises(ModelFormatError):
        FinalRanker.from_pretrained(tmp_path / "f")


@pytest.mark.parametrize("n", [1, 7, 30])
def test_the_best_come_first(n: int) -> None:
    rng = np.random.default_rng(n)
    ids = rng.permutation(200)[:160].reshape(4, 40).astype(np.int64)
    scores = rng.integers(0, 9, (4, 40)).astype(np.float32)  # many are equal
    ids[:, ::5] = -1
    found = np.empty((4, n), np.int64), np.empty((4, n), np.float32)
    assert best_first(ids, scores, *found)
    order = np.argsort(-np.where(ids < 0, -np.inf, scores), axis=1, kind="stable")[:, :n]
    np.testing.assert_array_equal(found[0], np.take_along_axis(ids, order, axis=1))
    np.testing.assert_array_equal(found[1], np.take_along_axis(scores, order, axis=1))
    ids[2, : 41 - n] = -1
    assert not best_first(ids, scores, *found)


def test_what_cannot_be_learned_from_is_refused(made: dict[str, Any]) -> None:
    ids, rows, relevant = made["listed"].ids, made["rows"], made["relevant"]
    ranker = FinalRanker(names=made["names"])
    with pytest.raises(NotFittedError):
        ranker.score(rows, ids)
    with pytest.raises(InputError, match="needs 8 points"):
        ranker.fit(rows[:5], ids[:5], relevant[:5])
    with pytest.raises(InputError, match="both kinds"):
        ranker.fit(rows, ids, np.zeros_like(relevant))
    with pytest.raises(InputError, match="expected auto"):
        FinalRanker("forest", names=made["names"])  # type: ignore[arg-type]


def test_what_is_spelled_alike_is_saved_with_the_names(made, tmp_path) -> None:
    rng = np.random.default_rng(5)
    alike = name_terms(sp.random(L, V, 0.2, "csr", np.float32, rng))
    ranker = FinalRanker("linear", names=made["names"], n_named=20, alike=alike)
    ranker.fit(made["rows"], made["listed"].ids, made["relevant"])
    ranker.save_pretrained(tmp_path / "f")
    again = FinalRanker.from_pretrained(tmp_path / "f")
    for mine, theirs in zip(again.alike, alike, strict=True):
        assert mine.tobytes() == theirs.tobytes()
    assert ranker.nbytes == sum(part.nbytes for part in (*made["names"], *alike)) + sum(
        part.nbytes for trees in (again._model.sieve, again._model.trees) for part in trees.values()
    )
    path = tmp_path / "f" / "final_ranker.safetensors"
    for field, change in (
        ("alike_indptr", lambda a: a[:-1]),
        ("alike_terms", lambda a: a - 1),
        ("alike_weights", lambda a: a + 1),
    ):
        arrays = load_arrays(path)
        save_arrays(path, {**arrays, field: change(arrays[field])})
        with pytest.raises(ModelFormatError):
            FinalRanker.from_pretrained(tmp_path / "f", verify=False)
        save_arrays(path, arrays)


def test_it_learns_from_one_model_and_is_asked_of_another(made) -> None:
    """Scores out of fold are those of models that learned from the other evidence."""
    rows, ids, relevant = made["rows"], made["listed"].ids, made["relevant"]
    other = EvidencePoints(
        ids[:, ::-1].copy(), rows[:, ::-1] * np.float32(0.5), relevant[:, ::-1].copy()
    )
    ranker = FinalRanker("linear", names=made["names"])
    scores = ranker.fit(rows, ids, relevant, learned=other)
    alone = FinalRanker("linear", names=made["names"])
    alone.fit(other.evidence_BKF, other.ids_BK, other.relevant_BK)
    assert ranker.score(rows, ids).tobytes() == alone.score(rows, ids).tobytes()
    folds = folds_of(np.arange(B), np.arange(B), 0)
    held = folds == 1
    one = FinalRanker("linear", names=made["names"])
    one.fit(other.evidence_BKF[~held], other.ids_BK[~held], other.relevant_BK[~held])
    np.testing.assert_allclose(scores[held], one.score(rows[held], ids[held]), rtol=1e-6)
