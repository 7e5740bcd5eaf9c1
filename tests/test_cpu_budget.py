"""A test that takes too much CPU fails, and what files cost is shown."""

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]
TESTS = """
import subprocess, sys, time, pytest
def busy():
    until = time.process_time() + 0.5
    while time.process_time() < until: pass
def test_quick(): pass
def test_long(): busy()
@pytest.fixture
def made(): busy()
def test_of_a_long_fixture(made): pass
@pytest.mark.cpu_limit(30)
def test_long_as_it_says(): busy()
def test_waiting(): time.sleep(0.6)
def test_with_a_child():
    subprocess.run([sys.executable, "-S", "-c", "while __import__('time').process_time() < .5: 0"])
"""


def test_what_takes_too_long_fails(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_some=TESTS)
    result = pytester.runpytest_inprocess(
        "-p", "cpu_budget", "-p", "no:cacheprovider", "-p", "no:xdist", "-o",
        "markers=cpu_limit(seconds)", "--cpu-limit", "0.4", "--cpu-costs",
    )  # fmt: skip
    result.assert_outcomes(passed=6, errors=3)
    for name in ("long", "of_a_long_fixture", "with_a_child"):
        result.stdout.fnmatch_lines(f"*::test_{name} took [01].* CPU seconds, the limit is 0.4*")
    result.stdout.fnmatch_lines(["* CPU seconds,*", "*  test_some.py", "*  all tests"])


def test_without_a_limit_nothing_fails(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_some="def test_quick(): pass")
    result = pytester.runpytest_inprocess("-p", "cpu_budget", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*CPU seconds*")
