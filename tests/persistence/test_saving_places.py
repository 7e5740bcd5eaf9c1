"""What may be replaced by what is saved, and what is said of places that cannot hold it."""

from __future__ import annotations

import errno
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
from saving_cases import names, save, value, way  # noqa: F401 - a fixture

from learned_index.errors import InputError, LearnedIndexError, StorageError
from learned_index.persistence import (
    atomic,
    atomic_directory,
    atomic_file,
    save_arrays,
    write_manifest,
)

PYTHON = [sys.executable, "-c"]


# -- what may be replaced ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        {"notes.txt": "mine"},
        {"manifest.json": '{"manifest_version": 3, "name": "an extension"}'},
        {"manifest.json": "{"},
        {".git/HEAD": "ref: main"},
    ],
)
def test_overwriting_replaces_only_what_this_package_wrote(tmp_path, content):
    target = tmp_path / "home"
    for name, text in content.items():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_text(text)
    with pytest.raises(InputError, match=r"not overwritten: it is no saved model.*remove it"):
        save(target, 1, overwrite=True)
    assert {n: (target / n).read_text() for n in content} == content
    assert names(tmp_path) == ["home"]


def test_a_model_with_a_file_of_the_users_in_it_is_not_overwritten(tmp_path):
    save(tmp_path / "model", 1)
    (tmp_path / "model" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"it holds notes.txt"):
        save(tmp_path / "model", 2, overwrite=True)
    assert value(tmp_path / "model") == 1
    (tmp_path / "model" / "notes.txt").unlink()
    (tmp_path / "model" / "value.json").unlink()  # damaged, but nothing else
    save(tmp_path / "model", 2, overwrite=True)
    assert value(tmp_path / "model") == 2


def test_what_appears_while_the_new_one_is_written_is_kept(tmp_path):
    target = tmp_path / "model"
    save(target, 1)
    with (
        pytest.raises(InputError, match=r"notes.txt"),
        atomic_directory(target, overwrite=True) as folder,
    ):
        write_manifest(folder, kind="test", config={})
        (target / "notes.txt").write_text("mine")
    assert (target / "notes.txt").read_text() == "mine"


def test_an_empty_directory_is_free(tmp_path):
    (tmp_path / "model").mkdir()
    save(tmp_path / "model", 1)
    assert value(tmp_path / "model") == 1 and names(tmp_path) == ["model"]


@pytest.mark.usefixtures("way")
def test_a_link_stays_a_link_to_the_new_directory(tmp_path):
    (tmp_path / "disk").mkdir()
    save(tmp_path / "disk" / "v1", 1)
    (tmp_path / "model").symlink_to(tmp_path / "disk" / "v1")
    save(tmp_path / "model", 2, overwrite=True)
    assert (tmp_path / "model").is_symlink() and value(tmp_path / "disk" / "v1") == 2
    assert names(tmp_path) == ["disk", "model"] and names(tmp_path / "disk") == ["v1"]
    (tmp_path / "report.json").symlink_to(tmp_path / "disk" / "report.json")
    with pytest.raises(InputError, match="leads nowhere"), atomic_file(tmp_path / "report.json"):
        pass
    (tmp_path / "disk" / "report.json").touch()
    with atomic_file(tmp_path / "report.json") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "report.json").is_symlink()
    assert (tmp_path / "disk" / "report.json").read_text() == "new"


def test_links_that_lead_nowhere_or_in_circles_are_refused(tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    for name in ("loop", "dangling"):
        with pytest.raises(LearnedIndexError, match=name):
            save(tmp_path / name, 1, overwrite=True)
    assert names(tmp_path) == ["dangling", "loop"]


# -- places that cannot be written -------------------------------------------------------------


def failing(number: int):
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number), "somewhere")

    return fail


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "disk is full; free some space"),
        (errno.EDQUOT, "quota"),
        (errno.EROFS, "read-only; choose another"),
        (errno.EACCES, "change its permissions"),
        (errno.EIO, "check the place"),
    ],
)
@pytest.mark.parametrize("step", ["_fsync_tree", "_publish"])
def test_what_the_system_says_comes_with_path_and_remedy(
    tmp_path, monkeypatch, number, remedy, step
):
    save(tmp_path / "model", 1)
    monkeypatch.setattr(atomic, step, failing(number))
    with pytest.raises(StorageError, match=remedy) as caught:
        save(tmp_path / "model", 2, overwrite=True)
    assert str(tmp_path / "model") in str(caught.value) and caught.value.errno == number
    assert isinstance(caught.value, OSError) and isinstance(caught.value, LearnedIndexError)
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.errno) == (str(caught.value), number)
    monkeypatch.undo()
    assert value(tmp_path / "model") == 1 and names(tmp_path) == ["model"]


@pytest.mark.parametrize("place", ["file/model", "n" * 300, "/proc/model"])
def test_places_that_cannot_hold_a_directory(tmp_path, place):
    (tmp_path / "file").write_text("no directory")
    target = tmp_path / place
    for write in (lambda: save(target, 1), lambda: atomic_file(target).__enter__()):
        with pytest.raises(StorageError, match="cannot be written"):
            write()
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("name", ["a\0b", "a\ud800b"])
def test_names_that_no_file_can_have(tmp_path, name):
    with pytest.raises(InputError, match="no name of a file"):
        save(tmp_path / name, 1)


def test_the_longest_name_can_be_written(tmp_path):
    save(tmp_path / ("n" * 255), 1)
    save(tmp_path / ("n" * 255), 2, overwrite=True)
    assert value(tmp_path / ("n" * 255)) == 2 and len(names(tmp_path)) == 1


def test_a_full_disk_stops_every_kind_of_writer(tmp_path):
    """Files may have 10,000 bytes: safetensors, NumPy and text each say so in their own way."""
    code = f"""
import resource, signal
from pathlib import Path
import numpy as np
from learned_index.errors import StorageError
from learned_index.persistence import atomic_directory, atomic_file, save_arrays
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
target = Path({str(tmp_path)!r}) / "model"
big = np.ones(100_000)
writers = [
    lambda path: save_arrays(path / "a.safetensors", {{"a": big}}),
    lambda path: np.save(path / "a.npy", big),
    lambda path: (path / "a.txt").write_text("x" * 100_000),
]
for write in writers:
    try:
        with atomic_directory(target) as path:
            write(path)
    except StorageError as error:
        assert str(target) in str(error), error
        continue
    raise SystemExit("it was written")
"""
    done = subprocess.run([*PYTHON, code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert names(tmp_path) == []


def test_other_errors_stay_what_they_are(tmp_path):
    with pytest.raises(ZeroDivisionError), atomic_directory(tmp_path / "model"):
        1 / 0  # noqa: B018
    with pytest.raises(KeyboardInterrupt), atomic_file(tmp_path / "file"):
        raise KeyboardInterrupt
    assert names(tmp_path) == []


def test_arrays_can_be_read_by_whom_other_files_can(tmp_path):
    (tmp_path / "other").touch()
    save_arrays(tmp_path / "a.safetensors", {"a": np.ones(3)})
    assert (tmp_path / "a.safetensors").stat().st_mode == (tmp_path / "other").stat().st_mode
