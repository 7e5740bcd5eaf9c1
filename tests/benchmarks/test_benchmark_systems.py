"""The comparison with other systems: table logic, kept results, one small run with kNN."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

from learned_index.data import Dataset, LabelVocabulary, labels_from_lists, write_dataset
from learned_index.metrics import evaluate, label_propensities

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import systems
from peers import measure, table
from peers.catalogue import PEERS, System, our_system
from peers.harness import measure_search, ranked_csr
from peers.prepare import data_digest, prepare, training_view, weighted_rows
from peers.process import last_lines, run_logged

from learned_index.data import open_dataset
from learned_index.errors import LearnedIndexError

WORDS = ["apple", "pear", "plum", "iron", "gold", "lead", "oak", "elm", "ash"]


@pytest.fixture
def data(tmp_path):
    """Texts whose label is the first word's group; train, dev and test."""
    rng = np.random.default_rng(0)
    vocabulary = LabelVocabulary([f"group {i}" for i in range(9)])

    def split(name, count):
        groups = rng.integers(0, 9, size=count)
        texts = [" ".join([WORDS[g], *rng.choice(WORDS, 2)]) for g in groups]
        labels = labels_from_lists([[int(g)] for g in groups], 9)
        return Dataset(split=name, labels=labels, vocabulary=vocabulary, texts=texts)

    sizes = (("train", 60), ("dev", 12), ("test", 12))
    folder = write_dataset(
        tmp_path / "data", [split(name, n) for name, n in sizes], format_name="text"
    )
    return folder.path


def row(system, role="peer", status="ok", **values):
    title = f"title of {system}"
    return {"system": system, "title": title, "role": role, "status": status, **values}


ROWS = [
    row("a", **{"P@1": 50.0, "R@100": 80.0, "train s": 4.0, "peak MB": 0.0}),
    row("b", **{"P@1": 40.0, "R@100": 90.0, "train s": 2.0, "peak MB": 7.0}),
    row("broken", status="failed", error="exit code 3"),
    row("ours-x", "ours", **{"P@1": 55.0, "R@100": 90.0, "train s": 1.0, "peak MB": 9.0}),
    row("ours-y", "ours", **{"P@1": 49.0, "train s": 3.0}),
]


def test_best_peer_of_a_column_and_ratios_follow_its_direction():
    best = table.best_peers(ROWS)
    assert best["P@1"] == {"system": "a", "value": 50.0}
    assert best["train s"] == {"system": "b", "value": 2.0}
    assert "P@3" not in best
    compared = table.compare_with_best(ROWS)
    assert compared["ours-x"]["P@1"] == {"ratio": pytest.approx(1.1), "ahead": True}
    assert compared["ours-x"]["R@100"] == {"ratio": 1.0, "ahead": False}  # level is not ahead
    assert compared["ours-x"]["train s"] == {"ratio": 0.5, "ahead": True}
    assert compared["ours-x"]["peak MB"] == {"ratio": None, "ahead": False}
    assert compared["ours-y"]["P@1"]["ahead"] is False
    assert compared["ours-y"]["train s"] == {"ratio": 1.5, "ahead": False}
    assert "R@100" not in compared["ours-y"]
    assert set(compared) == {"ours-x", "ours-y"}


def test_ours_that_failed_is_not_compared_and_never_a_best_peer():
    rows = [*ROWS[:3], row("ours-x", "ours", "failed", error="e", **{"P@1": 99.0})]
    assert table.compare_with_best(rows) == {}
    assert table.best_peers(rows)["P@1"]["value"] == 50.0
    assert table.best_peers([row("p", status="failed", error="e", **{"P@1": 99.0})]) == {}


def test_markdown_marks_what_is_ahead_and_names_failures():
    text = table.markdown(ROWS)
    ours = next(line for line in text.splitlines() if line.startswith("| title of ours-x"))
    assert "**55.00**" in ours and "**1.00**" in ours and "| 90.00 |" in ours
    assert "**" not in next(line for line in text.splitlines() if "title of ours-y" in line)
    assert "Failed: title of broken: exit code 3" in text
    assert "| 1.1 ✓ |" in text
    widths = {line.count("|") for line in text.splitlines() if line.startswith("|")}
    assert widths == {len(table.COLUMNS) + 2}
    lines = table.csv_text(ROWS).splitlines()
    assert len(lines) == 6 and lines[3].endswith("exit code 3")


