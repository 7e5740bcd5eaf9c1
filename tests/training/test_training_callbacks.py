"""Whom a training tells of its course, and the curves that it keeps."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from elias_cases import fitted, new_model, train_data

from learned_index import ELIAS, LearnedGraphIndex, TrainingConfig
from learned_index.errors import InputError, TrainingInterrupted
from learned_index.training.callbacks import TrainingCallback, announced
from learned_index.training.checkpoint import CheckpointOptions
from learned_index.training.curves import MOST_OF_A_STAGE, Curves, halved
from learned_index.training.events import TrainingEvent


class Diary(TrainingCallback):
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, object]] = []

    def on_begin(self, parameters):
        self.told.append(("begin", parameters))

    def on_event(self, event):
        self.told.append(("event", event))

    def on_end(self, results):
        self.told.append(("end", results))

    def on_failure(self, error):
        self.told.append(("failure", error))

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.told]


def event(stage: str, step: int, loss: float | None = 1.0, **metrics: float) -> TrainingEvent:
    return TrainingEvent(stage, 0, 1, step, 1000, loss, metrics)


@pytest.fixture(scope="module")
def trained() -> tuple[ELIAS, Diary, list[TrainingEvent], list[TrainingEvent]]:
    diary, by_function, by_progress = Diary(), [], []
    model = fitted(
        fit={"callbacks": [diary, by_function.append], "progress": by_progress.append}, n_models=2
    )
    return model, diary, by_function, by_progress


def test_a_training_tells_begin_events_and_end_to_all(trained) -> None:
    model, diary, by_function, by_progress = trained
    assert diary.names[0] == "begin" and diary.names[-1] == "end"
    assert set(diary.names[1:-1]) == {"event"}
    events = [each for name, each in diary.told if name == "event"]
    assert by_function == by_progress == events
    stages = {each.stage for each in events}
    assert {"model 1/2: clustering", "model 1/2: stage 1", "model 2/2: stage 2", "ranker"} <= stages
    parameters = diary.told[0][1]
    assert parameters["training"] == model.training_config.to_dict()
    assert json.dumps(parameters)  # plain values
    assert diary.told[-1][1] is model.report_


def test_curves_are_the_events_with_losses(trained) -> None:
    model, _, events, _ = trained
    rows = model.report_["curves"]
    assert {row["stage"] for row in rows} == {
        f"model {n}/2: stage {s}" for n in (1, 2) for s in (1, 2)
    }
    told = {(e.stage, e.step): (e.loss, e.metrics) for e in events if e.loss is not None}
    assert {(r["stage"], r["step"]): (r["loss"], r["metrics"]) for r in rows} == told
    seconds = [row["seconds"] for row in rows]
    assert seconds == sorted(seconds) and seconds[0] >= 0
    assert all("P@1" in row["metrics"] for row in rows if row["step"] == row["n_steps"])


def test_curves_are_not_in_the_saved_model(trained, tmp_path: Path) -> None:
    trained[0].save_pretrained(tmp_path / "model")
    assert "curves" not in ELIAS.from_pretrained(tmp_path / "model").report_
    assert "curves" not in (tmp_path / "model" / "manifest.json").read_text()


def test_an_index_alone_tells_too() -> None:
    rng, diary = np.random.default_rng(0), Diary()
    training = TrainingConfig(stage1_epochs=1, stage2_epochs=1)
    LearnedGraphIndex(training=training).fit(
        rng.normal(size=(100, 8)), [[row % 50] for row in range(100)], callbacks=[diary]
    )
    assert diary.names[0] == "begin" and diary.names[-1] == "end"
    assert diary.told[0][1]["training"]["stage1_epochs"] == 1


def test_a_failure_is_told_and_raised() -> None:
    diary = Diary()

    def fail(_: TrainingEvent) -> None:
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        fitted(fit={"callbacks": [diary, fail]})
    assert diary.names[0] == "begin" and diary.names[-1] == "failure"
    assert str(diary.told[-1][1]) == "no more"


def test_only_those_that_began_are_told_of_a_failure() -> None:
    class Broken(Diary):
        def on_begin(self, parameters):
            super().on_begin(parameters)
            raise RuntimeError("cannot begin")

    first, broken, last = Diary(), Broken(), Diary()
    with pytest.raises(RuntimeError), announced([first, broken, last], dict):
        raise AssertionError("not reached")
    assert (first.names, broken.names, last.names) == (
        ["begin", "failure"], ["begin", "failure"], [],
    )  # fmt: skip


@pytest.mark.parametrize("wrong", [Diary, 3, "tensorboard"])
def test_what_is_no_callback_is_refused_before_the_training(wrong) -> None:
    with pytest.raises(InputError, match="callback"):
        fitted(fit={"callbacks": [wrong]})


def test_nobody_listens() -> None:
    with announced((), lambda: pytest.fail("made for nobody")) as run:
        assert run.progress is None


def test_curves_go_on_after_an_interruption(tmp_path: Path) -> None:
    train, asked = train_data(), {"steps": 0}

    def stop() -> bool:
        asked["steps"] += 1
        return asked["steps"] == 25

    options = CheckpointOptions(tmp_path / "state", stop=stop)
    with pytest.raises(TrainingInterrupted):
        new_model().fit(train.texts, train.labels, checkpoint=options)
    kept = json.loads((tmp_path / "state" / "curves.json").read_text())
    assert kept and {row["stage"] for row in kept} >= {"stage 1"}
    model = new_model()
    model.fit(train.texts, train.labels, checkpoint=CheckpointOptions(tmp_path / "state"))
    rows = model.report_["curves"]
    # What was told before is there, once, and the clock went on.
    assert rows[: len(kept) - 1] == kept[:-1]
    places = [(row["stage"], row["step"]) for row in rows]
    assert len(set(places)) == len(places) and places == sorted(places)
    seconds = [row["seconds"] for row in rows]
    assert seconds == sorted(seconds)


def test_steps_that_are_made_again_replace_those_of_before() -> None:
    curves = Curves()
    for step in (1, 5, 9):
        curves(event("stage 1", step, loss=step))
    curves(event("stage 2", 1))
    curves(event("stage 1", 5, loss=50.0))
    assert [(r["stage"], r["step"], r["loss"]) for r in curves.rows] == [
        ("stage 1", 1, 1), ("stage 2", 1, 1.0), ("stage 1", 5, 50.0),
    ]  # fmt: skip


def test_events_without_numbers_are_none_of_a_curve() -> None:
    curves = Curves()
    curves(event("clustering", 1, loss=None))
    assert curves.rows == []


def test_many_losses_become_means_over_their_steps() -> None:
    curves, steps = Curves(), np.cumsum(np.random.default_rng(0).integers(1, 9, size=3000))
    losses = np.random.default_rng(1).normal(size=3000)
    for number, (step, loss) in enumerate(zip(steps.tolist(), losses.tolist(), strict=True)):
        metrics = {"P@1": float(number)} if number % 500 == 499 else {}
        curves(event("stage 1", step, loss=loss, **metrics))
    rows = curves.rows
    assert len(rows) <= MOST_OF_A_STAGE
    assert [row["metrics"]["P@1"] for row in rows if row["metrics"]] == [
        499.0 + 500 * n for n in range(6)
    ]
    # The mean over all steps stays what it was.
    spans = np.diff([0, *(row["step"] for row in rows)])
    expected = (losses * np.diff([0, *steps])).sum() / steps[-1]
    assert (spans * [row["loss"] for row in rows]).sum() / steps[-1] == pytest.approx(expected)


def test_halving_leaves_no_row_out() -> None:
    rows = [{"step": step, "loss": float(step), "metrics": {}} for step in (1, 2, 3)]
    assert [(row["step"], row["loss"]) for row in halved(rows)] == [(2, 1.5), (3, 3.0)]
