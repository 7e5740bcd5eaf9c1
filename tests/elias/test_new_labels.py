"""Labels that join a trained model: they are found, nothing else changes, and all is saved."""

import numpy as np
import pytest
import scipy.sparse as sp
from elias_cases import finally_ranked, fitted, new_model, queries

from learned_index import ELIAS, LearnedGraphIndex
from learned_index.elias.new_labels import N_NEGATIVES
from learned_index.errors import InputError
from learned_index.ranking.records import Records
from learned_index.ranking.sparse_ranker import SparseRanker

SHIPS = [
    "sort rain bread sort rain bread",
    "bread sort rain rain sort bread",
    "rain bread sort",
]
"""Words of three other topics, together as in no training text."""


@pytest.fixture(scope="module")
def model() -> ELIAS:
    return finally_ranked("trees")


@pytest.fixture(scope="module")
def grown(model: ELIAS) -> ELIAS:
    return model.add_labels({"mixed": SHIPS, "piano": []}, texts={"mixed": "Mixed things"})


def test_new_labels_are_found_by_examples_and_by_name(model, grown):
    assert grown.n_labels == model.n_labels + 2
    assert [name for name, _ in grown.predict([SHIPS[0]], 1)[0]] == ["Mixed things"]
    assert "piano" in [name for name, _ in grown.predict(["piano"], 5)[0]]
    ids = grown.search([SHIPS[1]], 5, score="index").ids
    assert model.n_labels in ids


def test_known_labels_keep_their_scores_from_the_index(model, grown):
    width = model.n_labels + 2
    before, after = (m.search(queries(), width, score="index") for m in (model, grown))
    for row in range(len(before.ids)):
        old = before.ids[row][before.ids[row] >= 0]
        new = after.ids[row][(after.ids[row] >= 0) & (after.ids[row] < model.n_labels)]
        np.testing.assert_array_equal(new, old)
        scores = after.scores[row][np.isin(after.ids[row], old)]
        np.testing.assert_array_equal(scores, before.scores[row][: len(old)])


def test_known_labels_keep_their_margins(model, grown):
    sparse, x = model.features.encode(queries()), model.encode(queries())[0]
    ids = np.tile(np.arange(model.n_labels), (len(x), 1))
    np.testing.assert_array_equal(
        grown.ranker_.score(sparse, x, ids), model.ranker_.score(sparse, x, ids)
    )


def test_the_old_model_is_as_it_was():
    model = finally_ranked("trees")
    before = model.search(queries(), 5)
    model.add_labels({"mixed": SHIPS})
    after = model.search(queries(), 5)
    np.testing.assert_array_equal(after.ids, before.ids)
    np.testing.assert_array_equal(after.scores, before.scores)


def test_the_new_classifiers_of_the_ranker_tell_their_examples(model, grown):
    sparse, x = model.features.encode(SHIPS), model.encode(SHIPS)[0]
    label = np.full((len(SHIPS), 1), model.n_labels)
    assert (grown.ranker_.score(sparse, x, label) > 0).all()
    others = queries()
    sparse, x = model.features.encode(others), model.encode(others)[0]
    label = np.full((len(others), 1), model.n_labels)
    assert (grown.ranker_.score(sparse, x, label) < 0).mean() > 0.9


def test_counts_names_and_keys(model, grown):
    assert grown.vocabulary.keys == (*model.vocabulary.keys, "mixed", "piano")
    assert grown.label_counts.tolist() == [*model.label_counts.tolist(), len(SHIPS), 0]
    why = grown.explain(SHIPS[0], "Mixed things")[0]
    assert why.n_points == len(SHIPS) and why.place == 1
    assert why.records.by_words[0].has_label


def test_a_grown_model_is_saved_compiled_grown_and_shrunk_again(grown, tmp_path):
    grown.save_pretrained(tmp_path / "model")
    loaded = ELIAS.from_pretrained(tmp_path / "model")
    expected, found = (m.search([*SHIPS, *queries()], 5) for m in (grown, loaded))
    np.testing.assert_array_equal(found.ids, expected.ids)
    np.testing.assert_array_equal(found.scores, expected.scores)
    compiled = loaded.to_engine()
    assert compiled.predict([SHIPS[0]], 1)[0][0][0] == "Mixed things"
    twice = loaded.add_labels({"third": SHIPS[:1]})
    assert twice.n_labels == grown.n_labels + 1
    gone = twice.remove_labels(["mixed", "third"])
    assert "Mixed things" not in dict(gone.predict([SHIPS[0]], 20)[0])