def test_ranked_csr_equals_a_sort_of_each_row():
    rng = np.random.default_rng(1)
    scores = sp.random(20, 30, density=0.3, format="csr", random_state=rng)
    scores.data = np.round(scores.data, 1)  # ties
    ids, values = ranked_csr(scores, 7)
    for i in range(20):
        stored = zip(scores[i].indices, scores[i].data, strict=True)
        best = sorted(((-v, j) for j, v in stored))[:7]
        assert ids[i].tolist() == [j for _, j in best] + [-1] * (7 - len(best))
        assert values[i, : len(best)] == pytest.approx([-v for v, _ in best])


def test_a_peer_s_answers_come_in_order_with_their_times():
    asked: list[tuple[slice, int]] = []

    def search(rows, threads):
        asked.append((rows, threads))
        return np.arange(rows.start, rows.stop)

    def ranked(answer):
        return answer[:, None] * 10, answer[:, None] / 2.0

    ids, scores, times = measure_search(search, ranked, n_queries=600, threads=3)
    assert ids.ravel().tolist() == [10 * i for i in range(600)]
    assert scores.ravel().tolist() == [i / 2 for i in range(600)]
    assert all(times[key] > 0 for key in ("batch_ms", "single_ms", "single_ms_p99"))
    batches = {(rows.start, rows.stop) for rows, threads in asked if threads == 3}
    assert batches == {(0, 256), (256, 512), (512, 600)}
    assert all(rows.stop - rows.start == 1 for rows, threads in asked if threads == 1)


def test_weighted_rows_have_length_1_and_keep_empty_rows():
    x = sp.csr_matrix(np.array([[3.0, 4.0], [0.0, 0.0], [1.0, 1.0]]))
    y = weighted_rows(x, np.array([1.0, 2.0], dtype=np.float32)).toarray()
    assert y[0] == pytest.approx(np.array([3.0, 8.0]) / np.sqrt(73))
    assert not y[1].any()
    assert np.linalg.norm(y[2]) == pytest.approx(1.0)


def test_training_view_hides_the_test_data(data, tmp_path):
    folder = open_dataset(data)
    for split, visible in (("test", ("train", "dev")), ("dev", ("train",))):
        view = open_dataset(training_view(folder, split, tmp_path / "view"))
        assert view.splits == visible
        assert len(view.vocabulary) == 9


def test_digest_follows_the_splits_that_are_used(data):
    before = {split: data_digest(open_dataset(data), split) for split in ("test", "dev")}
    path = data / "dev_texts.txt"
    path.write_text(path.read_text().replace("oak", "elm"))
    after = {split: data_digest(open_dataset(data), split) for split in ("test", "dev")}
    assert after["test"] == before["test"]
    assert after["dev"] != before["dev"]


def test_systems_are_chosen_by_name():
    chosen = systems.chosen_systems(
        "ours,knn", ["one=--preset cpu", "three=--preset cpu --n-models 3"], preset="cpu"
    )
    assert [s.name for s in chosen] == ["ours-one", "ours-three", "knn"]
    assert chosen[1].parameters["arguments"] == ["--preset", "cpu", "--n-models", "3"]
    assert systems.chosen_systems("ours", None, preset="p")[0].name == "ours-p"
    for names, ours in (("knn,nosuch", None), ("ours", ["--preset cpu"]), ("knn,knn", None)):
        with pytest.raises(LearnedIndexError):
            systems.chosen_systems(names, ours, preset="cpu")


def test_commands_are_measured_and_limited(tmp_path):
    log = tmp_path / "log"
    # The peak is polled: the process stays for many polls after its memory was touched.
    code = "import os, time; x = bytearray(60 << 20); print(os.environ['OMP_NUM_THREADS']); "
    done = run_logged([sys.executable, "-c", code + "time.sleep(1)"], log=log, threads=3)
    assert done.error is None and done.peak_mb > 60 and done.cpu_s > 0
    assert last_lines(log) == ["3"]
    (tmp_path / "bar").write_bytes(b"one\n\n 1 %\r50 %\r100 %\r\ntwo\n")
    assert last_lines(tmp_path / "bar") == ["one", "100 %", "two"]
    failed = run_logged([sys.executable, "-c", "raise SystemExit(5)"], log=log, threads=1)
    assert failed.error == "exit code 5"
    late = run_logged(
        [sys.executable, "-c", "import time; time.sleep(60)"],
        log=log,
        threads=1,
        time_limit_s=0.2,
    )
    assert "SIGKILL" in late.error and "limit" in late.error and late.wall_s < 30


