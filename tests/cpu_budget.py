"""What tests cost: CPU seconds by file, and a limit for one test.

CPU seconds of the test process and of the children that it waited for, which another program on
the machine lengthens far less than the time on the clock. Compiling of kernels is counted apart:
it falls to whichever test calls a kernel first, and only while the cache is empty.
"""

from __future__ import annotations

import resource
import threading
import time
from collections import Counter
from collections.abc import Generator
from typing import Any

import pytest
from numba.core import event

N_SHOWN = 20


class Compiling(event.Listener):
    """Adds up the CPU seconds in which this process compiles kernels."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._of_thread = threading.local()

    def on_start(self, event: object) -> None:
        """A function is about to be compiled, maybe within another one."""
        depth = getattr(self._of_thread, "depth", 0)
        if depth == 0:
            self._of_thread.began = time.thread_time()
        self._of_thread.depth = depth + 1

    def on_end(self, event: object) -> None:
        """It is compiled."""
        self._of_thread.depth -= 1
        if self._of_thread.depth == 0:
            self.seconds += time.thread_time() - self._of_thread.began


compiling = Compiling()
BEGAN = pytest.StashKey[tuple[float, float]]()


def cpu_seconds() -> tuple[float, float]:
    """Of this process and its ended children until now: all but compiling, and compiling."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    total = time.process_time() + children.ru_utime + children.ru_stime
    return total - compiling.seconds, compiling.seconds


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of this module."""
    parser.addoption(
        "--cpu-limit", type=float, metavar="SECONDS",
        help="a test that takes more CPU seconds fails, compiling of kernels not counted",
    )  # fmt: skip
    parser.addoption(
        "--cpu-costs", action="store_true", help=f"show the {N_SHOWN} files that cost most CPU"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Listen to what is compiled."""
    event.register("numba:compile", compiling)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop listening."""
    event.unregister("numba:compile", compiling)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Note where a test begins."""
    item.stash[BEGAN] = cpu_seconds()
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, Any, Any]:
    """Give the last report of a test what it took, and fail it if that is too much."""
    report = yield
    if call.when == "teardown":
        began, now = item.stash[BEGAN], cpu_seconds()
        report.cpu_seconds = [after - before for before, after in zip(began, now, strict=True)]
        marker = item.get_closest_marker("cpu_limit")
        limit = marker.args[0] if marker else item.config.getoption("cpu_limit")
        if item.config.getoption("cpu_limit") and report.passed and report.cpu_seconds[0] > limit:
            report.outcome = "failed"
            report.longrepr = (
                f"{item.nodeid} took {report.cpu_seconds[0]:.1f} CPU seconds, the limit is "
                f"{limit}: share what it makes with other tests, make it smaller, or mark it slow "
                "(CONTRIBUTING.md)"
            )
    return report


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Show which files cost most."""
    if not config.getoption("cpu_costs"):
        return
    costs: Counter[str] = Counter()
    compiled: Counter[str] = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            for file, (spent, kernels) in costs_of(report):
                costs[file] += spent
                compiled[file] += kernels
    terminalreporter.section("CPU seconds, kernels compiled apart")
    for file, spent in [*costs.most_common(N_SHOWN), ("all tests", sum(costs.values()))]:
        kernels = compiled[file] if file in costs else sum(compiled.values())
        terminalreporter.write_line(f"{spent:8.1f} {kernels:8.1f}  {file}")


def costs_of(report: Any) -> list[tuple[str, tuple[float, float]]]:
    """The file of a test's last report and what the test took; nothing for other reports."""
    if not hasattr(report, "cpu_seconds"):
        return []
    return [(report.nodeid.partition("::")[0], tuple(report.cpu_seconds))]
