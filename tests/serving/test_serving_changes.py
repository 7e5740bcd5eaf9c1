"""Labels that change while they are served: saved before it is said, and answered by at once."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from cli_cases import files, ok
from serving_cases import (  # noqa: F401
    BEARER,
    TEXT,
    TEXTS,
    answers,
    built,
    copied,
    expected,
    pairs,
    serving,
)  # fmt: skip

from learned_index.elias.model import ELIAS
from learned_index.persistence import path_lock


@pytest.fixture
def tiny(built, tmp_path):  # noqa: F811
    return copied(built[0], tmp_path)


def change(client, path, status=200, **body):
    answer = client.post(path, json=body, headers=BEARER)
    assert answer.status_code == status, answer.text
    return answer.json()


def keys(client, texts, **fields):
    return {key for row in pairs(answers(client, texts, **fields)) for key, _ in row}


def test_changes_are_saved_and_answered_by(tiny):
    with serving({"tiny": tiny}) as client:
        before = answers(client, TEXTS)
        gone = before["answers"][0][0]
        done = change(client, "/v1/labels/remove", labels=[gone["label"]])
        after = answers(client, TEXTS)
        assert done == {"model": "tiny", "version": after["version"], "everywhere": True}
        assert after["version"] != before["version"]
        assert gone["key"] in str(before) and gone["key"] not in {
            key for row in pairs(after) for key, _ in row
        }
        change(client, "/v1/labels/rename", names={"signal": "Waves"})
        change(client, "/v1/labels/merge", targets={"sorting/basics": "sorting"})
        new = {"key": "tea", "name": "Tea", "examples": ["bread oven tea"]}
        change(client, "/v1/labels/add", labels=[new])
        learned = change(client, "/v1/learn", text=TEXT, labels=["tea"])
        saved = ELIAS.from_pretrained(tiny)
        assert pairs(answers(client, TEXTS)) == expected(saved, TEXTS)
        assert "tea" in keys(client, [TEXT], k=3)
        assert saved.vocabulary.name(saved.vocabulary.id("signal")) == "Waves"
        assert saved.merged_labels == {
            saved.vocabulary.id("sorting/basics"): saved.vocabulary.id("sorting")
        }
        listed = client.get("/v1/labels", params={"query": gone["key"], "limit": 1000}).json()
        assert gone["key"] not in [each["key"] for each in listed["labels"]]
        assert client.get("/v1/models/tiny").json()["version"] == learned["version"]
        assert client.get("/metrics").text.count("li_changes_total{") == 5


@pytest.mark.parametrize(
    ("path", "body", "status", "why"),
    [
        ("remove", {"labels": ["nothing"]}, 422, "no label is called"),
        ("add", {"labels": [{"key": "music"}]}, 422, "has, or had, a label"),
        ("add", {"labels": [{"key": "a"}, {"key": "a"}]}, 422, "same key"),
        ("add", {"labels": [{"key": "a\tb", "examples": [TEXT]}]}, 422, "holds a tab"),
        ("rename", {"names": {"music": "a\nb"}}, 422, "line feed"),
        ("merge", {"targets": {"music": "music"}}, 422, ""),
        ("remove", {"labels": ["music"], "model": "none"}, 404, "no model"),
    ],
)
def test_what_cannot_be_changed_changes_nothing(built, path, body, status, why):  # noqa: F811
    before = files(built[0])
    with serving({"tiny": built[0]}) as client:
        assert why in change(client, f"/v1/labels/{path}", status, **body)["detail"]
    assert files(built[0]) == before


def test_what_cannot_be_learned_changes_nothing(built):  # noqa: F811
    before = files(built[0])
    with serving({"tiny": built[0], "fast": built[1]}) as client:
        wrong = change(client, "/v1/learn", 422, text=TEXT, labels=["Musik"])
        assert "did you mean" in wrong["detail"]
        assert "compiled" in change(
            client, "/v1/learn", 409, text=TEXT, labels=["music"], model="fast"
        )["detail"]  # fmt: skip
        assert "knows no word" in change(
            client, "/v1/learn", 422, text="qqq", labels=["music"]
        )["detail"]  # fmt: skip
    assert files(built[0]) == before


def test_a_compiled_model_gains_and_loses_labels(built, tmp_path):  # noqa: F811
    fast = copied(built[1], tmp_path)
    with serving({"fast": fast}) as client:
        change(client, "/v1/labels/add", labels=[{"key": "tea", "examples": ["bread oven"]}])
        assert "tea" in keys(client, ["bread oven"], k=3)
        change(client, "/v1/labels/remove", labels=["tea"])
        assert "tea" not in keys(client, ["bread oven"], k=50)
        assert pairs(answers(client, TEXTS)) == expected(ELIAS.from_pretrained(fast), TEXTS)


def test_changes_at_the_same_time_are_all_kept(tiny):
    wanted = [f"new {n}" for n in range(8)]
    with serving({"tiny": tiny}) as client:

        def add(key):
            return client.post(
                "/v1/labels/add", json={"labels": [{"key": key, "examples": [TEXT]}]},
                headers=BEARER,
            )  # fmt: skip

        with ThreadPoolExecutor(8) as pool:
            done = list(pool.map(add, [*wanted, wanted[0]]))
        assert sorted(each.status_code for each in done) == [200] * 8 + [422]
    assert set(wanted) <= set(ELIAS.from_pretrained(tiny).vocabulary.keys)


def test_changes_by_commands_are_kept_too(tiny):
    with serving({"tiny": tiny}, poll_s=3000) as client:
        answers(client, [TEXT])
        ok("labels", "remove", tiny, "music")
        change(client, "/v1/labels/remove", labels=["signal"])
        removed = ELIAS.from_pretrained(tiny).removed_labels
        assert len(removed) == 2
        assert not keys(client, TEXTS, k=50) & {"music", "signal"}


def test_a_change_that_cannot_be_saved_is_no_change(tiny, monkeypatch):
    from learned_index.persistence import atomic

    with serving({"tiny": tiny}) as client:
        before = answers(client, TEXTS)

        def full(*_):
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(atomic, "_fsync_tree", full)
            told = change(client, "/v1/labels/remove", 503, labels=["music"])["detail"]
        assert "nothing was changed" in told and str(tiny) not in told
        assert answers(client, TEXTS) == before
        change(client, "/v1/labels/remove", labels=["music"])


def test_a_change_that_cannot_begin_in_time_is_not_made(tiny):
    with serving({"tiny": tiny}, deadline_s=1.0) as client, ThreadPoolExecutor(2) as pool:
        with path_lock(tiny):
            first = pool.submit(change, client, "/v1/labels/remove", 200, labels=["music"])
            time.sleep(0.3)  # it has begun, and waits for the lock
            second = pool.submit(change, client, "/v1/labels/remove", 504, labels=["signal"])
            assert "was not made" in second.result()["detail"]
        assert first.result()["everywhere"]
    saved = ELIAS.from_pretrained(tiny)
    assert saved.removed_labels == {saved.vocabulary.id("music")}