def test_a_finished_system_is_kept_and_a_failed_one_repeated_when_asked(
    data, tmp_path, monkeypatch
):
    description = prepare(data, tmp_path / "out" / "input", test_split="test")
    runs = []

    def peer(system, plan, log):
        runs.append(system.parameters)
        log.write_text("first\nlast\n")
        return ({}, "exit code 1") if system.parameters.get("fails") else ({"x": 1}, None)

    monkeypatch.setattr(measure, "_run_peer", peer)

    def run(*, repeat_failed=False, threads=1, **parameters):
        plan = measure.Plan(
            data=data,
            out=tmp_path / "out",
            envs=tmp_path,
            input=description,
            threads=threads,
        )
        system = System(name="s", title="S", module="tfidf_knn", parameters=parameters)
        result = measure.run_system(
            system, plan, repeat_failed=repeat_failed, say=lambda text: None
        )
        return result, len(runs)

    assert run()[1] == 1
    result, count = run()
    assert (result["status"], result["measurements"], count) == ("ok", {"x": 1}, 1)
    assert run(threads=2)[1] == 2  # another configuration
    result, count = run(fails=True)
    assert (result["status"], result["error"], count) == ("failed", "exit code 1", 3)
    assert result["log"] == ["first", "last"]
    assert run(fails=True)[1] == 3
    assert run(fails=True, repeat_failed=True)[1] == 4


def test_results_of_ours_belong_to_the_code(data, tmp_path, monkeypatch):
    description = prepare(data, tmp_path / "input", test_split="test")
    plan = measure.Plan(data=data, out=tmp_path, envs=tmp_path, input=description, threads=1)
    ours, peer = our_system("x", "--preset cpu"), PEERS["knn"]
    before = [measure.result_key(s, plan) for s in (ours, peer)]
    monkeypatch.setattr(measure, "code_digest", lambda: "other")
    after = [measure.result_key(s, plan) for s in (ours, peer)]
    assert after[0] != before[0] and after[1] == before[1]


def test_knn_from_data_to_table(data, tmp_path, capsys, monkeypatch):
    out = tmp_path / "results"
    command = ["--data", str(data), "--out", str(out), "--systems", "knn", "--threads", "1"]
    assert systems.main(command) == 0
    assert "knn: ok" in capsys.readouterr().out
    written = json.loads((out / "table.json").read_text())
    assert written["rows"][0]["system"] == "knn" and written["rows"][0]["single ms"] > 0
    # The metrics are those of the stored lists.
    ids = np.load(out / "systems" / "knn" / "top.npz")["ids"]
    assert ids.shape == (12, 100)
    folder = open_dataset(data)
    metrics = evaluate(
        ids,
        folder.read("test").labels,
        propensities=label_propensities(folder.read("train").labels),
    )
    assert written["rows"][0]["PSP@3"] == pytest.approx(metrics["PSP@3"])
    assert written["rows"][0]["P@1"] > 50
    # A plain loop finds the same best label.
    x, q = (sp.load_npz(out / "input" / f"{n}_x.npz").toarray() for n in ("train", "test"))
    y = folder.read("train").labels.toarray()
    for i in range(12):
        cosines = x @ q[i]
        near = np.argsort(-cosines, kind="stable")[:20]
        votes = cosines[near] @ y[near]
        if np.sort(cosines)[-20] - np.sort(cosines)[-21] > 1e-5:  # no tie at the border
            assert votes[ids[i, 0]] == pytest.approx(votes.max(), abs=1e-5)

    # Run again, nothing is run; a system that fails is reported, the others stay.
    assert systems.main(command) == 0
    assert "knn: kept (ok)" in capsys.readouterr().out
    monkeypatch.setitem(
        systems.PEERS, "broken", System(name="broken", title="Broken", module="no_such_module")
    )
    command[5] = "broken,knn"
    assert systems.main(command) == 1
    shown = capsys.readouterr().out
    assert "broken: failed (exit code 1)" in shown and "No module named" in shown
    assert "| tf-idf kNN, 20 neighbours |" in shown and "Failed: Broken: exit code 1" in shown
    assert systems.main([*command, "--table-only"]) == 1


def test_results_of_other_data_are_not_overwritten(data, tmp_path, capsys):
    prepare(data, tmp_path / "input", test_split="test")
    command = ["--data", str(data), "--out", str(tmp_path), "--systems", "knn"]
    assert systems.main([*command, "--test-split", "dev"]) == 2
    assert "other data" in capsys.readouterr().err


def test_an_interrupted_run_leaves_no_process(tmp_path, monkeypatch):
    code = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
    log = tmp_path / "log"

    def interrupt(seconds):
        if log.exists() and log.read_text().strip():
            raise KeyboardInterrupt

    monkeypatch.setattr("peers.process.time.sleep", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run_logged([sys.executable, "-c", code], log=log, threads=1)
    with pytest.raises(ProcessLookupError):
        os.kill(int(log.read_text()), 0)
