"""What is at a path while it is written, after a kill, and when the place cannot be written to."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from saving_cases import names, save, value, way  # noqa: F401 - a fixture

from learned_index.errors import BusyError, StorageError
from learned_index.persistence import (
    atomic,
    atomic_directory,
    atomic_file,
    path_lock,
    recover,
    remove_directory,
    scratch_directory,
    sweep_directory,
    write_manifest,
)
from learned_index.persistence import exchange as exchange_module
from learned_index.persistence.locks import fcntl  # not on Windows, where these tests do not run
from learned_index.persistence.names import hidden, new_name

PYTHON = [sys.executable, "-c"]


# -- the exchange ------------------------------------------------------------------------------


@pytest.mark.usefixtures("way")
def test_overwriting_leaves_the_new_directory_alone(tmp_path):
    save(tmp_path / "model", 1)
    save(tmp_path / "model", 2, overwrite=True)
    assert value(tmp_path / "model") == 2
    assert names(tmp_path) == ["model"]


def test_the_path_is_never_without_a_directory_where_names_are_exchanged(tmp_path, monkeypatch):
    seen = []
    whole = exchange_module.exchange

    def watched(first, second):
        seen.append((first.is_dir(), second.is_dir()))
        done = whole(first, second)
        seen.append((first.is_dir(), value(second)))
        return done

    monkeypatch.setattr(atomic, "exchange", watched)
    save(tmp_path / "model", 1)
    save(tmp_path / "model", 2, overwrite=True)
    assert seen == [(True, True), (True, 2)]


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EINVAL, errno.EPERM])
def test_a_system_that_cannot_exchange_gets_two_renames(tmp_path, monkeypatch, number):
    def unsupported(_first, _second):
        exchange_module.ctypes.set_errno(number)
        return -1

    monkeypatch.setattr(exchange_module, "_swap", unsupported)
    save(tmp_path / "model", 1)
    save(tmp_path / "model", 2, overwrite=True)
    assert value(tmp_path / "model") == 2 and names(tmp_path) == ["model"]


def test_the_system_call_by_its_number_does_the_same(tmp_path, monkeypatch):
    library = exchange_module.ctypes.CDLL(None, use_errno=True)

    class WithoutTheFunction:
        syscall = library.syscall

    monkeypatch.setattr(exchange_module.ctypes, "CDLL", lambda *_, **__: WithoutTheFunction())
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    assert exchange_module.exchange(tmp_path / "a", tmp_path / "b")
    assert names(tmp_path / "a") == ["b"]
    monkeypatch.setattr(exchange_module.platform, "machine", lambda: "pdp11")
    assert not exchange_module.exchange(tmp_path / "a", tmp_path / "b")


def test_a_refused_exchange_keeps_the_old_directory(tmp_path, monkeypatch):
    def refuse(_first, _second):
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))

    save(tmp_path / "model", 1)
    monkeypatch.setattr(atomic, "exchange", refuse)
    with pytest.raises(StorageError, match="cannot be written"):
        save(tmp_path / "model", 2, overwrite=True)
    assert value(tmp_path / "model") == 1 and names(tmp_path) == ["model"]


# -- kills -------------------------------------------------------------------------------------

KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from learned_index.persistence import atomic
from saving_cases import save
if {two_renames}:
    atomic.exchange = lambda first, second: False
count = 0
def at(name):
    whole = getattr({owner}, name)
    def killed(*arguments):
        global count
        count += 1
        if count == {number}:
            os.kill(os.getpid(), signal.SIGKILL)
        return whole(*arguments)
    setattr({owner}, name, killed)
at({name!r})
save(Path({target!r}), 2, overwrite=True)
"""


