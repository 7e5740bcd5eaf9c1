"""ELIAS on disk: saved whole or not at all; a stopped training goes on to the same bytes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from cli_cases import files
from elias_cases import (
    INTERRUPTIONS,
    check_damaged_model,
    check_interrupted_save,
    fitted,
    new_model,
    queries,
    train_data,
    without_ranker,
)

from learned_index.elias.model import ELIAS
from learned_index.elias.saving import index_directory
from learned_index.encoders.lexical.bow import BagOfWordsEncoder
from learned_index.encoders.lexical.lsa import LSAEncoder
from learned_index.errors import (
    InputError,
    MissingExtraError,
    ModelFormatError,
    TrainingInterrupted,
)
from learned_index.index.learned_graph_index import LearnedGraphIndex
from learned_index.training.checkpoint import CheckpointOptions


@pytest.fixture(scope="module")
def model() -> ELIAS:
    return fitted(n_models=2)


@pytest.fixture(scope="module")
def saved(model: ELIAS, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("saved") / "model"
    model.save_pretrained(path)
    return path


def test_a_saved_model_answers_the_same(model: ELIAS, saved: Path) -> None:
    texts = [*queries(), "", "unknown wörds ☃"]
    again = ELIAS.from_pretrained(saved)
    for score in ("ranking", "probability", "index"):
        mine = model.search(texts, 20, score=score)
        theirs = again.search(texts, 20, score=score)
        assert mine.ids.tobytes() == theirs.ids.tobytes()
        assert mine.scores.tobytes() == theirs.scores.tobytes()
    assert again.vocabulary == model.vocabulary
    assert again.n_points == model.n_points
    assert again.label_counts.tolist() == model.label_counts.tolist()
    assert again.config == model.config and again.ranker_config == model.ranker_config
    assert again.report_["validation"] == model.report_["validation"]


def test_saved_again_it_is_the_same(saved: Path, tmp_path: Path) -> None:
    ELIAS.from_pretrained(saved).save_pretrained(tmp_path / "again")
    assert files(tmp_path / "again") == files(saved)


def test_the_same_seed_gives_the_same_bytes(saved: Path, tmp_path: Path) -> None:
    fitted(n_models=2).save_pretrained(tmp_path / "again")
    assert files(tmp_path / "again") == files(saved)


def test_a_shared_encoder_is_stored_once_and_nothing_is_pickled(saved: Path) -> None:
    names = files(saved)
    assert sum(name.endswith("encoder.json") for name in names) == 2  # LSA and tf-idf
    assert {name.rsplit(".", 1)[-1] for name in names} <= {"json", "safetensors", "txt"}
    assert str(saved.parent).encode() not in b"".join(names.values())


def test_a_model_and_its_index_are_told_apart_by_their_manifests(
    saved: Path, tmp_path: Path
) -> None:
    assert ELIAS.from_pretrained(saved).ranker_ is not None
    train = train_data()
    without_ranker(LSAEncoder(dim=8)).fit(train.texts, train.labels).save_pretrained(tmp_path / "i")
    assert ELIAS.from_pretrained(tmp_path / "i").ranker_ is None
    for path in (saved, tmp_path / "i"):
        LearnedGraphIndex.from_pretrained(index_directory(path))
    with pytest.raises(ModelFormatError):
        ELIAS.from_pretrained(tmp_path / "missing")
    with pytest.raises(ModelFormatError):
        ELIAS.from_pretrained(tmp_path)
    with pytest.raises(ModelFormatError, match="expected a 'elias'"):
        ELIAS.from_pretrained(index_directory(tmp_path / "i"))
    with pytest.raises(ModelFormatError, match="expected a 'learned-graph-index'"):
        LearnedGraphIndex.from_pretrained(saved)


@pytest.mark.parametrize(
    "name",
    [
        "labels.txt",
        "counts.safetensors",
        "encoder",
        "member_1",
        "features",
        "ranker",
        "calibrator",
        "manifest.json",
    ],
)
@pytest.mark.parametrize("damage", ["truncate", "flip", "remove"])
def test_a_damaged_model_is_refused(saved: Path, tmp_path: Path, name: str, damage: str) -> None:
    check_damaged_model(saved, tmp_path / "model", name, damage)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("n_members", 3),
        ("encoders", []),
        ("encoders", ["lsa", "lsa", "lsa"]),
        ("features", None),
        ("n_points", "many"),
        ("model", {"n_models": -1}),
        ("combination", {"index_weight": -1.0}),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(
    saved: Path, tmp_path: Path, key: str, value
) -> None:
    target = tmp_path / "model"
    shutil.copytree(saved, target)
    manifest = json.loads((target / "manifest.json").read_text())
    manifest["config"][key] = value
    (target / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ModelFormatError):
        ELIAS.from_pretrained(target)


def test_an_encoder_of_a_missing_package_is_named(saved: Path, tmp_path: Path) -> None:
    target = tmp_path / "model"
    shutil.copytree(saved, target)
    manifest = json.loads((target / "manifest.json").read_text())
    manifest["config"]["encoders"] = ["crystal-ball"]
    (target / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(MissingExtraError, match="crystal-ball"):
        ELIAS.from_pretrained(target)


@pytest.mark.parametrize("interruption", INTERRUPTIONS)
@pytest.mark.parametrize("part", ["encoder", "ranker_", "vocabulary"])
def test_an_interrupted_save_leaves_the_old_model(
    model: ELIAS, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interruption, part: str
) -> None:
    check_interrupted_save(model, part, interruption, tmp_path, monkeypatch)


def test_an_existing_directory_is_replaced_only_when_asked(model: ELIAS, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.txt").write_text("precious")
    with pytest.raises(InputError, match="exists"):
        model.save_pretrained(tmp_path / "model")
    assert (tmp_path / "model" / "mine.txt").read_text() == "precious"


# -- interrupted trainings ----------------------------------------------------------------------


def stop_after(n: int):
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked > n

    return stop


def encoders(kind: str):
    return LSAEncoder(dim=16) if kind == "lsa" else BagOfWordsEncoder(dim=16)


@pytest.fixture(scope="module", params=["lsa", "bow"])
def unbroken(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path]:
    out = tmp_path_factory.mktemp("unbroken") / "model"
    fitted(encoders(request.param), n_models=2).save_pretrained(out)
    return request.param, out


@pytest.mark.parametrize("steps", [[0], [7, 25], [60], [45, 0, 10], [85, 1, 1, 1, 1, 1, 1]])
def test_a_stopped_training_goes_on_to_the_same_bytes(
    unbroken: tuple[str, Path], tmp_path: Path, steps: list[int]
) -> None:
    kind, expected = unbroken
    stopped = 0
    for n in steps:
        options = CheckpointOptions(tmp_path / "state", stop=stop_after(n))
        try:
            fitted(encoders(kind), n_models=2, fit={"checkpoint": options})
        except TrainingInterrupted as interruption:
            assert str(tmp_path / "state") in str(interruption)
            stopped += 1
    assert stopped
    model = fitted(
        encoders(kind), n_models=2, fit={"checkpoint": CheckpointOptions(tmp_path / "state")}
    )
    model.save_pretrained(tmp_path / "model")
    assert files(tmp_path / "model") == files(expected)


def test_a_finished_state_is_used_and_another_one_refused(tmp_path: Path, monkeypatch) -> None:
    options = CheckpointOptions(tmp_path / "state")
    fitted(n_models=2, fit={"checkpoint": options}).save_pretrained(tmp_path / "a")

    def fail(*_args, **_kwargs) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(LearnedGraphIndex, "fit", fail)
    fitted(n_models=2, fit={"checkpoint": options}).save_pretrained(tmp_path / "b")
    assert files(tmp_path / "a") == files(tmp_path / "b")
    with pytest.raises(InputError, match="other data or with another configuration"):
        fitted(n_models=3, fit={"checkpoint": options})
    train = train_data()
    with pytest.raises(InputError, match="other data"):
        new_model(n_models=2).fit(
            ["x", *train.texts[1:]], train.labels, vocabulary=train.vocabulary, checkpoint=options
        )
    monkeypatch.undo()
    anew = CheckpointOptions(tmp_path / "state", resume=False)
    fitted(n_models=1, fit={"checkpoint": anew}).save_pretrained(tmp_path / "c")
    fitted(n_models=1).save_pretrained(tmp_path / "d")
    assert files(tmp_path / "c") == files(tmp_path / "d")


def test_a_damaged_state_is_refused(tmp_path: Path) -> None:
    options = CheckpointOptions(tmp_path / "state")
    fitted(fit={"checkpoint": options})
    path = tmp_path / "state" / "finished_member_0" / "index" / "index.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ModelFormatError, match="damaged"):
        fitted(fit={"checkpoint": options})
