"""Labels that go, or are called otherwise: at once, exactly, and for good."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
from conftest import tiny_dataset
from elias_cases import finally_ranked, fitted, new_model, queries, train_data, without_ranker

from learned_index import ELIAS, LearnedGraphIndex, SearchEngine
from learned_index.errors import InputError
from learned_index.evaluation.evaluate import evaluate


@pytest.fixture(scope="module")
def models() -> dict[str, ELIAS]:
    train = train_data()
    trees = finally_ranked("trees")
    return {
        "trees": trees,
        "compiled": trees.to_engine(),
        "product": fitted(),
        "ensemble": fitted(n_models=2),
        "alone": without_ranker().fit(train.texts, train.labels, vocabulary=train.vocabulary),
    }


KINDS = ("trees", "compiled", "product", "ensemble", "alone")


def best_labels(model: ELIAS, n: int = 2) -> list[int]:
    """Labels that many queries find first: those whose absence is noticed."""
    ids = model.search(queries(), 3).ids
    counts = np.bincount(ids[ids >= 0], minlength=model.n_labels)
    return np.argsort(-counts, kind="stable")[:n].tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_a_removed_label_is_never_an_answer(models, kind):
    model = models[kind]
    gone = best_labels(model)
    before = model.search(queries(), model.n_labels)
    fewer = model.remove_labels(gone)
    assert fewer.removed_labels == frozenset(gone)
    for score in ("ranking", "index"):
        ids = fewer.search(queries(), model.n_labels, score=score).ids
        assert not np.isin(ids, gone).any() and (ids >= 0).any()
    assert (fewer.search(queries(), 3, allow=gone).ids == -1).all()
    again = model.search(queries(), model.n_labels)  # the old model is as it was
    np.testing.assert_array_equal(again.ids, before.ids)
    np.testing.assert_array_equal(again.scores, before.scores)


@pytest.mark.parametrize("kind", KINDS)
def test_others_are_scored_by_the_index_as_before(models, kind):
    """The oracle: the same model, asked not to find these labels."""
    model = models[kind]
    gone = best_labels(model)
    fewer = model.remove_labels(gone)
    denied = model.search(queries(), 4, score="index", deny=gone)
    found = fewer.search(queries(), 4, score="index")
    full = (denied.ids >= 0).all(axis=1) & (found.ids >= 0).all(axis=1)
    assert full.sum() > 5  # a search that is asked not to find something looks further
    np.testing.assert_array_equal(found.ids[full], denied.ids[full])
    np.testing.assert_allclose(found.scores[full], denied.scores[full], rtol=1e-6)
    x = model.encode(queries())[0]
    for member, less in zip(model.members, fewer.members, strict=True):
        unasked, kept = (each.search(x, model.n_labels) for each in (member, less))
        for row in range(len(x)):
            scores = dict(zip(unasked.ids[row], unasked.scores[row], strict=True))
            for label, score in zip(kept.ids[row], kept.scores[row], strict=True):
                if label in scores:
                    assert score == pytest.approx(scores[label], rel=1e-6)


@pytest.mark.parametrize("kind", ["trees", "compiled", "alone"])
def test_removals_are_saved_and_add_up(models, kind, tmp_path):
    first, second = best_labels(models[kind])
    model = models[kind].remove_labels([first]).remove_labels(models[kind].vocabulary.name(second))
    assert model.removed_labels == {first, second}
    model.save_pretrained(tmp_path / "model")
    loaded = ELIAS.from_pretrained(tmp_path / "model")
    assert loaded.removed_labels == {first, second}
    assert loaded.vocabulary == models[kind].vocabulary  # ids and keys stay
    expected, found = (m.search(queries(), 5) for m in (model, loaded))
    np.testing.assert_array_equal(found.ids, expected.ids)
    np.testing.assert_array_equal(found.scores, expected.scores)
    loaded.save_pretrained(tmp_path / "model", overwrite=True)  # what is mapped may be replaced
    np.testing.assert_array_equal(loaded.search(queries(), 5).ids, expected.ids)


def test_records_do_not_suggest_removed_labels(models):
    model, gone = models["trees"], best_labels(models["trees"])
    fewer = model.remove_labels(gone)
    sparse, x = model.features.encode(queries()), model.encode(queries())[0]
    nothing = np.full((len(x), 1), -1, np.int64)
    before = model.records_.votes(sparse, x, nothing, n_added=20)
    after = fewer.records_.votes(sparse, x, nothing, n_added=20)
    assert np.isin(before.added, gone).any() and not np.isin(after.added, gone).any()
    for row in range(len(x)):  # votes of the others are untouched
        was, now = (
            dict(
                zip(v.added[row], np.stack([v.words, v.vectors], 2)[row, 1:].tolist(), strict=True)
            )
            for v in (before, after)
        )
        for label in set(was) & set(now) - {-1}:
            assert now[label] == pytest.approx(was[label])
    counts = np.bincount(model.records_._memory.label_ids, minlength=model.n_labels)
    counts[gone] = 0
    left = np.bincount(fewer.records_._memory.label_ids, minlength=model.n_labels)
    np.testing.assert_array_equal(left, counts)


def test_what_was_removed_cannot_be_explained(models):
    model = models["trees"].remove_labels([1])
    with pytest.raises(InputError, match="was removed"):
        model.explain(queries(1)[0], [0, 1])
    assert model.explain(queries(1)[0], 0)


def test_all_labels_may_go_and_fitting_begins_anew():
    train = train_data()
    model = fitted()
    empty = model.remove_labels(range(model.n_labels))
    assert (empty.search(queries(), 3).ids == -1).all()
    assert not new_model().fit(train.texts, train.labels).removed_labels
    fresh = empty.fit(train.texts, train.labels, vocabulary=train.vocabulary)
    assert not fresh.removed_labels and (fresh.search(queries(), 3).ids >= 0).any()


@pytest.mark.parametrize("deep", [False, True])
def test_an_index_and_its_engine_by_themselves(deep):
    rng = np.random.default_rng(0)
    labels = sp.random(400, 40, 0.05, format="csr", random_state=1)
    labels.data[:] = 1
    index = LearnedGraphIndex().fit(rng.normal(size=(400, 16)).astype(np.float32), labels)
    if deep:
        index.build_hierarchy(rng.normal(size=(400, 16)).astype(np.float32))
    mask = np.zeros(40, bool)
    mask[[3, 5]] = True
    queries_BD = rng.normal(size=(50, 16)).astype(np.float32)
    for searcher in (index, index.to_engine()):
        fewer = searcher.remove_labels(mask)
        assert type(fewer) in (LearnedGraphIndex, SearchEngine)
        found = fewer.search(queries_BD, 40)
        assert not np.isin(found.ids, [3, 5]).any()
        assert np.isin(searcher.search(queries_BD, 40).ids, [3, 5]).any()
    assert not np.isin(index.remove_labels([3]).to_engine().search(queries_BD, 40).ids, 3).any()


@pytest.mark.parametrize("kind", ["trees", "product", "ensemble", "alone"])
def test_merged_labels_are_answered_as_the_one_that_stays(models, kind):
    model = models[kind]
    gone, kept = best_labels(model)
    merged = model.merge_labels({gone: kept})
    assert merged.removed_labels == {gone}
    before = model.search(queries(), 5, score="index")
    after = merged.search(queries(), 5, score="index")
    assert not (after.ids == gone).any()
    had = np.isin(before.ids[:, 0], [gone, kept])
    assert had.sum() > 3 and (after.ids[had] == kept).any(axis=1).all()


def test_a_merged_label_has_the_means_edges_and_records_of_both(models):
    model = models["trees"]
    gone, kept = best_labels(model)
    merged = model.merge_labels({model.vocabulary.keys[gone]: model.vocabulary.keys[kept]})
    n_gone, n_kept = model.label_counts[[gone, kept]]

    def mean(values):
        return (n_gone * values[gone] + n_kept * values[kept]) / (n_gone + n_kept)

    for old, new in zip(
        model.index.label_classifiers(), merged.index.label_classifiers(), strict=True
    ):
        np.testing.assert_allclose(new[kept], mean(old), rtol=1e-5)
        others = np.delete(np.arange(model.n_labels), [gone, kept])
        np.testing.assert_array_equal(new[others], old[others])
    sparse, x = model.features.encode(queries()), model.encode(queries())[0]
    ids = np.tile(np.arange(model.n_labels), (len(x), 1))
    q_old, q_new = (m.ranker_.score(sparse, x, ids) for m in (model, merged))
    np.testing.assert_allclose(q_new[:, kept], mean(q_old.T), atol=1e-4)
    np.testing.assert_allclose(q_new[:, others], q_old[:, others], atol=1e-5)

    def dense(graph):
        labels_CM, weights_CM = graph.arrays()
        table = np.zeros((len(labels_CM), graph.n_labels))
        rows, columns = np.nonzero(labels_CM >= 0)
        assert len(set(zip(rows, labels_CM[rows, columns], strict=True))) == len(rows)
        table[rows, labels_CM[rows, columns]] = weights_CM[rows, columns]
        return table

    was, now = dense(model.index.graph), dense(merged.index.graph)
    np.testing.assert_array_equal(now[:, kept], np.maximum(was[:, gone], was[:, kept]))
    np.testing.assert_array_equal(now[:, others], was[:, others])
    assert not now[:, gone].any()
    has = model.records_.points()[2].toarray()
    either = (has[:, gone] > 0) | (has[:, kept] > 0)
    np.testing.assert_array_equal(merged.records_.points()[2].toarray()[:, kept] > 0, either)
    both = int(((has[:, gone] > 0) & (has[:, kept] > 0)).sum())
    assert merged.label_counts[kept] == n_gone + n_kept - both
    assert merged.label_counts[gone] == 0


def test_merged_models_are_saved_and_compiled(models, tmp_path):
    model = models["trees"]
    gone, kept = best_labels(model)
    merged = model.merge_labels({gone: kept})
    merged.save_pretrained(tmp_path / "model")
    loaded = ELIAS.from_pretrained(tmp_path / "model")
    np.testing.assert_array_equal(loaded.search(queries(), 5).ids, merged.search(queries(), 5).ids)
    assert not (loaded.to_engine().search(queries(), 9).ids == gone).any()


@pytest.mark.parametrize("kind", ["trees", "ensemble", "alone"])
def test_labels_of_a_compiled_model_merge_as_those_of_the_model_it_is_made_of(models, kind):
    model = models[kind]
    gone, kept = best_labels(model)
    compiled, fast = model.merge_labels({gone: kept}).to_engine(), model.to_engine()
    merged = fast.merge_labels({gone: kept})
    first, second = (m.search(queries(), 3) for m in (compiled, merged))
    assert (first.ids[:, 0] == second.ids[:, 0]).mean() > 0.9
    assert not (second.ids == gone).any() and (fast.search(queries(), 3).ids == gone).any()
    assert merged.removed_labels == {gone} and merged.merged_labels == {gone: kept}
    np.testing.assert_array_equal(merged.label_counts, compiled.label_counts)


def test_a_renamed_label_keeps_its_id_and_key(models, tmp_path):
    model = models["trees"]
    old = model.vocabulary.name(2)
    renamed = model.rename_labels({old: "Baked goods"})
    assert renamed.vocabulary.name(2) == "Baked goods"
    assert renamed.vocabulary.keys == model.vocabulary.keys
    assert model.vocabulary.name(2) == old
    renamed.save_pretrained(tmp_path / "model")
    loaded = ELIAS.from_pretrained(tmp_path / "model")
    found = loaded.search(queries(), 5)
    np.testing.assert_array_equal(found.scores, renamed.search(queries(), 5).scores)
    assert loaded.vocabulary.id("Baked goods") == 2


def test_new_names_are_evidence(models):
    model, text = models["trees"], queries(1)[0]

    def match(of: ELIAS) -> float:
        evidence = of.explain(text, 2)[0].evidence
        return next(each.value for each in evidence if each.name == "name_match")

    assert match(model.rename_labels({2: text})) == pytest.approx(1.0, abs=1e-5)
    assert match(model.rename_labels({2: "zzz unheard"})) == 0.0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: m.remove_labels(["nothing like it"]), "no label is called"),
        (lambda m: m.remove_labels([10**6]), "expected 0 to"),
        (lambda m: m.rename_labels({"nothing like it": "x"}), "no label is called"),
        (lambda m: m.rename_labels({10**6: "x"}), "out of range"),
        (lambda m: m.rename_labels({0: "a\nb"}), "label 0"),
        (lambda m: m.rename_labels({0: 5}), "expected a string"),
        (lambda m: m.rename_labels([("a", "b")]), "expected a dictionary"),
        (lambda m: m.rename_labels({0: "x", m.vocabulary.keys[0]: "y"}), "two names"),
        (lambda m: new_model().remove_labels([0]), "not trained"),
        (lambda m: m.merge_labels({}), "expected {label"),
        (lambda m: m.merge_labels({0: 0}), "goes itself"),
        (lambda m: m.merge_labels({0: 1, 1: 2}), "goes itself"),
        (lambda m: m.merge_labels({0: 10**6}), "expected"),
        (lambda m: m.remove_labels([1]).merge_labels({0: 1}), "was removed"),
        (lambda m: m.index.merge_labels({0: 1}, weights=[1]), r"numbers"),
    ],
)
def test_changes_that_cannot_be_are_refused(models, change, said):
    with pytest.raises(Exception, match=said):
        change(models["trees"])


def test_data_that_name_a_merged_label_are_read_as_naming_the_one_that_stays(models, tmp_path):
    """Measured on data of old keys as on data in which they were changed; so are updates."""
    model, old = models["trees"], tiny_dataset("test", 60, seed=2)
    a, b, c = (int(n) for n in np.argsort(-model.label_counts, kind="stable")[:3])
    twice = model.merge_labels({a: b}).merge_labels({b: c})
    assert twice.merged_labels == {a: c, b: c}
    twice.save_pretrained(tmp_path / "model")
    merged = ELIAS.from_pretrained(tmp_path / "model")
    assert merged.merged_labels == twice.merged_labels
    assert model.merged_labels == {} and model.remove_labels([a]).merged_labels == {}
    dense = old.labels.toarray()
    dense[:, c] = dense[:, [a, b, c]].max(axis=1)
    dense[:, [a, b]] = 0
    changed = replace(old, labels=sp.csr_matrix(dense))
    names = ("P@1", "P@5", "R@10", "PSP@5", "n_unseen_labels")
    ours, theirs = (evaluate(merged, data) for data in (old, changed))
    assert [ours[name] for name in names] == [theirs[name] for name in names]
    before = merged.label_counts[c]
    learned = merged.update(["bread sort rain", "rain"], [[a, c], [b]])
    assert learned.label_counts[c] == before + 2