@pytest.mark.parametrize(
    ("two_renames", "owner", "name", "number", "left"),
    [
        (False, "atomic", "_fsync_tree", 1, 1),
        (False, "atomic", "exchange", 1, 1),
        (False, "atomic", "_remove", 1, 2),
        (True, "Path", "rename", 1, 1),  # the old one is to be put aside
        (True, "Path", "rename", 2, 1),  # it is put aside, and nothing is at the path
        (True, "Path", "rename", 3, 2),
        (True, "atomic", "_remove", 1, 2),
    ],
)
def test_a_kill_at_any_step_loses_nothing(tmp_path, two_renames, owner, name, number, left):
    target = tmp_path / "model"
    save(target, 1)
    code = KILLED.format(
        tests=str(Path(__file__).parents[1]), two_renames=two_renames, owner=owner, name=name,
        number=number, target=str(target),
    )  # fmt: skip
    done = subprocess.run([*PYTHON, code], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert len(names(tmp_path)) > 1, "the kill came too late"
    assert value(target) == left
    save(target, 3, overwrite=True)
    assert value(target) == 3 and names(tmp_path) == ["model"]


def test_what_was_put_aside_is_taken_back_once_and_only_where_nothing_is(tmp_path):
    target = tmp_path / "model"
    save(target, 1)
    aside = new_name(target, "old")
    target.rename(aside)
    recover(target)
    assert value(target) == 1 and names(tmp_path) == ["model"]
    save(aside, 9)
    recover(target)
    assert value(target) == 1 and aside.exists(), "there is a model: nothing is taken back"
    remove_directory(target)
    save(new_name(target, "old"), 8)
    recover(target)
    assert not target.exists(), "of two, nobody knows which"
    save(target, 2)
    assert value(target) == 2 and len(names(tmp_path)) == 3
    save(target, 3, overwrite=True)
    assert names(tmp_path) == ["model"]


def test_only_names_of_writers_of_this_path_are_swept(tmp_path):
    target = tmp_path / "model"
    others = [".model.tmp", ".model.old", ".model.20240101.old", ".model.li-12.tmp", ".models.tmp"]
    others += [new_name(tmp_path / "model2", "tmp").name, hidden(tmp_path / "a.model", "x").name]
    for name in others:
        (tmp_path / name).mkdir()
    new_name(target, "tmp").mkdir()
    new_name(target, "tmp", suffix=".json").touch()
    save(target, 1)
    assert names(tmp_path) == sorted([*others, "model"])
    with path_lock(tmp_path / "model2"):
        thread = threading.Thread(target=sweep_directory, args=(tmp_path,))
        thread.start()
        thread.join()
        assert set(others) < set(names(tmp_path)), "its writer lives"
    (tmp_path / ".gone.li.lock").touch()
    sweep_directory(tmp_path)
    assert names(tmp_path) == sorted([*(n for n in others if "model2" not in n), "model"])


def test_a_file_is_swept_and_replaced_alike(tmp_path):
    new_name(tmp_path / "r.json", "tmp", suffix=".json").touch()
    with atomic_file(tmp_path / "r.json") as temporary:
        assert temporary.suffix == ".json"
        temporary.write_text("1")
    assert names(tmp_path) == ["r.json"]


def test_scratch_of_a_killed_run_is_removed_by_the_next(tmp_path):
    new_name(tmp_path / "work", "tmp").mkdir()
    with scratch_directory(tmp_path, "work") as folder:
        assert folder.parent == tmp_path
        assert len(names(tmp_path)) == 2  # it, and its lock
    assert names(tmp_path) == []
    with scratch_directory(None, "work") as folder:
        assert folder.is_dir()
    assert not folder.exists()


# -- locks -------------------------------------------------------------------------------------


def test_writers_of_one_path_take_turns(tmp_path):
    inside, most = 0, 0
    guard = threading.Lock()

    def write(number: int) -> None:
        nonlocal inside, most
        with atomic_directory(tmp_path / "model", overwrite=True) as folder:
            with guard:
                inside += 1
                most = max(most, inside)
            write_manifest(folder, kind="test", config={"value": number})
            with guard:
                inside -= 1

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1 and names(tmp_path) == ["model"]


def _count(folder: str, times: int) -> None:
    path = Path(folder) / "number"
    for _ in range(times):
        with path_lock(path):
            path.write_text(str(int(path.read_text()) + 1))


def test_the_lock_file_goes_and_the_lock_holds_all_the_same(tmp_path):
    (tmp_path / "number").write_text("0")
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_count, args=(str(tmp_path), 200)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert (tmp_path / "number").read_text() == "600"
    assert names(tmp_path) == ["number"]


def test_who_does_not_wait_is_told(tmp_path):
    def other() -> None:
        with pytest.raises(BusyError, match=r"another process is writing .*model; wait"):
            path_lock(tmp_path / "model", wait=False).__enter__()

    with path_lock(tmp_path / "model"):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        with path_lock(tmp_path / "model", wait=False):  # the holder itself may lock again
            pass
    assert names(tmp_path) == []
    with path_lock(tmp_path / "model", wait=False) as is_locked:
        assert is_locked


def test_a_lock_goes_with_its_process(tmp_path):
    code = (
        "import os, signal\nfrom learned_index.persistence import path_lock\n"
        f"with path_lock({str(tmp_path / 'model')!r}): os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([*PYTHON, code], check=False).returncode == -signal.SIGKILL
    assert names(tmp_path) == [".model.li.lock"]
    with path_lock(tmp_path / "model", wait=False):
        pass
    assert names(tmp_path) == []


def test_a_forked_child_does_not_keep_its_parents_lock(tmp_path):
    reader, writer = os.pipe()
    lock = path_lock(tmp_path / "model")
    lock.__enter__()
    child = os.fork()
    if child == 0:
        os.read(reader, 1)
        os._exit(0)
    try:
        lock.__exit__(None, None, None)
        with path_lock(tmp_path / "model", wait=False) as is_locked:
            assert is_locked
    finally:
        os.write(writer, b"x")
        os.waitpid(child, 0)
    assert names(tmp_path) == []


def test_a_file_system_without_locks_is_written_without_sweeping(tmp_path, monkeypatch, caplog):
    def no_locks(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    other = new_name(tmp_path / "model", "tmp")
    other.mkdir()
    save(tmp_path / "model", 1)
    assert value(tmp_path / "model") == 1
    assert names(tmp_path) == [other.name, "model"], "it may be another writer's"
    assert "knows no locks" in caplog.text
