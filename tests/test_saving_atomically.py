"""What is at a path while it is written, after a kill, and when the place cannot be written to."""

from __future__ import annotations

import errno
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from learned_index.errors import BusyError, InputError, LearnedIndexError, StorageError
from learned_index.persistence import (
    atomic,
    atomic_directory,
    atomic_file,
    path_lock,
    read_manifest,
    recover,
    remove_directory,
    save_arrays,
    scratch_directory,
    sweep_directory,
    write_json,
    write_manifest,
)
from learned_index.persistence import exchange as exchange_module
from learned_index.persistence.locks import fcntl  # not on Windows, where these tests do not run
from learned_index.persistence.names import hidden, new_name

PYTHON = [sys.executable, "-c"]


def save(target: Path, value: int, **options: object) -> None:
    with atomic_directory(target, **options) as folder:
        write_json(folder / "value.json", value)
        write_manifest(folder, kind="test", config={"value": value})


def value(target: Path) -> int:
    return read_manifest(target, kind="test").config["value"]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(params=["exchange", "two renames"])
def way(request, monkeypatch) -> str:
    """How the old and the new directory change names."""
    if request.param == "two renames":
        monkeypatch.setattr(atomic, "exchange", lambda _first, _second: False)
    elif sys.platform != "linux":
        pytest.skip("exchanging names in one step is tested on Linux")
    return request.param


# -- the exchange ------------------------------------------------------------------------------


def test_overwriting_leaves_the_new_directory_alone(tmp_path, way):
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
from test_saving_atomically import save
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
        tests=str(Path(__file__).parent), two_renames=two_renames, owner=owner, name=name,
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


def test_a_link_stays_a_link_to_the_new_directory(tmp_path, way):
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
