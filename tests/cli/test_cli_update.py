"""li update and li learn: new versions that have learned, and what is refused."""

from __future__ import annotations

import json
import shutil
import signal
import sys
import threading
from pathlib import Path

import pytest
from children import killed_in_a_save
from cli_cases import files, li, ok, refused
from elias_cases import finally_ranked

from learned_index import ELIAS


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("update") / "model"
    finally_ranked("trees").save_pretrained(path)
    return path


@pytest.fixture()
def model(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "model"))


@pytest.fixture()
def week(tmp_path: Path) -> Path:
    """Three points, of which one has a new label and one has none."""
    folder = tmp_path / "week"
    folder.mkdir()
    (folder / "train_texts.txt").write_text("bread sort rain\nrain rain\nbread oven\n")
    (folder / "train_labels.txt").write_text("0 1\n\n1\n")
    (folder / "labels.txt").write_text("mixed\tMixed things\ncooking\n")
    return folder


def test_new_points_and_labels_are_learned_in_place(model: Path, week: Path) -> None:
    before = ELIAS.from_pretrained(model)
    done = li("update", model, "--data", week, "--json")
    # Told in logs, too: points that are not learned are a loss.
    assert "1 points have no label, or no word that the model knows" in done.stderr
    told = json.loads(done.stdout)
    assert told == {"model": str(model), "learned": 2, "new_labels": 1}
    after = ELIAS.from_pretrained(model)
    assert after.n_points == before.n_points + 2
    assert after.vocabulary.name(after.n_labels - 1) == "Mixed things"
    assert (
        after.label_counts[after.vocabulary.id("Cooking")]
        == 2 + before.label_counts[before.vocabulary.id("Cooking")]
    )


def test_another_directory_leaves_the_old_model(model: Path, week: Path, tmp_path: Path) -> None:
    before = files(model)
    told = ok("update", model, "--data", week, "--out", tmp_path / "next")
    assert told == f"learned 2 points, 1 new labels: {tmp_path / 'next'}\n"
    assert files(model) == before


def test_a_correction(model: Path) -> None:
    assert (
        ok("learn", model, "bread sort rain", "--label", "Weather") == f"learned 1 text: {model}\n"
    )
    before = files(model)
    assert "Wether" in refused("learn", model, "bread sort rain", "--label", "Wether")
    assert files(model) == before
    ok("learn", model, "bread sort rain", "--label", "Wether", "--new")
    (answer,) = json.loads(ok("search", model, "bread sort rain", "-k", 1, "--json"))
    assert answer["results"][0]["label"] == "Wether"


def test_a_compiled_model_is_refused_and_stays(model: Path, week: Path, tmp_path: Path) -> None:
    fast = tmp_path / "fast"
    ok("compile", model, "--out", fast)
    before = files(fast)
    assert "compiled" in refused("update", fast, "--data", week)
    assert files(fast) == before


@pytest.mark.skipif(sys.platform == "win32", reason="kills by a signal")
@pytest.mark.parametrize(("name", "part"), [("exchange", False), ("_remove", False)])
def test_a_killed_update_leaves_the_old_model_or_the_new_one(
    model: Path, week: Path, tmp_path: Path, name: str, part: bool
) -> None:
    before = ELIAS.from_pretrained(model)
    arguments = ["update", str(model), "--data", str(week)]
    code, errors = killed_in_a_save(arguments, step=name, part=part, parent=tmp_path)
    assert code == -signal.SIGKILL, errors
    is_new = name == "_remove"  # of the old one, which is when the new one has taken its place
    assert ELIAS.from_pretrained(model).n_points == before.n_points + (2 if is_new else 0)
    ok("update", model, "--data", week)
    assert ELIAS.from_pretrained(model).n_points == before.n_points + (4 if is_new else 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "week"]


def test_changes_at_the_same_time_take_turns(model: Path, week: Path) -> None:
    """Eight writers, and nothing that one of them learned is lost."""
    before = ELIAS.from_pretrained(model).n_points
    from learned_index.cli.shared.changes import finish, to_change

    def correct(number: int) -> None:
        written = {"out": None, "overwrite": False, "as_json": True}
        with to_change(model, written) as loaded:
            changed = loaded.learn("bread sort rain", [f"writer {number}"])
            finish(changed, "learned", 1, model, **written)

    writers = [threading.Thread(target=correct, args=(number,)) for number in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    after = ELIAS.from_pretrained(model)
    assert after.n_points == before + 8
    assert {f"writer {number}" for number in range(8)} <= set(after.vocabulary.keys)
