"""Peers on equal terms: grids, held-out points, tables and resumption, with quick methods alone."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import tiny_dataset
from elias_cases import train_data, without_ranker

from benchmarks.peers import systems, tuning
from benchmarks.peers.command import as_data_ids, peers
from benchmarks.peers.data import METRICS, Points, held_out
from benchmarks.peers.grids import GRIDS, MEMBERS, trials_for
from benchmarks.peers.table import differences, markdown
from benchmarks.peers.tuning import Row, Tuner
from learned_index.baselines import methods
from learned_index.comparison.features import WORDS, PointFeatures
from learned_index.data import write_dataset
from learned_index.errors import InputError
from learned_index.metrics import PointValues, evaluate, label_propensities


def vectors(n, seed):
    return np.random.default_rng(seed).standard_normal((n, 5)).astype(np.float32)


def points(n=120):
    train, test = tiny_dataset("train", n, seed=0), tiny_dataset("test", 40, seed=1)
    dense = vectors(n, 0), vectors(40, 1)
    return Points(train.texts, train.labels, test.texts, test.labels, dense)


def tuner(out, **changes):
    final = points()
    values = {
        "out": out, "tuning": held_out(final), "final": final, "n_trials": 4, "n_seeds": 2,
        "select": "P@5", "threads": 1, "python": {}, "say": lambda text: None, "isolate": False,
    }  # fmt: skip
    return Tuner(**{**values, **changes})


@pytest.mark.parametrize("peer", sorted(GRIDS))
def test_every_peer_has_as_many_valid_settings(peer):
    adapter = methods()[MEMBERS[peer]] if peer in MEMBERS else None
    for features in ("words", "vectors", "joined") if adapter else ("words",):
        trials = trials_for(peer, features, 8)
        assert len(trials) == 8
        for number, trial in enumerate(trials):
            assert trial not in trials[:number]
            if adapter is not None:
                adapter(**trial.options, features=features)  # checks names and ranges
                assert set(trial.query) == set(adapter.arguments)
            assert features != "vectors" or not {"ngrams", "min_df"} & set(trial.options)
    assert adapter is None or trials_for(peer, "words", 8)[0].options == {}
    for trial in trials_for(peer, "joined", 8, has_texts=False):
        assert not {"ngrams", "min_df"} & set(trial.options)


def test_settings_are_chosen_on_training_points_alone():
    final = points()
    tuning_points = held_out(final)
    kept, held = list(tuning_points.train), list(tuning_points.queries)
    assert len(held) == 12 and sorted([*kept, *held]) == sorted(final.train)
    assert not set(held) & set(final.queries)
    places = {text: row for row, text in enumerate(final.train)}
    rows = [places[text] for text in held]
    assert (tuning_points.truth_NL != final.labels_NL[rows]).nnz == 0
    np.testing.assert_array_equal(tuning_points.vectors[1], final.vectors[0][rows])
    x, q = tuning_points.features(PointFeatures("joined", 1, 1))
    assert x.shape[0] == 108 and q.shape == (12, x.shape[1])
    words, _ = final.features(WORDS)
    assert words.shape[0] == 120
    with pytest.raises(InputError, match="got 4 training points, expected at least 10"):
        held_out(points(4))


def test_the_best_setting_is_trained_on_all_points_and_measured_on_the_test_split(tmp_path):
    run = tuner(tmp_path)
    row = run.row("knn", "joined")
    tried = row.facts["tried"]
    assert len(tried) == 4 and row.setting == max(tried, key=tried.get) and len(row.values) == 1
    trial = next(t for t in trials_for("knn", "joined", 4) if t.title == row.setting)
    adapter = methods()["tfidf-knn"](**trial.options, features="joined")
    x, queries = run.final.features(adapter.point_features)
    adapter.build(x, run.final.labels_NL)
    ids = adapter.search(queries, 100, **trial.query).ids
    expected = evaluate(
        ids, run.final.truth_NL, propensities=label_propensities(run.final.labels_NL)
    )
    assert row.means() == pytest.approx({name: expected[name] for name in METRICS})


def test_what_is_finished_is_not_run_again(tmp_path, monkeypatch):
    first = tuner(tmp_path).row("dismec", "words")
    files = sorted(path.name for path in (tmp_path / "values").iterdir())
    assert len(files) == 1
    with monkeypatch.context() as patched:
        patched.setattr(systems, "run_job", lambda *a, **k: pytest.fail("run again"))
        again = tuner(tmp_path).row("dismec", "words")
    assert again.means() == first.means() and again.setting == first.setting
    calls = []
    run_job = systems.run_job
    monkeypatch.setattr(systems, "run_job", lambda *a, **k: calls.append(1) or run_job(*a, **k))
    tuner(tmp_path, n_trials=5).row("dismec", "words")
    assert 1 <= len(calls) <= 2  # the new setting, and a training if that is the best


def row(name, hits):
    """A system whose every metric is the mean of its hits, S x N."""
    hits = np.atleast_2d(np.asarray(hits, np.float64))
    weights = np.ones(hits.shape[1])
    return Row(name, "-", [{m: PointValues(run, weights) for m in METRICS} for run in hits])


def test_a_model_is_compared_with_the_best_peer_in_each_metric():
    generator = np.random.default_rng(0)
    base = (generator.random((1, 400)) < 0.5).astype(float)
    weak, strong = row("weak", base * 0.5), row("strong", base)
    noisy = np.where(generator.random((1, 400)) < 0.1, 1 - base, base)
    noisy = noisy + (base.mean() - noisy.mean())
    for values, verdict in (
        (base + 0.1, "ahead"), (base - 0.1, "behind"), (noisy, "tie"),
        (np.repeat(base + 0.1, 3, axis=0), "ahead"),
    ):  # fmt: skip
        found = differences(row("ours", values), [weak, strong], n_resamples=300)
        assert set(found) == set(METRICS)
        for metric in METRICS:
            assert (found[metric]["peer"], found[metric]["verdict"]) == ("strong", verdict)
            expected = 100 * (values.mean() - base.mean())
            assert found[metric]["difference"] == pytest.approx(expected, abs=1e-9)
            assert found[metric]["low"] - 1e-9 <= expected <= found[metric]["high"] + 1e-9
    text = markdown([weak, strong], [row("ours", base)], {"ours": found})
    assert text.count("\n| ") >= 11 and "| ours less the best peer |" in text


def test_runs_of_different_numbers_are_paired_as_far_as_they_go():
    base = np.tile(np.arange(40) % 2, (5, 1)).astype(float)
    found = differences(row("ours", base[:3] + 0.5), [row("peer", base)], n_resamples=50)
    assert found["P@1"]["difference"] == pytest.approx(50.0)


def test_answers_of_a_model_get_the_numbers_of_the_data():
    ids = np.array([[2, 0, -1], [1, -1, -1]])
    found = as_data_ids(ids, ["c", "a", "b"], ["a", "b", "c", "d"])
    assert found.tolist() == [[1, 2, -1], [0, -1, -1]]
    with pytest.raises(InputError, match="1 labels that the data do not have, such as 'e'"):
        as_data_ids(ids, ["c", "a", "e"], ["a", "b", "c", "d"])


@pytest.mark.usefixtures("methods_in_forks")
def test_the_command_writes_tables_and_goes_on_where_it_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(tuning.Tuner, "isolate", False)
    train, test = train_data(), tiny_dataset("test", 40, seed=2)
    model = without_ranker().fit(train.texts, train.labels, vocabulary=train.vocabulary)
    model.save_pretrained(tmp_path / "model")
    write_dataset(tmp_path / "data", [train, test], format_name="text")
    arguments = [
        "--data", str(tmp_path / "data"), "--vectors-model", str(tmp_path / "model"),
        "--features", "words,joined", "--peers", "knn", "--trials", "2",
        "--model", f"ours={tmp_path / 'model'}", "--threads", "1", "--cache", "off",
        "--out", str(tmp_path / "out"),
    ]  # fmt: skip
    done = CliRunner().invoke(peers, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    told = json.loads((tmp_path / "out" / "peers.json").read_text())
    assert [r["system"] for r in told["rows"]] == ["knn, words", "knn, joined", "ours"]
    found = model.search(test.texts, 100).ids
    expected = evaluate(found, test.labels, propensities=label_propensities(train.labels))
    assert {m: told["rows"][-1][m] for m in METRICS} == pytest.approx(
        {m: expected[m] for m in METRICS}
    )
    assert set(told["compared"]["ours"]) == set(METRICS)
    monkeypatch.setattr(systems, "run_job", lambda *a, **k: pytest.fail("run again"))
    again = CliRunner().invoke(peers, arguments, catch_exceptions=False)
    assert again.exit_code == 0 and again.stdout == done.stdout
    with pytest.raises(InputError, match="--features 'word': expected some of words, vectors"):
        peers.main([*arguments, "--features", "word"], standalone_mode=False)


@pytest.mark.usefixtures("methods_in_forks")
def test_a_peer_that_fails_is_told_and_the_others_go_on(tmp_path):
    write_dataset(
        tmp_path / "data", [tiny_dataset("train", 60, seed=0), tiny_dataset("test", 20, seed=1)],
        format_name="text",
    )  # fmt: skip
    done = CliRunner().invoke(
        peers,
        ["--data", str(tmp_path / "data"), "--peers", "pecos,knn", "--trials", "1", "--threads",
         "1", "--python", "pecos=/no/such/python", "--out", str(tmp_path / "out")],
    )  # fmt: skip
    assert done.exit_code == 1
    assert "pecos, words failed: /no/such/python is no Python" in done.stderr
    assert "knn, words" in done.stdout
