"""Calibration of the best labels by frequency, against loops over single pairs."""

from __future__ import annotations

import json

import numpy as np
import pytest
import scipy.sparse as sp
from cli_cases import ok
from conftest import tiny_dataset
from elias_cases import train_data, without_ranker

from learned_index import ELIAS
from learned_index.errors import InputError
from learned_index.evaluation.evaluate import evaluate
from learned_index.evaluation.probabilities import probability_quality
from learned_index.ranking.bands import frequency_band
from learned_index.types import SearchResult


def plain(ids, p, truth, counts, k, lowest, highest):
    """(n, ECE in percent, Brier score) of the labels counted ``lowest`` to ``highest`` times."""
    pairs = []
    for row in range(len(ids)):
        for place in range(k):
            label = ids[row, place]
            if label >= 0 and lowest <= counts[label] <= highest:
                pairs.append((float(p[row, place]), float(truth[row, label])))
    error = 0.0
    for bin_ in range(15):
        inside = [(q, y) for q, y in pairs if min(int(q * 15), 14) == bin_]
        if inside:
            error += abs(sum(q for q, _ in inside) - sum(y for _, y in inside)) / len(pairs)
    return len(pairs), 100 * error, sum((q - y) ** 2 for q, y in pairs) / max(len(pairs), 1)


def case(n=300, n_labels=40, k=8):
    generator = np.random.default_rng(0)
    ids = np.argsort(generator.random((n, n_labels)), axis=1)[:, :k]
    p = np.sort(generator.random((n, k)), axis=1)[:, ::-1].astype(np.float32)
    ids[5, 1:], ids[6, :] = -1, -1
    p[ids < 0] = -np.inf
    truth = (generator.random((n, n_labels)) < 0.3).astype(np.float32)
    counts = generator.choice([0, 1, 5, 6, 50, 51, 400], n_labels)
    return ids, p, truth, counts


def test_bands_and_cutoffs_are_those_of_plain_loops():
    ids, p, truth, counts = case()
    found = probability_quality(SearchResult(ids, p), sp.csr_matrix(truth), counts)
    limits = {"all": (0, 10**9), "head": (51, 10**9), "torso": (6, 50), "tail": (0, 5)}
    assert list(found) == list(limits)
    for band, (lowest, highest) in limits.items():
        for k in (1, 5):
            expected = plain(ids, p, truth, counts, k, lowest, highest)
            got = tuple(found[band][f"{name}@{k}"] for name in ("n", "ECE", "Brier"))
            assert got == pytest.approx(expected)


def test_a_band_without_answers_is_left_out():
    ids, p, truth, counts = case()
    found = probability_quality(SearchResult(ids, p), sp.csr_matrix(truth), np.minimum(counts, 6))
    assert list(found) == ["all", "torso", "tail"]
    assert frequency_band(np.array([0, 5, 6, 50, 51])).tolist() == [2, 2, 1, 1, 0]


def test_what_is_no_probability_is_refused():
    ids, p, truth, counts = case()
    with pytest.raises(InputError, match="no probabilities"):
        probability_quality(SearchResult(ids, p * 3), sp.csr_matrix(truth), counts)
    with pytest.raises(InputError, match="counts of 39 labels, the truth has 40"):
        probability_quality(SearchResult(ids, p), sp.csr_matrix(truth), counts[1:])


@pytest.fixture(scope="module")
def calibrated() -> ELIAS:
    train, model = train_data(), without_ranker()
    model.config = type(model.config).from_dict({**model.config.to_dict(), "calibration": "tree"})
    validation = tiny_dataset("dev", 60, seed=7)
    return model.fit(
        train.texts, train.labels, vocabulary=train.vocabulary,
        validation=(validation.texts, validation.labels),
    )  # fmt: skip


def test_evaluation_tells_it_of_calibrated_models_alone(calibrated, tmp_path):
    test = tiny_dataset("test", 40, seed=2)
    values = evaluate(calibrated, test)
    result = calibrated.search(test.texts, 5, score="probability")
    counts = np.asarray(calibrated.label_counts)
    truth = test.labels.toarray()
    expected = plain(result.ids, result.scores, truth, counts, 5, 0, 10**9)
    got = tuple(values["calibration"]["all"][f"{name}@5"] for name in ("n", "ECE", "Brier"))
    assert got == pytest.approx(expected)
    index = evaluate(calibrated, test, query={"score": "index"})
    assert "calibration" not in index
    # Without a ranker both orders are one: probabilities did not change what is measured.
    assert {name: values[name] for name in index} == index
    calibrated.save_pretrained(tmp_path / "model")
    from learned_index.data import write_dataset

    write_dataset(tmp_path / "data", [test], format_name="text")
    arguments = ("evaluate", tmp_path / "model", "--data", tmp_path / "data", "--threads", 1)
    printed = json.loads(ok(*arguments, "--json"))
    assert list(printed["calibration"]) == list(values["calibration"])
    for band, expected_values in values["calibration"].items():
        assert printed["calibration"][band] == pytest.approx(expected_values)
    table = " ".join(ok(*arguments).split())
    assert "ECE@1 %" in table and "Brier@5" in table
