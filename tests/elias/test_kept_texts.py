"""Models that keep their texts: what is kept, and that an update trains all of them anew."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from conftest import tiny_dataset
from elias_cases import N_POINTS, check_damaged_model, finally_ranked, new_model, queries

from learned_index import ELIAS
from learned_index.elias.kept_texts import KeptTexts
from learned_index.encoders.lexical.lsa import FeatureSvdEncoder
from learned_index.errors import InputError

KEEPING = {"keep_texts": "yes", "validation_fraction": 0.4, "final_ranker": "trees"}
STRANGE = ["zebra quagga okapi", "okapi zebra", "quagga okapi zebra"]
"""Words that no training text has."""


@pytest.fixture(scope="module")
def model() -> ELIAS:
    return finally_ranked("trees", keep_texts="yes")


def same_answers(found, expected) -> None:
    np.testing.assert_array_equal(found.ids, expected.ids)
    np.testing.assert_array_equal(found.scores, expected.scores)


def test_texts_and_labels_are_kept_as_they_are(tmp_path) -> None:
    texts = ["Grün\x00 \ud83e", "left out", "", "日本語 \U0001f98a"]
    labels = sp.csr_matrix(np.array([[1, 0, 1], [0, 0, 0], [0, 1, 0], [1, 1, 1]], np.float32))
    kept = KeptTexts.of(texts[:3], labels[:3]).with_texts(texts[3:], labels[3:])
    kept.save_pretrained(tmp_path / "kept")
    for each in (kept, KeptTexts.from_pretrained(tmp_path / "kept")):
        assert each.texts() == [texts[0], texts[2], texts[3]] and len(each) == 3
        np.testing.assert_array_equal(each.labels(4).toarray()[:, :3], labels[[0, 2, 3]].toarray())
    with pytest.raises(InputError, match="another model"):
        kept.check(2)


def test_an_update_trains_all_anew_once_the_texts_have_doubled(model: ELIAS, tmp_path) -> None:
    more = tiny_dataset("train", N_POINTS, seed=7)
    before = model.search(queries(), 5)
    texts, labels = [*more.texts, *STRANGE], [list(row) for row in _rows(more.labels)]
    keys = list(model.vocabulary.keys)
    named = [[keys[label] for label in row] for row in labels] + [["okapi"]] * 3
    learned = model.update(texts, named)
    same_answers(model.search(queries(), 5), before)
    assert learned.n_indexed == learned.n_points == 2 * N_POINTS + 3
    assert learned.predict([STRANGE[0]], 1)[0][0][0] == "okapi"
    first = tiny_dataset("train", N_POINTS, seed=0)
    every = [[keys[label] for label in row] for row in _rows(first.labels)] + named
    whole = new_model(**KEEPING).fit([*first.texts, *texts], every, vocabulary=learned.vocabulary)
    same_answers(learned.search(queries(), 5), whole.search(queries(), 5))
    learned.save_pretrained(tmp_path / "model")
    loaded = ELIAS.from_pretrained(tmp_path / "model")
    assert loaded.texts_.texts() == [*first.texts, *texts]


def _rows(labels: sp.csr_matrix) -> list[np.ndarray]:
    return np.split(labels.indices, labels.indptr[1:-1])


def test_before_that_it_learns_as_others_do_and_keeps_the_texts(model: ELIAS) -> None:
    learned = model.update(["bread rain"], [["Cooking"]]).learn("oven rain", "new one")
    learned = learned.add_labels({"third": ["sort bread", "rain sort"]})
    assert learned.n_indexed == model.n_indexed
    assert learned.texts_.texts()[N_POINTS:] == [
        "bread rain",
        "oven rain",
        "sort bread",
        "rain sort",
    ]
    labels = learned.texts_.labels(learned.n_labels)[N_POINTS:].indices.tolist()
    n = model.n_labels
    assert labels == [model.vocabulary.id("Cooking"), n, n + 1, n + 1]
    assert len(model.texts_) == N_POINTS and model.to_engine().texts_ is None


def test_removed_and_merged_labels_stay_away(model: ELIAS) -> None:
    ids = model.search(queries(), 2).ids
    gone, merged = (int(ids[0, column]) for column in (0, 1))
    stays = next(label for label in range(model.n_labels) if label not in (gone, merged))
    changed = model.remove_labels([gone]).merge_labels({merged: stays})
    more = tiny_dataset("train", N_POINTS, seed=7)
    kept = np.setdiff1d(np.arange(model.n_labels), [gone])
    labels = more.labels.tolil()
    labels[:, gone] = 0
    learned = changed.update(more.texts, labels.tocsr())
    assert learned.n_indexed == learned.n_points
    assert learned.removed_labels == changed.removed_labels == {gone, merged}
    assert learned.merged_labels == {merged: stays}
    found = learned.search(queries(), 20).ids
    assert not np.isin(found, [gone, merged]).any() and np.isin(found[found >= 0], kept).all()
    assert learned.label_counts[stays] > 0 == learned.label_counts[merged]


def test_what_cannot_keep_its_texts_says_so() -> None:
    with pytest.raises(InputError, match="keep_sample"):
        finally_ranked("trees", keep_texts="yes", keep_sample=50)
    rows = sp.random(40, 20, 0.3, format="csr", random_state=0, dtype=np.float32)
    with pytest.raises(InputError, match="rows of features"):
        new_model(FeatureSvdEncoder(dim=4), keep_texts="yes").fit(
            rows, [[n % 8] for n in range(40)]
        )
    assert finally_ranked("trees").texts_ is None


@pytest.mark.parametrize("damage", ["truncate", "flip", "remove"])
def test_damaged_texts_are_refused(model: ELIAS, damage: str, tmp_path) -> None:
    model.save_pretrained(tmp_path / "model")
    check_damaged_model(tmp_path / "model", tmp_path / "copy", "texts", damage)
