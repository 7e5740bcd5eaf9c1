"""Trackers with the real packages, where they are installed, and what they have in common."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
from cli_cases import QUICK, ok, refused
from elias_cases import fitted, queries

from learned_index.errors import InputError, MissingExtraError
from learned_index.system import extras
from learned_index.tracking import TRACKERS, ProgressBar, Tracker, TrackingWarning, parse_tracker
from learned_index.tracking.progress import Course
from learned_index.tracking.tracker import flattened
from learned_index.training.events import TrainingEvent


class Book(Tracker):
    """Keeps what it logs; fails where it is asked to."""

    name = "the book"

    def __init__(self, fails_in: str = "") -> None:
        super().__init__()
        self.fails_in = fails_in
        self.parameters: dict[str, Any] = {}
        self.logged: list[tuple[dict[str, float], int]] = []
        self.ended: list[tuple[dict[str, float], bool]] = []

    def _fail(self, where: str) -> None:
        if where == self.fails_in:
            raise OSError(f"no room in {where}")

    def begin(self, parameters):
        self._fail("begin")
        self.parameters = parameters

    def log(self, values, step):
        self._fail("log")
        self.logged.append((values, step))

    def end(self, results, *, failed):
        self._fail("end")
        self.ended.append((results, failed))


@pytest.fixture(scope="module")
def book() -> Book:
    found = Book()
    fitted(fit={"callbacks": [found]}, calibration="isotonic")
    return found


def test_a_tracker_is_told_names_with_their_stages(book: Book) -> None:
    assert book.parameters["training.batch_size"] == 32
    assert book.parameters["index.edges_per_cluster"] == "None"
    names = {name for values, _ in book.logged for name in values}
    assert {"stage 1/loss", "stage 2/loss", "stage 2/P@1", "stage 2/R@100"} <= names
    assert all(step > 0 for _, step in book.logged)
    ((results, failed),) = book.ended
    assert not failed
    assert {"validation/with_ranker/P@1", "seconds/training", "n_held_out"} <= set(results)
    assert not any(name.startswith("curves") for name in results)


def test_a_failure_later_on_is_a_warning_and_no_end() -> None:
    for where in ("log", "end"):
        found = Book(fails_in=where)
        with pytest.warns(TrackingWarning, match=f"the book could not log .*no room in {where}"):
            model = fitted(fit={"callbacks": [found]})
        assert model.predict(queries(1), k=1)[0]
        assert found.ended == []  # nothing is logged after it


def test_a_failure_at_the_begin_ends_the_training() -> None:
    with pytest.raises(InputError, match=r"the book cannot log .*no room in begin"):
        fitted(fit={"callbacks": [Book(fails_in="begin")]})


def test_a_training_that_fails_is_logged_as_failed() -> None:
    found = Book()

    def fail(event: TrainingEvent) -> None:
        if event.stage == "stage 2":
            raise RuntimeError("no more")

    with pytest.raises(RuntimeError):
        fitted(fit={"callbacks": [found, fail]})
    assert found.ended == [({}, True)]


def test_flattened_names() -> None:
    assert flattened({"a": {"b": {"c": 1.5}}, "d": None}, separator="/") == {
        "a/b/c": 1.5,
        "d": "None",
    }


# ---- the packages ------------------------------------------------------------------------------


def test_tensorboard(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed: the extra tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    tracker, twin = parse_tracker(f"tensorboard:{tmp_path}"), Book()
    for _ in range(2):
        fitted(fit={"callbacks": [tracker, twin]})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run-1", "run-2"]
    read = EventAccumulator(str(tmp_path / "run-2")).Reload()
    expected = {(name, step): value for values, step in twin.logged[len(twin.logged) // 2 :]
                for name, value in values.items()}  # fmt: skip
    found = {(name, each.step): each.value for name in read.Tags()["scalars"]
             for each in read.Scalars(name)}  # fmt: skip
    for place, value in expected.items():
        assert found[place] == pytest.approx(value, rel=1e-6), place
    assert found["validation/with_ranker/P@1", 0] == pytest.approx(
        twin.ended[1][0]["validation/with_ranker/P@1"]
    )
    assert any("parameters" in name for name in read.Tags()["tensors"])


def test_mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow", reason="mlflow is not installed: the extra mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # newer ones want to be told
    from mlflow.tracking import MlflowClient

    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "labels")
    twin = Book()
    fitted(fit={"callbacks": [parse_tracker(f"mlflow:{tmp_path.as_uri()}"), twin]})
    client = MlflowClient(tracking_uri=tmp_path.as_uri())
    experiment = client.get_experiment_by_name("labels")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params["training.batch_size"] == "32"
    history = client.get_metric_history(run.info.run_id, "stage 2/loss")
    expected = {step: v["stage 2/loss"] for v, step in twin.logged if "stage 2/loss" in v}
    assert {each.step: each.value for each in history} == pytest.approx(expected)
    assert (
        run.data.metrics["validation/with_ranker/P_at_1"]
        == twin.ended[0][0]["validation/with_ranker/P@1"]
    )


def test_wandb_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = pytest.importorskip("wandb", reason="wandb is not installed: the extra wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    with warnings.catch_warnings():
        warnings.simplefilter("error", TrackingWarning)
        fitted(fit={"callbacks": [parse_tracker("wandb:labels")]})
    wandb.teardown()  # its other process has written all then
    (written,) = tmp_path.rglob("run-*.wandb")
    assert written.stat().st_size > 1000
    assert b"stage 2/loss" in written.read_bytes()


# ---- their names -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tensorbord:runs", "unknown tracker 'tensorbord'; expected tensorboard:DIR"),
        ("tensorboard", "needs a folder"),
        ("tensorboard:", "needs a folder"),
        ("", "unknown tracker ''"),
    ],
)
def test_names_that_mean_nothing(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_tracker(text)


@pytest.mark.parametrize("name", list(TRACKERS))
def test_a_missing_package_is_named_with_its_extra(name: str, monkeypatch) -> None:
    def missing(module: str) -> None:
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)

    monkeypatch.setattr(extras.importlib, "import_module", missing)
    with pytest.raises(MissingExtraError, match=rf"learned-index\[{name}\]"):
        parse_tracker(f"{name}:here")


def test_the_command_logs_and_refuses_before_it_reads(text_folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed: the extra tensorboard")
    arguments = ["--data", text_folder, "--out", tmp_path / "model", *QUICK]
    assert "unknown tracker" in refused("train", *arguments, "--track", "nowhere:x")
    assert not (tmp_path / "model").exists()
    ok("train", *arguments, "--track", f"tensorboard:{tmp_path / 'runs'}")
    assert list((tmp_path / "runs" / "run-1").glob("events.*"))
    told = json.loads((tmp_path / "model.report.json").read_text())
    assert {row["stage"] for row in told["curves"]} == {"stage 1", "stage 2"}


def test_trackers_are_imported_when_they_are_used() -> None:
    heavy = ("tensorboard", "mlflow", "wandb", "IPython")
    code = f"import learned_index.tracking, sys; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# ---- bars --------------------------------------------------------------------------------------


def test_metrics_stay_until_there_are_newer_ones() -> None:
    course = Course()
    assert course.line(TrainingEvent("stage 1", 0, 3, 1, 9, 2.5)) == "epoch 1/3  loss 2.5000"
    line = course.line(
        TrainingEvent("stage 1", 1, 3, 3, 9, 2.0, {"P@1": 50.0, "P@3": 40.0, "P@5": 1.0})
    )
    assert line == "epoch 2/3  loss 2.0000  P@1 50.00  P@3 40.00"
    assert "P@1 50.00" in course.line(TrainingEvent("stage 1", 1, 3, 4, 9, 1.5))
    assert "P@1" not in course.line(TrainingEvent("stage 2", 0, 3, 1, 9, 1.5))


def test_the_bar_shows_stage_loss_metric_and_time_left() -> None:
    import io

    from rich.console import Console

    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    bar = ProgressBar(console)
    fitted(fit={"callbacks": [bar]})
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    for text in ("stage 2", "loss", "P@1", "left", "0:00:0"):
        assert text in shown


def test_the_bar_is_silent_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    fitted(fit={"callbacks": [ProgressBar()]})
    assert capsys.readouterr() == ("", "")


@pytest.mark.slow
def test_the_bar_in_a_notebook() -> None:
    """A kernel runs a cell; the bar arrives as a widget, and nothing complains."""
    nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
    pytest.importorskip("ipykernel", reason="ipykernel is not installed")
    pytest.importorskip("ipywidgets", reason="ipywidgets is not installed: the extra notebook")
    code = (
        "from learned_index import ELIAS\n"
        "from learned_index.tracking import ProgressBar\n"
        "texts = ['sum of squares', 'sort a list', 'square root', 'sort rows'] * 25\n"
        "ELIAS('lsa:3').fit(texts, [[0], [1], [0], [1]] * 25, callbacks=[ProgressBar()])"
    )
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    nbclient.NotebookClient(book, timeout=240, kernel_name="python3").execute()
    outputs = book.cells[0].outputs
    assert any("widget-view" in kind for each in outputs for kind in each.get("data", {}))
    assert not any("ipywidgets" in each.get("text", "") for each in outputs)
