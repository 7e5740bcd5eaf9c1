"""Run the measurement of one method: here, in a process of its own, or in another environment."""

from __future__ import annotations

import multiprocessing
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from learned_index.comparison.elsewhere import run_elsewhere
from learned_index.comparison.measure import Job, answer_job, describe, listen, measure_method
from learned_index.persistence import read_json
from learned_index.system.progress import Progress


def run_job(job: Job, *, isolate: bool, progress: Progress) -> dict[str, Any]:
    """Measure one method and return its report, or ``{"error": ...}``.

    Args:
        job: What to measure.
        isolate: Measure in a process of its own, so that peak memory is the method's; a method
            with an interpreter of its own is always measured there.
        progress: Told where the method is, 0 to 1.
    """
    if job.spec.python is not None:
        error = run_elsewhere(job, progress)
    elif isolate:
        error = _run_in_process(job, progress)
    else:
        try:
            measure_method(job, progress)
            error = None
        except Exception as problem:  # a method that fails must not stop the others
            error = describe(problem)
    if error is not None:
        return {"error": error}
    report: dict[str, Any] = read_json(job.report)
    return report


def _run_in_process(job: Job, progress: Progress) -> str | None:
    """Run the job in a spawned process; return what went wrong, or None."""
    # Not a fork: it would begin with this process's memory, which the peak would then hold.
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_child_main, args=(job, sender), daemon=True)
    try:
        process.start()
        sender.close()  # else the end of the child would not end the messages
        error = listen(_received(receiver), progress)
        process.join()
    finally:
        if process.is_alive():  # Ctrl-C here: the child ignores it and is ended by us
            process.terminate()
            process.join()
        receiver.close()
    if error is None and (process.exitcode != 0 or not job.report.exists()):
        return ended(process.exitcode)
    return error


def _received(receiver: Connection) -> Iterator[Any]:
    with suppress(EOFError):  # the child has ended, or was killed
        while True:
            yield receiver.recv()


def ended(code: int | None) -> str:
    """Return a line about a process that ended without a word."""
    hint = " (killed; out of memory?)" if code == -signal.SIGKILL else ""
    return f"the measuring process ended with exit code {code}{hint}"


def _child_main(job: Job, sender: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        answer_job(lambda: job, sender.send)
    finally:
        sender.close()
        sys.stderr.flush()
