"""Try many hostile inputs in processes with limits, and count what became of each.

A trial makes one input from a random generator, gives it to the library, and says what came out.
Worker processes do the trials with little memory and little time; one that dies is counted and
replaced. The same seed and number give the same input, so a fault can be tried again alone::

    python -m benchmarks.hostile.readers --n 50000 --seed 0
    python -m benchmarks.hostile.readers --seed 0 --only 1234
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Literal

from learned_index.errors import LearnedIndexError

Outcome = Literal["right", "clear error", "wrong", "traceback", "crash", "limits"]
OUTCOMES: tuple[Outcome, ...] = ("right", "clear error", "wrong", "traceback", "crash", "limits")
"""What can become of an input. ``limits``: more memory or time than a worker has."""
FAULTS = OUTCOMES[2:]

Trial = Callable[[random.Random, str, Path], tuple[Outcome, str]]
"""Takes a generator, the group and an empty folder; returns the outcome and a word about it."""

_BATCH = 100
_NOT_READY = "not ready"
_OVER_TIME = -signal.SIGALRM


def judged(
    read: Callable[[], Any],
    is_right: Callable[[Any], str | None],
    is_clear: Callable[[LearnedIndexError], bool],
) -> tuple[Outcome, str]:
    """Run what reads an input, and name the outcome.

    Args:
        read: Reads (and perhaps uses) the input.
        is_right: Takes what was read; None where it is right, else what is wrong.
        is_clear: Whether an error of the library names what it should.
    """
    try:
        problem = is_right(read())
    except LearnedIndexError as error:
        return (
            "clear error" if is_clear(error) else "traceback"
        ), f"{type(error).__name__}: {error}"
    except MemoryError as error:
        return "limits", f"MemoryError: {error}"
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(frame.filename).name}:{frame.lineno}"
        return "traceback", f"{type(error).__name__} at {place}: {error}"
    return ("right", "") if problem is None else ("wrong", problem)


@dataclass(frozen=True, kw_only=True)
class Fault:
    """An input with an outcome that must not be."""

    number: int
    group: str
    outcome: Outcome
    detail: str


@dataclass(kw_only=True)
class Tally:
    """Counts by group and outcome, and the faults."""

    groups: Sequence[str]
    counts: Counter[tuple[str, Outcome]] = field(default_factory=Counter)
    faults: list[Fault] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, number: int, outcome: Outcome, detail: str) -> None:
        """Count one trial; a fault is kept too."""
        group = group_of(self.groups, number)
        self.counts[group, outcome] += 1
        if outcome in FAULTS:
            self.faults.append(
                Fault(number=number, group=group, outcome=outcome, detail=detail[:300])
            )

    def table(self) -> str:
        """Return the counts as text, a line for each group, at most 80 columns."""
        heads = ("tried", "right", "clear error", "wrong", "traceback", "crash", "limits")
        lines = [f"{'input':<17}" + "".join(f"{h:>{max(7, len(h) + 1)}}" for h in heads)]
        for group in (*self.groups, "all"):
            row = [
                sum(n for (g, o), n in self.counts.items() if group in (g, "all") and o == outcome)
                for outcome in OUTCOMES
            ]
            cells = zip(heads, (sum(row), *row), strict=True)
            lines.append(f"{group:<17}" + "".join(f"{n:>{max(7, len(h) + 1)},}" for h, n in cells))
        return "\n".join(lines)


def group_of(groups: Sequence[str], number: int) -> str:
    """Return the group that a trial belongs to: they take turns."""
    return groups[number % len(groups)]


def generator(seed: int, number: int) -> random.Random:
    """Return the generator of one trial."""
    return random.Random(f"{seed} {number}")


def run_campaign(
    make_trial: Callable[[], Trial],
    *,
    groups: Sequence[str],
    n: int,
    seed: int = 0,
    jobs: int = 1,
    memory_gb: float = 4.0,
    seconds: float = 10.0,
) -> Tally:
    """Try ``n`` inputs in ``jobs`` processes.

    Args:
        make_trial: Called once in each process; picklable (a function of a module, a partial).
        groups: Kinds of input, which take turns.
        n: Inputs in all.
        seed: With its number it decides an input.
        jobs: Processes at a time.
        memory_gb: Address space of a process.
        seconds: Time for one input.
    """
    context = multiprocessing.get_context("spawn")
    tally = Tally(groups=groups)
    started = time.monotonic()
    todo = [(start, min(start + _BATCH, n)) for start in range(0, n, _BATCH)][::-1]
    arguments = (make_trial, tuple(groups), seed, memory_gb, seconds)
    workers: dict[Connection, _Worker] = {}
    try:
        while todo or workers:
            while todo and len(workers) < jobs:
                worker = _Worker(context, arguments)
                workers[worker.connection] = worker
                worker.give(todo.pop())
            for connection in wait(list(workers)):
                assert isinstance(connection, Connection)
                worker = workers[connection]
                try:
                    outcome, detail = connection.recv()
                except (EOFError, ConnectionResetError):
                    del workers[connection]
                    code = worker.ended()
                    over_time = code == _OVER_TIME
                    tally.add(
                        worker.number,
                        "limits" if over_time else "crash",
                        f"more than {seconds} s" if over_time else f"process ended with {code}",
                    )
                    if worker.number + 1 < worker.stop:
                        todo.append((worker.number + 1, worker.stop))
                    continue
                if outcome == _NOT_READY:  # no fault of an input
                    raise RuntimeError(f"a worker could not begin: {detail}")
                tally.add(worker.number, outcome, detail)
                worker.number += 1
                if worker.number == worker.stop:
                    if todo:
                        worker.give(todo.pop())
                    else:
                        worker.give(None)
                        worker.ended()
                        del workers[connection]
    finally:
        for worker in workers.values():
            worker.process.kill()
            worker.ended()
    tally.seconds = time.monotonic() - started
    return tally


class _Worker:
    """One process, and the trial that it is at."""

    def __init__(self, context: Any, arguments: tuple[Any, ...]) -> None:
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, *arguments), daemon=True)
        self.process.start()
        theirs.close()  # else its death would not end the connection
        self.number = self.stop = 0

    def give(self, span: tuple[int, int] | None) -> None:
        if span is not None:
            self.number, self.stop = span
        try:
            self.connection.send(span)
        except BrokenPipeError:  # it is dead, which the next wait() notices
            return

    def ended(self) -> int:
        self.process.join()
        self.connection.close()
        return int(self.process.exitcode or 0)


def _work(
    connection: Connection,
    make_trial: Callable[[], Trial],
    groups: tuple[str, ...],
    seed: int,
    memory_gb: float,
    seconds: float,
) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    memory = int(memory_gb * 2**30)
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends the process, wherever it is
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what dying C code writes there
    warnings.simplefilter("ignore")
    try:
        trial = make_trial()
    except Exception:
        connection.send((_NOT_READY, traceback.format_exc()))
        return
    while (span := connection.recv()) is not None:
        for number in range(*span):
            signal.setitimer(signal.ITIMER_REAL, seconds)
            with tempfile.TemporaryDirectory(prefix="hostile-") as folder:
                result = trial(generator(seed, number), group_of(groups, number), Path(folder))
            signal.setitimer(signal.ITIMER_REAL, 0)
            connection.send(result)


def main(
    make_trial: Callable[[], Trial],
    *,
    groups: Sequence[str],
    description: str,
    n: int,
    memory_gb: float = 4.0,
    seconds: float = 10.0,
) -> None:
    """The command line of a campaign; ends with 1 where there was a fault.

    Args:
        make_trial: See :func:`run_campaign`.
        groups: See :func:`run_campaign`.
        description: First line of ``--help``.
        n: Default number of inputs.
        memory_gb: See :func:`run_campaign`.
        seconds: See :func:`run_campaign`.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--n", type=int, default=n, help="inputs to try")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--only", type=int, help="try this number alone, in this process")
    parser.add_argument("--keep", type=Path, help="with --only: empty folder for the input")
    parser.add_argument("--json", type=Path, help="write counts and faults to this file")
    chosen = parser.parse_args()
    if chosen.only is not None:
        folder = chosen.keep or Path(tempfile.mkdtemp(prefix="hostile-"))
        folder.mkdir(exist_ok=True)
        group = group_of(groups, chosen.only)
        print(group, folder)
        print(*make_trial()(generator(chosen.seed, chosen.only), group, folder))
        return
    tally = run_campaign(
        make_trial,
        groups=groups,
        n=chosen.n,
        seed=chosen.seed,
        jobs=chosen.jobs,
        memory_gb=memory_gb,
        seconds=seconds,
    )
    print(tally.table())
    print(f"seed {chosen.seed}, {tally.seconds:.0f} s in {chosen.jobs} processes")
    for fault in tally.faults[:40]:
        print(f"{fault.number} {fault.group}: {fault.outcome}: {fault.detail}")
    if chosen.json is not None:
        counts = [[*key, count] for key, count in sorted(tally.counts.items())]
        faults = [vars(fault) for fault in tally.faults]
        chosen.json.write_text(json.dumps({"counts": counts, "faults": faults}, indent=1))
    sys.exit(1 if tally.faults else 0)
