"""Encoding into a file that an interrupted run goes on with."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from counting_encoder import TEXTS, Counting

from learned_index.encoders import (
    LSAEncoder,
    TfidfEncoder,
    cached_encode,
)
from learned_index.encoders import chunked_file as chunked_module
from learned_index.errors import InputError


@pytest.mark.parametrize("stop_after", [1, 5, 10, 20])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.ENOSPC, "disk full")])
def test_resumed_file_has_the_same_bytes(
    tmp_path: Path, stop_after: int, error: BaseException
) -> None:
    Counting().fit(TEXTS).encode_to_file(TEXTS, tmp_path / "whole.npy", chunk_size=5)
    stopped = Counting(stop_after, error).fit(TEXTS)
    with pytest.raises(type(error)):
        stopped.encode_to_file(TEXTS, tmp_path / "x.npy", chunk_size=5)
    assert not (tmp_path / "x.npy").exists()
    resumed = Counting().fit(TEXTS)
    seen: list[tuple[int, int]] = []
    vectors = resumed.encode_to_file(
        TEXTS, tmp_path / "x.npy", chunk_size=5, progress=lambda *done: seen.append(done)
    )
    assert resumed.rows == len(TEXTS) - stopped.rows < len(TEXTS)
    assert seen[0] == (stopped.rows, 23)
    assert seen[-1] == (23, 23)
    assert (tmp_path / "x.npy").read_bytes() == (tmp_path / "whole.npy").read_bytes()
    assert isinstance(vectors, np.memmap)
    np.testing.assert_array_equal(vectors, resumed.encode(TEXTS))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["whole.npy", "x.npy"]


def interrupted(path: Path) -> Path:
    with pytest.raises(KeyboardInterrupt):
        Counting(10).fit(TEXTS).encode_to_file(TEXTS, path, chunk_size=5)
    (folder,) = path.parent.glob(".*.partial")
    return folder


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "data.npy").write_bytes(b"short"),
        lambda folder: (folder / "data.npy").unlink(),
        lambda folder: (folder / "progress.json").write_text('{"rows": 7}'),
        lambda folder: (folder / "progress.json").write_text('{"rows": 20}'),
        lambda folder: (folder / "progress.json").write_text("{"),
    ],
)
def test_damaged_partial_work_is_done_again(
    tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    damage(interrupted(tmp_path / "x.npy"))
    again = Counting().fit(TEXTS)
    vectors = again.encode_to_file(TEXTS, tmp_path / "x.npy", chunk_size=5)
    assert again.rows == len(TEXTS)
    np.testing.assert_array_equal(vectors, again.encode(TEXTS))


def test_half_a_chunk_on_disk_is_dropped(tmp_path: Path) -> None:
    folder = interrupted(tmp_path / "x.npy")
    with (folder / "data.npy").open("ab") as file:
        file.write(b"half a chunk, then the power went")
    again = Counting().fit(TEXTS)
    vectors = again.encode_to_file(TEXTS, tmp_path / "x.npy", chunk_size=5)
    assert again.rows == len(TEXTS) - 10
    np.testing.assert_array_equal(vectors, again.encode(TEXTS))


def test_other_texts_do_not_resume(tmp_path: Path) -> None:
    interrupted(tmp_path / "x.npy")
    other = Counting().fit(TEXTS)
    other.encode_to_file(TEXTS[::-1], tmp_path / "x.npy", chunk_size=5)
    assert other.rows == len(TEXTS)


def test_two_runs_of_one_job(tmp_path: Path) -> None:
    inner = Counting().fit(TEXTS)

    def second_run(done: int, total: int) -> None:
        if done == 10:
            run = Thread(
                target=inner.encode_to_file,
                args=(TEXTS, tmp_path / "x.npy"),
                kwargs={"chunk_size": 5},
            )
            run.start()
            run.join()

    outer = Counting().fit(TEXTS)
    vectors = outer.encode_to_file(TEXTS, tmp_path / "x.npy", chunk_size=5, progress=second_run)
    assert inner.rows == outer.rows == len(TEXTS)
    np.testing.assert_array_equal(vectors, outer.encode(TEXTS))
    assert [p.name for p in tmp_path.iterdir()] == ["x.npy"]


def test_full_disk_while_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    encoder = Counting().fit(TEXTS)
    monkeypatch.setattr(chunked_module, "record_rows", full)
    with pytest.raises(OSError, match="No space"):
        encoder.encode_to_file(TEXTS, tmp_path / "x.npy", chunk_size=5)
    monkeypatch.undo()
    assert list(tmp_path.iterdir()) == []
    encoder.encode_to_file(TEXTS, tmp_path / "x.npy")


def test_file_of_no_texts_and_of_sparse_vectors(tmp_path: Path) -> None:
    encoder = LSAEncoder(4).fit(TEXTS)
    assert encoder.encode_to_file([], tmp_path / "none.npy").shape == (0, 4)
    with pytest.raises(InputError, match="makes sparse vectors"):
        TfidfEncoder().fit(TEXTS).encode_to_file(TEXTS, tmp_path / "x.npy")


def test_vectors_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    class Damaged(LSAEncoder):
        def encode(self, texts: list[str]) -> np.ndarray:
            rows = super().encode(texts).copy()
            rows[[text == TEXTS[7] for text in texts]] = np.nan
            return rows

    encoder = Damaged(4).fit(TEXTS)
    with pytest.raises(InputError, match="vector of text 7 is not finite"):
        encoder.encode_to_file(TEXTS, tmp_path / "x.npy", chunk_size=5)
    with pytest.raises(InputError, match="vector of text 7 is not finite"):
        cached_encode(encoder, TEXTS, cache="off")
    assert not (tmp_path / "x.npy").exists()