def test_a_compiled_model_grows_too_and_is_compiled_again(model, grown, tmp_path):
    names = {"mixed": "Mixed things"}
    compiled = model.to_engine()
    more = compiled.add_labels({"mixed": SHIPS, "piano": []}, texts=names)
    assert more.vocabulary.keys == grown.vocabulary.keys
    assert [name for name, _ in more.predict([SHIPS[0]], 1)[0]] == ["Mixed things"]
    assert "piano" in [name for name, _ in more.predict(["piano"], 5)[0]]
    assert compiled.n_labels == model.n_labels and more.engines()[0].n_new_labels == 2
    asked = [*SHIPS, *queries()]
    more.save_pretrained(tmp_path / "more")
    loaded = ELIAS.from_pretrained(tmp_path / "more")
    again = loaded.compact()
    assert again.engines()[0].n_new_labels == 0
    expected = more.search(asked, 5)
    for other in (loaded, again):
        found = other.search(asked, 5)
        np.testing.assert_array_equal(found.ids, expected.ids)
        np.testing.assert_array_equal(found.scores, expected.scores)
    twice = loaded.add_labels({"third": SHIPS[:1]})
    assert twice.engines()[0].n_new_labels == 3
    gone = twice.remove_labels(["mixed", "third"])
    assert "Mixed things" not in dict(gone.predict([SHIPS[0]], 20)[0])
    assert more.score([SHIPS[0]], ["Mixed things"])[0, 0] > 0
    assert more.explain(SHIPS[0], "Mixed things")[0].place == 1
    merged = more.merge_labels({"mixed": "piano"})
    assert "Mixed things" not in dict(merged.predict([SHIPS[0]], 20)[0])
    assert merged.predict([SHIPS[0]], 1)[0][0][0] == "piano"
    with pytest.raises(InputError, match="not compiled"):
        grown.compact()


def test_labels_that_join_together_are_learned_as_one_by_one(model):
    """The oracle of what is computed for all of them at once: a loop over the labels."""
    labels = {"mixed": SHIPS, "oven": ["oven bread oven"], "two": SHIPS[1:]}
    grown, first = model.add_labels(labels), model.n_labels
    texts = [text for key, own in labels.items() for text in (*own, key)]
    texts = [text for text in texts if text not in ("mixed", "two")]  # names of unknown words
    owner = np.array([0, 0, 0, 1, 1, 2, 2])
    sparse, x = model.features.encode(texts), model.encode(texts)[0]
    terms, unit, _ = model.records_.points()
    hard = np.full((len(unit) + len(x), len(labels)), -1)
    for number in range(len(labels)):
        mean = x[owner == number].mean(axis=0)
        near, likeness = model.records_.by_vectors(mean[None], count=N_NEGATIVES)[0][0], unit @ mean
        # Signed bytes stand for what is asked: no record is left out that is clearly nearer.
        left_out = np.setdiff1d(np.arange(len(unit)), near)
        assert likeness[left_out].max() < likeness[near].min() + 0.01 * np.linalg.norm(mean)
        hard[near, number] = number
    own = sp.csr_matrix((np.ones(len(x)), (len(unit) + np.arange(len(x)), owner)),
                        shape=(len(hard), len(labels)))  # fmt: skip
    plain = SparseRanker(model.ranker_.config).fit(
        sp.vstack([terms, sparse], format="csr"), np.concatenate([unit, x]), own, hard
    )
    for name in ("weight_LD", "bias_L"):
        mine, theirs = (getattr(ranker._weights, name) for ranker in (grown.ranker_, plain))
        np.testing.assert_array_equal(mine[first:], theirs, err_msg=name)
    mine, theirs = grown.ranker_.sparse_weights()[first:], plain.sparse_weights()
    np.testing.assert_array_equal(mine.toarray(), theirs.toarray())
    for number, (key, examples) in enumerate(labels.items()):
        alone = model.add_labels({key: examples}).members[0].label_classifiers()
        for mine, theirs in zip(grown.members[0].label_classifiers(), alone, strict=True):
            np.testing.assert_allclose(mine[first + number], theirs[first], atol=1e-4)


