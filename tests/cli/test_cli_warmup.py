"""li warmup: later searches find everything compiled; a search that has to compile says so."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
from cli_cases import LI, ok
from numba.core import event

from learned_index.cli.shared import common
from learned_index.kernels.machine.compiling import watched

SEARCHES = """
import sys
from learned_index.cli import main
from learned_index.kernels.machine.compiling import watched
with watched() as compiled:
    main(["search", *sys.argv[1:]], standalone_mode=False)
print(compiled.kernels, file=sys.stderr)
"""


def run(*command, cache):
    """Standard output and error of a process that keeps its kernels in ``cache``."""
    done = subprocess.run(
        [*map(str, command)], env={**os.environ, "NUMBA_CACHE_DIR": str(cache)},
        check=True, text=True, capture_output=True,
    )  # fmt: skip
    return done.stdout, done.stderr


@pytest.mark.slow  # test_a_warm_up_uses_all_that_searches_use needs no compiling
def test_after_a_warmup_the_first_answer_of_a_fresh_process_compiles_nothing(text_model, tmp_path):
    told, _ = run(*LI, "warmup", text_model, "--json", "--threads", 1, cache=tmp_path)
    assert json.loads(told)["n_compiled"] > 5
    answer, compiled = run(
        sys.executable, "-c", SEARCHES, text_model, "bread oven", "rain", cache=tmp_path
    )
    assert "Cooking" in answer
    assert compiled == "[]\n"


def test_a_second_warmup_has_nothing_to_do(text_model):
    ok("warmup", text_model)
    assert ok("warmup", text_model).startswith("nothing to compile")


def compiles(name, seconds, clock, inside=()):
    """The events of a function that takes this long, with all that it calls."""
    function = SimpleNamespace(__module__="learned_index.kernels.x", __qualname__=name)
    with event.trigger_event("numba:compile", {"dispatcher": SimpleNamespace(py_func=function)}):
        for call in inside:
            compiles(*call)
        clock[0] += seconds


def test_seconds_are_those_of_the_outermost_and_long_ones_are_told_once(monkeypatch):
    clock, told = [0.0], []
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])
    with watched(lambda: told.append(clock[0]), after_s=1.5) as compiled:
        compiles("first", 1.0, clock)
        assert told == []
        compiles("second", 2.0, clock, inside=[("called", 1.0, clock), ("called", 1.0, clock)])
        compiles("third", 9.0, clock)
    compiles("fourth", 1.0, clock)
    assert told == [2.0]
    names = ["first", "called", "called", "second", "third"]
    assert compiled.kernels == [f"learned_index.kernels.x.{name}" for name in names]
    assert compiled.seconds == 1 + 4 + 9


@pytest.mark.parametrize("seconds", [1, 2])
def test_a_search_that_compiles_says_so_to_a_person(text_model, monkeypatch, seconds):
    from learned_index.cli import search

    found, clock, told = search._answers, [0.0], []

    def slow(*arguments, **options):
        compiles("search", seconds, clock)
        return found(*arguments, **options)

    monkeypatch.setattr(search, "_answers", slow)
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])
    monkeypatch.setattr(common, "console", SimpleNamespace(is_terminal=True, print=told.append))
    ok("search", text_model, "bread oven")
    assert len(told) == (seconds > 1)
    assert all("li warmup" in line and "\n" not in line for line in told)
