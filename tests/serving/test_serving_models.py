"""New versions take a model's place while it is served, and folders come and go."""

from __future__ import annotations

import gc
import shutil
import threading
import time
import weakref

import pytest
from serving_cases import (  # noqa: F401
    PATIENCE_S,
    TEXTS,
    answers,
    built,
    copied,
    expected,
    pairs,
    serving,
)  # fmt: skip

from learned_index.elias.model import ELIAS
from learned_index.errors import InputError, ModelFormatError
from learned_index.serving.board import Board
from learned_index.serving.config import Service, ServingConfig
from learned_index.serving.models import Models


def until(true) -> None:
    end = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture(scope="module")
def less(built, tmp_path_factory):  # noqa: F811
    """Another version of the model."""
    place = tmp_path_factory.mktemp("versions") / "less"
    ELIAS.from_pretrained(built[0]).remove_labels(["music"]).save_pretrained(place)
    return place


def test_a_version_that_takes_the_place_answers_and_no_request_is_lost(built, less, tmp_path):  # noqa: F811
    place = copied(built[0], tmp_path)
    old, new = (expected(ELIAS.from_pretrained(model), TEXTS) for model in (place, less))
    assert old != new
    statuses, wrong, stop = [], [], threading.Event()
    with serving({"m": place}) as client:
        versions = {answers(client, TEXTS)["version"]: old}

        def ask():
            while not stop.is_set():
                answer = client.post("/v1/search", json={"texts": TEXTS})
                statuses.append(answer.status_code)
                found = answer.json()
                if pairs(found) != versions.get(found["version"], new):
                    wrong.append(found["version"])

        thread = threading.Thread(target=ask)
        thread.start()
        ELIAS.from_pretrained(less).save_pretrained(place, overwrite=True)
        until(lambda: client.get("/v1/models/m").json()["version"] not in versions)
        count = len(statuses)
        until(lambda: len(statuses) > count + 3)
        stop.set()
        thread.join()
        assert pairs(answers(client, TEXTS)) == new
    assert set(statuses) == {200} and not wrong


def test_equal_models_have_equal_versions(built, tmp_path):  # noqa: F811
    with serving({"a": built[0], "b": copied(built[0], tmp_path)}) as client:
        versions = [card["version"] for card in client.get("/v1/models").json()["models"]]
    assert versions[0] == versions[1]


def test_the_collector_passes_over_what_is_served_and_takes_what_was(built, less, tmp_path):  # noqa: F811
    place = copied(built[0], tmp_path)
    models = Models(Service({"m": place}))
    models.load()
    old = models.get("m").model
    assert not {id(each) for each in gc.get_objects()} & {id(old), id(old.vocabulary)}
    gone = weakref.ref(old)
    del old
    shutil.rmtree(place)
    shutil.copytree(less, place)
    models.refresh_one("m")
    assert gone() is None
    gc.unfreeze()


def test_memory_of_the_version_before_is_given_back_once(built, tmp_path, monkeypatch):  # noqa: F811
    released = []
    monkeypatch.setattr("learned_index.serving.models.give_back", lambda: released.append(1))
    place = copied(built[0], tmp_path)
    models = Models(Service({"m": place}))
    models.load()
    models.refresh()
    released.clear()
    ELIAS.from_pretrained(place).rename_labels({0: "another"}).save_pretrained(
        place, overwrite=True
    )
    assert models.refresh() == ["m"] and not released  # requests may still end with the old one
    assert models.refresh() == [] and released == [1]
    models.refresh()
    assert released == [1]
    gc.unfreeze()


def test_folders_of_a_watched_directory_come_change_and_go(built, less, tmp_path):  # noqa: F811
    with serving({}, watch=tmp_path) as client:
        assert client.get("/readyz").status_code == 503
        assert client.get("/healthz").status_code == 200
        answer = client.post("/v1/search", json={"texts": ["a"]})
        assert answer.status_code == 503 and answer.headers["Retry-After"] == "1"
        copied(built[0], tmp_path, ".copying").rename(tmp_path / "m@1")
        until(lambda: client.get("/readyz").status_code == 200)
        first = answers(client, TEXTS)
        assert first["model"] == "m@1"
        (tmp_path / "m@1").rename(tmp_path / ".gone")
        copied(less, tmp_path, "m@2")
        until(lambda: [c["name"] for c in client.get("/v1/models").json()["models"]] == ["m@2"])
        assert answers(client, TEXTS)["version"] != first["version"]


def test_a_version_that_comes_file_by_file_answers_when_it_is_whole(built, less, tmp_path):  # noqa: F811
    place = copied(built[0], tmp_path)
    with serving({"m": place}) as client:
        before = answers(client, TEXTS)
        half = copied(less, tmp_path, "half")
        held = (half / "labels.txt").rename(tmp_path / "labels.txt")
        place.rename(tmp_path / "old")
        half.rename(place)
        time.sleep(0.3)
        assert answers(client, TEXTS) == before  # the old one, although its files are gone
        assert client.get("/readyz").status_code == 200
        shutil.move(held, place / "labels.txt")
        until(lambda: answers(client, TEXTS)["version"] != before["version"])


def test_what_cannot_be_served_is_told_at_the_start(built, tmp_path):  # noqa: F811
    with pytest.raises(InputError, match="no name for a model"):
        Service({"a/b": built[0]})
    with pytest.raises(ModelFormatError, match="not a directory"):
        Models(Service({"a": tmp_path / "none"})).load()


def test_a_worker_that_has_not_looked_since_is_waited_for(tmp_path, monkeypatch):
    import os

    own = Board(tmp_path)
    monkeypatch.setattr(os, "getpid", os.getppid)  # a process that lives, too
    other = Board(tmp_path)
    now = time.monotonic()
    other.tell(now - 1)
    assert not own.wait(now, at_most_s=0.05)
    other.tell(now + 1)
    assert own.wait(now, at_most_s=0.05)
    (tmp_path / "999999999").write_bytes(b"\0" * 8)  # of a process that was killed
    assert own.wait(now, at_most_s=0.05)
    assert not (tmp_path / "999999999").exists()


def test_the_configuration_is_checked():
    for wrong in ({"workers": 0}, {"deadline_s": 0.0}, {"guard": "none"}, {"port": -1}):
        with pytest.raises(InputError):
            ServingConfig(**wrong)
