"""The cache of kernels that test processes share: no entry is lost, mixed up or made twice."""

from __future__ import annotations

import threading
import time

import kernel_cache
import numba
import pytest
from kernel_cache import SharedCacheFile
from numba.core import caching


@pytest.fixture
def opened(tmp_path):
    """Opens the entries of one function as another process would."""
    return lambda stamp=1, kind=SharedCacheFile: kind(str(tmp_path / "cache"), "kernel-1", stamp)


def test_entries_saved_between_each_others_steps_are_kept_apart(opened):
    one, two = opened(), opened()
    read = one._load_index

    def other_saves_first():
        one._load_index = read
        found = read()
        two_saved.start()
        two_saved.join(0.3)  # where the index is not locked, the other is done by now
        return found

    assert one.load("float32") is None
    assert two.load("float64") is None
    two_saved = threading.Thread(target=two.save, args=("float64", "code for float64"))
    one._load_index = other_saves_first
    one.save("float32", "code for float32")
    two_saved.join()
    for file in (one, two, opened(kind=caching.IndexDataCacheFile)):
        assert file.load("float32") == "code for float32"
        assert file.load("float64") == "code for float64"


def test_who_comes_second_waits_and_loads(opened):
    one, two = opened(), opened()
    assert one.load("float32") is None
    found = []
    second = threading.Thread(target=lambda: found.append(two.load("float32")))
    second.start()
    time.sleep(0.1)
    assert found == []
    assert two.load("float64") is None  # for other types nobody waits
    one.save("float32", "code")
    second.join()
    assert found == ["code"]


def test_who_failed_to_compile_stops_nobody_for_long(opened, monkeypatch):
    monkeypatch.setattr(kernel_cache, "LONGEST_WAIT_S", 0.1)
    one, two = opened(), opened()
    assert one.load("float32") is None
    assert one.load("float32") is None  # tries again at once
    assert two.load("float32") is None
    two.save("float32", "code")
    assert one.load("float32") == "code"


def test_code_of_an_older_source_is_not_found(opened):
    old, new = opened(stamp=1), opened(stamp=2)
    assert old.load("float32") is None
    old.save("float32", "old code")
    assert new.load("float32") is None
    new.save("float32", "new code")
    assert (new.load("float32"), old.load("float32")) == ("new code", None)


def test_numba_uses_it(tmp_path, monkeypatch):
    monkeypatch.setattr(caching, "IndexDataCacheFile", caching.IndexDataCacheFile)
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    kernel_cache.share_numba_cache()
    source = tmp_path / "doubles.py"
    source.write_text("def double(x):\n    return x + x\n")
    kernels = []
    for _ in range(2):
        names: dict = {}
        exec(compile(source.read_text(), source, "exec"), names)
        kernels.append(numba.njit(cache=True)(names["double"]))
        assert kernels[-1](2) == 4
    assert [sum(kernel.stats.cache_hits.values()) for kernel in kernels] == [0, 1]
    assert isinstance(kernels[0]._cache._cache_file, SharedCacheFile)
