"""A model measured on a split: against a count by hand, whatever numbers the labels have."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from conftest import tiny_dataset
from elias_cases import train_data, without_ranker

from learned_index import ELIAS, LabelVocabulary
from learned_index.data import Dataset, labels_from_lists
from learned_index.errors import InputError
from learned_index.evaluation.evaluate import evaluate
from learned_index.evaluation.search import search_points

TEST = tiny_dataset("test", 40, seed=2)


@pytest.fixture(scope="module")
def model() -> ELIAS:
    train = train_data()
    return without_ranker().fit(train.texts, train.labels, vocabulary=train.vocabulary)


def test_metrics_are_those_of_a_count_by_hand(model: ELIAS) -> None:
    told: list[tuple[int, int]] = []
    values = evaluate(model, TEST, progress=lambda done, total: told.append((done, total)))
    truth = [set(TEST.label_names(row)) for row in range(40)]
    found = model.predict(TEST.texts, 100)
    hits = [[name in truth[row] for name, _ in found[row]] for row in range(40)]
    assert values["P@1"] == pytest.approx(100 * np.mean([h[0] for h in hits]))
    assert values["R@10"] == pytest.approx(100 * np.mean([sum(h[:10]) / 2 for h in hits]))
    assert (values["n_points"], values["n_unseen_labels"]) == (40, 0)
    assert told == [(40, 40)]
    vectors = model.encoder.encode(TEST.texts)
    assert evaluate(model, TEST, vectors=vectors) == values
    assert evaluate(model, TEST, query={"beam_width": 1, "shortlist_size": 2}) != values


def test_labels_are_matched_by_key(model: ELIAS) -> None:
    order = np.random.default_rng(0).permutation(30)
    vocabulary = LabelVocabulary([TEST.vocabulary.keys[i] for i in order])
    shuffled = replace(TEST, labels=TEST.labels[:, order], vocabulary=vocabulary)
    assert evaluate(model, shuffled) == evaluate(model, TEST)


def test_labels_that_were_never_trained_are_misses(model: ELIAS) -> None:
    rows = [[*TEST.labels[row].indices.tolist(), 30] for row in range(40)]
    more = replace(
        TEST,
        labels=labels_from_lists(rows, 31),
        vocabulary=LabelVocabulary([*TEST.vocabulary.keys, "novelty"]),
    )
    values, before = evaluate(model, more), evaluate(model, TEST)
    assert values["n_unseen_labels"] == 1
    assert values["P@1"] == before["P@1"]
    assert values["R@100"] == pytest.approx(before["R@100"] * 2 / 3)


def test_recall_is_told_apart_by_training_points(model: ELIAS) -> None:
    counts = model.label_counts.copy()
    counts[[0, 3]], counts[[1, 4]], counts[[2, 5]] = 3, 1, 0
    told = ELIAS.from_parts(
        model.encoder, model.index, model.vocabulary, label_counts=counts, n_points=300
    )
    values = evaluate(told, TEST)["by_training_points"]
    found = model.search(TEST.texts, 100).ids
    for name, inside in (
        ("seen", counts > 3),
        ("few-shot", (counts > 0) & (counts <= 3)),
        ("unseen", counts == 0),
    ):
        pairs = [(n, m) for n in range(40) for m in TEST.labels[n].indices if inside[m]]
        assert values[name]["n_pairs"] == len(pairs) > 0
        assert values[name]["n_labels"] == len({m for _, m in pairs})
        for k in (10, 20, 100):
            hits = sum(m in found[n, :k] for n, m in pairs)
            assert values[name][f"R@{k}"] == pytest.approx(100 * hits / len(pairs))
    assert list(evaluate(model, TEST)["by_training_points"]) == ["seen"]


def test_a_model_without_counts_weighs_all_labels_alike(model: ELIAS) -> None:
    parts = ELIAS.from_parts(model.encoder, model.index, model.vocabulary)
    values, before = evaluate(parts, TEST), evaluate(model, TEST)
    assert values["P@5"] == before["P@5"]
    assert values["PSP@1"] == pytest.approx(values["P@1"])
    assert "by_training_points" not in values
    assert before["PSP@1"] != pytest.approx(before["P@1"])


def test_what_cannot_be_measured_is_refused(model: ELIAS) -> None:
    with pytest.raises(InputError, match="no points"):
        evaluate(model, TEST.subset(np.arange(0)))
    foreign = Dataset(
        split="test",
        texts=["a"],
        labels=labels_from_lists([[0]], 1),
        vocabulary=LabelVocabulary(["quite-another-label"]),
    )
    with pytest.raises(InputError, match="no label in common"):
        evaluate(model, foreign)
    for wrong in (3, 41):
        with pytest.raises(InputError, match=f"{wrong} vectors for 40 points"):
            search_points(model, TEST.texts, 3, vectors=np.zeros((wrong, 16), np.float32))
