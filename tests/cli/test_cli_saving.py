"""What the commands replace, whom they let write, and what they say of a place they cannot use."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from cli_cases import QUICK, files, ok, refused

from learned_index import IndexConfig, LearnedGraphIndex, TrainingConfig
from learned_index.elias.steps import Steps, discard_progress
from learned_index.encoders import PrecomputedEncoder
from learned_index.errors import BusyError, InputError, StorageError, TrainingInterrupted
from learned_index.persistence import path_lock
from learned_index.training.checkpoint import CheckpointOptions


@contextmanager
def written_by_another(path: Path) -> Iterator[None]:
    """Another writer, here another thread, holds a path."""
    is_held, may_end = threading.Event(), threading.Event()

    def hold() -> None:
        with path_lock(path):
            is_held.set()
            may_end.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    is_held.wait()
    try:
        yield
    finally:
        may_end.set()
        thread.join()


@pytest.fixture
def commands(text_folder: Path, text_model: Path) -> dict[str, list[object]]:
    """Commands that write to ``--out``."""
    return {
        "train-index": ["train-index", "--data", text_folder, *QUICK],
        "train": ["train", "--data", text_folder, *QUICK],
        "compile": ["compile", text_model],
        "embed": ["embed", "--data", text_folder, "--encoder", "lsa:4"],
    }


COMMANDS = ["train-index", "train", "compile", "embed"]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_second_command_with_the_same_out_is_refused(commands, tmp_path, command) -> None:
    with written_by_another(tmp_path / "out"):
        line = refused(*commands[command], "--out", tmp_path / "out")
    assert "another process is writing" in line and str(tmp_path / "out") in line
    assert list(tmp_path.iterdir()) == []


def test_a_second_training_with_the_same_checkpoint_is_refused(commands, tmp_path) -> None:
    with written_by_another(tmp_path / "state"):
        line = refused(
            *commands["train"], "--out", tmp_path / "out", "--checkpoint", tmp_path / "state"
        )
        assert "another process is training" in line and str(tmp_path / "state") in line
        with pytest.raises(BusyError, match="another process is training"):
            LearnedGraphIndex(IndexConfig(n_clusters=2)).fit(
                np.eye(8, dtype=np.float32),
                [[0], [1]] * 4,
                checkpoint=CheckpointOptions(tmp_path / "state"),
            )


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("place", ["/proc/out", "file/out", "n" * 300])
def test_a_place_that_cannot_be_used_is_one_line(commands, tmp_path, command, place) -> None:
    (tmp_path / "file").touch()
    line = refused(*commands[command], "--out", tmp_path / place)
    assert "cannot be written" in line and place in line
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("command", ["train-index", "train", "compile"])
def test_overwriting_spares_what_is_no_model(commands, tmp_path, command) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.txt").write_text("years of work")
    line = refused(*commands[command], "--out", tmp_path / "home", "--overwrite")
    assert "not overwritten" in line
    assert files(tmp_path) == {"home/thesis.txt": b"years of work"}


@pytest.mark.parametrize(
    "arguments", [["convert", "--to", "jsonl"], ["split", "--size", "5"], ["build", "api-docs"]]
)
def test_force_spares_what_is_no_data_folder(text_folder, tmp_path, arguments) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "labels.txt").write_text("part of a data folder")
    (home / "thesis.txt").write_text("years of work")
    before = files(home)
    name, *options = arguments
    if name == "build":
        options += ["--out", home, "--package", "threadpoolctl"]
    else:
        source = tmp_path / "source"
        source.mkdir()
        (source / "train_texts.txt").write_text("a b\n" * 20)
        (source / "train_labels.txt").write_text("0\n" * 20)
        options = [source, home, *options]
    line = refused("data", name, *options, "--force")
    assert "holds thesis.txt, which is no part of a data folder" in line
    assert files(home) == before


# -- vectors -----------------------------------------------------------------------------------


def test_embed_replaces_only_what_it_wrote(commands, tmp_path) -> None:
    out = tmp_path / "vectors"
    out.mkdir()
    np.save(out / "dev.npy", np.ones((3, 2)))
    before = files(tmp_path)
    assert "was not written by li embed" in refused(*commands["embed"], "--out", out)
    assert files(tmp_path) == before
    (out / "dev.npy").unlink()
    ok(*commands["embed"], "--out", out)
    ok(*commands["embed"][:-1], "lsa:3", "--out", out)
    assert np.load(out / "dev.npy").shape[1] == 3
    np.save(tmp_path / "mine.npy", np.ones((3, 2)))
    line = refused(*commands["embed"], "--split", "dev", "--out", tmp_path / "mine.npy")
    assert "was not written by li embed" in line


def test_vectors_of_an_unfinished_run_are_not_taken_for_the_new_ones(
    commands, tmp_path, monkeypatch
) -> None:
    out = tmp_path / "vectors"
    ok(*commands["embed"], "--out", out)
    from learned_index.encoders.embed import EmbeddedSplits

    whole = EmbeddedSplits.write

    def stopped(self, split: str, **options):
        if split == "test":
            raise OSError(28, "No space left on device")
        return whole(self, split, **options)

    monkeypatch.setattr(EmbeddedSplits, "write", stopped)
    refused(*commands["embed"][:-1], "lsa:3", "--out", out, code=1)
    monkeypatch.undo()
    assert PrecomputedEncoder(out).dim == 3, "train is new"
    with pytest.raises(InputError, match="li embed was interrupted"):
        PrecomputedEncoder(str(out / "{split}.npy")).bind(["a"], "test")
    ok(*commands["embed"][:-1], "lsa:3", "--out", out)
    assert json.loads((out / "embed.json").read_text())["test.npy"]
    assert sorted(path.name for path in out.iterdir()) == [
        "dev.npy", "embed.json", "encoder", "test.npy", "train.npy",
    ]  # fmt: skip


# -- checkpoint directories --------------------------------------------------------------------


def test_a_checkpoint_directory_with_other_things_in_it_is_refused(commands, tmp_path) -> None:
    state = tmp_path / "home"
    (state / "finished_thesis").mkdir(parents=True)
    (state / "finished_thesis" / "text").write_text("years of work")
    line = refused(*commands["train"], "--out", tmp_path / "out", "--checkpoint", state)
    assert "holds finished_thesis" in line
    for resume in (True, False):
        with pytest.raises(InputError, match="finished_thesis"):
            Steps(checkpoint=CheckpointOptions(state, resume=resume)).open(lambda: "key")
    discard_progress(state)
    assert files(state) == {"finished_thesis/text": b"years of work"}


def test_a_directory_called_like_a_state_is_not_removed(tmp_path) -> None:
    (tmp_path / "states" / "state-1").mkdir(parents=True)
    (tmp_path / "states" / "state-1" / "california.txt").write_text("mine")
    index = LearnedGraphIndex(IndexConfig(n_clusters=2), training=TrainingConfig(batch_size=4))
    with pytest.raises(InputError, match="holds state-1"):
        index.fit(
            np.eye(8, dtype=np.float32),
            [[0], [1]] * 4,
            checkpoint=CheckpointOptions(tmp_path / "states", resume=False),
        )
    assert files(tmp_path) == {"states/state-1/california.txt": b"mine"}


def test_a_checkpoint_that_cannot_be_written_is_refused_before_training(tmp_path) -> None:
    (tmp_path / "file").touch()
    for place in ("/proc/states", tmp_path / "file" / "states"):
        with pytest.raises(StorageError, match="cannot be written"):
            LearnedGraphIndex(IndexConfig(n_clusters=2)).fit(
                np.eye(8, dtype=np.float32),
                [[0], [1]] * 4,
                checkpoint=CheckpointOptions(place, stop=lambda: pytest.fail("trained")),
            )


def test_an_interrupted_training_gives_its_checkpoint_up(tmp_path) -> None:
    options = CheckpointOptions(tmp_path / "states", stop=lambda: True)
    index = LearnedGraphIndex(IndexConfig(n_clusters=2), training=TrainingConfig(batch_size=4))
    with pytest.raises(TrainingInterrupted):
        index.fit(np.eye(8, dtype=np.float32), [[0], [1]] * 4, checkpoint=options)
    assert [path.name for path in tmp_path.iterdir()] == ["states"]
    with path_lock(tmp_path / "states", wait=False):
        pass