def test_ensembles_grow_in_every_member():
    model = finally_ranked("linear", n_models=2)
    grown = model.add_labels({"mixed": SHIPS})
    assert [member.n_labels for member in grown.members] == [model.n_labels + 1] * 2
    assert "mixed" in dict(grown.predict([SHIPS[0]], 3)[0])
    compiled = model.to_engine().add_labels({"mixed": SHIPS})
    assert [engine.n_new_labels for engine in compiled.engines()] == [1, 1]
    assert "mixed" in dict(compiled.predict([SHIPS[0]], 3)[0])


def test_records_stay_what_they_were_with_more_of_them():
    """The oracle: all records remembered at once, in the same cells."""
    rng = np.random.default_rng(0)
    n, m, n_labels = 60, 7, 9
    sparse = sp.random(n + m, 40, 0.2, format="csr", random_state=2, dtype=np.float32)
    dense = rng.normal(size=(n + m, 8)).astype(np.float32)
    dense /= np.linalg.norm(dense, axis=1, keepdims=True)
    has = rng.random((n + m, n_labels)) < 0.3
    has[:, 0] = True
    labels = sp.csr_matrix(has, dtype=np.float32)
    cells = rng.integers(0, 5, n)
    old = Records.of(sparse[:n], dense[:n], labels[:n, :], np.sort(cells))
    grown = old.with_records(sparse[n:], dense[n:], labels[n:])
    nearest = np.argmax(dense[n:] @ old._memory.centroids_CD.T, axis=1)
    whole = Records.of(sparse, dense, labels, np.concatenate([np.sort(cells), nearest]))
    for name, array in whole._memory._asdict().items():
        if name != "centroids_CD":  # cells stay where they are
            np.testing.assert_array_equal(getattr(grown._memory, name), array, err_msg=name)
    terms, vectors, known = grown.points()
    order = np.argsort(np.concatenate([np.sort(cells), nearest]), kind="stable")
    np.testing.assert_array_equal(known.toarray(), labels[order].toarray())
    assert (vectors * dense[order]).sum(axis=1).min() > 0.999
    np.testing.assert_allclose(terms.toarray(), sparse[order].toarray(), atol=0.5 / 255 + 1e-6)


def test_an_index_learns_the_classifier_that_the_map_and_the_examples_ask_for():
    rng = np.random.default_rng(0)
    n_known, n_labels, n_points = 100, 103, 3000
    centres = rng.normal(size=(n_labels, 32)).astype(np.float32)
    owner = rng.integers(0, n_labels, n_points)
    x = centres[owner] + 0.8 * rng.normal(size=(n_points, 32)).astype(np.float32)
    labels = sp.csr_matrix(
        (np.ones(n_points, np.float32), owner, np.arange(n_points + 1)), (n_points, n_labels)
    )
    seen = owner < n_known
    known = (x[seen], labels[seen][:, :n_known])
    index = LearnedGraphIndex().fit(*known)
    rows = [np.flatnonzero(owner == label) for label in range(n_known, n_labels)]
    grown = index.add_labels([x[row[:5]] for row in rows], known=known)
    assert grown.n_labels == n_labels and index.n_labels == n_known
    test = np.concatenate([row[5:] for row in rows])
    assert (grown.search(x[test], 1).ids[:, 0] == owner[test]).mean() > 0.95
    before, after = (m.search(x[seen], 1).ids[:, 0] == owner[seen] for m in (index, grown))
    assert after.mean() > before.mean() - 0.01


@pytest.mark.parametrize(
    ("labels", "texts", "said"),
    [
        ({}, None, "expected {key"),
        (["new"], None, "expected {key"),
        ({"new": "one text"}, None, "expected a list of texts"),
        ({"new": [3]}, None, "expected a list of texts"),
        ({"new": ["  "]}, None, "blank"),
        ({"new": ["xyzzy plugh"]}, None, "knows no word"),
        ({"new": SHIPS}, {"other": "x"}, "no new label"),
        ({"a\tb": SHIPS}, None, "key"),
    ],
)
def test_labels_that_cannot_join_are_refused(model, labels, texts, said):
    with pytest.raises(InputError, match=said):
        model.add_labels(labels, texts=texts)


def test_models_that_cannot_grow_say_so(model):
    taken = model.vocabulary.keys[0]
    with pytest.raises(InputError, match="has, or had"):
        model.add_labels({taken: SHIPS})
    with pytest.raises(InputError, match="remembered training records"):
        fitted(records="no").add_labels({"mixed": SHIPS})
    with pytest.raises(Exception, match="not trained"):
        new_model().add_labels({"mixed": SHIPS})
