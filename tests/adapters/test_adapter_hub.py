"""Models on the Hugging Face hub: its own client, asked for real, and a hub on a loopback port."""

from __future__ import annotations

import importlib
import json
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from document_cases import ROOT, blocks
from elias_cases import fitted, queries

from learned_index import ELIAS, SearchEngine
from learned_index.errors import InputError, MissingExtraError, ModelFormatError
from learned_index.persistence.hub import is_name

huggingface_hub = pytest.importorskip(
    "huggingface_hub", reason="needs the hub's client: pip install 'learned-index[hub]'"
)
from hub_cases import TOKEN, FakeHub, fake_hub  # noqa: E402

from learned_index.adapters.hub import push_to_hub  # noqa: E402
from learned_index.adapters.model_card import model_card  # noqa: E402

NAME = "user/my-model"


@pytest.fixture(scope="module")
def model() -> ELIAS:
    return fitted()


@pytest.fixture(scope="module")
def saved(model: ELIAS, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved model with its training's report and a note that is nobody's."""
    folder = tmp_path_factory.mktemp("hub") / "my-model"
    model.save_pretrained(folder)
    report = {
        "data": "/home/somebody/secret/my-data",
        "encoder": "/home/somebody/secret/my-encoder",
        "preset": "cpu",
        "n_held_out": 30,
        "metrics": {
            "test, index": {"P@1": 50.0, "R@10": 70.123},
            "test, ranker": {"P@1": 60.5, "R@10": 80.456},
        },
    }
    folder.with_name("my-model.report.json").write_text(json.dumps(report))
    (folder / "notes.txt").write_text("not for everybody")
    return folder


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    """An empty hub; the client's cache is empty, and the current folder too."""
    monkeypatch.chdir(tmp_path)
    # Read from the environment when the client was imported.
    constants = importlib.import_module("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with fake_hub(monkeypatch) as running:
        yield running


def metadata(card: str) -> dict:
    return yaml.safe_load(card.split("---\n")[1])


def test_a_model_goes_there_and_comes_back(
    hub: FakeHub, model: ELIAS, saved: Path, caplog: pytest.LogCaptureFixture
) -> None:
    address = push_to_hub(saved, NAME, license="apache-2.0", language="en")
    sha, files = hub.files(NAME)
    assert address.endswith(f"/{NAME}/commit/{sha}")
    assert hub.private[NAME]
    manifest = json.loads((saved / "manifest.json").read_text())
    assert set(files) == {*manifest["files"], "manifest.json", "README.md", ".gitattributes"}
    for name in (*manifest["files"], "manifest.json"):
        assert files[name] == (saved / name).read_bytes(), name
    with caplog.at_level(logging.WARNING):
        loaded = ELIAS.from_pretrained(NAME)
    assert f"{NAME} is no folder here: it is read from {hub.address} (main)" in caplog.text
    assert loaded.predict(queries(), k=5) == model.predict(queries(), k=5)
    fetched = {line.partition("/resolve/")[2].partition("/")[2] for line in hub.log}
    assert "labels.txt" in fetched and "README.md" not in fetched
    (snapshot,) = Path("cache/models--user--my-model/snapshots").iterdir()
    assert ELIAS.from_pretrained(snapshot).predict(queries(), k=5) == model.predict(queries(), k=5)


def test_the_card_tells_what_was_measured(model: ELIAS, saved: Path) -> None:
    report = json.loads(saved.with_name("my-model.report.json").read_text())
    card = model_card(model, NAME, report=report, license="mit", language=["en", "de"])
    assert "somebody" not in card and "secret" not in card
    told = metadata(card)
    assert (told["library_name"], told["license"]) == ("learned-index", "mit")
    assert told["language"] == ["en", "de"] and "extreme-classification" in told["tags"]
    (entry,) = told["model-index"]
    (result,) = entry["results"]
    assert entry["name"] == "my-model"
    assert result["dataset"] == {"name": "my-data", "type": "my-data", "split": "test"}
    assert {each["type"]: each["value"] for each in result["metrics"]} == {
        "P@1": 60.5,
        "R@10": 80.46,
    }
    assert "| test, index | 50.00 | 70.12 |" in card
    assert "- data: my-data" in card and "- encoder: my-encoder" in card
    assert f"- labels: {model.n_labels} (such as " in card
    # The client's own reader takes it.
    read = huggingface_hub.ModelCard(card)
    assert read.data.model_name == "my-model"
    assert [each.metric_value for each in read.data.eval_results] == [60.5, 80.46]


def test_without_a_report_the_card_tells_what_the_model_keeps(model: ELIAS) -> None:
    card = model_card(model, NAME)
    kept = model.report_["validation"]["with_ranker"]["P@1"]
    (entry,) = metadata(card)["model-index"]
    assert entry["results"][0]["metrics"][0]["value"] == round(kept, 2)
    assert entry["results"][0]["dataset"]["split"] == "validation"
    bare = ELIAS.from_parts(model.encoder, model.index, model.vocabulary)
    card = model_card(bare, NAME)
    assert "model-index" not in metadata(card) and "Nothing was measured" in card


def test_the_usage_in_the_card_runs(hub: FakeHub, model: ELIAS) -> None:
    push_to_hub(model, NAME)
    _, files = hub.files(NAME)
    (code,) = [
        part.partition("```")[0] for part in files["README.md"].decode().split("```python\n")[1:]
    ]
    found: dict = {}
    exec(compile(code, "README.md", "exec"), found)
    assert found["model"].n_labels == model.n_labels


def test_a_second_version_takes_the_place_of_the_first(
    hub: FakeHub, model: ELIAS, saved: Path
) -> None:
    push_to_hub(saved, NAME)
    first, files = hub.files(NAME)
    hub.commit(NAME, {**files, "ranker/old.safetensors": b"old", "picture.png": b"theirs"})
    push_to_hub(model.to_engine(), NAME, card="# Mine\n", visibility="public", message="Compiled")
    _, files = hub.files(NAME)
    assert files["README.md"] == b"# Mine\n" and files["picture.png"] == b"theirs"
    assert "ranker/old.safetensors" not in files and "member_0/index/index.safetensors" not in files
    assert hub.private[NAME]  # what exists stays as it is
    newest = ELIAS.from_pretrained(NAME)
    assert isinstance(newest.index, SearchEngine)
    assert not isinstance(ELIAS.from_pretrained(NAME, revision=first).index, SearchEngine)


def test_offline_the_cache_answers_and_nobody_else(
    hub: FakeHub, model: ELIAS, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push_to_hub(saved, NAME)
    ELIAS.from_pretrained(NAME)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    hub.log.clear()
    assert ELIAS.from_pretrained(NAME).n_labels == model.n_labels
    with pytest.raises(InputError, match="HF_HUB_OFFLINE is set, so that the hub is not asked"):
        ELIAS.from_pretrained("user/another")
    with pytest.raises(InputError, match="HF_HUB_OFFLINE is set; nothing was sent"):
        push_to_hub(saved, NAME)
    shutil.rmtree("cache")
    with pytest.raises(InputError, match=r"not \(all of it\) in the Hugging Face cache"):
        ELIAS.from_pretrained(NAME)
    assert hub.log == []


def test_what_is_not_there_is_said(
    hub: FakeHub, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push_to_hub(saved, NAME)
    with pytest.raises(InputError, match="'user/another' is no folder here, and is not on the hub"):
        ELIAS.from_pretrained("user/another")
    with pytest.raises(InputError, match=r"'v9'.*no such branch, tag or commit"):
        ELIAS.from_pretrained(NAME, revision="v9")
    hub.commit("user/bert", {"config.json": b"{}"})
    with pytest.raises(InputError, match=r"has no manifest\.json: it holds no model"):
        ELIAS.from_pretrained("user/bert")
    evil = {"../x": {"bytes": 1, "sha256": "0" * 64}}
    manifest = {"kind": "elias", "format_version": 1, "config": {}, "files": evil}
    hub.commit("user/evil", {"manifest.json": json.dumps(manifest).encode()})
    with pytest.raises(ModelFormatError, match="lies outside the directory"):
        ELIAS.from_pretrained("user/evil")
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(InputError, match="check the name and that the token may write there"):
        push_to_hub(saved, "user/other")
    with pytest.raises(InputError, match="may not be read with this token"):
        ELIAS.from_pretrained(NAME, cache_dir="elsewhere")
    assert ELIAS.from_pretrained(NAME, token=TOKEN, cache_dir="elsewhere").members


def test_edited_there_it_is_refused(hub: FakeHub, saved: Path) -> None:
    push_to_hub(saved, NAME)
    _, files = hub.files(NAME)
    edited = files["labels.txt"][::-1]
    hub.commit(NAME, {**files, "labels.txt": edited})
    with pytest.raises(ModelFormatError, match=r"labels\.txt does not match its checksum"):
        ELIAS.from_pretrained(NAME)


def test_links_lead_into_the_blobs_of_the_cache_only(tmp_path: Path, saved: Path) -> None:
    """A folder that is laid out as the cache does not make other files of the machine readable."""
    root = tmp_path / "models--user--x"
    snapshot, blobs = root / "snapshots" / "0", root / "blobs"
    shutil.copytree(saved, snapshot, ignore=shutil.ignore_patterns("notes.txt"))
    blobs.mkdir()
    (snapshot / "labels.txt").rename(blobs / "1")
    (snapshot / "labels.txt").symlink_to("../../blobs/1")
    assert ELIAS.from_pretrained(snapshot).members
    blobs.rename(tmp_path / "elsewhere")
    blobs.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ModelFormatError, match="leads outside"):
        ELIAS.from_pretrained(snapshot)


def test_a_path_is_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert is_name("user/model")
    assert not any(map(is_name, ("model", "a/b/c", "./a", "../a", "/a", "~/a", "a/", "a b/c")))
    assert not is_name(Path("user/model"))
    (tmp_path / "user").mkdir()  # then a mistyped path was meant
    assert not is_name("user/model")
    for given in ("user/model", Path("nobody/model")):
        with pytest.raises(ModelFormatError, match="is not a directory"):
            ELIAS.from_pretrained(given)
    with pytest.raises(InputError, match="is a path and no name on the hub"):
        ELIAS.from_pretrained(tmp_path, revision="main")
    with pytest.raises(InputError, match="expected 'user/model'"):
        push_to_hub(tmp_path, "model")
    with pytest.raises(InputError, match="expected 'public' or 'private'"):
        push_to_hub(tmp_path, NAME, visibility="secret")


def test_without_the_client_the_pip_command_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: ELIAS
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    for ask in (
        lambda: ELIAS.from_pretrained(NAME),
        lambda: push_to_hub(model, NAME),
        lambda: model_card(model, NAME),
    ):
        with pytest.raises(MissingExtraError, match=r"pip install 'learned-index\[hub\]'"):
            ask()


def test_the_page_runs(hub: FakeHub, saved: Path) -> None:
    shutil.copytree(saved, "my-model")
    shutil.copy(saved.with_name("my-model.report.json"), "my-model.report.json")
    code = [
        text for _, language, text in blocks(ROOT / "docs/adapters/hub.md") if language == "python"
    ]
    assert len(code) == 2
    found: dict = {}
    for text in code:
        exec(compile(text, "hub.md", "exec"), found)
    assert found["model"].n_labels == found["another"].n_labels
